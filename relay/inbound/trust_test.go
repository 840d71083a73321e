package inbound

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"mxbypass/mailbox"
	"mxbypass/relay/login"
)

// ours is a certificate for mx.host.test that lasts for the test.
func ours(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"mx.host.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// users know me@exemple.org, whose password is "secret" and who has the alias info@exemple.org.
type users struct{}

func (users) Authenticate(_ context.Context, name, password string) (login.Identity, error) {
	switch {
	case name == "down@exemple.org":
		return login.Identity{}, errors.New("the database is down")
	case name != "me@exemple.org" || password != "secret":
		return login.Identity{}, login.ErrWrong
	}
	return login.Identity{Mailbox: mailbox.Address{Local: "me", Domain: exemple}}, nil
}

func (users) MayUse(_ context.Context, _ login.Identity, sender mailbox.Address) (bool, error) {
	return sender.Domain == exemple && (sender.Local == "me" || sender.Local == "info"), nil
}

// withService starts a server of another service.
func withService(t *testing.T, s Service, trust Trust, change func(*Options)) *rig {
	t.Helper()
	l, err := Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return startServiceOn(t, l, s, trust, change)
}

// written has all that is logged so far.
func (r *rig) written() {
	r.t.Helper()
	if err := r.options.Log.Close(); err != nil {
		r.t.Error(err)
	}
}

// encrypt goes on under TLS.
func (c *client) encrypt() {
	c.t.Helper()
	conn := tls.Client(c.conn, &tls.Config{InsecureSkipVerify: true, ServerName: "mx.host.test", MinVersion: tls.VersionTLS12})
	if err := conn.HandshakeContext(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	c.conn, c.in = conn, bufio.NewReader(conn)
}

const startTLS = `
	S: 220 *
	C: EHLO client.test
	S> 250 *
	C: STARTTLS
	S: 220 2.0.0 ready to start TLS
`

func encoded(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestStartTLS(t *testing.T) {
	r := withService(t, Service{Protocol: SMTP, TLS: StartTLS, Auth: true}, Trust{TLS: ours(t), Logins: users{}}, nil)
	c := r.client()
	c.talk(`
		S: 220 *
		C: AUTH PLAIN
		S: 538 5.7.11 *
		C: EHLO client.test
		S: 250-Hello client.test
		S: 250-STARTTLS
		S> 250 *
		C: MAIL FROM:<me@client.test> REQUIRETLS
		S: 530 5.7.10 *
		C: MAIL FROM:<me@client.test>
		S: 250 *
		C: STARTTLS
		S: 503 5.5.1 *
		C: RSET
		S: 250 *
		C: STARTTLS now
		S: 501 5.5.4 *
		C: STARTTLS
		S: 220 2.0.0 *`)
	c.encrypt()
	c.talk(`
		C: MAIL FROM:<me@client.test>
		S: 503 5.5.1 greet with EHLO first
		C: EHLO client.test
		S: 250-Hello client.test
		S: 250-REQUIRETLS
		S: 250-AUTH PLAIN LOGIN
		S> 250 *
		C: STARTTLS
		S: 503 5.5.1 TLS is already active
		C+ MAIL FROM:<me@client.test> REQUIRETLS AUTH=<>
		C+ RCPT TO:<foobar@exemple.org>
		C: DATA
		S: 250 *
		S: 250 *
		S: 354 *
		C: .
		S: 250 2.0.0 *
		C: QUIT
		S: 221 *
		S.`)
	m := r.core.all()[0].Message
	if !m.RequireTLS || !strings.Contains(string(m.Trace), "with ESMTPS id") || !strings.Contains(string(m.Trace), "TLSv1.3") {
		t.Errorf("%q", m.Trace)
	}
}

func TestImplicitTLS(t *testing.T) {
	r := withService(t, Service{Protocol: SMTP, TLS: Implicit}, Trust{TLS: ours(t)}, nil)
	c := r.client()
	c.encrypt()
	c.talk(`
		S: 220 *
		C: EHLO client.test
		S: 250-Hello *
		S: 250-REQUIRETLS
		S: 250-PIPELINING
		S> 250 *
		C: AUTH PLAIN
		S: 502 *
		C: QUIT
		S: 221 *
		S.`)
	plain := r.client()
	plain.talk("C: EHLO client.test\nS.")
	// A configuration without a certificate does not make the listener one in the clear.
	withService(t, Service{Protocol: SMTP, TLS: Implicit}, Trust{}, nil).client().talk("C: EHLO client.test\nS.")
}

func TestTLSEnds(t *testing.T) {
	r := withService(t, Service{Protocol: SMTP, TLS: StartTLS}, Trust{TLS: ours(t)}, nil)
	t.Run("commands behind STARTTLS", func(t *testing.T) {
		c := r.client()
		c.talk(`
			S: 220 *
			C: EHLO client.test
			S> 250 *
			C+ STARTTLS
			C: RSET
			S: 554 5.5.1 *
			S.`)
	})
	t.Run("no TLS", func(t *testing.T) {
		c := r.client()
		c.talk(startTLS + "C: EHLO client.test\nS.")
	})
	t.Run("shut down within the handshake", func(t *testing.T) {
		c := r.client()
		c.talk(startTLS)
		r.close()
		c.talk("S.")
	})
	t.Run("no certificate", func(t *testing.T) {
		withService(t, Service{Protocol: SMTP, TLS: StartTLS}, Trust{}, nil).client().talk(`
			S: 220 *
			C: EHLO client.test
			S: 250-Hello *
			S: 250-PIPELINING
			S> 250 *
			C: STARTTLS
			S: 502 *`)
	})
}

func TestAuth(t *testing.T) {
	r := withService(t, Service{Protocol: Submission, TLS: StartTLS}, Trust{TLS: ours(t), Logins: users{}}, nil)
	for name, script := range map[string]string{
		"PLAIN at once":        "C: AUTH PLAIN " + encoded("\x00me@exemple.org\x00secret") + "\nS: 235 2.7.0 *",
		"PLAIN, asked":         "C: auth plain\nS: 334 \nC: " + encoded("\x00me@exemple.org\x00secret") + "\nS: 235 2.7.0 *",
		"PLAIN, as oneself":    "C: AUTH PLAIN " + encoded("me@exemple.org\x00me@exemple.org\x00secret") + "\nS: 235 2.7.0 *",
		"PLAIN, for another":   "C: AUTH PLAIN " + encoded("you@exemple.org\x00me@exemple.org\x00secret") + "\nS: 501 5.5.2 *",
		"PLAIN, malformed":     "C: AUTH PLAIN " + encoded("me@exemple.org") + "\nS: 501 5.5.2 *",
		"PLAIN, empty":         "C: AUTH PLAIN =\nS: 501 5.5.2 *",
		"LOGIN":                "C: AUTH LOGIN\nS: 334 " + encoded("Username:") + "\nC: " + encoded("me@exemple.org") + "\nS: 334 " + encoded("Password:") + "\nC: " + encoded("secret") + "\nS: 235 2.7.0 *",
		"LOGIN with the name":  "C: AUTH LOGIN " + encoded("me@exemple.org") + "\nS: 334 *\nC: " + encoded("secret") + "\nS: 235 2.7.0 *",
		"given up":             "C: AUTH LOGIN\nS: 334 *\nC: *\nS: 501 5.5.0 *\nC: NOOP\nS: 250 *",
		"no base64":            "C: AUTH LOGIN\nS: 334 *\nC: %\nS: 501 5.5.2 *\nC: AUTH PLAIN %\nS: 501 5.5.2 *\nC: NOOP\nS: 250 *",
		"wrong password":       "C: AUTH PLAIN " + encoded("\x00me@exemple.org\x00guess") + "\nS: 535 5.7.8 *",
		"wrong name":           "C: AUTH PLAIN " + encoded("\x00no@exemple.org\x00secret") + "\nS: 535 5.7.8 *",
		"nobody can say":       "C: AUTH PLAIN " + encoded("\x00down@exemple.org\x00secret") + "\nS: 4?? *",
		"an unknown mechanism": "C: AUTH CRAM-MD5\nS: 504 5.5.4 *",
		"no mechanism":         "C: AUTH\nS: 501 5.5.4 *",
		"twice":                "C: AUTH PLAIN " + encoded("\x00me@exemple.org\x00secret") + "\nS: 235 *\nC: AUTH PLAIN\nS: 503 *",
		"without":              "C: MAIL FROM:<me@exemple.org>\nS: 530 5.7.0 *",
	} {
		t.Run(name, func(t *testing.T) {
			c := r.client()
			c.t = t
			c.talk(startTLS)
			c.encrypt()
			c.talk("C: EHLO client.test\nS> 250 *\n" + strings.ReplaceAll(script, "4?? ", "4* ") + "\nC: QUIT\nS: 221 *\nS.")
		})
	}
	r.written()
	if log := r.log.String(); strings.Contains(log, "secret") || strings.Contains(log, encoded("secret")) ||
		strings.Contains(log, "guess") {
		t.Errorf("a password is in the log:\n%s", log)
	}
}

func TestSubmission(t *testing.T) {
	r := withService(t, Service{Protocol: Submission, TLS: StartTLS}, Trust{TLS: ours(t), Logins: users{}}, nil)
	c := r.client()
	c.talk(startTLS)
	c.encrypt()
	message := func(from string) string {
		return `
			C+ MAIL FROM:<info@exemple.org>
			C+ RCPT TO:<foobar@exemple.org>
			C: DATA
			S: 250 *
			S: 250 *
			S: 354 *
			C: From: ` + from + `
			C:
			C: .`
	}
	c.talk(`
		C: EHLO client.test
		S> 250 *
		C: AUTH PLAIN ` + encoded("\x00me@exemple.org\x00secret") + `
		S: 235 *
		C: MAIL FROM:<you@exemple.org>
		S: 553 5.7.1 *` +
		message("me@exemple.org") + "\nS: 250 2.0.0 *" +
		message("me@exemple.org, info@exemple.org") + "\nS: 250 2.0.0 *" +
		message("me@exemple.org, you@exemple.org") + "\nS: 550 5.7.1 *" +
		message("") + "\nS: 550 5.7.1 *" + `
		C: MAIL FROM:<>
		S: 250 *`)
	got := r.core.all()
	if len(got) != 2 {
		t.Fatalf("%d messages", len(got))
	}
	if !strings.Contains(string(got[0].Message.Trace), "with ESMTPSA id") {
		t.Errorf("%q", got[0].Message.Trace)
	}
	if !strings.Contains(got[0].Content, "Message-ID: <") || !strings.Contains(got[0].Content, "Date: ") {
		t.Errorf("not completed: %q", got[0].Content)
	}
}

func TestEarlyTalkers(t *testing.T) {
	speak := func(r *rig) *client {
		c := r.client()
		if _, err := fmt.Fprint(c.conn, "EHLO client.test\r\n"); err != nil {
			t.Fatal(err)
		}
		return c
	}
	waiting := start(t, SMTP, func(o *Options) { o.Timeouts.Greeting = 20 * time.Second })
	speak(waiting).talk("S: 554 5.5.1 you spoke before you were greeted*\nS.")
	patient := start(t, SMTP, func(o *Options) { o.Timeouts.Greeting = time.Millisecond })
	patient.client().talk(hello + "C: QUIT\nS: 221 *\nS.")
	users := withService(t, Service{Protocol: Submission}, Trust{}, func(o *Options) { o.Timeouts.Greeting = time.Hour })
	speak(users).talk("S: 220 *\nS> 250 *")
}

func TestProxied(t *testing.T) {
	here := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	r := withService(t, Service{Protocol: SMTP, Proxies: here}, Trust{}, nil)
	wanted := map[string]string{
		"PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r\n":                                          "client=192.0.2.7:4711",
		"PROXY TCP6 2001:db8::7 2001:db8::1 4711 25\r\n":                                         "client=[2001:db8::7]:4711",
		"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x08\xc6\x33\x64\x01\x12\x67\x00\x19": "client=192.0.2.8:4711",
	}
	for header := range wanted {
		c := r.client()
		if _, err := fmt.Fprint(c.conn, header); err != nil {
			t.Fatal(err)
		}
		c.talk(hello + "C: QUIT\nS: 221 *\nS.")
	}
	for _, wrong := range []string{"EHLO client.test\r\n", "PROXY TCP4 192.0.2.7\r\n", "\x16\x03\x01\x00\x05hello",
		"\r\n\r\n\x00\r\nQUIT\n\x21\x12\x00\x0c\xc0\x00\x02\x08\xc6\x33\x64\x01\x12\x67\x00\x19"} { // UDP
		c := r.client()
		if _, err := fmt.Fprint(c.conn, wrong); err != nil {
			t.Fatal(err)
		}
		c.talk("S.")
	}
	for _, early := range []string{"PROXY TCP4 192.0.2.9 198.51.100.1 4711 25\r\nEHLO client.test\r\n", // in one piece with the header
		"PROXY TCP4 192.0.2.9 198.51.100.1 4711 25\r\nPROXY TCP4 127.0.0.1 198.51.100.1 4711 25\r\n"} {
		c := r.client()
		if _, err := fmt.Fprint(c.conn, early); err != nil {
			t.Fatal(err)
		}
		c.talk("S: 554 5.5.1 you spoke before you were greeted*\nS.")
	}
	silent := r.client() // keeps nobody waiting, and the server not from its end
	r.close()
	silent.talk("S.")
	r.written()
	for header, want := range wanted {
		if log := r.log.String(); !strings.Contains(log, want) {
			t.Errorf("%q: %q is not in the log:\n%s", header, want, log)
		}
	}
	if log := r.log.String(); strings.Count(log, "a proxy does not say for whom it connects") != 4 {
		t.Errorf("proxies that say nothing:\n%s", log)
	}

	encrypted := withService(t, Service{Protocol: SMTP, TLS: Implicit, Proxies: here}, Trust{TLS: ours(t)}, nil)
	c := encrypted.client()
	c.conn = &headed{c.conn, "PROXY TCP4 192.0.2.9 198.51.100.1 4711 25\r\n"} // the first octets of TLS come with it
	c.encrypt()
	c.talk(hello + "C: QUIT\nS: 221 *\nS.")
	direct := withService(t, Service{Protocol: SMTP, Proxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}, Trust{}, nil)
	direct.client().talk("S: 220 *\nC: PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\nS: 500 5.5.2 *")
}

// headed writes a header in one piece with what is written first.
type headed struct {
	net.Conn
	header string
}

func (c *headed) Write(p []byte) (int, error) {
	header := c.header
	c.header = ""
	n, err := c.Conn.Write(append([]byte(header), p...))
	return max(0, n-len(header)), err
}

var _ net.Conn = (*introduced)(nil)
