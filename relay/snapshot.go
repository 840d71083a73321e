package relay

import (
	"context"
	"net/netip"
	"sync/atomic"

	"mxbypass/mailbox"
	"mxbypass/relay/delivery"
	"mxbypass/relay/dispatch"
	"mxbypass/relay/inbound"
	"mxbypass/relay/reply"
	"mxbypass/routing"
)

// snapshot is one configuration as the sessions see it. It counts its users, and is closed after the last of them.
type snapshot struct {
	router    Router
	deliverer *delivery.Deliverer
	outgoing  *dispatch.Environment
	trusted   []netip.Prefix
	trust     inbound.Trust
	close     func() error

	refs atomic.Int64 // one of them is the relay's own, while this is the current one
	idle chan struct{}
}

var _ inbound.Core = (*snapshot)(nil)

func newSnapshot(p Parts, d *delivery.Deliverer) *snapshot {
	hostname, _ := mailbox.ParseDomainName(p.Hostname) // the front has checked it
	s := &snapshot{router: p.Router, deliverer: d, trusted: p.Trusted, trust: p.Trust, close: p.Close,
		idle: make(chan struct{})}
	s.outgoing = &dispatch.Environment{
		Hostname:      hostname,
		Postmaster:    p.Outgoing.Postmaster,
		Connect:       p.Outgoing.Connect,
		Stores:        p.Stores,
		Route:         s.Route,
		Rewrite:       p.Outgoing.Rewrite,
		Schedule:      p.Outgoing.Schedule,
		Limits:        p.Outgoing.Limits,
		DoubleBounces: p.Outgoing.DoubleBounces,
	}
	s.refs.Store(1)
	return s
}

// release gives back one use.
func (s *snapshot) release() {
	if s.refs.Add(-1) == 0 {
		close(s.idle)
	}
}

// Route implements [inbound.Core].
func (s *snapshot) Route(ctx context.Context, p mailbox.Path, c routing.Client) routing.Route {
	return s.router.Route(ctx, p, c)
}

// Deliver implements [inbound.Core].
func (s *snapshot) Deliver(ctx context.Context, m *mailbox.Message, to []routing.Target, each bool) []reply.Outcome {
	return s.deliverer.Deliver(ctx, m, to, each)
}

// Trust implements [inbound.Core].
func (s *snapshot) Trust() *inbound.Trust { return &s.trust }

// Trusted implements [inbound.Core].
func (s *snapshot) Trusted(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	for _, p := range s.trusted {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
