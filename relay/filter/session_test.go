package filter

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"mxbypass/mailbox"
)

// What a filter is told of a message is all of it, and nothing else.
func TestSeen(t *testing.T) {
	long := strings.Repeat("0123456789abcde\r\n", 10000)
	for name, tt := range map[string]struct {
		protocol uint32
		content  string
		fields   []string
		body     string
	}{
		"usual": {0, message, []string{"Received\x00by x\n\tfor y\x00", "Subject\x00 two\x00", "X-A\x001\x00", "x-a\x002\x00"}, "body\r\n"},
		"spaces": {leadingSpace, message,
			[]string{"Received\x00 by x\n\tfor y\x00", "Subject\x00  two\x00", "X-A\x001\x00", "x-a\x00 2\x00"}, "body\r\n"},
		"no answers":     {noReplies, message, []string{"Received\x00by x\n\tfor y\x00", "Subject\x00 two\x00", "X-A\x001\x00", "x-a\x002\x00"}, "body\r\n"},
		"no body":        {0, "A: 1\r\n\r\n", []string{"A\x001\x00"}, ""},
		"header only":    {0, "A: 1\r\n", []string{"A\x001\x00"}, ""},
		"unended":        {0, "A: 1", []string{"A\x001\x00"}, ""},
		"empty":          {0, "", nil, ""},
		"no header":      {0, "\r\nbody\r\n", nil, "body\r\n"},
		"no wish for it": {noBody, message, []string{"Received\x00by x\n\tfor y\x00", "Subject\x00 two\x00", "X-A\x001\x00", "x-a\x002\x00"}, ""},
		"no field":       {0, "A: 1\r\nwhat is this\r\nB: 2\r\n\r\nbody\r\n", []string{"A\x001\x00"}, "what is this\r\nB: 2\r\n\r\nbody\r\n"},
		"odd names":      {0, "A : 1\r\nB\x80: 2\r\n\r\n", []string{"A\x001\x00"}, "B\x80: 2\r\n\r\n"},
		"long":           {0, "A: 1\r\n\r\n" + long, []string{"A\x001\x00"}, long},
	} {
		t.Run(name, func(t *testing.T) {
			fake := (&fake{protocol: tt.protocol}).start(t)
			r, errs := pass(t, fake.filter(t, nil), text(tt.content))
			if err := errors.Join(errs...); err != nil {
				t.Fatal(err)
			}
			if r.Content != text(tt.content) {
				t.Error("it is another content")
			}
			if got := fake.said('L'); !slices.Equal(got, tt.fields) {
				t.Errorf("fields %q, want %q", got, tt.fields)
			}
			chunks := fake.said('B')
			if got := strings.Join(chunks, ""); got != tt.body {
				t.Errorf("body %.80q, want %.80q", got, tt.body)
			}
			if slices.ContainsFunc(chunks, func(s string) bool { return s == "" || len(s) > maxChunk }) {
				t.Error("an empty chunk, or one that is too long")
			}
			if len(fake.said('E')) != 1 {
				t.Error("there was no end")
			}
		})
	}
}

