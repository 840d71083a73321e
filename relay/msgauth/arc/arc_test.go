package arc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"reflect"
	"strings"
	"testing"

	"mxbypass/mailbox"
	"mxbypass/relay/header"
)

// What dkimpy has sealed is judged as dkimpy judges it.
func TestDkimpy(t *testing.T) {
	const dir = "../signature/testdata/dkimpy/"
	text, err := os.ReadFile(dir + "keys.txt")
	if err != nil {
		t.Fatal(err)
	}
	lookup := func(_ context.Context, name string) ([]string, error) {
		for line := range strings.Lines(string(text)) {
			if n, record, _ := strings.Cut(strings.TrimSpace(line), " "); n == name {
				return []string{record}, nil
			}
		}
		return nil, &net.DNSError{Name: name, IsNotFound: true}
	}
	for name, want := range map[string]Chain{
		"arc_one": {Status: Pass, Instances: 1, Sealers: []string{"forward.example"},
			Results: "forward.example; spf=pass smtp.mailfrom=sender.example;  arc=none"},
		"arc_two": {Status: Pass, Instances: 2, Sealers: []string{"second.example", "forward.example"},
			Results: "second.example; arc=pass"},
		"arc_three": {Status: Pass, Instances: 3, Sealers: []string{"third.example", "second.example", "forward.example"},
			Results: "third.example; arc=pass"},
		"arc_failed": {Status: Fail, Instances: 3,
			Reason: "malformed chain: its newest seal says that it was broken already"},
		"arc_broken": {Status: Fail, Instances: 2,
			Reason: "signature of instance 2 (second.example): invalid signature: the body has changed"},
		"arc_listed": {Status: Fail, Instances: 2,
			Reason: "malformed chain: its newest seal says that it was broken already"},
	} {
		message, err := os.ReadFile(dir + name + ".eml")
		if err != nil {
			t.Fatal(err)
		}
		if got := Validate(t.Context(), read(t, string(message)), lookup); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestNone(t *testing.T) {
	for _, message := range []string{"", "\r\n", plain, "ARC-Seal-Not: i=1\r\n\r\n"} {
		if got := Validate(t.Context(), read(t, message), nil); !reflect.DeepEqual(got, Chain{Status: None}) {
			t.Errorf("%q: %+v", message, got)
		}
	}
}

// A chain grows to the last instance that there may be, and asks for each key once.
func TestLongChain(t *testing.T) {
	message := chainOf(t, MaxInstances)
	w := &world{}
	got := Validate(t.Context(), read(t, message), w.lookup)
	if got.Status != Pass || got.Instances != MaxInstances || len(got.Sealers) != MaxInstances || got.OldestPass != 0 ||
		got.Sealers[0] != "hop50.example" || got.Results != "hop50.example;\tarc=pass;\tspf=pass" {
		t.Errorf("%+v", got)
	}
	if n := w.asked.Load(); n != MaxInstances {
		t.Errorf("%d questions", n)
	}
	if fields, err := Seal(read(t, message), input(51, got)); fields != nil || err != nil {
		t.Errorf("%s, %v", fields, err)
	}
	one := chainOf(t, 1)
	over := strings.ReplaceAll(one, "i=1;", "i=51;")
	if got := Validate(t.Context(), read(t, over), w.lookup); got.Status != Fail {
		t.Errorf("%+v", got)
	}
}

// A list changes the message and seals it: the chain holds, and says from where on the message is the same.
func TestOldestPass(t *testing.T) {
	for _, c := range []struct{ before, after, oldest int }{{1, 1, 2}, {1, 2, 2}, {2, 1, 3}, {3, 0, 0}} {
		message := chainOf(t, c.before)
		if c.after > 0 {
			message = strings.Replace(message, "Subject: one", "Subject: [list] one", 1) + "-- \r\nfooter\r\n"
		}
		for i := range c.after {
			message = passOn(t, message, Chain{Status: Pass, Instances: c.before + i})
		}
		got := Validate(t.Context(), read(t, message), (&world{}).lookup)
		if got.Status != Pass || got.OldestPass != c.oldest || got.Instances != c.before+c.after {
			t.Errorf("%+v: %+v", c, got)
		}
	}
}

// change is what somebody does to a chain of two sets.
type change struct{ from, to, reason string }

var changes = []change{
	{"Hello", "Hullo", "the body has changed"},
	{"Subject: one", "Subject: two", "signature of instance 2"},
	{"From: a@", "From: x@other.example\r\nFrom: a@", "signature of instance 2"},
	{"ARC-Authentication-Results: i=2;", "ARC-Authentication-Results: i=2; forged;", "seal of instance 2"},
	{"ARC-Authentication-Results: i=1;", "ARC-Authentication-Results: i=1; forged;", "seal of instance 2"},
	{"ARC-Authentication-Results: i=2;", "X-Was: i=2;", "no ARC-Authentication-Results of instance 2"},
	{"ARC-Message-Signature: i=1;", "X-Was: i=1;", "no ARC-Message-Signature of instance 1"},
	{"ARC-Seal: i=1;", "X-Was: i=1;", "no ARC-Seal of instance 1"},
	{"ARC-Seal: i=2;", "ARC-Seal: i=3;", "no ARC-Seal of instance 2"},
	{"ARC-Seal: i=2;", "ARC-Seal: i=1;", "two ARC-Seal fields of instance 1"},
	{"ARC-Seal: i=2;", "ARC-Seal: i=0;", "no instance"},
	{"ARC-Seal: i=2;", "ARC-Seal: i=51;", "no instance"},
	{"ARC-Seal: i=2;", "ARC-Seal: i=002;", "no instance"},
	{"ARC-Seal: i=2;", "ARC-Seal: i=-2;", "no instance"},
	{"ARC-Seal: i=2;", "ARC-Seal: i=2; i=2;", "twice"},
	{"ARC-Seal: i=2;", "ARC-Seal: i=2; h=from;", "h= in the seal"},
	{"ARC-Seal: i=2;", "ARC-Seal: i=2; x y;", "malformed"},
	{"ARC-Message-Signature: i=2;", "ARC-Message-Signature: i=2;;", "malformed"},
	{"ARC-Message-Signature: i=2;", "ARC-Message-Signature: i=2; l=0;", "part of the body"},
	{"ARC-Message-Signature: i=2;", "ARC-Message-Signature: i=2; x=5;", "expired"},
	{"h=from:from", "h=from:arc-seal", "covers a seal"},
	{"h=from:from", "h=sender", "From is not signed"},
	{"ARC-Authentication-Results: i=2;", "ARC-Authentication-Results: i=2", "no instance"},
	{"ARC-Authentication-Results: i=2;", "ARC-Authentication-Results: hop2.example; i=2;", "does not begin"},
	{"ARC-Authentication-Results: i=2;", "ARC-Authentication-Results: x=2;", "does not begin"},
	{"ARC-Authentication-Results: i=2;", "ARC-Authentication-Results", "no ARC-Authentication-Results of instance 2"},
	{"cv=pass;", "cv=none;", "the seal of instance 2 says cv=none"},
	{"cv=none;", "cv=pass;", "the seal of instance 1 says cv=pass"},
	{"cv=none;", "cv=fail;", "the seal of instance 1 says cv=fail"},
	{"cv=pass;", "cv=fail;", "broken already"},
	{"cv=pass;", "cv=Pass;", "says cv=Pass"},
	{"cv=pass;", "", "says cv="},
	{"cv=pass; d=hop2.example;", "cv=pass; d=hop1.example;", "seal of instance 2 (hop1.example)"},
	{"cv=pass; d=hop2.example;", "cv=pass; d=;", "no d="},
	{"cv=pass; d=hop2.example; s=s;", "cv=pass; d=hop2.example; s=t;", "there is no key"},
	{"a=ed25519-sha256; cv=pass", "a=rsa-sha256; cv=pass", "does not fit"},
	{"a=ed25519-sha256; cv=pass", "a=rsa-sha1; cv=pass", "not accepted"},
}

func TestChanged(t *testing.T) {
	message := chainOf(t, 2)
	for _, c := range changes {
		changed := strings.Replace(message, c.from, c.to, 1)
		if changed == message {
			t.Errorf("%q is not there in\n%s", c.from, message)
		}
		got := Validate(t.Context(), read(t, changed), (&world{}).lookup)
		if got.Status != Fail || got.Temporary || got.Sealers != nil || got.Results != "" || got.OldestPass != 0 ||
			!strings.Contains(got.Reason, c.reason) || got.Reason != mailbox.Printable(got.Reason) {
			t.Errorf("%q: %+v instead of %q", c.to, got, c.reason)
		}
	}
	// What no signature covers and what their forms give up does no harm.
	for _, c := range [][2]string{
		{"Received: from a", "Received: from b"},
		{"\r\n\r\nHello", "\r\nX-New: x\r\n\r\nHello"},
		{"Hello\r\n", "Hello \t\r\n\r\n"},
		{"Subject: one\r\n two", "SUBJECT:one  \r\n\ttwo "},
		{"cv=pass;", "\r\n\tcv=pass;"},
	} {
		changed := strings.Replace(message, c[0], c[1], 1)
		if got := Validate(t.Context(), read(t, changed), (&world{}).lookup); got.Status != Pass {
			t.Errorf("%q: %+v", c[1], got)
		}
	}
}

// A header full of whatever costs no more than to read it, and does not fill the log.
func TestHostile(t *testing.T) {
	two := chainOf(t, 2)
	for _, hostile := range []string{
		strings.Repeat("ARC-Seal: x\r\n", 80_000),
		strings.Repeat("ARC-Seal: i=1\r\n", 60_000),
		strings.Repeat("ARC-Authentication-Results: i=1;\r\n", 30_000),
		"ARC-Seal: " + strings.Repeat("a=b;", 250_000) + "\r\n",
		"ARC-Seal: i=3; a=" + strings.Repeat("x", 1_000_000) + "\r\n",
		"ARC-Message-Signature: i=3; a=rsa-sha256; d=a.example; s=s; b=aaaa; bh=aaaa; h=from" +
			strings.Repeat(":from", 150_000) + "\r\n",
	} {
		c := Validate(t.Context(), read(t, hostile+two), (&world{}).lookup)
		if c.Status != Fail || len(c.Reason) > maxReason+3 {
			t.Errorf("%+v", c)
		}
	}
	long := strings.Replace(two, "cv=pass;", "cv="+strings.Repeat("\u00e9", 10_000)+";", 1)
	if c := Validate(t.Context(), read(t, long), (&world{}).lookup); c.Status != Fail || len(c.Reason) > maxReason+3 {
		t.Errorf("%+v", c)
	}
}

// An older signature that is of no use any more only moves the oldest one that holds.
func TestOlderSignatureExpires(t *testing.T) {
	h := read(t, plain)
	in := input(1, Chain{Status: None})
	fields, err := Seal(h, in)
	if err != nil {
		t.Fatal(err)
	}
	// The seal of the second hop covers what the first one wrote, whatever that is worth.
	one := strings.Replace(string(fields)+plain, "ARC-Message-Signature: i=1;", "ARC-Message-Signature: i=1; x=5;", 1)
	raw, err := sealAgain(read(t, one), 1)
	if err != nil {
		t.Fatal(err)
	}
	chain := Chain{Status: Pass, Instances: 1}
	fields, err = Seal(read(t, raw), input(2, chain))
	if err != nil {
		t.Fatal(err)
	}
	got := Validate(t.Context(), read(t, string(fields)+raw), (&world{}).lookup)
	if got.Status != Pass || got.OldestPass != 2 {
		t.Errorf("%+v", got)
	}
}

// sealAgain makes the seal of the only set anew.
func sealAgain(h *header.Header, instance int) (string, error) {
	all, err := collect(h.Fields)
	if err != nil {
		return "", err
	}
	s := all.sets[instance-1]
	raw, err := seal(input(instance, Chain{Status: None}), instance, all.sets[:instance])
	if err != nil {
		return "", err
	}
	h.Remove(func(f header.Field) bool { return bytes.Equal(f.Raw, s.seal.Raw) })
	h.Prepend(header.Field{Name: SealField, Raw: raw})
	text, err := io.ReadAll(h.Content().NewReader())
	return string(text), err
}

func TestTemporary(t *testing.T) {
	message := chainOf(t, 2)
	for _, domain := range []string{"hop1.example", "hop2.example"} {
		got := Validate(t.Context(), read(t, message), (&world{failing: domain}).lookup)
		if got.Status != Fail || !got.Temporary || !strings.Contains(got.Reason, "cannot be looked up now") {
			t.Errorf("%s fails: %+v", domain, got)
		}
		if fields, err := Seal(read(t, message), input(3, got)); fields != nil || err != nil {
			t.Errorf("sealed: %s, %v", fields, err)
		}
		got = Validate(t.Context(), read(t, message), (&world{missing: domain}).lookup)
		if got.Status != Fail || got.Temporary {
			t.Errorf("%s is missing: %+v", domain, got)
		}
	}
	h, err := header.Read(&unreadable{memory: memory(message)}, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if got := Validate(t.Context(), h, (&world{}).lookup); got.Status != Fail || !got.Temporary {
		t.Errorf("%+v", got)
	}
	if _, err := Seal(h, input(3, Chain{Status: Pass, Instances: 2})); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}

// unreadable is a content that can be read once, and then no more.
type unreadable struct {
	memory
	used bool
}

func (u *unreadable) NewReader() io.Reader {
	if !u.used {
		u.used = true
		return u.memory.NewReader()
	}
	return brokenReader{}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestSeal(t *testing.T) {
	two := chainOf(t, 2)
	passed := Chain{Status: Pass, Instances: 2}
	broken := strings.Replace(two, "Hello", "Hullo", 1)

	// A broken chain is sealed as such, by a set of its own, and never again.
	chain := Validate(t.Context(), read(t, broken), (&world{}).lookup)
	fields, err := Seal(read(t, broken), input(3, chain))
	if err != nil || !strings.Contains(string(fields), "cv=fail;") || !strings.Contains(string(fields), "i=3;") {
		t.Errorf("%s, %v", fields, err)
	}
	alone, err := collect(read(t, string(fields)+broken).Fields)
	if err != nil {
		t.Fatal(err)
	}
	want, err := seal(input(3, chain), 3, alone.sets[2:])
	if err != nil || string(want) != string(alone.sets[2].seal.Raw) {
		t.Errorf("the seal covers more than its set: %v", err)
	}
	failed := string(fields) + broken
	chain = Validate(t.Context(), read(t, failed), (&world{}).lookup)
	if fields, err := Seal(read(t, failed), input(4, chain)); chain.Status != Fail || fields != nil || err != nil {
		t.Errorf("%+v: %s, %v", chain, fields, err)
	}
	// Of a chain without order only the highest instance is known.
	mangled := strings.Replace(two, "ARC-Seal: i=1;", "ARC-Seal: i=2;", 1)
	chain = Validate(t.Context(), read(t, mangled), (&world{}).lookup)
	if fields, err := Seal(read(t, mangled), input(3, chain)); err != nil || !strings.HasPrefix(string(fields), "ARC-Seal: i=3;") {
		t.Errorf("%s, %v", fields, err)
	}

	// Somebody else has sealed in the meantime, or has taken the sets away.
	three := chainOf(t, 3)
	for _, m := range []string{plain, three} {
		if fields, err := Seal(read(t, m), input(3, passed)); fields != nil || err != nil {
			t.Errorf("%s, %v", fields, err)
		}
	}
	less := strings.Replace(two, "ARC-Message-Signature: i=1;", "X-Was: i=1;", 1)
	if fields, err := Seal(read(t, less), input(3, passed)); fields != nil || err == nil {
		t.Errorf("%s, %v", fields, err)
	}
	in := input(1, Chain{Status: None})
	for _, results := range []string{"a\r\nX: y", "a\nb", "a\rb"} {
		in.Results = results
		if fields, err := Seal(read(t, plain), in); fields != nil || err == nil {
			t.Errorf("%q: %s", results, fields)
		}
	}
}

func BenchmarkValidate(b *testing.B) {
	message := chainOf(b, 2)
	b.ReportAllocs()
	for b.Loop() {
		if c := Validate(b.Context(), read(b, message), (&world{}).lookup); c.Status != Pass {
			b.Fatal(c)
		}
	}
}

func TestSealIsFoldedAndDated(t *testing.T) {
	fields, err := Seal(read(t, plain), input(1, Chain{Status: None}))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(fields)) {
		if len(line) > 80 || !strings.HasSuffix(line, "\r\n") {
			t.Errorf("%q", line)
		}
	}
	if n := strings.Count(string(fields), "t=1795000000;"); n != 2 {
		t.Errorf("dated %d times", n)
	}
	h := read(t, string(fields)+plain)
	got := []string{h.Fields[0].Name, h.Fields[1].Name, h.Fields[2].Name}
	if !reflect.DeepEqual(got, []string{SealField, SignatureField, ResultsField}) {
		t.Error(got)
	}
}
