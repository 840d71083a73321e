package mx

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"mxbypass/mailbox"
)

// Level says how much a finding matters.
type Level string

// The levels.
const (
	Wrong  Level = "wrong"  // mail may go astray, or the provider asks for something else
	Advice Level = "advice" // worth knowing
)

// Findings, as words for machines.
const (
	FoundMissing  = "missing"       // a record that the provider asks for is not there
	FoundExtra    = "extra"         // a record that the provider does not ask for
	FoundPriority = "priority"      // not the one that the provider asks for
	FoundTTL      = "ttl"           // not the one that the provider asks for
	FoundAlias    = "alias"         // an MX host is a CNAME (RFC 2181 section 10.3)
	FoundNoAddr   = "no_address"    // an MX host has neither A nor AAAA
	FoundNoHost   = "no_host_name"  // an MX record does not lead to a host name
	FoundNoMX     = "no_mx"         // no MX: mail goes to the address of the domain itself (RFC 5321 section 5.1)
	FoundNull     = "null_mx"       // the domain accepts no mail (RFC 7505)
	FoundDoubled  = "doubled"       // records stand at DOMAIN.DOMAIN
	FoundGateway  = "gateway"       // a filter hides who keeps the mailboxes
	FoundOurs     = "ours"          // a host of ours among others
	FoundFailed   = "lookup_failed" // something could not be looked up
)

// Finding is one thing to say about the records of a domain.
type Finding struct {
	Level Level
	Code  string // one of the Found words
	Text  string // a sentence for people, printable
}

// Report is what [Checker.Check] found out.
type Report struct {
	State    State
	Records  []Host // as in DNS, also when the state is unknown because of addresses
	Plan     *Plan  // what the provider asks for; nil: not known
	Doubled  []Host // the records at DOMAIN.DOMAIN
	Findings []Finding
}

// Wrong tells whether any finding is wrong.
func (r *Report) Wrong() bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Level == Wrong })
}

func (r *Report) add(level Level, code, format string, args ...any) {
	r.Findings = append(r.Findings, Finding{level, code, mailbox.Printable(fmt.Sprintf(format, args...))})
}

// Checker holds the records of a domain against what its provider asks for.
type Checker struct {
	Resolver  Resolver
	Providers Providers
	Own       Own
}

// Check asks DNS about a domain, now. When DNS fails, the state of the report is Unknown, and says why.
func (c Checker) Check(ctx context.Context, domain mailbox.DomainName) Report {
	var answer, doubled Answer[MX]
	twice, err := mailbox.ParseDomainName(domain.ASCII() + "." + domain.ASCII())
	var both sync.WaitGroup
	if err == nil { // otherwise it is too long to be there
		both.Go(func() { doubled = c.Resolver.LookupMX(ctx, twice) })
	} else {
		doubled.Outcome = NXDomain
	}
	answer = c.Resolver.LookupMX(ctx, domain)
	both.Wait()

	var r Report
	look := classifier{c.Resolver, c.Providers, c.Own}
	r.State, _ = look.classify(ctx, domain, answer)
	r.Records = r.State.Hosts
	if r.State.Kind == Unknown {
		for _, m := range answer.Records {
			r.Records = append(r.Records, Host{Preference: m.Preference, Name: m.Host, TTL: m.TTL})
		}
	}
	switch r.State.Kind {
	case None:
		if answer.Outcome == NXDomain {
			r.add(Wrong, FoundNoMX, "there is no domain %s in DNS", domain)
		} else {
			r.add(Wrong, FoundNoMX, "%s has no MX: mail goes to the address of the domain itself, if it has one", domain)
		}
	case Null:
		r.add(Advice, FoundNull, "%s says that it accepts no mail (null MX)", domain)
	}
	c.checkDoubled(ctx, &r, twice, doubled)
	c.checkPlan(&r, answer.Authoritative)
	c.checkHosts(ctx, &r, answer.Records)
	return r
}

// checkDoubled looks for the mistake that DNS panels invite to: the domain typed into the host name field.
func (c Checker) checkDoubled(ctx context.Context, r *Report, twice mailbox.DomainName, answer Answer[MX]) {
	domain := r.State.Domain
	switch {
	case answer.Outcome == Failed && r.State.Kind != Unknown:
		r.add(Advice, FoundFailed, "%s could not be looked up: %v", twice, answer.Err)
		return
	case answer.Outcome != Found || answer.Records[0].Root:
		return
	}
	for _, m := range answer.Records {
		h := Host{Preference: m.Preference, Name: m.Host, TTL: m.TTL, Ours: c.Own.hasHost(m.Host)}
		if p, ok := c.Providers.Of(m.Host); ok {
			h.Provider = p.Name
		}
		r.Doubled = append(r.Doubled, h)
	}
	if other, err := mailbox.ParseDomainName("wildcard-test." + domain.ASCII()); err == nil &&
		c.Resolver.LookupMX(ctx, other).Outcome == Found {
		r.Doubled = nil // every name below the domain has MX records: a wildcard, and no mistake
		return
	}
	if r.State.Kind == None {
		r.add(Wrong, FoundDoubled, "the MX records stand at %s: the domain was typed into the host name field, "+
			"where nothing (or @) belongs", twice)
		return
	}
	r.add(Advice, FoundDoubled, "there are MX records at %s as well, made by mistake: nobody sends mail there", twice)
}

