package smtpclient

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"

	"mxbypass/mailbox"
)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestAuth(t *testing.T) {
	long := strings.Repeat("p", 500)
	for _, c := range []struct {
		name     string
		offer    string
		password string
		answers  []string
		heard    []string // of what follows EHLO
		want     string
	}{
		{"PLAIN", "AUTH LOGIN PLAIN", "secret", []string{"235 OK"}, []string{"AUTH PLAIN " + b64("\x00user\x00secret")}, "ok"},
		{"PLAIN in small letters", "auth plain", "secret", []string{"235 OK"},
			[]string{"AUTH PLAIN " + b64("\x00user\x00secret")}, "ok"},
		{"PLAIN, too long for one line", "AUTH PLAIN", long, []string{"334 ", "235 OK"},
			[]string{"AUTH PLAIN", b64("\x00user\x00" + long)}, "ok"},
		{"LOGIN", "AUTH LOGIN CRAM-MD5", "secret", []string{"334 " + b64("Username:"), "334 " + b64("Password:"), "235 OK"},
			[]string{"AUTH LOGIN", b64("user"), b64("secret")}, "ok"},
		{"LOGIN in other words", "AUTH LOGIN", "secret", []string{"334 " + b64("Name"), "334 " + b64("pass word"), "235 OK"},
			[]string{"AUTH LOGIN", b64("user"), b64("secret")}, "ok"},
		{"LOGIN, no password", "AUTH LOGIN", "", []string{"334 ", "334 ", "235 OK"}, []string{"AUTH LOGIN", b64("user"), ""}, "ok"},
		{"wrong password", "AUTH PLAIN", "guess", []string{"535 5.7.8 wrong"}, []string{"AUTH PLAIN " + b64("\x00user\x00guess")},
			"remote"},
		{"not now", "AUTH PLAIN", "guess", []string{"454 4.7.0 later"}, []string{"AUTH PLAIN " + b64("\x00user\x00guess")}, "remote"},
		{"wrong name", "AUTH LOGIN", "guess", []string{"334 ", "535 5.7.8 wrong"}, []string{"AUTH LOGIN", b64("user")}, "remote"},
		{"other ways", "AUTH CRAM-MD5 XOAUTH2", "secret", nil, nil, "no way"},
		{"no way at all", "AUTH", "secret", nil, nil, "no way"},
		{"not announced", "DSN", "secret", nil, nil, "no way"},
		{"another question", "AUTH PLAIN", "secret", []string{"334 " + b64("more?")},
			[]string{"AUTH PLAIN " + b64("\x00user\x00secret")}, "unavailable"},
		{"questions without end", "AUTH LOGIN", "secret", []string{"334 ", "334 ", "334 "},
			[]string{"AUTH LOGIN", b64("user"), b64("secret")}, "unavailable"},
		{"no base64", "AUTH LOGIN", "secret", []string{"334 ", "334 \x00\x1b"}, []string{"AUTH LOGIN", b64("user")}, "unavailable"},
		{"another code", "AUTH PLAIN", "secret", []string{"354 go"}, []string{"AUTH PLAIN " + b64("\x00user\x00secret")}, "unavailable"},
		{"two passwords", "AUTH PLAIN", "a\x00b", nil, nil, "unavailable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			opts := options()
			opts.TLS, opts.Auth = TLSImplicit, &Auth{"user", c.password}
			heard := make(chan []string, 1)
			client, err := open(t, opts, func(p *peer) {
				if !p.secure(serverTLS()) {
					return
				}
				p.say("220 hi\r\n")
				p.ask("250-mx.test\r\n250 " + c.offer + "\r\n")
				for _, s := range c.answers {
					p.ask(s + "\r\n")
				}
				heard <- p.heard[1:]
				p.ask("221 bye\r\n")
			})
			want := c.want
			if want == "no way" {
				want = "unavailable"
			}
			if kind(err) != want || errors.Is(err, ErrNoAuth) != (c.want == "no way") || (client == nil) != (err != nil) {
				t.Errorf("%v; want %s", err, c.want)
			}
			if got := <-heard; !slices.Equal(got, c.heard) {
				t.Errorf("heard %q", got)
			}
			var remote *mailbox.RemoteError
			if errors.As(err, &remote) && remote.Command != "AUTH" {
				t.Errorf("%+v", remote)
			}
			if err != nil && (strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "\x1b")) {
				t.Errorf("it tells too much: %v", err)
			}
		})
	}
}

// TestAuthNeedsTLS: the password never leaves in the clear, whatever the server offers.
func TestAuthNeedsTLS(t *testing.T) {
	for _, mode := range []TLSMode{TLSNever, TLSIfThere} {
		opts := options()
		opts.TLS, opts.Auth = mode, &Auth{"user", "secret"}
		heard := make(chan string, 1)
		_, err := open(t, opts, func(p *peer) {
			p.say("220 hi\r\n")
			p.ask("250-mx.test\r\n250 AUTH PLAIN LOGIN\r\n")
			heard <- p.ask("221 bye\r\n")
		})
		if kind(err) != "tls" {
			t.Errorf("mode %d: %v", mode, err)
		}
		if s := <-heard; s != "QUIT" {
			t.Errorf("mode %d: the client said %q", mode, s)
		}
	}
}
