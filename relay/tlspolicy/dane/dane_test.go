package dane

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"slices"
	"testing"
	"time"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// identity is a certificate with its key.
type identity struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue makes a certificate for a name, by itself when there is no issuer.
func issue(t testing.TB, name string, by *identity, change func(*x509.Certificate)) *identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(now.Unix()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), BasicConstraintsValid: true}
	if change != nil {
		change(template)
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &identity{cert, key}
}

func authority(c *x509.Certificate) {
	c.IsCA, c.KeyUsage, c.DNSNames = true, x509.KeyUsageCertSign, nil
}

// record makes one that names a certificate.
func record(usage, selector, matching uint8, c *x509.Certificate) Record {
	data := c.Raw
	if selector == SelectorKey {
		data = c.RawSubjectPublicKeyInfo
	}
	switch matching {
	case MatchSHA256:
		sum := sha256.Sum256(data)
		data = sum[:]
	case MatchSHA512:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return Record{usage, selector, matching, data}
}

func TestVerify(t *testing.T) {
	root := issue(t, "root", nil, authority)
	middle := issue(t, "middle", root, authority)
	mx := issue(t, "mx.d.test", middle, nil)
	old := issue(t, "mx.d.test", middle, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) })
	wild := issue(t, "*.d.test", root, nil)
	alone := issue(t, "mx.d.test", nil, nil)
	stranger := issue(t, "root", nil, authority)
	names := []string{"mx.d.test", "d.test"}
	chain := func(ids ...*identity) (certs []*x509.Certificate) {
		for _, id := range ids {
			certs = append(certs, id.cert)
		}
		return certs
	}
	full := chain(mx, middle, root)
	for _, c := range []struct {
		title  string
		record Record
		chain  []*x509.Certificate
		names  []string
		want   string // "": it fits
	}{
		{"3 0 0", record(3, 0, 0, mx.cert), full, names, ""},
		{"3 0 1", record(3, 0, 1, mx.cert), full, names, ""},
		{"3 0 2", record(3, 0, 2, mx.cert), full, names, ""},
		{"3 1 0", record(3, 1, 0, mx.cert), full, names, ""},
		{"3 1 1", record(3, 1, 1, mx.cert), full, names, ""},
		{"3 1 2", record(3, 1, 2, mx.cert), full, names, ""},
		{"3: names do not count", record(3, 1, 1, mx.cert), full, []string{"other.test"}, ""},
		{"3: dates do not count", record(3, 1, 1, old.cert), chain(old), names, ""},
		{"3: only the server's own", record(3, 1, 1, middle.cert), full, names, "mismatch"},
		{"3: another one", record(3, 1, 1, alone.cert), full, names, "mismatch"},
		{"2 0 1, the root", record(2, 0, 1, root.cert), full, names, ""},
		{"2 1 1, the root", record(2, 1, 1, root.cert), full, names, ""},
		{"2 1 2, in the middle", record(2, 1, 2, middle.cert), chain(mx, middle), names, ""},
		{"2 0 0, and it is sent", record(2, 0, 0, root.cert), full, names, ""},
		{"2 0 0, and it is not sent", record(2, 0, 0, root.cert), chain(mx, middle), names, ""},
		{"2 0 1, and it is not sent", record(2, 0, 1, root.cert), chain(mx, middle), names, "mismatch"},
		{"2: the domain, by a wildcard's parent", record(2, 1, 1, root.cert), chain(wild, root), []string{"d.test"}, "host"},
		{"2: a wildcard", record(2, 1, 1, root.cert), chain(wild, root), names, ""},
		{"2: another name", record(2, 1, 1, root.cert), full, []string{"other.test"}, "host"},
		{"2: no name", record(2, 1, 1, root.cert), full, nil, "other"},
		{"2: too late", record(2, 1, 1, root.cert), chain(old, middle, root), names, "expired"},
		{"2: shown, and not of this chain", record(2, 1, 1, stranger.cert), chain(mx, middle, stranger), names, "authority"},
		{"2: the server's own", record(2, 1, 1, alone.cert), chain(alone), names, ""},
		{"2: no certificate", record(2, 1, 1, root.cert), nil, names, "mismatch"},
	} {
		t.Run(c.title, func(t *testing.T) {
			usable := Usable([]Record{c.record})
			if len(usable) != 1 {
				t.Fatal("not usable")
			}
			err := Verify(usable, c.chain, c.names, now)
			var host x509.HostnameError
			var invalid x509.CertificateInvalidError
			var authority x509.UnknownAuthorityError
			got := ""
			switch {
			case errors.Is(err, ErrMismatch):
				got = "mismatch"
			case errors.As(err, &host):
				got = "host"
			case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
				got = "expired"
			case errors.As(err, &authority):
				got = "authority"
			case err != nil:
				got = "other"
			}
			if got != c.want {
				t.Errorf("%q: %v", got, err)
			}
		})
	}
}

// One of several is enough.
func TestVerifyAny(t *testing.T) {
	root := issue(t, "root", nil, authority)
	mx := issue(t, "mx.d.test", root, nil)
	other := issue(t, "other.test", nil, nil)
	records := []Record{record(3, 1, 1, other.cert), record(2, 0, 1, other.cert), record(2, 1, 1, root.cert)}
	if err := Verify(records, []*x509.Certificate{mx.cert, root.cert}, []string{"mx.d.test"}, now); err != nil {
		t.Error(err)
	}
	if err := Verify(records[:2], []*x509.Certificate{mx.cert, root.cert}, []string{"mx.d.test"}, now); !errors.Is(err, ErrMismatch) {
		t.Error(err)
	}
}

// TestUsable: what means nothing is left out, and so are digests where there is a stronger one of the same thing.
func TestUsable(t *testing.T) {
	digest := func(n int) []byte { return make([]byte, n) }
	for _, c := range []struct {
		title   string
		records []Record
		want    []int
	}{
		{"none", nil, nil},
		{"PKIX", []Record{{0, 0, 1, digest(32)}, {1, 1, 1, digest(32)}}, nil},
		{"unknown", []Record{{255, 0, 1, digest(32)}, {3, 2, 1, digest(32)}, {3, 1, 3, digest(32)}}, nil},
		{"wrong length", []Record{{3, 1, 1, digest(31)}, {3, 1, 2, digest(32)}, {3, 1, 0, nil}}, nil},
		{"all kinds", []Record{{3, 1, 1, digest(32)}, {2, 0, 2, digest(64)}, {3, 0, 0, digest(1)}}, []int{0, 1, 2}},
		{"the stronger one", []Record{{3, 1, 1, digest(32)}, {3, 1, 2, digest(64)}, {3, 0, 1, digest(32)}}, []int{1, 2}},
		{"all of it stays", []Record{{3, 1, 0, digest(9)}, {3, 1, 1, digest(32)}, {3, 1, 2, digest(64)}}, []int{0, 2}},
		{"a broken one weakens nothing", []Record{{3, 1, 1, digest(32)}, {3, 1, 2, digest(5)}}, []int{0}},
	} {
		var want []Record
		for _, i := range c.want {
			want = append(want, c.records[i])
		}
		if got := Usable(c.records); !slices.EqualFunc(got, want, func(a, b Record) bool { return a.String() == b.String() }) {
			t.Errorf("%s: %v", c.title, got)
		}
	}
}
