package guard

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// How many are remembered at a time.
const (
	hostPlaces    = 1 << 16
	networkPlaces = 1 << 15
	failurePlaces = 1 << 14 // each: of hosts, networks, names, and names from networks where they have succeeded
	namePlaces    = 1 << 15 // names that have succeeded
)

// Guard has the counters. It is safe for concurrent use, and has nothing to close.
type Guard struct {
	options atomic.Pointer[Options]
	now     func() time.Time
	start   time.Time

	hosts, networks *table[counters]
	logins          logins

	mu     sync.Mutex
	atOnce map[netip.Prefix]int // connections of each network that has one
}

// counters are those of a client.
type counters struct {
	connections, messages, recipients, unknown bucket
}

// New makes a guard that has seen nobody.
func New(o Options) *Guard {
	g := &Guard{
		now:      o.Now,
		hosts:    newTable[counters](hostPlaces),
		networks: newTable[counters](networkPlaces),
		logins:   newLogins(),
		atOnce:   map[netip.Prefix]int{},
	}
	if g.now == nil {
		g.now = time.Now
	}
	g.start = g.now()
	g.options.Store(&o)
	return g
}

// Update gives it other limits. What was counted stays.
func (g *Guard) Update(o Options) { g.options.Store(&o) }

// clock is the time since the start, on the clock that never goes back.
func (g *Guard) clock() int64 { return int64(g.now().Sub(g.start)) }

// Connect counts a connection. release ends it, and is to be called once; it does nothing after a refusal.
func (g *Guard) Connect(addr netip.Addr) (release func(), v Verdict) {
	release = func() {}
	addr = plain(addr)
	if !addr.IsValid() {
		return release, v
	}
	o := g.options.Load()
	if addr.IsLoopback() {
		return release, v
	}
	network := networkOf(addr)
	if !g.enter(network, o.AtOnce) {
		return release, Verdict{Err: ErrNetworkFull}
	}
	if v = g.count(o, addr, connection); v.Err != nil {
		g.leave(network)
		return release, v
	}
	return func() { g.leave(network) }, v
}

// Message counts a message that is about to begin.
func (g *Guard) Message(addr netip.Addr) Verdict { return g.count(g.options.Load(), addr, message) }

// Recipient counts a recipient that exists. It is refused as well when there is no room for one that does not.
func (g *Guard) Recipient(addr netip.Addr) Verdict { return g.count(g.options.Load(), addr, recipient) }

// Unknown counts a recipient that does not exist. With an error the client is to be told that, and not that the recipient
// is unknown: it would know of the others that they are not.
func (g *Guard) Unknown(addr netip.Addr) Verdict { return g.count(g.options.Load(), addr, unknown) }

// kind is something that is counted.
type kind int

const (
	connection kind = iota
	message
	recipient
	unknown
)

// of gives what belongs to a kind.
func (k kind) of(c *counters, r *Rates) (*bucket, Rate) {
	switch k {
	case connection:
		return &c.connections, r.Connections
	case message:
		return &c.messages, r.Messages
	case recipient:
		return &c.recipients, r.Recipients
	}
	return &c.unknown, r.Unknown
}

func (k kind) err() error {
	switch k {
	case connection:
		return ErrTooOften
	case unknown:
		return ErrTooManyUnknown
	}
	return ErrTooFast
}

// count counts one for the host and its network. What the network refuses is given back to the host.
func (g *Guard) count(o *Options, addr netip.Addr, k kind) Verdict {
	if addr = plain(addr); !addr.IsValid() || o.free(addr) {
		return Verdict{}
	}
	now := g.clock()
	host, of := hostOf(addr), networkOf(addr)
	share, err := take(g.hosts, host, &o.Host, now, k)
	if err != nil {
		return Verdict{o.Slowest, err}
	}
	wide, err := take(g.networks, of, &o.Network, now, k)
	if err != nil {
		g.hosts.look(g.hosts.hashOf(host), func(c *counters) {
			b, r := k.of(c, &o.Host)
			b.back(r)
		})
		return Verdict{o.Slowest, err}
	}
	return Verdict{Delay: slowed(max(share, wide), o.SlowFrom, o.Slowest)}
}

// take counts one in a table.
func take(t *table[counters], p netip.Prefix, rates *Rates, now int64, k kind) (share float64, err error) {
	weigh := func(c *counters) int64 { return c.weight(now) }
	t.change(t.hashOf(p), weigh, func(c *counters) {
		if k == recipient && c.unknown.exhausted(now, rates.Unknown) {
			err = ErrTooManyUnknown
			return
		}
		b, r := k.of(c, rates)
		var ok bool
		if share, ok = b.take(now, r); !ok {
			err = k.err()
		}
	})
	return share, err
}

// weight is for how long there is something to remember.
func (c *counters) weight(now int64) int64 {
	return int64(max(c.connections, c.messages, c.recipients, c.unknown)) - now
}

// enter counts a connection of a network, if it may have one more.
func (g *Guard) enter(network netip.Prefix, most int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.atOnce[network]
	if most > 0 && n >= most {
		return false
	}
	g.atOnce[network] = n + 1
	return true
}

func (g *Guard) leave(network netip.Prefix) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.atOnce[network]--; g.atOnce[network] <= 0 {
		delete(g.atOnce, network)
	}
}
