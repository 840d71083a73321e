package outbound

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"mxbypass/mailbox"
	"mxbypass/routing"
	"mxbypass/routing/mx"
)

const (
	// maxTargets is how many addresses are tried for one connection, as Postfix and Exim do.
	maxTargets = 5
	// maxHosts is how many MX hosts are looked up for them.
	maxHosts = 10

	// How long a plan is used, whatever DNS says.
	minPlan, maxPlan = 30 * time.Second, time.Hour
	maxPlans         = 10_000
)

// target is one address of a server.
type target struct {
	name mailbox.DomainName
	addr netip.AddrPort
}

// host names the target for people: "name[address]".
func (t target) host() string {
	if t.name.IsLiteral() {
		return t.name.ASCII()
	}
	return t.name.ASCII() + "[" + t.addr.Addr().String() + "]"
}

// plan is where a hop leads: the addresses to try, in order.
type plan struct {
	targets []target
	until   time.Time
}

// exchanger is a host with its preference.
type exchanger struct {
	name       mailbox.DomainName
	preference uint16
}

// plan finds out where a hop leads, or remembers.
func (c *Client) plan(ctx context.Context, hop routing.Hop) ([]target, *Failure) {
	if kept, ok := c.plans.get(hop); ok {
		return kept.targets, nil
	}
	var p plan
	var f *Failure
	switch hop.Kind {
	case routing.HopServer:
		p, f = c.planServer(ctx, hop.Server)
	case routing.HopSmarthost:
		if c.o.Smarthost == nil {
			return nil, dnsFailure(false, 0, [3]int{4, 3, 5}, "the configuration has no smarthost any more", nil)
		}
		p, f = c.planServer(ctx, c.o.Smarthost.Host)
	default:
		p, f = c.planMX(ctx, hop)
	}
	if f != nil {
		return nil, f
	}
	c.plans.keep(hop, p)
	return p.targets, nil
}

// planServer is the plan of a server that is named.
func (c *Client) planServer(ctx context.Context, s mailbox.NextHop) (plan, *Failure) {
	l := &lookups{c: c, ctx: ctx, port: s.Port, ttl: maxPlan}
	found := l.addresses(exchanger{name: s.Host})
	if len(found) == 0 {
		return plan{}, l.nothing(s.Host.ASCII())
	}
	return l.plan(found), nil
}

// planMX is the plan of a domain (RFC 5321 section 5.1).
func (c *Client) planMX(ctx context.Context, hop routing.Hop) (plan, *Failure) {
	l := &lookups{c: c, ctx: ctx, port: c.o.MXPort, ttl: maxPlan, mx: !hop.Domain.IsLiteral()}
	hosts, f := l.exchangers(hop)
	if f != nil {
		return plan{}, f
	}
	var found []ranked
	loop := false
	for _, h := range hosts {
		if l.asked == maxHosts || len(found) >= 4*maxTargets {
			break
		}
		ours := l.mx && slices.Contains(c.o.Own.Hosts, h.name)
		var addrs []ranked
		if !ours {
			addrs = l.addresses(h)
			ours = l.ours
		}
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
		return l.plan(found), nil
	case loop:
		return plan{}, dnsFailure(true, 0, [3]int{5, 4, 6}, fmt.Sprintf("mail for %s loops back to us: no MX host of it is better "+
			"than this one", hop.Domain), nil)
	}
	return plan{}, l.nothing(hop.Domain.ASCII())
}

// lookups are the questions to DNS for one plan.
type lookups struct {
	c     *Client
	ctx   context.Context //nolint:containedctx // it lives for one plan
	port  uint16
	mx    bool // the hosts are somebody else's word
	ttl   time.Duration
	asked int
	ours  bool    // the last host that was looked up is us
	errs  []error // of lookups that failed
}

// ranked is a target with the preference of its host.
type ranked struct {
	target
	preference uint16
}

