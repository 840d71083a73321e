package mailbox_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"mxbypass/mailbox"
)

// memory is a directory of maps. What is asked about a name in broken cannot be answered.
type memory struct {
	domains map[string]mailbox.Domain
	entries map[string]mailbox.Entry
	broken  map[string]bool
}

var errBroken = errors.New("broken")

func (m memory) Domain(_ context.Context, name mailbox.DomainName) (mailbox.Domain, error) {
	if m.broken[name.ASCII()] {
		return mailbox.Domain{}, errBroken
	}
	d, ok := m.domains[name.ASCII()]
	if !ok {
		return d, fmt.Errorf("%s: %w", name, mailbox.ErrNoDomain)
	}
	return d, nil
}

func (m memory) Entry(_ context.Context, a mailbox.Address) (mailbox.Entry, error) {
	if m.broken[a.Wire()] {
		return mailbox.Entry{}, errBroken
	}
	e, ok := m.entries[a.Wire()]
	if !ok {
		return e, fmt.Errorf("%s: %w", a, mailbox.ErrNoMailbox)
	}
	return e, nil
}

// newMemory reads lines: "domain NAME [catch-all ADDRESS] [disabled] [POLICY]", "ADDRESS [disabled]",
// "ADDRESS > TARGET …" (an alias), "ADDRESS + TARGET …" (a mailbox with copies), "broken NAME".
func newMemory(text string) memory {
	m := memory{map[string]mailbox.Domain{}, map[string]mailbox.Entry{}, map[string]bool{}}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		switch {
		case len(f) == 0:
		case f[0] == "domain":
			d := mailbox.Domain{Name: mailbox.MustDomainName(f[1]), Site: "cloud", Disabled: slices.Contains(f, "disabled")}
			if i := slices.Index(f, "catch-all"); i > 0 {
				d.CatchAll = parsed(f[i+1])
			}
			if p := mailbox.MXPolicy(f[len(f)-1]); p.Valid() {
				d.MX = p
			}
			m.domains[f[1]] = d
		case f[0] == "broken":
			m.broken[f[1]] = true
		default:
			e := mailbox.Entry{Address: parsed(f[0]), Disabled: slices.Contains(f, "disabled")}
			if i := slices.Index(f, ">"); i > 0 {
				for _, to := range f[i+1:] {
					e.Alias = append(e.Alias, parsed(to))
				}
			}
			if i := slices.Index(f, "+"); i > 0 {
				for _, to := range f[i+1:] {
					e.Copies = append(e.Copies, parsed(to))
				}
			}
			m.entries[e.Address.Fold().Wire()] = e
		}
	}
	return m
}

func parsed(s string) mailbox.Address {
	a, err := mailbox.ParseAddress(s)
	if err != nil {
		panic(s + ": " + err.Error())
	}
	return a
}

func resolve(m memory, a mailbox.Address) (mailbox.Resolution, error) {
	r := mailbox.Resolver{Directory: m, Delimiter: "+"}
	d, err := r.Domain(context.Background(), a.Domain)
	if err != nil {
		return mailbox.Resolution{}, err
	}
	return r.Resolve(context.Background(), d, a.Local)
}

func delivered(r mailbox.Resolution) string {
	var to []string
	for _, r := range r.Recipients {
		to = append(to, r.Delivered.Wire())
	}
	return strings.Join(to, " ")
}

const example = `
domain d.test catch-all box@other.test
domain other.test
domain loose.test catch-all gone@loose.test
domain away.test catch-all x@abroad.test
domain off.test disabled
Foobar@d.test
contact@d.test
sick@d.test disabled
info@d.test > Foobar@d.test contact@d.test
all@d.test > info@d.test contact@d.test box@other.test
tagged@d.test > box+list@other.test
partly@d.test > contact@d.test sick@d.test
dangling@d.test > contact@d.test nobody@other.test
abroad@d.test > x@abroad.test
tooff@d.test > x@off.test
loop@d.test > pool@other.test
pool@other.test > contact@d.test loop@d.test
self@d.test > self@d.test
exact+tag@d.test
a/b@other.test
box@other.test
x@off.test
broken bad@d.test
tobad@d.test > contact@d.test bad@d.test
broken hard.test
tohard@d.test > x@hard.test
`

