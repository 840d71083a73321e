package srs

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"mxbypass/mailbox"
	"mxbypass/routing"
)

var (
	keyA = bytes.Repeat([]byte("a"), MinKey)
	keyB = bytes.Repeat([]byte("b"), MinKey)
	ours = mailbox.MustDomainName("srs.host.test")
)

// clock is a time that a test moves.
type clock struct{ now time.Time }

func newRewriter(t testing.TB, c *clock, keys ...[]byte) *Rewriter {
	t.Helper()
	if len(keys) == 0 {
		keys = [][]byte{keyA}
	}
	r, err := New(Options{Domain: ours, Keys: keys, Now: func() time.Time { return c.now }})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func parse(t testing.TB, s string) mailbox.Address {
	t.Helper()
	p, err := mailbox.ParseReversePath(s, true)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return p.Address
}

func TestThereAndBack(t *testing.T) {
	c := &clock{time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)}
	r := newRewriter(t, c)
	for _, s := range []string{"a@remote.example", "A.b+c@remote.example", `"with space"@remote.example`, "x=y@remote.example",
		"jürgen@remote.example", "SRS0=@remote.example", "SRS0@remote.example", "srs1=x=y@remote.example",
		"srs0=hhhh=tt=a.example=u@remote.example", "SRS1=x==y@remote.example"} {
		sender := parse(t, s)
		there, err := r.Forward(sender)
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		if there.Domain != ours || !strings.HasPrefix(string(there.Local), "SRS") {
			t.Errorf("%s became %s", s, there)
		}
		if back, err := r.Reverse(there.Local); err != nil || back != sender {
			t.Errorf("%s came back as %s, %v", there, back, err)
		}
		for _, folded := range []string{strings.ToLower(string(there.Local)), strings.ToUpper(string(there.Local))} {
			back, err := r.Reverse(mailbox.LocalPart(folded))
			if err != nil || back.Fold() != sender.Fold() {
				t.Errorf("%s came back as %s, %v", folded, back, err)
			}
		}
	}
}

// TestChains: who has rewritten before us is kept, and what comes between is left out.
func TestChains(t *testing.T) {
	c := &clock{time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)}
	r := newRewriter(t, c)
	const first = "SRS0-HHHH=TT=remote.example=a@first.example"
	one, err := r.Forward(parse(t, first))
	if err != nil || !strings.HasPrefix(string(one.Local), "SRS1=") {
		t.Fatalf("%s, %v", one, err)
	}
	if back, err := r.Reverse(one.Local); err != nil || back != parse(t, first) {
		t.Errorf("%s came back as %s, %v", one, back, err)
	}
	second, err := New(Options{Domain: mailbox.MustDomainName("two.test"), Keys: [][]byte{keyB}})
	if err != nil {
		t.Fatal(err)
	}
	two, err := second.Forward(one)
	if err != nil || strings.Contains(string(two.Local), "host.test") {
		t.Fatalf("%s, %v", two, err)
	}
	if back, err := second.Reverse(two.Local); err != nil || back != parse(t, first) {
		t.Errorf("%s came back as %s, %v", two, back, err)
	}
}

// TestKnownShapes: what other programs make is passed over as they pass each other over.
func TestKnownShapes(t *testing.T) {
	r := newRewriter(t, &clock{time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)})
	for sender, home := range map[string]string{
		// libsrs2, postsrsd: four characters of base 64, the case of which matters.
		"SRS0=8FeI=RF=a.example=user@first.example":                   "SRS0=8FeI=RF=a.example=user@first.example",
		"SRS0+8FeI=RF=a.example=user@first.example":                   "SRS0+8FeI=RF=a.example=user@first.example",
		"SRS0-/+eI=RF=a.example=user@first.example":                   "SRS0-/+eI=RF=a.example=user@first.example",
		"SRS1=Yi2Z=first.example==8FeI=RF=a.example=u@second.example": "SRS0=8FeI=RF=a.example=u@first.example",
		"SRS1=Yi2Z=first.example=+8FeI=RF=a.example=u@second.example": "SRS0+8FeI=RF=a.example=u@first.example",
		"SRS1+Yi2Z=first.example=-8FeI=RF=a.example=u@second.example": "SRS0-8FeI=RF=a.example=u@first.example",
		// Exim without SRS, VERP of list managers, BATV: addresses like any other.
		"list-bounces+user=a.example@lists.example": "list-bounces+user=a.example@lists.example",
		"prvs=3391ab=user@a.example":                "prvs=3391ab=user@a.example",
	} {
		there, err := r.Forward(parse(t, sender))
		if err != nil {
			t.Errorf("%s: %v", sender, err)
			continue
		}
		if back, err := r.Reverse(there.Local); err != nil || back != parse(t, home) {
			t.Errorf("%s became %s and came back as %s, %v", sender, there, back, err)
		}
	}
}

// TestAroundUs: mail that we have redirected before needs no second address of ours, unless somebody made the first.
func TestAroundUs(t *testing.T) {
	c := &clock{time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)}
	r := newRewriter(t, c)
	first, err := r.Forward(parse(t, "a@remote.example"))
	if err != nil {
		t.Fatal(err)
	}
	around := parse(t, "SRS1=HHHH=srs.host.test="+strings.TrimPrefix(string(first.Local), "SRS0")+"@other.test")
	if again, err := r.Forward(around); err != nil || again != first {
		t.Errorf("%s became %s, %v", around, again, err)
	}
	c.now = c.now.Add(100 * day) // now it says nothing any more
	for _, sender := range []mailbox.Address{around, parse(t, "SRS1=HHHH=srs.host.test==A=B=x.test=v@other.test")} {
		there, err := r.Forward(sender)
		if errors.Is(err, ErrLong) {
			continue // the sender stays as it is
		}
		if back, err := r.Reverse(there.Local); err != nil || back != sender {
			t.Errorf("%s became %s and came back as %s, %v", sender, there, back, err)
		}
	}
}