// exchangers gives the hosts of a domain, best first, shuffled among equals.
func (l *lookups) exchangers(hop routing.Hop) ([]exchanger, *Failure) {
	d := hop.Domain
	if d.IsLiteral() {
		return []exchanger{{name: d}}, nil
	}
	a := l.c.o.Resolver.LookupMX(l.ctx, d)
	switch a.Outcome {
	case mx.Failed:
		return nil, dnsFailure(false, 0, [3]int{4, 4, 3}, words(a.Err), a.Err) // it names the domain
	case mx.NXDomain:
		return nil, dnsFailure(true, 0, [3]int{5, 1, 2}, "there is no domain "+d.ASCII(), nil)
	case mx.NoData:
		l.keep(a.TTL)
		return []exchanger{{name: d}}, nil
	}
	l.keep(a.TTL)
	if len(a.Records) == 1 && a.Records[0].Root {
		return nil, dnsFailure(true, 556, [3]int{5, 1, 10}, d.ASCII()+" accepts no mail: it has a null MX", nil)
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

// addresses gives the addresses of a host, both families in turn, without those that nobody can be at.
func (l *lookups) addresses(h exchanger) []ranked {
	l.asked++
	l.ours = false
	var addrs []netip.Addr
	if h.name.IsLiteral() {
		a, err := netip.ParseAddr(strings.TrimPrefix(strings.Trim(h.name.ASCII(), "[]"), "IPv6:"))
		if err == nil {
			addrs = []netip.Addr{a}
		}
	} else {
		a := l.c.o.Resolver.LookupAddr(l.ctx, h.name)
		if a.Err != nil {
			l.errs = append(l.errs, a.Err)
		}
		l.keep(a.TTL)
		addrs = a.Records
	}
	var v4, v6 []ranked
	for _, a := range addrs {
		a = a.Unmap()
		own := l.mx && (slices.Contains(l.c.o.Own.Addrs, a) || a.IsLoopback() && !l.c.o.AllowLoopback)
		l.ours = l.ours || own
		r := ranked{target{h.name, netip.AddrPortFrom(a, l.port)}, h.preference}
		switch {
		case own, a.IsUnspecified(), a.IsMulticast(), a.IsLinkLocalUnicast(), a == broadcast:
		case a.Is4():
			v4 = append(v4, r)
		default:
			v6 = append(v6, r)
		}
	}
	return inTurn(shuffled(v6), shuffled(v4))
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

// plan takes the first of what was found. When they are all of one family, and the other one is there, the last of them
// makes room for it: a family that does not work here must not use up all tries.
func (l *lookups) plan(found []ranked) plan {
	first := found[:min(len(found), maxTargets)]
	for _, r := range found[len(first):] {
		if !slices.ContainsFunc(first, func(f ranked) bool { return f.addr.Addr().Is4() == r.addr.Addr().Is4() }) {
			first = append(slices.Clone(first[:maxTargets-1]), r)
			break
		}
	}
	p := plan{until: l.c.o.Now().Add(l.ttl)}
	for _, r := range first {
		p.targets = append(p.targets, r.target)
	}
	if len(l.errs) > 0 { // something is missing: look again soon
		p.until = l.c.o.Now().Add(minPlan)
	}
	return p
}

// nothing is the failure of a name that leads to no address.
func (l *lookups) nothing(name string) *Failure {
	if err := errors.Join(l.errs...); err != nil {
		return dnsFailure(false, 0, [3]int{4, 4, 3}, words(err), err)
	}
	return dnsFailure(true, 0, [3]int{5, 4, 4}, "no host of "+name+" has an address that can be connected to", nil)
}

// words gives an error in one line.
func words(err error) string {
	if err == nil {
		return "no reason given"
	}
	return clip(strings.ReplaceAll(err.Error(), "\n", "; "))
}

// plans keeps plans for a while.
type plans struct {
	now func() time.Time

	mu   sync.Mutex
	kept map[routing.Hop]plan
}

func (p *plans) get(hop routing.Hop) (plan, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	kept, ok := p.kept[hop]
	return kept, ok && p.now().Before(kept.until)
}

func (p *plans) keep(hop routing.Hop, fresh plan) {
	p.mu.Lock()
	defer p.mu.Unlock()
	makeRoom(p.kept, maxPlans, func(old plan) bool { return !p.now().Before(old.until) })
	p.kept[hop] = fresh
}

// forget has a hop looked up again: none of its servers could be reached.
func (p *plans) forget(hop routing.Hop) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.kept, hop)
}

// makeRoom keeps a map below its bound: first what is over goes, then anything.
func makeRoom[K comparable, V any](m map[K]V, bound int, over func(V) bool) {
	if len(m) < bound {
		return
	}
	for k, v := range m {
		if over(v) {
			delete(m, k)
		}
	}
	for k := range m {
		if len(m) < bound*9/10 {
			return
		}
		delete(m, k)
	}
}