func TestResolve(t *testing.T) {
	long := strings.Repeat("x", 60)
	m := newMemory(example + "short@d.test > " + long + "@d.test\n" + long + "@d.test\n")
	for address, want := range map[string]string{
		"foobar@d.test":        "Foobar@d.test",
		"FOOBAR+Tag@D.test":    "Foobar+Tag@d.test",
		"foobar+a+b@d.test":    "Foobar+a+b@d.test",
		"foobar+@d.test":       "Foobar@d.test",
		"exact+tag@d.test":     "exact+tag@d.test",
		"exact+other@d.test":   "box@other.test", // exact is nobody: the catch-all, without the tag
		"+foobar@d.test":       "box@other.test",
		"unknown@d.test":       "box@other.test",
		"info@d.test":          "Foobar@d.test contact@d.test",
		"info+x@d.test":        "Foobar+x@d.test contact+x@d.test",
		"all@d.test":           "Foobar@d.test contact@d.test box@other.test",
		"tagged+own@d.test":    "box+list@other.test",
		"short+toolong@d.test": long + "@d.test",
	} {
		got, err := resolve(m, parsed(address))
		if err != nil || delivered(got) != want {
			t.Errorf("%s: %q, %v, want %q", address, delivered(got), err, want)
		}
		if len(got.Steps) == 0 {
			t.Errorf("%s: no steps", address)
		}
	}
	for address, want := range map[string]error{
		"nobody@other.test":   mailbox.ErrNoMailbox,
		"nobody+t@other.test": mailbox.ErrNoMailbox,
		"x@none.test":         mailbox.ErrNoDomain,
		`".x"@d.test`:         mailbox.ErrNoMailbox, // no name of a mailbox: not even for the catch-all
		`"a b"@d.test`:        mailbox.ErrNoMailbox,
		"c/d@d.test":          mailbox.ErrNoMailbox,
		"sick@d.test":         mailbox.ErrDisabled,
		"sick+t@d.test":       mailbox.ErrDisabled,
		"partly@d.test":       mailbox.ErrDisabled,
		"x@off.test":          mailbox.ErrDisabled,
		"nobody@off.test":     mailbox.ErrDisabled,
		"tooff@d.test":        mailbox.ErrDisabled,
		"dangling@d.test":     mailbox.ErrUnavailable,
		"nobody@loose.test":   mailbox.ErrUnavailable,
		"nobody@away.test":    mailbox.ErrUnavailable,
		"a/b@other.test":      mailbox.ErrUnavailable, // the directory holds what it must not
		"loop@d.test":         mailbox.ErrAliasLoop,
		"self@d.test":         mailbox.ErrAliasLoop,
		"bad@d.test":          errBroken,
		"bad+t@d.test":        errBroken,
		"tobad@d.test":        errBroken,
		"x@hard.test":         errBroken,
		"tohard@d.test":       errBroken,
	} {
		got, err := resolve(m, parsed(address))
		if !errors.Is(err, want) || got.Recipients != nil {
			t.Errorf("%s: %v, %v, want %v", address, delivered(got), err, want)
		}
		if want != mailbox.ErrNoMailbox && errors.Is(err, mailbox.ErrNoMailbox) ||
			want != mailbox.ErrNoDomain && errors.Is(err, mailbox.ErrNoDomain) {
			t.Errorf("%s: %v is final", address, err)
		}
	}
}

func TestResolveElsewhere(t *testing.T) {
	m := newMemory(`
domain d.test
domain ext.test external
domain split.test split
box@d.test
there@ext.test
away@d.test > X.y@abroad.test
both@d.test > box@d.test away@d.test z@abroad.test
copied@d.test + c@abroad.test box@d.test
chain@d.test > copied@d.test
back@d.test + alias@d.test
alias@d.test > back@d.test c@abroad.test
half@d.test > nobody@ext.test there@ext.test nobody@split.test
twice@d.test > x@abroad.test X@abroad.test away@d.test
through@d.test > mid@d.test
mid@d.test > kept@d.test
kept@d.test + through+own@d.test mid@d.test kept+x@d.test c@abroad.test
first@d.test + second@d.test
second@d.test + third@d.test
third@d.test + first@d.test c+tag@abroad.test
`)
	for address, want := range map[string]struct{ to, away string }{
		"away@d.test":       {"", "X.y@abroad.test from away@d.test"},
		"away+tag@d.test":   {"", "X.y@abroad.test from away@d.test"},
		"both@d.test":       {"box@d.test", "X.y@abroad.test from away@d.test z@abroad.test from both@d.test"},
		"copied@d.test":     {"copied@d.test box@d.test", "c@abroad.test from copied@d.test"},
		"copied+tag@d.test": {"copied+tag@d.test box+tag@d.test", "c@abroad.test from copied@d.test"},
		"chain@d.test":      {"copied@d.test box@d.test", "c@abroad.test from copied@d.test"},
		"back@d.test":       {"back@d.test", "c@abroad.test from alias@d.test"},
		"alias@d.test":      {"back@d.test", "c@abroad.test from alias@d.test"},
		"half@d.test":       {"there@ext.test", "nobody@ext.test from half@d.test nobody@split.test from half@d.test"},
		"through+t@d.test":  {"kept+t@d.test", "c@abroad.test from kept@d.test"}, // copies that lead back where it came through
		"kept@d.test":       {"kept@d.test", "c@abroad.test from kept@d.test"},
		"first+t@d.test":    {"first+t@d.test second+t@d.test third+t@d.test", "c+tag@abroad.test from third@d.test"},
		"half+tag@d.test":   {"there+tag@ext.test", "nobody@ext.test from half@d.test nobody@split.test from half@d.test"},
		"twice@d.test":      {"", "x@abroad.test from twice@d.test X.y@abroad.test from away@d.test"},
	} {
		got, err := resolve(m, parsed(address))
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		var away []string
		for _, r := range got.Redirects {
			away = append(away, r.To.Wire()+" from "+r.From.Wire())
		}
		if a := strings.Join(away, " "); delivered(got) != want.to || a != want.away {
			t.Errorf("%s: %q and %q, want %q and %q", address, delivered(got), a, want.to, want.away)
		}
	}
}

