package dmarc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"

	"golang.org/x/net/publicsuffix"

	"mxbypass/mailbox"
)

// The walk (RFC 9989 section 4.10): of a long name, itself and then its last seven labels on.
const (
	maxWalk   = 8
	lastWalk  = maxWalk - 1
	recordsAt = "_dmarc."
)

// Lookup asks DNS. Its errors are a [net.DNSError], IsNotFound when there are no such records.
type Lookup interface {
	TXT(ctx context.Context, name string) ([]string, error)
	// Exists tells whether there is such a name, with whatever records.
	Exists(ctx context.Context, name string) (bool, error)
}

// Finder finds policies.
type Finder struct{ Lookup Lookup }

// Found is what was found out about one domain.
type Found struct {
	Domain mailbox.DomainName // the one that was looked for
	At     string             // where its policy stands; empty: there is none
	Record Record             // that policy
	// Policy is what applies to the domain: of the record, the part that is for it, before pct= and t=.
	Policy Policy

	walk []step
}

// step is one name of a walk.
type step struct {
	name   string
	record Record
	found  bool
	err    error // DNS could not tell
}

// Find finds the policy of a From domain. An error is temporary: DNS did not tell.
func (f Finder) Find(ctx context.Context, domain mailbox.DomainName) (Found, error) {
	found := Found{Domain: domain, walk: f.walk(ctx, domain.ASCII())}
	if len(found.walk) == 0 {
		return found, nil
	}
	at, err := policyAt(found.walk)
	if err != nil || at < 0 {
		return found, err
	}
	found.At, found.Record = found.walk[at].name, found.walk[at].record
	found.Policy = found.Record.Policy
	if at == 0 {
		return found, nil
	}
	found.Policy = found.Record.Subdomains
	if found.Record.Nonexistent != found.Record.Subdomains {
		exists, err := f.Lookup.Exists(ctx, domain.ASCII())
		if err != nil {
			return found, fmt.Errorf("DMARC: %w", err)
		}
		if !exists {
			found.Policy = found.Record.Nonexistent
		}
	}
	return found, nil
}

// walk asks for the records of a name and of those above it, all at once; those of a literal are none.
func (f Finder) walk(ctx context.Context, domain string) []step {
	if domain == "" || domain[0] == '[' {
		return nil
	}
	var steps []step
	for _, name := range names(domain) {
		steps = append(steps, step{name: name})
	}
	var all sync.WaitGroup
	for i := range steps {
		all.Go(func() { f.ask(ctx, &steps[i]) })
	}
	all.Wait()
	return steps
}

// names are those of a walk, the longest first.
func names(domain string) []string {
	all := []string{domain}
	labels := strings.Split(domain, ".")
	from := 1
	if len(labels) > maxWalk {
		from = len(labels) - lastWalk
	}
	for ; from < len(labels); from++ {
		all = append(all, strings.Join(labels[from:], "."))
	}
	return all
}

func (f Finder) ask(ctx context.Context, s *step) {
	texts, err := f.Lookup.TXT(ctx, recordsAt+s.name)
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return
	}
	if err != nil {
		s.err = fmt.Errorf("DMARC: %w", err)
		return
	}
	n := 0
	for _, text := range texts {
		if r, ok := Parse(text); ok {
			s.record = r
			n++
		}
	}
	s.found = n == 1 // with several, there is none (RFC 9989 section 4.10)
}

// policyAt tells at which step of a walk the policy of its first name stands; -1: at none. An error counts only where it
// could make a difference: not above what was found, not at a public suffix, which hardly ever has a record.
func policyAt(walk []step) (int, error) {
	if walk[0].err != nil {
		return -1, walk[0].err
	}
	if walk[0].found {
		return 0, nil
	}
	end := organisation(walk)
	if at := at(walk, end); at > 0 && (walk[at].found || walk[at].err != nil) {
		return at, walk[at].err
	}
	for at := len(walk) - 1; at > 0; at-- { // the last one of the walk, which is the shortest
		if walk[at].found {
			return at, nil
		}
	}
	return -1, nil
}

func at(walk []step, name string) int {
	return slices.IndexFunc(walk, func(s step) bool { return s.name == name })
}

// organisation gives the organisational domain of the first name of a walk.
func organisation(walk []step) string {
	if name, said := border(walk); said {
		return name
	}
	return registered(walk[0].name)
}

// border gives the organisational domain that a record of the walk says, if there is one.
func border(walk []step) (name string, said bool) {
	for i, s := range walk {
		switch {
		case !s.found:
		case s.record.PublicSuffix == Organisation:
			return s.name, true
		case s.record.PublicSuffix == PublicSuffix && i > 0:
			return below(walk[0].name, s.name), true
		}
	}
	return "", false
}

// below gives the name one label longer than the suffix, on the way to the name.
func below(name, suffix string) string {
	front := strings.TrimSuffix(name, "."+suffix)
	return front[strings.LastIndexByte(front, '.')+1:] + "." + suffix
}

// registered gives the domain that was registered under a public suffix; of a public suffix, itself.
func registered(name string) string {
	if r, err := publicsuffix.EffectiveTLDPlusOne(name); err == nil {
		return r
	}
	return name
}

// walked gives the organisational domain by the walk alone: the shortest name with a record; without any, the first name.
func walked(walk []step) string {
	for _, s := range slices.Backward(walk) {
		if s.found {
			return s.name
		}
	}
	return walk[0].name
}

// Aligned tells whether a name that a message was authenticated for speaks for the From domain: it is the same or, unless
// the alignment is strict, one of the same organisation. Where DNS does not tell, there is no record that says otherwise.
func (f Finder) Aligned(ctx context.Context, from Found, name mailbox.DomainName, strict bool) bool {
	a, b := from.Domain.ASCII(), name.ASCII()
	switch {
	case a == "" || b == "" || a[0] == '[' || b[0] == '[':
		return false
	case a == b:
		return true
	case strict || !related(a, b):
		return false
	}
	other := f.walk(ctx, b)
	if _, said := border(from.walk); said {
		return organisation(from.walk) == organisation(other)
	}
	if _, said := border(other); said {
		return organisation(from.walk) == organisation(other)
	}
	if registered(a) == registered(b) {
		return true
	}
	return strings.HasSuffix(a, "."+b) && walked(from.walk) == walked(other)
}

// related tells whether two names share more than a top-level domain, without which nobody's policy puts them together.
func related(a, b string) bool {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	n := 0
	for n < len(x) && n < len(y) && x[len(x)-1-n] == y[len(y)-1-n] {
		n++
	}
	return n > 1
}
