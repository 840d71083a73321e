package mtasts

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mxbypass/mailbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a cache with its DNS, its clock and a server of policies for d.test.
type world struct {
	*Cache
	t       *testing.T
	dir     string
	options Options

	mu      sync.Mutex
	now     time.Time
	texts   []string // of _mta-sts.d.test; nil: there are none
	broken  bool     // DNS fails
	answer  http.HandlerFunc
	fetches int
	hold    chan struct{} // not nil: the server waits for it
}

// certificate is one for a name that everybody here trusts.
func certificate(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0),
		DNSNames: []string{name}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// policy is an answer with a text.
func policy(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, text)
	}
}

func newWorld(t *testing.T, certified string) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), now: time.Unix(1e9, 0), answer: policy(valid), texts: []string{"v=STSv1; id=1"}}
	cert, roots := certificate(t, certified)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.fetches++
		answer, hold := w.answer, w.hold
		w.mu.Unlock()
		if hold != nil {
			<-hold
		}
		if host, _, _ := net.SplitHostPort(r.Host); host != "mta-sts.d.test" || r.URL.Path != "/.well-known/mta-sts.txt" {
			t.Errorf("%s%s", r.Host, r.URL)
		}
		answer(rw, r)
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	w.options = Options{Dir: w.dir, Roots: roots, Port: uint16(server.Listener.Addr().(*net.TCPAddr).Port), AllowLoopback: true,
		Now: w.clock, TXT: w.txt, Addr: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		}}
	w.open()
	t.Cleanup(w.close)
	return w
}

func (w *world) open() {
	w.t.Helper()
	c, err := Open(w.options)
	if err != nil {
		w.t.Fatal(err)
	}
	w.Cache = c
}

func (w *world) close() {
	w.t.Helper()
	if err := w.Cache.Close(); err != nil {
		w.t.Error(err)
	}
}

// restart opens the cache again on what is on disk.
func (w *world) restart() {
	w.t.Helper()
	w.close()
	w.open()
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) txt(_ context.Context, name string) ([]string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.broken:
		return nil, &net.DNSError{Err: "SERVFAIL", Name: name, IsTemporary: true}
	case name != "_mta-sts.d.test" || w.texts == nil:
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	return w.texts, nil
}

// set changes the world.
func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

func (w *world) advance(d time.Duration) { w.set(func() { w.now = w.now.Add(d) }) }

// want asks for the policy of d.test: its mode and identifier, "" for none, the error, and how often it was fetched so far.
func (w *world) want(policy string, cause error, fetches int) {
	w.t.Helper()
	p, err := w.Policy(w.t.Context(), mailbox.MustDomainName("d.test"))
	got := ""
	if p != nil {
		got = string(p.Mode) + " " + p.ID
	}
	if got != policy || !errors.Is(err, cause) || cause == nil && err != nil || w.fetches != fetches {
		w.t.Errorf("%q, %v, %d fetches; want %q, %v, %d", got, err, w.fetches, policy, cause, fetches)
	}
}
