package sign

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"mxbypass/mailbox"
	"mxbypass/relay/header"
	"mxbypass/relay/msgauth/arc"
	"mxbypass/relay/msgauth/signature"
)

const plain = "From: Zo\xc3\xab <zoe@exemple.org>\r\nTo: a@b.example,\r\n c@d.example\r\nSubject:  x\r\nList-Unsubscribe: <x>\r\n" +
	"Content-Type: text/plain; charset=utf-8\r\n\r\n a  b \r\n.\r\n\r\n\r\n"

func (k *kit) sign(s *Signer, message string) string {
	k.t.Helper()
	fields, err := s.Sign(k.t.Context(), memory(message))
	k.must(err)
	return string(fields)
}

// valid gives the domains whose signatures hold, as another implementation sees it.
func (k *kit) valid(message string) string {
	k.t.Helper()
	all, err := dkim.VerifyWithOptions(strings.NewReader(message), &dkim.VerifyOptions{
		LookupTXT: func(name string) ([]string, error) { return k.lookup(context.Background(), name) },
	})
	k.must(err)
	var valid []string
	for _, v := range all {
		if v.Err == nil {
			valid = append(valid, v.Domain)
		}
	}
	return strings.Join(valid, " ")
}

func TestSign(t *testing.T) {
	k := newKit(t)
	s := k.signer(Options{})
	if got := k.sign(s, plain); got != "" {
		t.Error(got)
	}
	k.create("exemple.org", "r", signature.RSA, time.Hour)
	k.create("exemple.org", "e", ed, time.Hour)
	k.now = k.now.Add(checkEvery)
	fields := k.sign(s, plain)
	if got := k.valid(fields + plain); got != "exemple.org exemple.org" {
		t.Errorf("%q in\n%s", got, fields)
	}
	if strings.Index(fields, "a=rsa-sha256") > strings.Index(fields, "a=ed25519-sha256") {
		t.Error("RSA is not on top")
	}
	for line := range strings.Lines(fields) {
		if len(line) > 80 || !strings.HasSuffix(line, "\r\n") {
			t.Errorf("%q", line)
		}
	}
	// What is on top of it, and white space, does no harm; whatever a reader would see does.
	if got := k.valid("Received: x\r\nReturn-Path: <>\r\n" + fields + strings.Replace(plain, ":  x", ": x ", 1)); got == "" {
		t.Error("not valid any more")
	}
	for _, name := range []string{
		"From", "To", "Cc", "Subject", "Date", "Message-ID", "Reply-To", "MIME-Version", "Content-Type",
		"Content-Transfer-Encoding",
	} {
		if got := k.valid(name + ": new\r\n" + fields + plain); got != "" {
			t.Errorf("a new %s does no harm", name)
		}
	}
	for _, changed := range []string{
		strings.Replace(plain, "List-Unsubscribe: <x>", "List-Unsubscribe: <y>", 1),
		strings.Replace(plain, "a  b", "a c", 1),
		plain + ".",
	} {
		if got := k.valid(fields + changed); got != "" {
			t.Errorf("still valid:\n%s", changed)
		}
	}
}

// The domain of the From field signs, or the nearest parent that has keys, but nobody beyond what was registered.
func TestWhoSigns(t *testing.T) {
	k := newKit(t)
	for _, name := range []string{"exemple.org", "deep.exemple.org", "co.uk", "org"} {
		k.create(name, "s", ed, time.Hour)
	}
	s := k.signer(Options{})
	for from, want := range map[string]string{
		"a@exemple.org":                        "exemple.org",
		"a@EXEMPLE.org":                        "exemple.org",
		"a@sub.exemple.org":                    "exemple.org",
		"a@deep.exemple.org":                   "deep.exemple.org",
		"a@x.y.deep.exemple.org":               "deep.exemple.org",
		"a@other.example":                      "",
		"a@exemple.co.uk":                      "",
		"a@example.org":                        "",
		"a@notexemple.org":                     "",
		"a@[192.0.2.1]":                        "",
		"a@other.example, b@exemple.org":       "exemple.org",
		"a@org":                                "org",
		"":                                     "",
		"nobody":                               "",
		"a@exemple.org\r\nFrom: b@exemple.org": "",
		"a@" + strings.Repeat("x.", 100) + "xx.org": "",
	} {
		m := "From: " + from + "\r\n\r\nx\r\n"
		fields := k.sign(s, m)
		if got := k.valid(fields + m); got != want || (fields == "") != (want == "") {
			t.Errorf("%s: signed by %q instead of %q", from, got, want)
		}
	}
	if got := k.sign(s, "\r\nno header\r\n"); got != "" {
		t.Error(got)
	}
}

