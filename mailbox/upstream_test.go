package mailbox_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"mxbypass/mailbox"
)

func TestParseUpstreams(t *testing.T) {
	written := []string{"auto", "192.0.2.1", "198.51.100.0/24", "2001:DB8::/32", "2001:db8::1", "_SPF.Google.com.", "bücher.example"}
	want := []string{"auto", "192.0.2.1/32", "198.51.100.0/24", "2001:db8::/32", "2001:db8::1/128", "_spf.google.com",
		"xn--bcher-kva.example"}
	got, err := mailbox.ParseUpstreams(written)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	if again, err := mailbox.ParseUpstreams(got); err != nil || !slices.Equal(again, got) {
		t.Errorf("%q became %q, %v", got, again, err)
	}
	if got, err := mailbox.ParseUpstreams(nil); err != nil || got != nil {
		t.Error(got, err)
	}
	for _, bad := range []string{
		"", "*", "AUTO", "google", "0.0.0.0/0", "::/0", "10.0.0.0/7", "192.0.2.1/24", "192.0.2.0/33", "192.0.2", "1.2.3.400",
		"192.0.2.0/24/24", "::ffff:192.0.2.0/120", "fe80::1%eth0", "fe80::%eth0/64", "a b.example", "include:_spf.google.com",
		"[192.0.2.1]", "192.0.2.1:25", "a..b", "x.1", "192.0.2.0/24,auto", "\x00.example", "spf.example\n",
	} {
		if got, err := mailbox.ParseUpstreams([]string{"auto", bad}); !errors.Is(err, mailbox.ErrSyntax) || got != nil {
			t.Errorf("%q: %q, %v", bad, got, err)
		}
	}
	for _, twice := range [][]string{{"auto", "auto"}, {"192.0.2.1", "192.0.2.1/32"}, {"a.example", "A.example."}} {
		if got, err := mailbox.ParseUpstreams(twice); !errors.Is(err, mailbox.ErrSyntax) {
			t.Errorf("%q: %q, %v", twice, got, err)
		}
	}
	var many []string
	for i := range mailbox.MaxUpstreams + 1 {
		many = append(many, fmt.Sprintf("spf%d.example", i))
	}
	if _, err := mailbox.ParseUpstreams(many); !errors.Is(err, mailbox.ErrTooLong) {
		t.Error(err)
	}
	if _, err := mailbox.ParseUpstreams(many[1:]); err != nil {
		t.Error(err)
	}
	if _, err := mailbox.ParseUpstreams([]string{strings.Repeat("a.", 200) + "example"}); !errors.Is(err, mailbox.ErrSyntax) {
		t.Error(err)
	}
}
