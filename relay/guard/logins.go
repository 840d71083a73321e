package guard

import (
	"net/netip"
	"strings"
	"time"

	"mxbypass/mailbox"
)

const (
	// firstDelay is that after one failure; with each further one it is twice as long.
	firstDelay = 250 * time.Millisecond
	// knownFor is how long a network where a name has succeeded is known for it.
	knownFor = 30 * 24 * time.Hour
	// knownNetworks is how many such networks a name has, the last ones.
	knownNetworks = 8
	// waiting is how many logins of a name may be under way from networks that are not known for it, as a multiple of the
	// failures that it may have: so many can be tried before the first of them is known to have failed.
	waiting = 4
	// waitingFor is when they are forgotten, if nobody says what became of them.
	waitingFor = time.Minute
)

// failures are the failed logins of a host, a network or a name.
type failures struct {
	bucket
	locked   int64 // until then
	underway int32 // logins that nothing is known of yet; names only
	since    int64 // when the first of them was allowed
}

// known are the networks from which a name has succeeded.
type known [knownNetworks]struct {
	network uint64
	at      int64
}

type logins struct {
	hosts, networks failureTable
	names           failureTable // of networks that are not known for the name
	pairs           failureTable // names from networks that are known for them
	good            *table[known]
}

func newLogins() logins {
	return logins{
		hosts: newFailures(), networks: newFailures(), names: newFailures(), pairs: newFailures(),
		good: newTable[known](namePlaces),
	}
}

// attempt is a login of somebody from somewhere.
type attempt struct {
	o       *Options
	now     int64
	addr    netip.Addr // plain; zero: from a unix socket
	name    []byte
	network netip.Prefix // zero without an address
}

func (g *Guard) attempt(addr netip.Addr, login string) attempt {
	a := attempt{o: g.options.Load(), now: g.clock(), addr: plain(addr), name: []byte(folded(login))}
	if a.addr.IsValid() {
		a.network = networkOf(a.addr)
	}
	return a
}

// folded gives a login as it is counted, so that it does not matter how it is spelt.
func folded(login string) string {
	s := strings.TrimSpace(login)
	if !strings.Contains(s, "@") {
		if i := strings.LastIndexByte(s, '%'); i >= 0 {
			s = s[:i] + "@" + s[i+1:]
		}
	}
	if a, err := mailbox.ParseAddress(s); err == nil {
		return a.Fold().Wire()
	}
	return strings.ToLower(s)
}

// pair is the key of a name and a network together. The name comes last, as it has no fixed length.
func (a *attempt) pair() []byte {
	octets := a.network.Addr().As16()
	return append(append(make([]byte, 0, 64), octets[:]...), a.name...)
}

// LoginAllowed tells whether a password may be tried, and after which delay. It must be followed by LoginFailed or
// LoginSucceeded, unless nobody could tell.
func (g *Guard) LoginAllowed(addr netip.Addr, login string) Verdict {
	a := g.attempt(addr, login)
	l, r := &g.logins, &a.o.Logins
	if l.isKnown(&a) {
		return l.pairs.judge(l.pairs.hash(a.pair()), a.now, r.Name, r.Slowest)
	}
	var v Verdict
	if a.counted() {
		v = worse(l.hosts.judge(l.hosts.hashOf(hostOf(a.addr)), a.now, r.Host, r.Slowest),
			l.networks.judge(l.networks.hashOf(a.network), a.now, r.Network, r.Slowest))
	}
	v = worse(v, l.names.judge(l.names.hash(a.name), a.now, r.Name, r.Slowest))
	if v.Err == nil && !l.begin(&a) {
		v.Err = ErrLocked
	}
	return v
}

// LoginFailed counts a wrong name or password.
func (g *Guard) LoginFailed(addr netip.Addr, login string) {
	a := g.attempt(addr, login)
	l, r := &g.logins, &a.o.Logins
	if l.isKnown(&a) {
		l.pairs.fail(l.pairs.hash(a.pair()), a.now, r.Name, r.Lock)
		return
	}
	l.end(&a)
	l.names.fail(l.names.hash(a.name), a.now, r.Name, r.Lock)
	if a.counted() {
		l.hosts.fail(l.hosts.hashOf(hostOf(a.addr)), a.now, r.Host, r.Lock)
		l.networks.fail(l.networks.hashOf(a.network), a.now, r.Network, r.Lock)
	}
}

// LoginSucceeded remembers where a login has succeeded. It forgives failures from there only: whoever has one password
// may be guessing those of others, and somebody else may be guessing this one.
func (g *Guard) LoginSucceeded(addr netip.Addr, login string) {
	a := g.attempt(addr, login)
	if !g.logins.isKnown(&a) {
		g.logins.end(&a)
	}
	g.logins.remember(&a)
	t := g.logins.pairs
	t.look(t.hash(a.pair()), func(f *failures) { *f = failures{} })
}

// counted tells whether the address of the client has counters.
func (a *attempt) counted() bool { return a.addr.IsValid() && !a.o.exempt(a.addr) }

// isKnown tells whether the name has succeeded from this network.
func (l *logins) isKnown(a *attempt) (ok bool) {
	network := l.good.hashOf(a.network)
	l.good.look(l.good.hash(a.name), func(k *known) {
		for _, n := range k {
			ok = ok || n.network == network && a.now-n.at < int64(knownFor)
		}
	})
	return ok
}

// remember makes the network known for the name, in the place of the one that was used least lately.
func (l *logins) remember(a *attempt) {
	network := l.good.hashOf(a.network)
	l.good.change(l.good.hash(a.name), (*known).last, func(k *known) {
		oldest := 0
		for i, n := range k {
			if n.network == network {
				k[i].at = a.now
				return
			}
			if n.network == 0 || k[oldest].network != 0 && n.at < k[oldest].at {
				oldest = i
			}
		}
		k[oldest].network, k[oldest].at = network, a.now
	})
}

// last is when the name has succeeded last.
func (k *known) last() (at int64) {
	for _, n := range k {
		at = max(at, n.at)
	}
	return at
}

// begin notes a login that is under way, unless there are too many.
func (l *logins) begin(a *attempt) (ok bool) {
	r := a.o.Logins.Name
	if r.none() {
		return true
	}
	l.names.change(l.names.hash(a.name), weightAt(a.now), func(f *failures) {
		if f.underway == 0 || a.now-f.since > int64(waitingFor) {
			f.underway, f.since = 0, a.now
		}
		if ok = int(f.underway) < waiting*r.Count; ok {
			f.underway++
		}
	})
	return ok
}

func (l *logins) end(a *attempt) {
	l.names.look(l.names.hash(a.name), func(f *failures) { f.underway = max(f.underway-1, 0) })
}