// checkPlan compares the records with those that the provider asks for: the set that they are closest to.
func (c Checker) checkPlan(r *Report, authoritative bool) {
	for _, h := range r.Records {
		if p, ok := c.Providers.Of(h.Name); ok && p.Kind == HidesHost && !h.Ours {
			r.add(Advice, FoundGateway, "%s is a filter of %s: who keeps the mailboxes cannot be seen", h.Name, p.Name)
		}
	}
	provider, ok := c.planned(r.Records)
	if !ok {
		return
	}
	plan, err := provider.Plan(r.State.Domain)
	if err != nil {
		return // a domain too long for this provider: there is nothing to compare with
	}
	r.Plan = &plan
	best := difference(plan.Provider, plan.Records, r.Records, authoritative)
	if len(plan.Alternative) > 0 {
		other := difference(plan.Provider, plan.Alternative, r.Records, authoritative)
		if countWrong(other) < countWrong(best) {
			best = other
		}
	}
	r.Findings = append(r.Findings, best...)
}

// planned is the provider with a plan that runs most of the hosts, the preferred one among equals.
func (c Checker) planned(hosts []Host) (Provider, bool) {
	runs := make(map[string]int)
	var best Provider
	for _, h := range hosts {
		if p, ok := c.Providers.Of(h.Name); ok && p.HasPlan() && !h.Ours {
			runs[p.Name]++
		}
	}
	for _, h := range hosts {
		if p, ok := c.Providers.Of(h.Name); ok && runs[p.Name] > runs[best.Name] {
			best = p
		}
	}
	return best, runs[best.Name] > 0
}

func countWrong(findings []Finding) int {
	return len(slices.DeleteFunc(slices.Clone(findings), func(f Finding) bool { return f.Level != Wrong }))
}

// difference says how the hosts of a domain differ from a set of records.
func difference(provider Provider, records []Record, hosts []Host, authoritative bool) []Finding {
	var r Report
	used := make([]bool, len(hosts))
	for _, want := range records {
		at := fulfilling(want, hosts, used)
		if at < 0 {
			r.add(Wrong, FoundMissing, "missing: %d %s, which %s asks for", want.Priority, want.Host, provider.Name)
			continue
		}
		used[at] = true
		have := hosts[at]
		if have.Preference != want.Priority {
			r.add(Wrong, FoundPriority, "priority: %s has %d, %s asks for %d", have.Name, have.Preference, provider.Name,
				want.Priority)
		}
		// What comes out of a cache has a part of its TTL left; only more than asked for tells something.
		if have.TTL > want.TTL || authoritative && have.TTL != want.TTL {
			r.add(Advice, FoundTTL, "TTL: %s has %d, %s asks for %d", have.Name, have.TTL/time.Second, provider.Name,
				want.TTL/time.Second)
		}
	}
	for i, h := range hosts {
		switch {
		case used[i] || h.Name.IsZero(): // what is no host name has a finding of its own
		case h.Ours:
			r.add(Advice, FoundOurs, "%s is ours, beside those of %s", h.Name, provider.Name)
		case h.Provider != "" && h.Provider != provider.Name:
			r.add(Wrong, FoundExtra, "extra: %d %s, of %s and not of %s", h.Preference, h.Name, h.Provider, provider.Name)
		default:
			r.add(Wrong, FoundExtra, "extra: %d %s, which %s does not ask for", h.Preference, h.Name, provider.Name)
		}
	}
	return r.Findings
}

// fulfilling finds the host for a record: the one of its name, or else one that does as well. -1: none.
func fulfilling(want Record, hosts []Host, used []bool) int {
	at := -1
	for i, h := range hosts {
		switch {
		case used[i] || h.Name.IsZero():
		case h.Name == want.Host:
			return i
		case at < 0 && want.fulfilledBy(h.Name):
			at = i
		}
	}
	return at
}

// checkHosts looks whether mail can reach the MX hosts.
func (c Checker) checkHosts(ctx context.Context, r *Report, records []MX) {
	if r.State.Kind == Null {
		return
	}
	answers := make([]Answer[netip.Addr], len(records))
	var g errgroup.Group
	g.SetLimit(addressLookups)
	for i, m := range records {
		if m.Host.IsZero() || isAddress(m.Host) {
			continue
		}
		g.Go(func() error {
			answers[i] = c.Resolver.LookupAddr(ctx, m.Host)
			return nil
		})
	}
	_ = g.Wait() // none of them has an error: it is in the answer
	for i, m := range records {
		answer := answers[i]
		switch {
		case m.Root:
			r.add(Wrong, FoundNoHost, `"." (accept no mail) stands among other records, where it means nothing`)
		case m.Host.IsZero():
			r.add(Wrong, FoundNoHost, "the record of priority %d leads to something that is no host name", m.Preference)
		case isAddress(m.Host):
			r.add(Wrong, FoundNoHost, "%s is an address; a host name belongs there", m.Host)
		case answer.Outcome == Failed:
			r.add(Advice, FoundFailed, "%s could not be looked up: %v", m.Host, answer.Err)
		case answer.Outcome != Found:
			r.add(Wrong, FoundNoAddr, "%s has no address: mail cannot reach it", m.Host)
		}
		if answer.Alias != "" {
			r.add(Wrong, FoundAlias, "%s is an alias (CNAME) of %s; an MX host must not be one", m.Host, answer.Alias)
		}
	}
}

// isAddress tells whether somebody wrote an address where a host name belongs.
func isAddress(host mailbox.DomainName) bool {
	_, err := netip.ParseAddr(host.ASCII())
	return err == nil
}
