package smtpclient

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"mxbypass/mailbox"
)

// TestTLS: what is said before the handshake, what is forgotten of it, and what each mode makes of a server.
func TestTLS(t *testing.T) {
	plain := func(p *peer) {
		p.say("220 hi\r\n")
		p.ask("250-mx.test\r\n250-PIPELINING\r\n250 SIZE 10\r\n")
		p.ask("221 bye\r\n")
	}
	starttls := func(p *peer) {
		p.say("220 hi\r\n")
		p.ask("250-mx.test\r\n250-STARTTLS\r\n250-DSN\r\n250-PIPELINING\r\n250 SIZE 10\r\n")
		if p.ask("220 go\r\n") == "STARTTLS" && p.secure(serverTLS()) {
			p.ask("250-mx.test\r\n250 8BITMIME\r\n")
			p.ask("221 bye\r\n")
		}
	}
	refusing := func(p *peer) {
		p.say("220 hi\r\n")
		p.ask("250-mx.test\r\n250 STARTTLS\r\n")
		p.ask("454 4.7.0 not now\r\n")
		p.ask("221 bye\r\n")
	}
	implicit := func(p *peer) {
		if p.secure(serverTLS()) {
			p.say("220 hi\r\n")
			p.ask("250-mx.test\r\n250-STARTTLS\r\n250 8BITMIME\r\n")
			p.ask("221 bye\r\n")
		}
	}
	for _, c := range []struct {
		name   string
		server func(*peer)
		mode   TLSMode
		tls    string // the encryption, or "refused"
		ext    []string
	}{
		{"never, not there", plain, TLSNever, "", []string{"PIPELINING", "SIZE"}},
		{"never, there", starttls, TLSNever, "", []string{"DSN", "PIPELINING", "SIZE", "STARTTLS"}},
		{"if there, not there", plain, TLSIfThere, "", []string{"PIPELINING", "SIZE"}},
		{"if there, there", starttls, TLSIfThere, "TLSv1.3", []string{"8BITMIME"}},
		{"if there, refused", refusing, TLSIfThere, "refused", nil},
		{"required, not there", plain, TLSRequired, "refused", nil},
		{"required, there", starttls, TLSRequired, "TLSv1.3", []string{"8BITMIME"}},
		{"required, refused", refusing, TLSRequired, "refused", nil},
		{"implicit", implicit, TLSImplicit, "TLSv1.3", []string{"8BITMIME", "STARTTLS"}},
		{"implicit, not there", plain, TLSImplicit, "refused", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			opts := options()
			opts.TLS = c.mode
			client, err := open(t, opts, c.server)
			if c.tls == "refused" {
				if kind(err) != "tls" {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer client.Quit()
			var ext []string
			for keyword := range client.ext {
				ext = append(ext, keyword)
			}
			slices.Sort(ext)
			if client.TLS() != c.tls || !slices.Equal(ext, c.ext) || client.maxSize != 10 == (c.tls == "") {
				t.Errorf("TLS %q, extensions %q, size %d", client.TLS(), ext, client.maxSize)
			}
		})
	}
}

// TestTLSInjection: what somebody in between puts behind the answer to STARTTLS is not taken for the server's.
func TestTLSInjection(t *testing.T) {
	opts := options()
	opts.TLS = TLSIfThere
	_, err := open(t, opts, func(p *peer) {
		p.say("220 hi\r\n")
		p.ask("250-mx.test\r\n250 STARTTLS\r\n")
		p.ask("220 go\r\n250-mx.test\r\n250 AUTH PLAIN\r\n")
		if s := p.rest(); s != "" {
			t.Errorf("the client went on: %q", s)
		}
	})
	if kind(err) != "tls" || !errors.Is(err, errReply) {
		t.Errorf("%v", err)
	}
}

// TestTLSLateAlert: with TLS 1.3 the server can refuse the handshake when it is over for the client.
func TestTLSLateAlert(t *testing.T) {
	opts := options()
	opts.TLS = TLSIfThere
	_, err := open(t, opts, func(p *peer) {
		p.say("220 hi\r\n")
		p.ask("250-mx.test\r\n250 STARTTLS\r\n")
		p.ask("220 go\r\n")
		config := serverTLS()
		config.ClientAuth = tls.RequireAnyClientCert
		p.secure(config)
	})
	if kind(err) != "tls" {
		t.Errorf("%v", err)
	}
}

// TestTLSContext: the context ends a handshake that does not go on.
func TestTLSContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	opts := options()
	opts.TLS = TLSImplicit
	address := serve(t, func(_ int, p *peer) {
		p.r.ReadByte()
		cancel()
		p.rest()
	})
	if _, err := Dial(ctx, "tcp", address, opts); !errors.Is(err, context.Canceled) || !errors.Is(err, mailbox.ErrUnavailable) {
		t.Errorf("%v", err)
	}
}

