package outbound

import (
	"context"
	"sync"
	"time"

	"mxbypass/mailbox"
	"mxbypass/routing"
)

const (
	// How long a plan is used, whatever DNS says.
	minPlan, maxPlan = 30 * time.Second, time.Hour
	// failedPlan is how long it is remembered that there is none: for those who ask just now.
	failedPlan = time.Second
	maxPlans   = 10_000
)

// plan is where a hop leads: the addresses to try, in order, or why there are none.
type plan struct {
	targets []target
	failure *Failure
	until   time.Time
}

// plan finds out where a hop leads, or remembers. However many want to know, one at a time asks DNS.
func (c *Client) plan(ctx context.Context, hop routing.Hop) ([]target, *Failure) {
	hop.Need = routing.NeedPolicy // the rules of a target are for all needs
	for {
		p, running, known := c.plans.begin(hop)
		switch {
		case known:
		case running != nil:
			select {
			case <-running:
				continue
			case <-ctx.Done():
				return nil, failureOf(context.Cause(ctx), "", "")
			}
		default:
			p = c.lookUp(ctx, hop)
		}
		if p.failure != nil {
			f := *p.failure // everybody's own
			return nil, &f
		}
		return p.targets, nil
	}
}

// lookUp asks DNS for all who wait. What was broken off says nothing to them.
func (c *Client) lookUp(ctx context.Context, hop routing.Hop) (p plan) {
	useful := false
	defer func() { c.plans.end(hop, p, useful) }()
	p = c.find(ctx, hop)
	useful = p.failure == nil || p.failure.Permanent || ctx.Err() == nil
	return p
}

// find makes the plan of a hop.
func (c *Client) find(ctx context.Context, hop routing.Hop) plan {
	switch {
	case hop.Kind == routing.HopServer:
		return c.planServer(ctx, hop.Server)
	case hop.Kind != routing.HopSmarthost:
		return c.planMX(ctx, hop)
	case c.o.Smarthost == nil:
		return c.noPlan(&Failure{Scope: ScopeDestination, Enhanced: [3]int{4, 3, 5},
			Text: "the configuration has no smarthost any more"})
	}
	return c.planServer(ctx, c.o.Smarthost.Host)
}

func (c *Client) noPlan(f *Failure) plan { return plan{failure: f, until: c.o.Now().Add(failedPlan)} }

// planServer is the plan of a server that the operator names. What is wrong with it he will mend: no mail is lost by it.
func (c *Client) planServer(ctx context.Context, s mailbox.NextHop) plan {
	l := &lookups{c: c, ctx: ctx, port: s.Port, ttl: maxPlan, domain: c.o.Policies.Server(s.Host), sure: true, signed: true}
	found, _ := l.addresses(exchanger{name: s.Host})
	if len(found) > 0 {
		return l.plan(found)
	}
	f := l.nothing(s.Host)
	if f.Permanent {
		f.Permanent, f.Enhanced = false, [3]int{4, 3, 5}
	}
	return c.noPlan(f)
}

// plans keeps plans for a while.
type plans struct {
	now func() time.Time

	mu      sync.Mutex
	kept    map[routing.Hop]plan
	running map[routing.Hop]chan struct{}
}

// begin gives a plan that is known, or the end of the lookup that is running. Otherwise the caller has to look it up, and
// to call end.
func (p *plans) begin(hop routing.Hop) (kept plan, running <-chan struct{}, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if kept, ok := p.kept[hop]; ok && p.now().Before(kept.until) {
		return kept, nil, true
	}
	if done := p.running[hop]; done != nil {
		return plan{}, done, false
	}
	p.running[hop] = make(chan struct{})
	return plan{}, nil, false
}

// end keeps a plan when it is useful, and wakes those who wait for it.
func (p *plans) end(hop routing.Hop, fresh plan, useful bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if useful {
		makeRoom(p.kept, maxPlans, func(old plan) bool { return !p.now().Before(old.until) })
		p.kept[hop] = fresh
	}
	close(p.running[hop])
	delete(p.running, hop)
}

// forget has a hop looked up again: none of its servers could be reached.
func (p *plans) forget(hop routing.Hop) {
	hop.Need = routing.NeedPolicy
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