// Mail for a mailbox with copies reaches all of them or none, as for an alias.
func TestCopiesThatCannotBeFollowed(t *testing.T) {
	m := newMemory(example + `
copiedsick@d.test + x@abroad.test sick@d.test
copiedgone@d.test + nobody@d.test
copiedoff@d.test + x@off.test
copiedbad@d.test + bad@d.test
copiedloop@d.test + loop@d.test
sickcopied@d.test disabled + contact@d.test
`)
	for address, want := range map[string]error{
		"copiedsick@d.test": mailbox.ErrDisabled,
		"copiedgone@d.test": mailbox.ErrUnavailable,
		"copiedoff@d.test":  mailbox.ErrDisabled,
		"copiedbad@d.test":  errBroken,
		"copiedloop@d.test": mailbox.ErrAliasLoop,
		"sickcopied@d.test": mailbox.ErrDisabled,
	} {
		got, err := resolve(m, parsed(address))
		if !errors.Is(err, want) || errors.Is(err, mailbox.ErrNoMailbox) || got.Recipients != nil || got.Redirects != nil {
			t.Errorf("%s: %+v, %v, want %v", address, got, err, want)
		}
	}
}

func TestResolveIsBounded(t *testing.T) {
	var deep, wide strings.Builder
	for i := range mailbox.MaxAliasDepth + 2 {
		fmt.Fprintf(&deep, "a%d@d.test > a%d@d.test\n", i, i+1)
		fmt.Fprintf(&deep, "c%d@d.test + c%d@d.test\n", i, i+1)
	}
	for i := range mailbox.MaxAliasEntries {
		fmt.Fprintf(&wide, " m%d@abroad.test", i)
	}
	away := "\nallaway@d.test >" + wide.String() + "\ncopied@d.test +" + wide.String() + "\n"
	wide.Reset()
	wide.WriteString(away + "all@d.test >")
	for i := range mailbox.MaxAliasEntries {
		fmt.Fprintf(&wide, " m%d@d.test", i)
	}
	for i := range mailbox.MaxAliasEntries {
		fmt.Fprintf(&wide, "\nm%d@d.test", i)
	}
	m := newMemory("domain d.test\n" + deep.String() + fmt.Sprintf("a%[1]d@d.test\nc%[1]d@d.test\n", mailbox.MaxAliasDepth+2) +
		wide.String())
	for _, address := range []string{"a0@d.test", "c0@d.test", "all@d.test", "allaway@d.test", "copied@d.test"} {
		if _, err := resolve(m, parsed(address)); !errors.Is(err, mailbox.ErrAliasLoop) {
			t.Errorf("%s: %v", address, err)
		}
	}
	for address, want := range map[string]int{"a2@d.test": 1, "c2@d.test": mailbox.MaxAliasDepth + 1} {
		got, err := resolve(m, parsed(address))
		if err != nil || len(got.Recipients) != want {
			t.Error(address, got, err)
		}
	}
}

func TestOnlyRealNamesAreDomains(t *testing.T) {
	m := newMemory("domain d.test")
	m.domains["[192.0.2.1]"] = mailbox.Domain{}
	m.domains["localhost"] = mailbox.Domain{}
	p, err := mailbox.ParsePath("u@[192.0.2.1]", false)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []mailbox.DomainName{{}, p.Address.Domain, mailbox.MustDomainName("localhost")} {
		if d, err := (mailbox.Resolver{Directory: m}).Domain(t.Context(), name); !errors.Is(err, mailbox.ErrNoDomain) {
			t.Errorf("%q: %v, %v", name, d, err)
		}
	}
}