func TestSignFails(t *testing.T) {
	k := newKit(t)
	key := k.create("exemple.org", "s", ed, time.Hour)
	s := k.signer(Options{})
	if _, err := s.Sign(t.Context(), unreadable{memory(plain)}); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
	long := "X: " + strings.Repeat("x", 1<<20) + "\r\n" + plain
	if _, err := s.Sign(t.Context(), memory(long)); !errors.Is(err, header.ErrTooBig) {
		t.Error(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Sign(gone, memory(plain)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	k.must(os.Chmod(key.File, 0o644))
	k.now = k.now.Add(loadEvery)
	if _, err := s.Sign(t.Context(), memory(plain)); !errors.Is(err, ErrKeys) {
		t.Error(err)
	}
	// A broken key of a domain is no reason to sign as its parent.
	if _, err := s.Sign(t.Context(), memory(strings.Replace(plain, "zoe@", "zoe@sub.", 1))); !errors.Is(err, ErrKeys) {
		t.Error(err)
	}
}

// unreadable is a content of which only the beginning can be read.
type unreadable struct{ memory }

func (u unreadable) NewReader() io.Reader {
	return io.MultiReader(strings.NewReader(plain[:len(plain)-10]), brokenReader{})
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestSeal(t *testing.T) {
	k := newKit(t)
	results := "Authentication-Results: mx.host.test;\r\n\tspf=pass smtp.mailfrom=exemple.org;\r\n\tarc=none\r\n"
	none := arc.Chain{Status: arc.None}
	seal := func(s *Signer, message string, chain arc.Chain) string {
		t.Helper()
		fields, err := s.Seal(t.Context(), memory(message), []byte(results), chain)
		k.must(err)
		return string(fields)
	}
	s := k.signer(Options{})
	if got := seal(s, plain, none); got != "" {
		t.Errorf("sealed without a key: %s", got)
	}
	k.create("host.test", "e", ed, time.Hour)
	k.create("seal.example", "r", signature.RSA, time.Hour)
	k.now = k.now.Add(checkEvery)
	if got := seal(s, plain, none); got != "" {
		t.Errorf("sealed with Ed25519: %s", got)
	}
	k.create("host.test", "r", signature.RSA, time.Hour)
	k.now = k.now.Add(checkEvery)
	message := seal(s, plain, none) + plain
	named := k.signer(Options{SealDomain: domain("seal.example")})
	if d, err := named.Sealing(); d != domain("seal.example") || err != nil {
		t.Error(d, err)
	}
	for i, want := range []string{"host.test", "seal.example host.test"} {
		h, err := header.Read(memory(message), 1<<20)
		k.must(err)
		chain := arc.Validate(t.Context(), h, k.lookup)
		if got := strings.Join(chain.Sealers, " "); chain.Status != arc.Pass || got != want || chain.Instances != i+1 ||
			chain.Results != "mx.host.test;\tspf=pass smtp.mailfrom=exemple.org;\tarc=none" {
			t.Errorf("%+v of\n%s", chain, message)
		}
		message = seal(named, message, chain) + message
	}
	if got, err := s.Seal(t.Context(), memory(plain), nil, none); got != nil || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := s.Seal(t.Context(), unreadable{memory(plain)}, []byte(results), none); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
	if d, err := k.signer(Options{SealDomain: domain("none.example")}).Sealing(); !d.IsZero() || err != nil {
		t.Error(d, err)
	}
}

// A signature that was there is part of what is sealed; one by us on top of a seal leaves it as it is.
func TestSealCoversSignatures(t *testing.T) {
	k := newKit(t)
	k.create("exemple.org", "r", signature.RSA, time.Hour)
	s := k.signer(Options{SealDomain: domain("exemple.org")})
	signed := k.sign(s, plain) + plain
	fields, err := s.Seal(t.Context(), memory(signed), []byte("A: host; none"), arc.Chain{Status: arc.None})
	k.must(err)
	for message, want := range map[string]arc.Status{
		signed: arc.Pass,
		strings.Replace(signed, "v=1;", "v=2;", 1): arc.Fail,
		plain: arc.Fail,
	} {
		h, err := header.Read(memory(string(fields)+message), 1<<20)
		k.must(err)
		if got := arc.Validate(t.Context(), h, k.lookup); got.Status != want {
			t.Errorf("%+v", got)
		}
	}
}

func TestComplete(t *testing.T) {
	now := time.Date(2026, 11, 5, 4, 3, 2, 0, time.FixedZone("", 3600))
	const date, id = "Date: Thu, 05 Nov 2026 04:03:02 +0100\r\n", "Message-ID: <01J@mx.host.test>\r\n"
	for message, want := range map[string]string{
		"From: a\r\n\r\nx\r\n":         date + id + "From: a\r\n\r\nx\r\n",
		"DATE: x\r\n\r\nDate: y\r\n":   id + "DATE: x\r\n\r\nDate: y\r\n",
		"Message-Id : <x>\r\n\r\n":     date + "Message-Id : <x>\r\n\r\n",
		"Date:\r\nMessage-ID:\r\n\r\n": "Date:\r\nMessage-ID:\r\n\r\n",
		"\r\nbody":                     date + id + "\r\nbody",
	} {
		c, err := Complete(memory(message), "mx.host.test", "01J", now)
		if err != nil {
			t.Fatal(err)
		}
		if got := text(t, c); got != want {
			t.Errorf("%q instead of %q", got, want)
		}
	}
	if _, err := Complete(failing{}, "h", "i", now); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}

type failing struct{ memory }

func (failing) NewReader() io.Reader { return brokenReader{} }
func (failing) Size() int64          { return 5 }

func text(t *testing.T, c mailbox.Content) string {
	t.Helper()
	b, err := io.ReadAll(c.NewReader())
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func BenchmarkSign(b *testing.B) {
	message := memory(plain + strings.Repeat("A line of text, as there are many in a message, of 76 octets or so.\r\n", 150))
	for name, algorithms := range map[string][]string{"rsa": {signature.RSA}, "ed25519": {ed}, "both": {signature.RSA, ed}} {
		b.Run(name, func(b *testing.B) {
			k := newKit(b)
			for _, a := range algorithms {
				k.create("exemple.org", a, a, time.Hour)
			}
			s := k.signer(Options{})
			b.ReportAllocs()
			for b.Loop() {
				if fields, err := s.Sign(b.Context(), message); err != nil || fields == nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSeal(b *testing.B) {
	message := memory(plain + strings.Repeat("A line of text, as there are many in a message, of 76 octets or so.\r\n", 150))
	k := newKit(b)
	k.create("host.test", "r", signature.RSA, time.Hour)
	s := k.signer(Options{})
	results := []byte("Authentication-Results: mx.host.test; spf=pass\r\n")
	b.ReportAllocs()
	for b.Loop() {
		if fields, err := s.Seal(b.Context(), message, results, arc.Chain{Status: arc.None}); err != nil || fields == nil {
			b.Fatal(err)
		}
	}
}
