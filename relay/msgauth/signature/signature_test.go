package signature

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mxbypass/relay/header"
)

// memory is a content.
type memory []byte

func (m memory) Size() int64          { return int64(len(m)) }
func (m memory) Buffers() [][]byte    { return [][]byte{m} }
func (m memory) NewReader() io.Reader { return bytes.NewReader(m) }

func read(t *testing.T, message string) *header.Header {
	t.Helper()
	h, err := header.Read(memory(message), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// dkimpyKeys are the keys that make.py has made, by name.
func dkimpyKeys(t *testing.T) Lookup {
	t.Helper()
	text, err := os.ReadFile("testdata/dkimpy/keys.txt")
	if err != nil {
		t.Fatal(err)
	}
	records := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, record, _ := strings.Cut(strings.TrimSpace(line), " ")
		records[name] = record
	}
	return func(_ context.Context, name string) ([]string, error) {
		if r, ok := records[name]; ok {
			return []string{r}, nil
		}
		return nil, &net.DNSError{Name: name, IsNotFound: true}
	}
}

// verify checks the first DKIM-Signature of a message.
func verify(t *testing.T, message string, lookup Lookup) error {
	t.Helper()
	h := read(t, message)
	m, err := ParseMessage(h.All("DKIM-Signature")[0], time.Now())
	if err != nil {
		return err
	}
	sums, err := BodyHashes(h.Body(), m.Body)
	if err != nil {
		t.Fatal(err)
	}
	if !m.Fits(sums[m.Body]) {
		return errors.New("body")
	}
	key, err := FindKey(t.Context(), lookup, m.Selector, m.Domain)
	if err != nil {
		return err
	}
	return m.Verify(key, m.Hash(NewFields(h.Fields)))
}

// What dkimpy signs, in every form and by both algorithms, is valid, and is not when it was changed.
func TestDkimpy(t *testing.T) {
	lookup := dkimpyKeys(t)
	files, err := filepath.Glob("testdata/dkimpy/dkim_*.eml")
	if err != nil || len(files) != 48 {
		t.Fatal(len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		message := string(text)
		if err := verify(t, message, lookup); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		for _, changed := range []string{
			message + ".\r\n",
			strings.Replace(message, "two", "three", 1),
			strings.Replace(message, "From:", "From: a@b.example\r\nFrom:", 1),
			strings.Replace(message, "To:", "Subject: new\r\nTo:", 1),
			strings.Replace(message, "s=", "s=x", 1),
		} {
			if err := verify(t, changed, lookup); err == nil {
				t.Errorf("%s: still valid as\n%s", file, changed)
			}
		}
	}
}

var rsaKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func keys(t testing.TB) map[string]crypto.Signer {
	r, err := rsaKey()
	if err != nil {
		t.Fatal(err)
	}
	_, e, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]crypto.Signer{RSA: r, Ed25519: e}
}

func recordOf(t testing.TB, key crypto.Signer) string {
	switch public := key.Public().(type) {
	case ed25519.PublicKey:
		return "k=ed25519; p=" + base64.StdEncoding.EncodeToString(public)
	case *rsa.PublicKey:
		return "p=" + base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(public))
	}
	t.Fatal("no key")
	return ""
}

const message = "From: a@sender.example\r\nSubject: a\r\nSubject: b\r\nTo: x\r\n\r\nbody\r\n"

// signed signs a message of names that may be long.
func signed(t testing.TB, key crypto.Signer, more ...Tag) string {
	h, err := header.Read(memory(message), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	body, err := BodyHash(h.Body(), Relaxed)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"from", "from", "subject", "subject", "subject", "to", "x-" + strings.Repeat("long-", 30), "date"}
	field, err := NewDraft("DKIM-Signature", append([]Tag{
		{"v", "1"}, {"a", Algorithm(key)}, {"c", "relaxed/relaxed"}, {"d", "sender.example"}, {"s", "s"},
		{"h", strings.Join(names, ":")}, {"bh", body},
	}, more...)).SignMessage(key, NewFields(h.Fields), names)
	if err != nil {
		t.Fatal(err)
	}
	return string(field) + message
}

