package outbound

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"mxbypass/mailbox"
	"mxbypass/relay/tlspolicy"
	"mxbypass/routing"
	"mxbypass/routing/mx"
)

const (
	// maxTargets is how many addresses are tried for one connection, as Postfix and Exim do.
	maxTargets = 5
	// maxHosts is how many MX hosts are looked up for them.
	maxHosts = 10
)

// target is one address of a server.
type target struct {
	name  mailbox.DomainName
	addr  netip.AddrPort
	rules *tlspolicy.Rules // never nil
}

// host names the target for people: "name[address]".
func (t target) host() string {
	if t.name.IsLiteral() {
		return t.name.ASCII()
	}
	return t.name.ASCII() + "[" + t.addr.Addr().String() + "]"
}

// exchanger is a host with its preference.
type exchanger struct {
	name       mailbox.DomainName
	preference uint16
}

// ranked is a target with the preference of its host.
type ranked struct {
	target
	preference uint16
}

// lookups are the questions to DNS for one plan.
type lookups struct {
	c    *Client
	ctx  context.Context //nolint:containedctx // it lives for one plan
	port uint16
	mx   bool // the hosts are somebody else's word, and can be us
	ttl  time.Duration

	domain *tlspolicy.Domain // what the hosts have in common
	sure   bool              // nobody who could lie has named the hosts
	signed bool              // the way to the names of the hosts is secure

	asked int     // hosts
	errs  []error // of lookups that failed
}

// planMX is the plan of a domain (RFC 5321 section 5.1) or an address literal.
func (c *Client) planMX(ctx context.Context, hop routing.Hop) plan {
	l := &lookups{c: c, ctx: ctx, port: c.o.MXPort, ttl: maxPlan, mx: true}
	hosts, f := l.exchangers(hop.Domain)
	if f != nil {
		return c.noPlan(f)
	}
	l.domain = c.o.Policies.Domain(ctx, hop.Domain)
	if policy, failure, bad := l.domain.Problem(); bad {
		l.keep(0) // look again soon
		if c.o.Reports != nil && failure.Type != "" {
			c.o.Reports.Record(policy, failure)
		}
	}
	hosts, loop := c.withoutUs(hop.Kind, hosts)
	var found []ranked
	for _, h := range hosts {
		if l.asked == maxHosts || len(found) >= 4*maxTargets {
			break
		}
		addrs, ours := l.addresses(h)
		if !ours {
			found = append(found, addrs...)
			continue
		}
		loop = true
		if hop.Kind == routing.HopMX { // who is not better than us would send it to us
			found = slices.DeleteFunc(found, func(r ranked) bool { return r.preference >= h.preference })
			break
		}
	}
	switch {
	case len(found) > 0:
		return l.plan(l.allowed(hop, found))
	case !loop || len(l.errs) > 0: // one that cannot be looked up now may be better than us
		return c.noPlan(l.nothing(hop.Domain))
	case hop.Kind == routing.HopExternal:
		return c.noPlan(looping("every host for the mail of %s is this one: it would loop back to us", hop.Domain))
	}
	return c.noPlan(looping("mail for %s loops back to us: no host for it is better than this one", hop.Domain))
}

func looping(format string, d mailbox.DomainName) *Failure {
	return dnsFailure(true, [3]int{5, 4, 6}, fmt.Sprintf(format, d), nil)
}

// withoutUs cuts the hosts that are ours by name, and those that are not better. That needs no lookup.
func (c *Client) withoutUs(kind routing.HopKind, hosts []exchanger) (others []exchanger, loop bool) {
	ours := func(h exchanger) bool { return slices.Contains(c.o.Own.Hosts, h.name) }
	first := slices.IndexFunc(hosts, ours)
	switch {
	case first < 0:
		return hosts, false
	case kind == routing.HopExternal:
		return slices.DeleteFunc(hosts, ours), true
	}
	best := hosts[first].preference
	return slices.DeleteFunc(hosts, func(h exchanger) bool { return h.preference >= best }), true
}

// exchangers gives the hosts of a domain, best first, shuffled among equals.
func (l *lookups) exchangers(d mailbox.DomainName) ([]exchanger, *Failure) {
	if d.IsLiteral() {
		l.sure = true
		return []exchanger{{name: d}}, nil
	}
	a := l.c.o.Resolver.LookupMX(l.ctx, d)
	l.keep(a.TTL)
	l.sure, l.signed = a.Secure || a.Outcome == mx.NoData, a.Secure
	switch a.Outcome {
	case mx.Failed:
		return nil, dnsFailure(false, [3]int{4, 4, 3}, words(a.Err), a.Err) // it names the domain
	case mx.NXDomain:
		return nil, dnsFailure(true, [3]int{5, 1, 2}, "there is no domain "+d.ASCII(), nil)
	case mx.NoData:
		return []exchanger{{name: d}}, nil
	}
	if len(a.Records) == 1 && a.Records[0].Root {
		return nil, dnsFailure(true, [3]int{5, 1, 10}, d.ASCII()+" accepts no mail: it has a null MX (556, RFC 7505)", nil)
	}
	var hosts []exchanger
	for _, r := range a.Records {
		if !r.Host.IsZero() {
			hosts = append(hosts, exchanger{r.Host, r.Preference})
		}
	}
	rand.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
	slices.SortStableFunc(hosts, func(a, b exchanger) int { return int(a.preference) - int(b.preference) })
	return hosts, nil
}

