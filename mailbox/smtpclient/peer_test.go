package smtpclient

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mxbypass/mailbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// certificate is one for mx.test, and those who trust it.
var certificate = sync.OnceValues(func() (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mx.test"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0), DNSNames: []string{"mx.test"}, IsCA: true,
		BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
})

func serverTLS() *tls.Config {
	cert, _ := certificate()
	return &tls.Config{Certificates: []tls.Certificate{cert}}
}

func clientTLS(name string) *tls.Config {
	_, pool := certificate()
	return &tls.Config{ServerName: name, RootCAs: pool}
}

func options() Options {
	return Options{Protocol: SMTP, Hostname: mailbox.MustDomainName("us.test"), Host: "mx.test[192.0.2.1]",
		Timeouts: DefaultTimeouts(), Config: clientTLS("mx.test")}
}

// peer is the server's end of a connection. Its methods fail silently: the client hung up then, and the test sees it there.
type peer struct {
	raw, conn net.Conn
	r         *bufio.Reader
	heard     []string
}

func newPeer(conn net.Conn) *peer { return &peer{raw: conn, conn: conn, r: bufio.NewReader(conn)} }

// say sends s as it is; false: the client has gone.
func (p *peer) say(s string) bool {
	_, err := io.WriteString(p.conn, s)
	return err == nil
}

// hear reads a command, without its end.
func (p *peer) hear() string {
	line, err := p.r.ReadString('\n')
	if err != nil {
		return ""
	}
	line = strings.TrimSuffix(line, "\r\n")
	p.heard = append(p.heard, line)
	return line
}

// ask hears a command and answers it.
func (p *peer) ask(reply string) string {
	line := p.hear()
	p.say(reply)
	return line
}

// secure is the server's side of the handshake.
func (p *peer) secure(config *tls.Config) bool {
	conn := tls.Server(p.raw, config)
	if conn.Handshake() != nil {
		return false
	}
	p.conn = conn
	p.r.Reset(conn)
	return true
}

// message reads content up to its end.
func (p *peer) message() string {
	var b strings.Builder
	for {
		line, err := p.r.ReadString('\n')
		if err != nil || line == ".\r\n" {
			return b.String()
		}
		b.WriteString(line)
	}
}

// rest reads until the client hangs up.
func (p *peer) rest() string {
	b, _ := io.ReadAll(p.r)
	return string(b)
}

// serve runs f as a server on the loopback interface, for one connection after the other, and gives its address. The
// test waits for its end.
func serve(t *testing.T, f func(n int, p *peer)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 1; ; n++ {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				f(n, newPeer(conn))
				_ = conn.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		wg.Wait()
	})
	return ln.Addr().String()
}

// open connects to a server that does f.
func open(t *testing.T, opts Options, f func(*peer)) (*Client, error) {
	t.Helper()
	c, err := Dial(t.Context(), "tcp", serve(t, func(_ int, p *peer) { f(p) }), opts)
	if c != nil {
		t.Cleanup(c.Close)
	}
	return c, err
}

// memory is content.
type memory []byte

func (c memory) Size() int64          { return int64(len(c)) }
func (c memory) NewReader() io.Reader { return bytes.NewReader(c) }
func (c memory) Buffers() [][]byte    { return [][]byte{c} }

func address(s string) mailbox.Address {
	a, err := mailbox.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

func mailTo(to ...string) Mail {
	mail := Mail{Message: &mailbox.Message{ID: "01TEST", Reverse: address("s@c.test"), Content: memory("Subject: x\r\n\r\ny\r\n")}}
	for _, s := range to {
		mail.To = append(mail.To, Rcpt{Address: address(s)})
	}
	return mail
}

// send runs a transaction and gives the results per recipient.
func send(ctx context.Context, c *Client, mail Mail) []error {
	tx, err := c.Begin(ctx, mail)
	if err == nil {
		return tx.Send(ctx)
	}
	results := make([]error, len(mail.To))
	for i := range results {
		results[i] = err
	}
	return results
}

// kind sorts an error: what the users of a client tell apart.
func kind(err error) string {
	var remote *mailbox.RemoteError
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, ErrTLS) && errors.Is(err, mailbox.ErrUnavailable):
		return "tls"
	case errors.Is(err, mailbox.ErrInDoubt) && errors.Is(err, mailbox.ErrUnavailable):
		return "doubt"
	case errors.As(err, &remote):
		return "remote"
	case errors.Is(err, mailbox.ErrUnavailable):
		return "unavailable"
	}
	return "other: " + err.Error()
}
