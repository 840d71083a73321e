package dmarc

import (
	"context"
	"net"
	"strings"
	"testing"

	"mxbypass/mailbox"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]*Record{
		"v=DMARC1; p=reject":      {Policy: Reject, Subdomains: Reject, Nonexistent: Reject, Percent: 100},
		"v=DMARC1;p=Quarantine":   {Policy: Quarantine, Subdomains: Quarantine, Nonexistent: Quarantine, Percent: 100},
		" v = DMARC1 ; P=REJECT;": {Policy: Reject, Subdomains: Reject, Nonexistent: Reject, Percent: 100},
		"v=DMARC1; p=reject; sp=none": {
			Policy: Reject, Subdomains: None, Nonexistent: None, Percent: 100,
		},
		"v=DMARC1; p=none; sp=quarantine; np=reject; adkim=s; aspf=s; pct=20; t=y; psd=n": {
			Policy: None, Subdomains: Quarantine, Nonexistent: Reject, StrictDKIM: true, StrictSPF: true, Percent: 20,
			Testing: true, PublicSuffix: Organisation,
		},
		"v=DMARC1; p=none; np=reject": {Policy: None, Subdomains: None, Nonexistent: Reject, Percent: 100},
		"v=DMARC1; psd=y":             {Policy: None, Subdomains: None, Nonexistent: None, Percent: 100, PublicSuffix: PublicSuffix},
		"v=DMARC1":                    {Policy: None, Subdomains: None, Nonexistent: None, Percent: 100},
		"v=DMARC1; p=everything; pct=200; adkim=x; rua=mailto:a@b.test": {
			Policy: None, Subdomains: None, Nonexistent: None, Percent: 100,
		},
		"v=DMARC1; p=reject; sp=rejekt": {Policy: Reject, Subdomains: None, Nonexistent: None, Percent: 100},
		"v=DMARC1; p=reject; p=none":    {Policy: Reject, Subdomains: Reject, Nonexistent: Reject, Percent: 100},
		"v=DMARC1; nonsense; p=reject":  {Policy: Reject, Subdomains: Reject, Nonexistent: Reject, Percent: 100},
		"":                              nil,
		"v=dmarc1; p=reject":            nil,
		"v=DMARC12; p=reject":           nil,
		"p=reject; v=DMARC1":            nil,
		"v=spf1 -all":                   nil,
	} {
		got, ok := Parse(text)
		if ok != (want != nil) || ok && got != *want {
			t.Errorf("%q: %+v, %t", text, got, ok)
		}
	}
}

// world is a DNS of DMARC records by domain; "!" fails, "-" is a name without records.
type world map[string]string

func (w world) TXT(_ context.Context, name string) ([]string, error) {
	record, ok := w[strings.TrimPrefix(name, recordsAt)]
	switch {
	case record == "!":
		return nil, &net.DNSError{Name: name, IsTemporary: true}
	case !ok || record == "-":
		return nil, &net.DNSError{Name: name, IsNotFound: true}
	}
	return strings.Split(record, "|"), nil
}

func (w world) Exists(_ context.Context, name string) (bool, error) {
	record, ok := w[name]
	if record == "!" {
		return false, &net.DNSError{Name: name, IsTemporary: true}
	}
	return ok, nil
}

const (
	rejects     = "v=DMARC1; p=reject"
	quarantines = "v=DMARC1; p=quarantine"
	nobody      = "v=DMARC1; p=none"
)

func TestFind(t *testing.T) {
	t.Parallel()
	long := "a.b.c.d.e.f.g.h.i.example.com"
	for _, c := range []struct {
		title, domain string
		world         world
		at            string
		policy        Policy
		fails         bool
	}{
		{title: "its own", domain: "example.com", world: world{"example.com": rejects}, at: "example.com", policy: Reject},
		{title: "none", domain: "example.com"},
		{title: "of the registered domain", domain: "a.b.example.com", world: world{"example.com": rejects}, at: "example.com",
			policy: Reject},
		{title: "under a suffix of two labels", domain: "a.example.co.uk", world: world{"example.co.uk": rejects},
			at: "example.co.uk", policy: Reject},
		{title: "one in between counts only without a higher one", domain: "a.b.example.com",
			world: world{"b.example.com": quarantines, "example.com": rejects}, at: "example.com", policy: Reject},
		{title: "one in between", domain: "a.b.example.com", world: world{"b.example.com": quarantines}, at: "b.example.com",
			policy: Quarantine},
		{title: "its own is stronger", domain: "a.example.com", world: world{"a.example.com": nobody, "example.com": rejects},
			at: "a.example.com", policy: None},
		{title: "sp", domain: "a.example.com", world: world{"example.com": rejects + "; sp=none", "a.example.com": "-"},
			at: "example.com", policy: None},
		{title: "np of a name that does not exist", domain: "a.example.com",
			world: world{"example.com": nobody + "; np=reject"}, at: "example.com", policy: Reject},
		{title: "np, the name exists", domain: "a.example.com",
			world: world{"example.com": nobody + "; np=reject", "a.example.com": "-"}, at: "example.com", policy: None},
		{title: "several records", domain: "example.com", world: world{"example.com": rejects + "|" + nobody}},
		{title: "other records beside", domain: "example.com", world: world{"example.com": "v=spf1 -all|" + rejects},
			at: "example.com", policy: Reject},
		{title: "psd=y above", domain: "a.shop.bank", world: world{"bank": rejects + "; psd=y; sp=quarantine", "a.shop.bank": "-"},
			at: "bank", policy: Quarantine},
		{title: "psd=y, and the domain below", domain: "a.shop.bank",
			world: world{"bank": rejects + "; psd=y", "shop.bank": quarantines}, at: "shop.bank", policy: Quarantine},
		{title: "psd=n", domain: "a.b.example.com", world: world{"b.example.com": quarantines + "; psd=n", "example.com": rejects},
			at: "b.example.com", policy: Quarantine},
		{title: "a private suffix with a record", domain: "someone.github.io", world: world{"github.io": rejects}, at: "github.io",
			policy: Reject},
		{title: "a public suffix itself", domain: "github.io", world: world{"github.io": rejects}, at: "github.io", policy: Reject},
		{title: "a long name", domain: long, world: world{"example.com": rejects}, at: "example.com", policy: Reject},
		{title: "a long name, its own", domain: long, world: world{long: quarantines}, at: long, policy: Quarantine},
		{title: "not between the name and the last seven labels", domain: long,
			world: world{"b.c.d.e.f.g.h.i.example.com": rejects}},
		{title: "DNS fails", domain: "example.com", world: world{"example.com": "!"}, fails: true},
		{title: "DNS fails above", domain: "a.example.com", world: world{"example.com": "!"}, fails: true},
		{title: "DNS fails where nothing is needed", domain: "example.com", world: world{"example.com": rejects, "com": "!"},
			at: "example.com", policy: Reject},
		{title: "DNS of the top level fails", domain: "example.com", world: world{"com": "!"}},
		{title: "whether it exists is not known", domain: "a.example.com",
			world: world{"example.com": nobody + "; np=reject", "a.example.com": "!"}, fails: true},
		{title: "a literal", domain: ""},
	} {
		var domain mailbox.DomainName
		if c.domain != "" {
			domain = mailbox.MustDomainName(c.domain)
		}
		found, err := Finder{c.world}.Find(t.Context(), domain)
		if (err != nil) != c.fails {
			t.Errorf("%s: %v", c.title, err)
		}
		if err == nil && (found.At != c.at || c.at != "" && found.Policy != c.policy) {
			t.Errorf("%s: %s at %q", c.title, found.Policy, found.At)
		}
	}
}

