package certs

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// signer is an authority, or a certificate that has signed itself.
type signer struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newKey(t testing.TB, kind string) crypto.Signer {
	t.Helper()
	var key crypto.Signer
	var err error
	if kind == "rsa" {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue signs a certificate; by itself when by is nil. change may be nil.
func issue(t testing.TB, by *signer, kind string, change func(*x509.Certificate), names ...string) *signer {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, DNSNames: names, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 3, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(template)
	}
	s := &signer{key: newKey(t, kind)}
	parent, key := template, s.key
	if by != nil {
		parent, key = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, s.key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if s.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return s
}

func newCA(t testing.TB) *signer {
	t.Helper()
	return issue(t, nil, "ecdsa", func(c *x509.Certificate) {
		c.IsCA, c.KeyUsage, c.ExtKeyUsage = true, x509.KeyUsageCertSign, nil
		c.Subject = pkix.Name{CommonName: "Test CA"}
	})
}

func (s *signer) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(s.cert)
	return p
}

// tls is the certificate for a client or a server, with what has signed it behind.
func (s *signer) tls(chain ...*signer) tls.Certificate {
	c := tls.Certificate{Certificate: [][]byte{s.cert.Raw}, PrivateKey: s.key, Leaf: s.cert}
	for _, by := range chain {
		c.Certificate = append(c.Certificate, by.cert.Raw)
	}
	return c
}

func (s *signer) certPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.cert.Raw})
}

func (s *signer) keyPEM(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(s.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func write(t testing.TB, path string, text []byte) {
	t.Helper()
	// As tools that renew do it: a new file with the old name.
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// pair writes the certificate into files.
func (s *signer) pair(t testing.TB, base string) Pair {
	t.Helper()
	p := Pair{Cert: base + ".pem", Key: base + ".key"}
	write(t, p.Cert, s.certPEM())
	write(t, p.Key, s.keyPEM(t))
	return p
}

// logged collects the log. It is safe for concurrent use.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newLog(t testing.TB) (*slog.Logger, *logged) {
	t.Helper()
	l := new(logged)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(l.String())
		}
	})
	return slog.New(slog.NewTextHandler(l, nil)), l
}

func newManager(t testing.TB, o Options) *Manager {
	t.Helper()
	if o.Log == nil {
		o.Log, _ = newLog(t)
	}
	m, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// shake does a handshake, and gives what each side knows after it. What goes wrong on the server's side is the error.
func shake(server, client *tls.Config) (atServer, atClient tls.ConnectionState, err error) {
	a, b, err := connected()
	if err != nil {
		return atServer, atClient, err
	}
	defer a.Close()
	defer b.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	done := make(chan error, 1)
	c := tls.Client(b, client)
	go func() {
		err := c.HandshakeContext(ctx)
		if err == nil {
			_, err = c.Read(make([]byte, 1)) // TLS 1.3: the server may still refuse, and sends tickets
		}
		_ = b.Close()
		done <- err
	}()
	s := tls.Server(a, server)
	if err = s.HandshakeContext(ctx); err == nil {
		_, err = s.Write([]byte("!"))
	}
	_ = a.Close()
	if clientErr := <-done; err == nil {
		err = clientErr
	}
	return s.ConnectionState(), c.ConnectionState(), err
}

// connected gives the two ends of a connection. It is one of the system: a pipe would stand still when both sides write.
func connected() (a, b net.Conn, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	if b, err = net.Dial("tcp", l.Addr().String()); err != nil {
		return nil, nil, err
	}
	if a, err = l.Accept(); err != nil {
		b.Close()
		return nil, nil, err
	}
	return a, b, nil
}

// shows gives the serial number of the certificate that a client sees who asks for a name.
func shows(t testing.TB, m *Manager, name string) *big.Int {
	t.Helper()
	_, state, err := shake(m.Config(), &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	return state.PeerCertificates[0].SerialNumber
}

func inDir(t testing.TB, name string) string { return filepath.Join(t.TempDir(), name) }