// TestTLSHostileCertificate: names in a certificate do not reach a terminal as they are.
func TestTLSHostileCertificate(t *testing.T) {
	err := printable{errors.New("valid for \x1b[2Jx")}
	if strings.Contains(err.Error(), "\x1b") {
		t.Errorf("%q", err.Error())
	}
}

// TestSource: the connection comes from the address that was asked for, or not at all.
func TestSource(t *testing.T) {
	opts := options()
	for source, ok := range map[string]bool{"127.0.0.9": true, "::1": false, "192.0.2.1": false} {
		opts.Source = netip.MustParseAddr(source)
		from := make(chan string, 1)
		c, err := Dial(t.Context(), "tcp", serve(t, func(_ int, p *peer) {
			host, _, _ := net.SplitHostPort(p.raw.RemoteAddr().String())
			from <- host
			p.say("220 hi\r\n")
			p.ask("250 mx.test\r\n")
			p.rest()
		}), opts)
		if !ok {
			if kind(err) != "unavailable" {
				t.Errorf("%s: %v", source, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if host := <-from; host != source {
			t.Errorf("connected from %s instead of %s", host, source)
		}
		c.Close()
	}
}

// TestRequireTLS: REQUIRETLS is said to a server that promises it under TLS, and to no other (RFC 8689).
func TestRequireTLS(t *testing.T) {
	for _, c := range []struct {
		name           string
		before, inside string
		mail           string // what is heard; empty: nothing
	}{
		{"promised", "STARTTLS", "REQUIRETLS", "MAIL FROM:<s@c.test> REQUIRETLS"},
		{"not promised", "STARTTLS", "HELP", ""},
		{"promised in the clear", "REQUIRETLS", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			heard := make(chan string, 1)
			opts := options()
			opts.TLS, opts.Note = TLSIfThere, c.name
			client, err := open(t, opts, func(p *peer) {
				p.say("220 hi\r\n")
				p.ask("250-mx.test\r\n250 " + c.before + "\r\n")
				if c.inside != "" && p.ask("220 go\r\n") == "STARTTLS" && p.secure(serverTLS()) {
					p.ask("250-mx.test\r\n250 " + c.inside + "\r\n")
				}
				heard <- p.hear()
				p.say("250 OK\r\n")
				p.rest()
			})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			mail := mailTo("a@d.test")
			mail.RequireTLS = true
			ctx, cancel := context.WithCancel(t.Context())
			var ended sync.WaitGroup
			ended.Go(func() {
				defer cancel()
				if got := <-heard; got != c.mail && (c.mail != "" || got != "QUIT") {
					t.Errorf("%q", got)
				}
			})
			_, err = client.Begin(ctx, mail)
			if client.KeepsTLS() != (c.mail != "") || errors.Is(err, ErrRequireTLS) != (c.mail == "") || client.Note() != c.name {
				t.Errorf("%v, %v", client.KeepsTLS(), err)
			}
			if c.mail == "" && !client.Usable() {
				t.Error("the next message can be given to it")
			}
			client.Quit()
			ended.Wait()
		})
	}
}
