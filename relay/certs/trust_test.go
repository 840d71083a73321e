package certs

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func fingerprint(s *signer) Fingerprint { return sha256.Sum256(s.cert.Raw) }

func named(name string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: name} }
}

func TestTrusted(t *testing.T) {
	ours, theirs := newCA(t), newCA(t)
	between := issue(t, ours, "ecdsa", func(c *x509.Certificate) {
		c.IsCA, c.KeyUsage, c.Subject = true, x509.KeyUsageCertSign, pkix.Name{CommonName: "between"}
	})
	known := issue(t, nil, "rsa", func(c *x509.Certificate) {
		named("scanner")(c)
		c.NotAfter = time.Now().Add(-time.Minute)
	})
	pair := issue(t, nil, "ecdsa", nil, "mx.host.test").pair(t, inDir(t, "a"))
	byCA := newManager(t, Options{Files: []Pair{pair}, ClientCAs: ours.pool()})
	byPrint := newManager(t, Options{Files: []Pair{pair}, Fingerprints: []Fingerprint{fingerprint(known)}})
	both := newManager(t, Options{Files: []Pair{pair}, ClientCAs: ours.pool(), Fingerprints: []Fingerprint{fingerprint(known)}})
	none := newManager(t, Options{Files: []Pair{pair}})

	deep := issue(t, between, "ecdsa", named("deep"))
	for _, tt := range []struct {
		what string
		m    *Manager
		show tls.Certificate
		want string // empty: not trusted
	}{
		{"of our authority", byCA, issue(t, ours, "ecdsa", named("printer")).tls(), "printer"},
		{"by one between", byCA, deep.tls(between), "deep"},
		{"by one between, which is missing", byCA, deep.tls(), ""},
		{"of another authority", byCA, issue(t, theirs, "ecdsa", named("printer")).tls(), ""},
		{"that has run out", byCA, issue(t, ours, "ecdsa", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }).tls(), ""},
		{"of a server", byCA, issue(t, ours, "ecdsa", func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}).tls(), ""},
		{"that signed itself", byCA, known.tls(), ""},
		{"none", byCA, tls.Certificate{}, ""},
		{"known", byPrint, known.tls(), "scanner"},
		{"known, and another's", both, known.tls(), "scanner"},
		{"ours beside known ones", both, issue(t, ours, "ecdsa", named("printer")).tls(), "printer"},
		{"unknown", byPrint, issue(t, nil, "ecdsa", named("scanner")).tls(), ""},
		{"known behind an unknown one", byPrint, issue(t, nil, "ecdsa", named("scanner")).tls(known), ""},
		{"of an authority of the system", byPrint, issue(t, ours, "ecdsa", named("printer")).tls(), ""},
		{"nobody asks", none, known.tls(), ""},
		{"without a common name", byCA, issue(t, ours, "ecdsa", nil, "printer.host.test").tls(), "printer.host.test"},
		{"with an address", byCA, issue(t, ours, "ecdsa", func(c *x509.Certificate) { c.EmailAddresses = []string{"a@b.test"} }).tls(), "a@b.test"},
		{"with a name for the log", byCA, issue(t, ours, "ecdsa", named("a\r\nb\x1b[2J")).tls(), "a\ufffd\ufffdb\ufffd[2J"},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			client := &tls.Config{InsecureSkipVerify: true, MaxVersion: version}
			if tt.show.Certificate != nil {
				// As clients that show their certificate whoever is asked for; Go's own would look first.
				client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &tt.show, nil }
			}
			state, _, err := shake(tt.m.Config(), client)
			if err != nil {
				t.Errorf("%s: %v", tt.what, err) // of no use is no reason to refuse
				continue
			}
			if name, ok := tt.m.Trusted(state); ok != (tt.want != "") || name != tt.want {
				t.Errorf("%s: %q, %v", tt.what, name, ok)
			}
		}
	}
}

// A session that is resumed is trusted as long as its certificate would be.
func TestTrustedResumed(t *testing.T) {
	ca := newCA(t)
	pair := issue(t, nil, "ecdsa", nil, "mx.host.test").pair(t, inDir(t, "a"))
	m := newManager(t, Options{Files: []Pair{pair}, ClientCAs: ca.pool()})
	other := newManager(t, Options{Files: []Pair{pair}, ClientCAs: newCA(t).pool()})
	client := &tls.Config{
		ServerName: "mx.host.test", InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(1),
		Certificates: []tls.Certificate{issue(t, ca, "ecdsa", named("printer")).tls()},
	}
	for i := range 2 {
		state, _, err := shake(m.Config(), client)
		if err != nil || state.DidResume != (i > 0) {
			t.Fatal(i, state.DidResume, err)
		}
		if name, ok := m.Trusted(state); !ok || name != "printer" {
			t.Error(i, name, ok)
		}
		if _, ok := other.Trusted(state); ok {
			t.Error("trusted by another authority")
		}
	}
}

// What a client is called is short text, whatever it calls itself.
func TestName(t *testing.T) {
	for _, c := range []*x509.Certificate{
		issue(t, nil, "ecdsa", named(strings.Repeat("é", 200))).cert, issue(t, nil, "ecdsa", nil).cert,
	} {
		if name := nameOf(c); len(name) > longestName || !utf8.ValidString(name) || len(name) < 10 {
			t.Errorf("%q", name)
		}
	}
}