func TestSign(t *testing.T) {
	for algorithm, key := range keys(t) {
		lookup := func(_ context.Context, name string) ([]string, error) {
			if name != "s._domainkey.sender.example" {
				return nil, &net.DNSError{Name: name, IsNotFound: true}
			}
			return []string{"other", recordOf(t, key)}, nil
		}
		m := signed(t, key)
		if err := verify(t, m, lookup); err != nil {
			t.Errorf("%s: %v\n%s", algorithm, err, m)
		}
		for line := range strings.Lines(m) {
			if len(strings.TrimSuffix(line, "\r\n")) > lineLength && !strings.Contains(line, "long-long") {
				t.Errorf("%q", line)
			}
		}
		// Every octet of the field counts, but those of white space and of letter case that the form gives up.
		end := strings.Index(m, "\r\nFrom:")
		for i := range end {
			c := m[i] ^ 1
			if isSpace(m[i]) || isSpace(c) || i < len("DKIM-Signature:") {
				continue
			}
			if err := verify(t, m[:i]+string(rune(c))+m[i+1:], lookup); err == nil {
				t.Errorf("%s: octet %d (%q) does not count", algorithm, i, m[i])
			}
		}
	}
}

func TestParseMessage(t *testing.T) {
	key := keys(t)[Ed25519]
	now := time.Now()
	good := signed(t, key)
	for _, c := range []struct{ from, to, want string }{
		{"v=1", "v=1", ""},
		{"a=ed25519-sha256", "a=rsa-sha1", "not accepted"},
		{"a=ed25519-sha256", "a=", "no a="},
		{"d=sender.example", "d=sender..example", "d="},
		{"s=s;", "", "no s="},
		{"s=s;", "s=s; s=s;", "twice"},
		{"s=s;", "s=s; l=4;", "part of the body"},
		{"s=s;", "s=s; x=1;", "expired"},
		{"s=s;", "s=s; x=9999999999;", ""},
		{"s=s;", "s=s; x=-1;", "x= is no time"},
		{"s=s;", "s=s; t=1000000000000;", "t= is no time"},
		{"c=relaxed/relaxed", "c=relaxed/nofws", "c="},
		{"c=relaxed/relaxed", "c=simple", ""},
		{"h=from:from", "h=sender", "From"},
		{"bh=", "bh=!", "base64"},
		{"b=\r\n", "b=?\r\n", "base64"},
		{"DKIM-Signature:", "DKIM-Signature: x", "malformed"},
	} {
		changed := strings.Replace(good, c.from, c.to, 1)
		_, err := ParseMessage(read(t, changed).Fields[0], now)
		if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v instead of %q", c.to, err, c.want)
		}
	}
	if _, err := Parse(header.Field{Raw: []byte("nothing")}); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}