func TestAligned(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		from, name string
		world      world
		strict     bool
		want       bool
	}{
		{from: "example.com", name: "example.com", want: true},
		{from: "example.com", name: "example.com", strict: true, want: true},
		{from: "example.com", name: "mail.example.com", want: true},
		{from: "mail.example.com", name: "example.com", want: true},
		{from: "a.example.com", name: "b.example.com", want: true},
		{from: "a.example.com", name: "b.example.com", strict: true},
		{from: "example.com", name: "example.org"},
		{from: "example.com", name: "notexample.com"},
		{from: "example.com", name: "com"},
		{from: "a.co.uk", name: "b.co.uk"},
		{from: "a.co.uk", name: "co.uk"},
		{from: "x.a.co.uk", name: "a.co.uk", want: true},
		{from: "one.github.io", name: "two.github.io"},
		{from: "one.github.io", name: "two.github.io", world: world{"github.io": rejects}},
		{from: "one.github.io", name: "github.io", world: world{"github.io": rejects}, want: true},
		{from: "one.github.io", name: "github.io"},
		{from: "one.github.io", name: "two.github.io", world: world{"github.io": rejects + "; psd=n"}, want: true},
		{from: "one.github.io", name: "x.one.github.io", world: world{"github.io": rejects + "; psd=y"}, want: true},
		{from: "a.example.com", name: "example.com", world: world{"a.example.com": rejects + "; psd=n"}},
		{from: "example.com", name: "a.example.com", world: world{"a.example.com": rejects + "; psd=n"}},
		{from: "x.a.example.com", name: "y.a.example.com", world: world{"a.example.com": rejects + "; psd=n"}, want: true},
		{from: "x.team.example.com", name: "y.other.example.com", world: world{"example.com": rejects + "; psd=y"}},
		{from: "a.example.com", name: "b.example.com", world: world{"b.example.com": "!"}, want: true},
	} {
		f := Finder{c.world}
		found, err := f.Find(t.Context(), mailbox.MustDomainName(c.from))
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Aligned(t.Context(), found, mailbox.MustDomainName(c.name), c.strict); got != c.want {
			t.Errorf("%s for %s (strict %t, %v): %t", c.name, c.from, c.strict, c.world, got)
		}
	}
	literal, err := mailbox.ParsePath("a@[192.0.2.1]", false)
	if err != nil {
		t.Fatal(err)
	}
	if (Finder{}).Aligned(t.Context(), Found{Domain: literal.Address.Domain}, literal.Address.Domain, false) {
		t.Error("a literal has an organisation")
	}
}

func TestSofter(t *testing.T) {
	t.Parallel()
	for p, want := range map[Policy]Policy{Reject: Quarantine, Quarantine: None, None: None} {
		if got := p.Softer(); got != want {
			t.Errorf("%s: %s", p, got)
		}
	}
}

// A record gives policies that exist, whatever stands in it.
func FuzzParse(f *testing.F) {
	for _, s := range []string{rejects, "v=DMARC1; psd=y; np=reject", "v=DMARC1;;;=;p", "v=DMARC1; p=\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, ok := Parse(s)
		if !ok {
			return
		}
		for _, p := range []Policy{r.Policy, r.Subdomains, r.Nonexistent} {
			if p != None && p != Quarantine && p != Reject {
				t.Errorf("%q: policy %q", s, p)
			}
		}
		if r.Percent < 0 || r.Percent > 100 {
			t.Errorf("%q: %d %%", s, r.Percent)
		}
	})
}