// addresses gives the addresses of a host, both families in turn, without those that nobody can be at, and tells whether
// the host is ours.
func (l *lookups) addresses(h exchanger) (found []ranked, ours bool) {
	l.asked++
	addrs, alias, secure := l.records(h.name)
	ours = l.mx && slices.Contains(l.c.o.Own.Hosts, alias)
	if len(addrs) == 0 || ours {
		return nil, ours
	}
	rules := l.rulesOf(h, alias.ASCII(), secure)
	var v4, v6 []ranked
	for _, a := range addrs {
		a = a.Unmap()
		own := l.mx && (slices.Contains(l.c.o.Own.Addrs, a) || a.IsLoopback() && !l.c.o.AllowLoopback)
		ours = ours || own
		r := ranked{target{h.name, netip.AddrPortFrom(a, l.port), rules}, h.preference}
		switch {
		case own, a.IsUnspecified(), a.IsMulticast(), a.IsLinkLocalUnicast(), a == broadcast:
		case a.Is4():
			v4 = append(v4, r)
		default:
			v6 = append(v6, r)
		}
	}
	return inTurn(shuffled(v6), shuffled(v4)), ours
}

// records looks a host up. The alias is the name at the end of its CNAMEs, zero when there are none.
func (l *lookups) records(host mailbox.DomainName) (addrs []netip.Addr, alias mailbox.DomainName, secure bool) {
	if host.IsLiteral() {
		if a, err := netip.ParseAddr(inLiteral(host)); err == nil {
			addrs = append(addrs, a)
		}
		return addrs, mailbox.DomainName{}, false
	}
	a := l.c.o.Resolver.LookupAddr(l.ctx, host)
	l.keep(a.TTL)
	switch {
	case a.Err != nil:
		l.errs = append(l.errs, a.Err)
	case a.Outcome == mx.Failed:
		l.errs = append(l.errs, fmt.Errorf("looking up %s failed", host))
	}
	if a.Alias != "" {
		alias, _ = mailbox.ParseDomainName(a.Alias) // what is no host name is none of ours
	}
	return a.Records, alias, a.Secure
}

// inLiteral is the address in an address literal.
func inLiteral(d mailbox.DomainName) string {
	return strings.TrimPrefix(strings.Trim(d.ASCII(), "[]"), "IPv6:")
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

func shuffled(r []ranked) []ranked {
	rand.Shuffle(len(r), func(i, j int) { r[i], r[j] = r[j], r[i] })
	return r
}

// inTurn merges two lists, one of each at a time.
func inTurn(a, b []ranked) []ranked {
	all := make([]ranked, 0, len(a)+len(b))
	for i := range max(len(a), len(b)) {
		if i < len(a) {
			all = append(all, a[i])
		}
		if i < len(b) {
			all = append(all, b[i])
		}
	}
	return all
}

// keep notes how long an answer is good.
func (l *lookups) keep(ttl time.Duration) { l.ttl = min(l.ttl, max(ttl, minPlan)) }

// plan takes the addresses to try.
func (l *lookups) plan(found []ranked) plan {
	p := plan{until: l.c.o.Now().Add(l.ttl)}
	for _, r := range choose(found) {
		p.targets = append(p.targets, r.target)
	}
	if len(l.errs) > 0 { // something is missing: look again soon
		p.until = l.c.o.Now().Add(minPlan)
	}
	return p
}

// choose takes the first addresses, each once. A host that is down must not use up all tries, and neither must a family
// of addresses that does not work here: the last two places are for another host and for the other family, where the
// better ones do not have them anyway.
func choose(found []ranked) []ranked {
	var unique []ranked
	for _, r := range found {
		if !slices.ContainsFunc(unique, func(u ranked) bool { return u.addr == r.addr }) {
			unique = append(unique, r)
		}
	}
	if len(unique) <= maxTargets {
		return unique
	}
	first, rest := slices.Clone(unique[:maxTargets]), unique[maxTargets:]
	place := maxTargets - 1
	for _, alike := range []func(a, b ranked) bool{
		func(a, b ranked) bool { return a.name == b.name },
		func(a, b ranked) bool { return a.addr.Addr().Is4() == b.addr.Addr().Is4() },
	} {
		other := slices.IndexFunc(rest, func(r ranked) bool {
			return !slices.ContainsFunc(first, func(f ranked) bool { return alike(f, r) })
		})
		if other >= 0 {
			first[place] = rest[other]
			place--
		}
	}
	return first
}

// nothing is the failure of a name that leads to no address.
func (l *lookups) nothing(d mailbox.DomainName) *Failure {
	if err := errors.Join(l.errs...); err != nil {
		return dnsFailure(false, [3]int{4, 4, 3}, words(err), err)
	}
	return dnsFailure(true, [3]int{5, 4, 4}, "no host of "+d.ASCII()+" has an address that can be connected to", nil)
}
