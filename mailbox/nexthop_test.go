package mailbox_test

import (
	"errors"
	"testing"

	"mxbypass/mailbox"
)

func TestParseNextHop(t *testing.T) {
	for text, want := range map[string]string{
		"smtp://mx.host.test":          "smtp://mx.host.test:25",
		"smtp://MX.Host.test.:0587":    "smtp://mx.host.test:587",
		"smtp://bücher.test:65535":     "smtp://xn--bcher-kva.test:65535",
		"smtp://inside":                "smtp://inside:25",
		"smtp://192.0.2.1":             "smtp://192.0.2.1:25",
		"smtp://192.0.2.1:2525":        "smtp://192.0.2.1:2525",
		"smtp://[2001:DB8:0::1]":       "smtp://[2001:db8::1]:25",
		"smtp://[2001:db8::1]:2525":    "smtp://[2001:db8::1]:2525",
		"smtp://[::ffff:192.0.2.1]:25": "smtp://[::ffff:192.0.2.1]:25",
	} {
		h, err := mailbox.ParseNextHop(text)
		if err != nil || h.String() != want || h.IsZero() {
			t.Errorf("%s: %q, %v, want %q", text, h, err, want)
		}
	}
	for _, text := range []string{
		"", "mx", "mx.host.test", "mx.host.test:25", "//mx.host.test", "smtp:mx.host.test", "smtps://mx.host.test",
		"lmtp://mx.host.test", "smtp://", "smtp://:25", "smtp://mx.host.test:", "smtp://mx.host.test:0",
		"smtp://mx.host.test:65536", "smtp://mx.host.test:-1", "smtp://mx.host.test:+25", "smtp://mx.host.test:smtp",
		"smtp://mx.host.test:25:26", "smtp://mx.host.test/", "smtp://user:word@mx.host.test", "smtp://mx host.test",
		" smtp://mx.host.test", "smtp://mx.host.test ", "smtp://mx.host.test\r\nQUIT", "smtp://-mx.host.test",
		"smtp://192.0.2", "smtp://192.0.2.256", "smtp://[192.0.2.1]", "smtp://2001:db8::1", "smtp://[2001:db8::1",
		"smtp://2001:db8::1]", "smtp://[2001:db8::1]x", "smtp://[2001:db8::1]25", "smtp://[fe80::1%eth0]",
		"smtp://[IPv6:2001:db8::1]", "smtp://[]", "smtp://[]:25",
	} {
		if h, err := mailbox.ParseNextHop(text); !errors.Is(err, mailbox.ErrSyntax) || !h.IsZero() {
			t.Errorf("%q: %q, %v, want %v", text, h, err, mailbox.ErrSyntax)
		}
	}
}

func TestParseExternal(t *testing.T) {
	host := mailbox.NextHop{Host: mailbox.MustDomainName("mx.host.test"), Port: 2525}
	for text, want := range map[string]mailbox.External{
		"":                         {},
		"mx":                       {MX: true},
		"smtp://mx.host.test:2525": {Host: host},
	} {
		got, err := mailbox.ParseExternal(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%q: %+v, %v, want %+v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"MX":                  "no scheme",
		"lmtp://mx.host.test": `unknown scheme "lmtp"`,
		"smtp://mx.test:x":    `"x" is no port`,
		"smtp://mx..test":     "invalid domain name",
		"smtp://[::1":         "unfinished address literal",
	} {
		got, err := mailbox.ParseExternal(text)
		want = "invalid address: " + want + `: want "mx", "smtp://host:port" or nothing`
		if !errors.Is(err, mailbox.ErrSyntax) || err.Error() != want || got != (mailbox.External{}) {
			t.Errorf("%q: %+v, %v, want %s", text, got, err, want)
		}
	}
}

// FuzzExternal: whatever stands there, it is refused as a syntax error, or it is printed as text without control
// characters that gives the same again.
func FuzzExternal(f *testing.F) {
	for _, s := range []string{"", "mx", "smtp://mx.host.test", "smtp://[2001:db8::1]:25", "smtp://192.0.2.1:2525",
		"smtp://ü.example:1", "smtp://[::ffff:1.2.3.4]", "smtp://1.2.3:4", "lmtp://x", "smtp://:::25"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := mailbox.ParseExternal(text)
		if err != nil {
			if !errors.Is(err, mailbox.ErrSyntax) && !errors.Is(err, mailbox.ErrTooLong) {
				t.Fatalf("%q: %v is none of ours", text, err)
			}
			return
		}
		mustBeClean(t, text, e.String())
		if again, err := mailbox.ParseExternal(e.String()); err != nil || again != e {
			t.Fatalf("%q: %+v prints as %q, which is %+v, %v", text, e, e, again, err)
		}
		if e.MX && !e.Host.IsZero() || !e.Host.IsZero() && e.Host.Port == 0 {
			t.Fatalf("%q: %+v", text, e)
		}
	})
}