func TestEnvelope(t *testing.T) {
	fake := (&fake{}).start(t)
	f := fake.filter(t, nil)
	for _, c := range []Client{client, {Addr: netip.MustParseAddr("2001:db8::1"), Port: 25, Name: "c.test"}, {}} {
		s := f.NewSession(c)
		ctx := context.Background()
		err := errors.Join(s.Mail(ctx, mailbox.Address{}, 1234),
			s.Rcpt(ctx, address("you@exemple.org"), "you%exemple.org@mx.host.test"), s.Rcpt(ctx, address("a@d.test"), "A@d.test"))
		s.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	for code, want := range map[byte][]string{
		'C': {"[192.0.2.7]\x004\x12\x67192.0.2.7\x00", "c.test\x006\x00\x192001:db8::1\x00", "localhost\x00U"},
		'H': {"client.test\x00", "\x00", "\x00"},
		'M': {"<>\x00SIZE=1234\x00", "<>\x00SIZE=1234\x00", "<>\x00SIZE=1234\x00"},
	} {
		if got := fake.said(code); !slices.Equal(got, want) {
			t.Errorf("%c: %q, want %q", code, got, want)
		}
	}
	if got := fake.said('R')[:2]; got[0] != "<you@exemple.org>\x00ORCPT=rfc822;you%exemple.org@mx.host.test\x00" ||
		got[1] != "<a@d.test>\x00" {
		t.Errorf("%q", got)
	}
	for name, want := range map[string]string{
		"j": "mx.host.test", "v": "mxbypass 1", "i": "01ID", "{client_addr}": "2001:db8::1", "{client_name}": "localhost",
		"{client_port}": "25", "{client_ptr}": "c.test", "{daemon_name}": "mx.host.test", "{mail_addr}": "",
		"{rcpt_addr}": "a@d.test", "{rcpt_host}": "d.test", "{auth_authen}": "me@d.test", "{auth_type}": "PLAIN",
		"{tls_version}": "TLSv1.3", "{cipher}": "TLS_AES_128_GCM_SHA256",
	} {
		if got, ok := fake.macros[name]; got != want || !ok {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// Each answer at each command does what it says, and no more is said than is wanted.
func TestAnswers(t *testing.T) {
	const (
		hard  = "550 5.7.1 refused by a mail filter"
		soft  = "451 4.7.1 a mail filter asks to try again later"
		reply = "552 5.3.0 no"
	)
	for _, tt := range []struct {
		at, answer string
		want       string // what each of the four steps says, divided by "|"; empty: nothing
		discard    bool
		ends       string // the last command
	}{
		{"C", packet('a'), "|||", false, "C"},
		{"C", packet('r'), hard + "|||", false, "C"},
		{"H", packet('t'), soft + "|||", false, "H"},
		{"M", packet('a'), "|||", false, "M"},
		{"M", packet('d'), "|||", true, "M"},
		{"M", packet('y', "552 5.3.0 no\x00"), reply + "|||", false, "M"},
		{"R", packet('r'), "|" + hard + "||", false, "E"},
		{"R", packet('y', "552 5.3.0 no\x00"), "|" + reply + "||", false, "E"},
		{"R", packet('a'), "|||", false, "R"},
		{"R", packet('d'), "|||", true, "R"},
		{"R", packet('s'), "|||", false, "E"},
		{"T", packet('r'), "|||" + hard, false, "T"},
		{"T", packet('d'), "|||", true, "T"},
		{"L", packet('a'), "|||", false, "L"},
		{"L", packet('t'), "|||" + soft, false, "L"},
		{"L", packet('s'), "|||", false, "E"},
		{"N", packet('y', "552-5.3.0 no\r\n552 5.3.0 really\x00"), "|||552 5.3.0 no really", false, "N"},
		{"B", packet('r'), "|||" + hard, false, "B"},
		{"B", packet('s'), "|||", false, "E"},
		{"B", packet('d'), "|||", true, "B"},
		{"E", packet('a'), "|||", false, "E"},
		{"E", packet('c'), "|||", false, "E"},
		{"E", packet('p') + packet('p') + packet('c'), "|||", false, "E"},
		{"E", packet('d'), "|||", true, "E"},
		{"E", packet('r'), "|||" + hard, false, "E"},
		{"E", packet('t'), "|||" + soft, false, "E"},
		{"E", packet('h', "X\x00y\x00") + packet('y', "552 5.3.0 no\x00"), "|||" + reply, false, "E"},
	} {
		t.Run(fmt.Sprintf("%s %q", tt.at, tt.answer), func(t *testing.T) {
			fake := (&fake{protocol: skips, answers: map[byte]string{tt.at[0]: tt.answer}}).start(t)
			r, errs := pass(t, fake.filter(t, nil), text(message))
			var got []string
			for _, err := range errs {
				var rejected *Rejection
				switch {
				case err == nil:
					got = append(got, "")
				case errors.As(err, &rejected):
					got = append(got, strings.TrimPrefix(rejected.Error(), `filter "fake": `))
				default:
					t.Fatal(err)
				}
			}
			if s := strings.Join(got, "|"); s != tt.want || r.Discard != tt.discard {
				t.Errorf("%q, discard %v", s, r.Discard)
			}
			if last := fake.commands[len(fake.commands)-1][:1]; last != tt.ends {
				t.Errorf("the last command was %s", last)
			}
			if r.Content != text(message) {
				t.Error("it is another content")
			}
		})
	}
}

func TestTooLong(t *testing.T) {
	fake := (&fake{}).start(t)
	f := fake.filter(t, func(o *Options) { o.MaxSize = int64(len(message)) - 1 })
	r, errs := pass(t, f, text(message))
	if err := errors.Join(errs...); err != nil || r.Content != text(message) || len(fake.said('L')) > 0 {
		t.Error(err, fake.said('L'))
	}
	field := text("A: 1\r\nB: " + strings.Repeat("x", maxField) + "\r\n\r\n")
	if _, errs := pass(t, fake.filter(t, nil), field); !errors.Is(errs[3], ErrFieldTooBig) {
		t.Error(errs)
	}
}