func TestNotForward(t *testing.T) {
	r := newRewriter(t, &clock{time.Now()})
	for s, want := range map[string]error{
		"":                                    ErrNotRewritable,
		"postmaster":                          ErrNotRewritable,
		"a@[192.0.2.1]":                       ErrNotRewritable,
		"SRS0=AAAA=BB=x.test=a@srs.host.test": ErrNotRewritable,
		strings.Repeat("a", 60) + "@remote.example": ErrLong,
	} {
		if got, err := r.Forward(parse(t, s)); !errors.Is(err, want) {
			t.Errorf("%q: %s, %v", s, got, err)
		}
	}
}

func TestNotReverse(t *testing.T) {
	c := &clock{time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)}
	r := newRewriter(t, c)
	good, err := r.Forward(parse(t, "a@remote.example"))
	if err != nil {
		t.Fatal(err)
	}
	other, err := newRewriter(t, c, keyB).Forward(parse(t, "a@remote.example"))
	if err != nil {
		t.Fatal(err)
	}
	for local, want := range map[string]error{
		"foobar": routing.ErrNotRewritten, "SRS0": routing.ErrNotRewritten, "SRS0=": routing.ErrNotRewritten,
		"SRS2=a=b=c=d": routing.ErrNotRewritten, "": routing.ErrNotRewritten,
		"SRS0=x": routing.ErrBadReturn, "SRS0=====": routing.ErrBadReturn, "SRS1=a=b==c": routing.ErrBadReturn,
		string(other.Local): routing.ErrBadReturn,
		strings.Replace(string(good.Local), "=a", "=b", 1):           routing.ErrBadReturn,
		strings.Replace(string(good.Local), "remote", "evil", 1):     routing.ErrBadReturn,
		strings.Replace(string(good.Local), "SRS0", "SRS1", 1) + "=": routing.ErrBadReturn,
	} {
		if got, err := r.Reverse(mailbox.LocalPart(local)); !errors.Is(err, want) {
			t.Errorf("%q: %s, %v", local, got, err)
		}
	}
}

func TestAge(t *testing.T) {
	start := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	c := &clock{start}
	r := newRewriter(t, c)
	local := func() mailbox.LocalPart {
		a, err := r.Forward(parse(t, "a@remote.example"))
		if err != nil {
			t.Fatal(err)
		}
		return a.Local
	}()
	for after, good := range map[time.Duration]bool{0: true, -day: true, -2 * day: false, 21 * day: true, 22 * day: false, 500 * day: false} {
		c.now = start.Add(after)
		if _, err := r.Reverse(local); (err == nil) != good {
			t.Errorf("after %v: %v", after, err)
		}
	}
}

func TestRotation(t *testing.T) {
	c := &clock{time.Now()}
	old, err := newRewriter(t, c, keyA).Forward(parse(t, "a@remote.example"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newRewriter(t, c, keyB, keyA).Reverse(old.Local); err != nil {
		t.Errorf("the old key is not honoured: %v", err)
	}
}

func TestOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"no domain": {Keys: [][]byte{keyA}}, "no key": {Domain: ours}, "short key": {Domain: ours, Keys: [][]byte{keyA, []byte("x")}},
		"age": {Domain: ours, Keys: [][]byte{keyA}, MaxAge: 1000 * day},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// FuzzReverse: whatever is written, nothing panics, and what is taken for an address of ours stands for an address. What
// Forward makes of a sender leads back to him, or to who has rewritten first, also when it was folded on the way.
func FuzzReverse(f *testing.F) {
	c := &clock{time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)}
	r := newRewriter(f, c)
	good, err := r.Forward(parse(f, "a@remote.example"))
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{string(good.Local), "SRS0=a=b=c=d", "SRS1=a=b==c=d=e=f", "foobar", "SRS0-AAAAAAAA=AA==", "a@b",
		"SRS0=a=b=c=d@e", "srs0=a=b=c=d@e", "SRS1=a=b==c=d=e=f@g", "SRS1=a=srs.host.test==c=d=e=f@g", "ü=@e"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if a, err := r.Reverse(mailbox.LocalPart(s)); err == nil {
			if a.IsNull() || a.Domain.IsZero() || a.Domain.IsLiteral() {
				t.Fatalf("%q stands for %s", s, a)
			}
		}
		p, err := mailbox.ParseReversePath(s, true)
		if err != nil {
			return
		}
		there, err := r.Forward(p.Address)
		if err != nil {
			return
		}
		if len(there.Local) > mailbox.MaxLocalPart || there.Domain != ours {
			t.Fatalf("%s became %s", p.Address, there)
		}
		want := p.Address
		if host, opaque, ok := foreign(string(want.Local)); ok && strings.HasPrefix(string(there.Local), "SRS1") {
			want = mailbox.Address{Local: mailbox.LocalPart("SRS0" + opaque), Domain: host}
		}
		if back, err := r.Reverse(there.Local); err != nil || back != want {
			t.Fatalf("%s became %s and came back as %s, %v", p.Address, there, back, err)
		}
		if !p.Address.Local.IsASCII() {
			return // nobody folds these
		}
		folded, err := r.Reverse(there.Local.Fold())
		if err != nil || folded.Fold() != want.Fold() {
			t.Fatalf("%s was folded and came back as %s, %v", there, folded, err)
		}
	})
}