// reach is the simple model of the resolver: the set of mailboxes and of addresses elsewhere that an address leads to, and
// whether anything on the way makes the answer an error. It knows no bounds. A path ends where a copy begins.
func reach(m memory, a mailbox.Address, path []string, found map[string]bool) (ok, exists bool) {
	d, hosted := m.domains[a.Domain.ASCII()]
	if !hosted {
		found["away "+a.Wire()] = true
		return true, true
	}
	if d.Disabled {
		return false, true
	}
	e, there := m.entries[a.Fold().Wire()]
	if !there {
		user, _, cut := strings.Cut(string(a.Local), "+")
		if !cut {
			return false, false
		}
		if e, there = m.entries[mailbox.Address{Local: mailbox.LocalPart(user), Domain: a.Domain}.Wire()]; !there {
			return false, false
		}
	}
	name := e.Address.Wire()
	if e.Disabled || slices.Contains(path, name) {
		return false, true
	}
	if len(e.Alias) == 0 {
		if found[name] {
			return true, true
		}
		found[name], path = true, nil
	} else {
		path = append(slices.Clone(path), name)
	}
	for _, to := range slices.Concat(e.Alias, e.Copies) {
		if ok, _ := reach(m, to, path, found); !ok {
			return false, true
		}
	}
	return true, true
}

func TestResolveAgreesWithModel(t *testing.T) {
	local := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"})
	domain := rapid.SampledFrom([]string{"one.test", "two.test", "abroad.test"})
	address := rapid.Custom(func(t *rapid.T) string { return local.Draw(t, "local") + "@" + domain.Draw(t, "domain") })
	rapid.Check(t, func(t *rapid.T) {
		var text strings.Builder
		for _, d := range []string{"one.test", "two.test"} {
			text.WriteString("domain " + d)
			if rapid.IntRange(0, 9).Draw(t, "disabled") == 0 {
				text.WriteString(" disabled")
			}
			text.WriteString("\n")
		}
		for range rapid.IntRange(0, 10).Draw(t, "entries") {
			text.WriteString(address.Draw(t, "entry"))
			switch n := rapid.IntRange(-3, 3).Draw(t, "targets"); {
			case n == -3:
				text.WriteString(" disabled")
			case n > 0:
				text.WriteString(rapid.SampledFrom([]string{" >", " +"}).Draw(t, "kind"))
				for range n {
					text.WriteString(" " + address.Draw(t, "target"))
				}
			}
			text.WriteString("\n")
		}
		m := newMemory(text.String())
		asked := parsed(local.Draw(t, "asked") + rapid.SampledFrom([]string{"", "+tag"}).Draw(t, "tag") + "@one.test")
		want := map[string]bool{}
		ok, exists := reach(m, asked, nil, want)
		got, err := resolve(m, asked)
		if ok != (err == nil) || exists == errors.Is(err, mailbox.ErrNoMailbox) {
			t.Fatalf("%s: %v, the model says ok %v, exists %v, in\n%s", asked, err, ok, exists, text.String())
		}
		if err != nil {
			return
		}
		if len(got.Recipients)+len(got.Redirects) != len(want) {
			t.Fatalf("%s: %v and %v, want %v, in\n%s", asked, got.Recipients, got.Redirects, want, text.String())
		}
		for _, r := range got.Redirects {
			if !want["away "+r.To.Wire()] {
				t.Fatalf("%s: %v, want %v", asked, r, want)
			}
		}
		for _, r := range got.Recipients {
			if !want[r.Mailbox.Address.Wire()] || r.Mailbox.Site != "cloud" {
				t.Fatalf("%s: %v, want %v", asked, r, want)
			}
		}
	})
}

func TestMailboxNames(t *testing.T) {
	for name, good := range map[string]bool{
		"foobar": true, "john.doe": true, "a%b": true, "-u": true, "ü": true, "{x}": true, strings.Repeat("x", 64): true,
		"": false, ".": false, "..": false, ".x": false, "x.": false, "a..b": false, "a/b": false, "a b": false, `a\b`: false,
		"a@b": false, "a\x00b": false, "a\nb": false, "a\u00a0b": false, "a\u202eb": false, "a\u200bb": false,
		strings.Repeat("x", 65): false, strings.Repeat("ü", 33): false,
	} {
		if err := mailbox.CheckMailboxName(mailbox.LocalPart(name)); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func BenchmarkResolve(b *testing.B) {
	r := mailbox.Resolver{Directory: newMemory(example), Delimiter: "+"}
	d, err := r.Domain(b.Context(), mailbox.MustDomainName("d.test"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Resolve(b.Context(), d, "foobar"); err != nil {
			b.Fatal(err)
		}
	}
}