func TestBodyHashes(t *testing.T) {
	want := sha256.Sum256([]byte("a  b\r\n"))
	sums, err := BodyHashes(strings.NewReader("\r\na  b\r\n"), Simple, Relaxed, Simple)
	if err != nil || len(sums) != 2 || !bytes.Equal(sums[Simple], want[:]) {
		t.Error(sums, err)
	}
	if _, err := BodyHash(strings.NewReader(""), Simple); err != nil {
		t.Error(err)
	}
	broken := io.MultiReader(strings.NewReader("\r\na"), brokenReader{})
	if _, err := BodyHash(broken, Simple); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
	if _, err := BodyHash(brokenReader{}, Simple); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestKeys(t *testing.T) {
	all := keys(t)
	rsaRecord, edRecord := recordOf(t, all[RSA]), recordOf(t, all[Ed25519])
	pkix, err := x509.MarshalPKIXPublicKey(all[RSA].Public())
	if err != nil {
		t.Fatal(err)
	}
	edPKIX, err := x509.MarshalPKIXPublicKey(all[Ed25519].Public())
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.StdEncoding.EncodeToString
	for record, want := range map[string]string{
		"v=DKIM1; " + rsaRecord:                              "",
		"v=DKIM1; k=rsa; t=y:s; n=note; p=" + b64(pkix):      "",
		"v=DKIM1; " + edRecord:                               "",
		"h=sha1:sha256; s=email; " + rsaRecord:               "",
		"s=*; " + strings.ReplaceAll(rsaRecord, "A", "A \t"): "",
		rsaRecord + "; v=DKIM1":                              "no key record",
		"v=DKIM2; " + rsaRecord:                              "no key record",
		"v=spf1 -all":                                        "no key record",
		"v=DKIM1":                                            "no key record",
		"v=DKIM1; p=":                                        "revoked",
		"s=tlsrpt; " + rsaRecord:                             "not for mail",
		"p=?":                                                "base64",
		"p=AAAA":                                             "cannot be read",
		"p=" + b64(edPKIX):                                   "cannot be read",
		"k=dsa; p=AAAA":                                      "known kind",
		"k=ed25519; p=AAAA":                                  "known kind",
		"p=" + weakKey(t, 512):                               "512 bits",
	} {
		_, err := ParseKey(record)
		if want == "" && err != nil || want != "" && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v instead of %q", record, err, want)
		}
	}
	var parsed []Key
	for _, record := range []string{rsaRecord, "p=" + b64(pkix), edRecord} {
		k, err := ParseKey(record)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, k)
	}
	if !parsed[0].Equal(parsed[1]) || parsed[0].Equal(parsed[2]) || parsed[2].Equal(parsed[0]) || (Key{}).Equal(Key{}) {
		t.Error("which keys are the same")
	}
	k, err := ParseKey("h=sha1; " + rsaRecord)
	if err != nil || !errors.Is(k.Verify(RSA, make([]byte, 32), nil), ErrInvalid) {
		t.Error(err)
	}
}

// weakKey is the public half of a key that nobody makes any more.
func weakKey(t *testing.T, bits int) string {
	t.Helper()
	const public = `-----BEGIN PUBLIC KEY-----
MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBALVNRXu7B4nHfs1ZqIAm1GqHg1KD0+vP
0Y+RTQ1Wd5i0XQm9lXQ4k0JYhS7hAbv8PDPh1l0oeiUq3mlFVUJ2tnkCAwEAAQ==
-----END PUBLIC KEY-----
`
	block, _ := pem.Decode([]byte(public))
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil || parsed.(*rsa.PublicKey).N.BitLen() != bits {
		t.Fatal(parsed, err)
	}
	return base64.StdEncoding.EncodeToString(block.Bytes)
}

func TestFindKey(t *testing.T) {
	record := recordOf(t, keys(t)[Ed25519])
	for _, c := range []struct {
		texts []string
		err   error
		want  error
	}{
		{[]string{record}, nil, nil},
		{[]string{"v=spf1 -all", record}, nil, nil},
		{[]string{record, record}, nil, ErrInvalid},
		{[]string{"v=spf1 -all"}, nil, ErrInvalid},
		{nil, nil, ErrInvalid},
		{nil, &net.DNSError{IsNotFound: true}, ErrInvalid},
		{nil, &net.DNSError{IsTimeout: true}, ErrTemporary},
		{nil, &net.DNSError{IsTemporary: true}, ErrTemporary},
		{nil, context.DeadlineExceeded, ErrTemporary},
		{nil, errors.New("anything"), ErrTemporary},
	} {
		_, err := FindKey(t.Context(), func(context.Context, string) ([]string, error) { return c.texts, c.err }, "s", "d.example")
		if !errors.Is(err, c.want) || (err != nil) != (c.want != nil) {
			t.Errorf("%q, %v: %v", c.texts, c.err, err)
		}
	}
}
