package greylist

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"mxbypass/mailbox"
)

// ErrGreylisted: the sender is not known yet. A server that tries again after the delay is.
var ErrGreylisted = errors.New("greylisted")

const (
	saveEvery = time.Minute
	// networkShare is the part of the triples that wait which may be of one network, as a divisor.
	networkShare = 50
	// fullEvery is how often it is said that there is no place for new triples.
	fullEvery = time.Minute
)

// Options of [Open]. All but Servers and Now must be given.
type Options struct {
	Path     string        // of the file
	Delay    time.Duration // from the first attempt to the one that is accepted
	Within   time.Duration // the longest time between the two
	Lifetime time.Duration // for which what is known stays known after its last use
	Servers  int           // triples that must have become known for a network to be one of servers; zero: none ever is
	Entries  int           // the most triples that wait, triples that are known, and networks: so many of each
	Log      *slog.Logger
	Now      func() time.Time // nil: [time.Now]
}

// List is a greylist. It is safe for concurrent use; one process at a time uses a file.
type List struct {
	o    Options
	now  func() time.Time
	stop chan struct{} // closed by Close
	done chan struct{} // closed when the saver has ended

	mu       sync.Mutex
	waiting  *memory // triples, since their first attempt
	passed   *memory // triples that are known, since their last use
	networks *memory // networks with triples that are known, since their last use
	changed  bool
	full     time.Time // when that was said
}

// key is the hash of a triple, or of a network.
type key [16]byte

// Open reads the file, which need not exist, and begins to keep it. A damaged file is moved to Path.damaged, and said in
// the log. An error means that it is there and cannot be read.
func Open(o Options) (*List, error) {
	if o.Path == "" || o.Log == nil || o.Delay <= 0 || o.Within <= o.Delay || o.Lifetime <= 0 || o.Entries <= 0 {
		return nil, errors.New("greylist: incomplete options")
	}
	l := &List{o: o, now: o.Now, stop: make(chan struct{}), done: make(chan struct{})}
	if l.now == nil {
		l.now = time.Now
	}
	l.forget()
	if err := l.load(); err != nil {
		return nil, fmt.Errorf("greylist: %w", err)
	}
	go l.saver()
	return l, nil
}

// forget makes it empty.
func (l *List) forget() { l.waiting, l.passed, l.networks = newMemory(), newMemory(), newMemory() }

// Close writes what has changed, and ends. It is to be called once.
func (l *List) Close() error {
	close(l.stop)
	<-l.done
	if err := l.save(); err != nil {
		return fmt.Errorf("greylist: %w", err)
	}
	return nil
}

// saver writes the file now and then.
func (l *List) saver() {
	defer close(l.done)
	t := time.NewTicker(saveEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			if err := l.save(); err != nil {
				l.o.Log.Error("the greylist cannot be written: it will be forgotten", "error", err)
			}
		case <-l.stop:
			return
		}
	}
}

// Check tells whether this client may send from sender to recipient now. If not, the error is [ErrGreylisted], and wait
// is the time after which it may.
func (l *List) Check(addr netip.Addr, sender, recipient mailbox.Address) (wait time.Duration, err error) {
	network := networkOf(addr)
	triple := tripleOf(network, sender, recipient)
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if l.isServer(network, now) || l.isPassed(triple, now) {
		return 0, nil
	}
	r := l.waiting.get(triple)
	if r == nil {
		return l.first(triple, network, now)
	}
	age := now.Sub(time.Unix(r.at, 0))
	switch {
	case age < 0 || age > l.o.Within: // the clock was set, or it comes too late
		l.waiting.remove(triple)
		return l.first(triple, network, now)
	case age < l.o.Delay:
		return l.o.Delay - age, ErrGreylisted
	}
	l.pass(triple, network, now)
	return 0, nil
}

// first is the first attempt of a triple.
func (l *List) first(triple, network key, now time.Time) (time.Duration, error) {
	if l.waiting.own[network].n >= max(l.o.Entries/networkShare, 1) {
		oldest := l.waiting.oldestOf(network)
		if now.Sub(time.Unix(oldest.at, 0)) < l.o.Delay {
			return l.o.Delay, ErrGreylisted // it is not remembered: this network has enough that will come again
		}
		l.waiting.remove(oldest.key)
	}
	if l.waiting.len() >= l.o.Entries {
		oldest := l.waiting.oldest()
		if now.Sub(time.Unix(oldest.at, 0)) < l.o.Delay {
			if now.Sub(l.full) >= fullEvery {
				l.full = now
				l.o.Log.Warn("the greylist is full of new triples: mail passes it", "entries", l.o.Entries)
			}
			return 0, nil
		}
		l.waiting.remove(oldest.key)
	}
	l.waiting.add(record{key: triple, network: network, at: now.Unix()})
	l.changed = true
	return l.o.Delay, ErrGreylisted
}

// pass makes a triple known, and counts it for its network: once in the time of a delay, so that one message to many
// counts once.
func (l *List) pass(triple, network key, now time.Time) {
	l.waiting.remove(triple)
	l.know(l.passed, record{key: triple, at: now.Unix()})
	n := l.networks.get(network)
	switch {
	case l.o.Servers <= 0:
	case n == nil:
		l.know(l.networks, record{key: network, at: now.Unix(), since: now.Unix(), count: 1})
	case !within(n.since, now, l.o.Delay):
		n.count, n.since = min(n.count+1, int32(l.o.Servers)), now.Unix()
		l.use(l.networks, n, now)
	}
	l.changed = true
}

// know adds a record, in the place of the oldest when there is none free.
func (l *List) know(m *memory, r record) {
	if m.len() >= l.o.Entries {
		m.remove(m.oldest().key)
	}
	m.add(r)
}

func (l *List) use(m *memory, r *record, now time.Time) {
	r.at = now.Unix()
	m.touch(r.key)
	l.changed = true
}

// isServer tells whether a network is one of servers, and that it was used.
func (l *List) isServer(network key, now time.Time) bool {
	n := l.networks.get(network)
	switch {
	case n == nil || l.o.Servers <= 0:
		return false
	case !within(n.at, now, l.o.Lifetime):
		l.networks.remove(network)
		return false
	case int(n.count) < l.o.Servers:
		return false
	}
	l.use(l.networks, n, now)
	return true
}

// isPassed tells whether a triple is known, and that it was used.
func (l *List) isPassed(triple key, now time.Time) bool {
	r := l.passed.get(triple)
	switch {
	case r == nil:
		return false
	case !within(r.at, now, l.o.Lifetime):
		l.passed.remove(triple)
		return false
	}
	l.use(l.passed, r, now)
	return true
}

// within tells whether a time is at most so long ago. One that is yet to come is: the clock was set.
func within(at int64, now time.Time, d time.Duration) bool { return now.Sub(time.Unix(at, 0)) < d }

// networkOf is the hash of what counts as one client: the servers of a provider take turns within a /24 or a /64.
func networkOf(addr netip.Addr) key {
	addr = addr.Unmap().WithZone("")
	bits := 24
	if addr.Is6() {
		bits = 64
	}
	octets := netip.PrefixFrom(addr, bits).Masked().Addr().As16()
	return hash(string(octets[:]))
}

// tripleOf is the hash of a triple.
func tripleOf(network key, sender, recipient mailbox.Address) key {
	s, r := sender.Fold(), recipient.Fold()
	return hash(string(network[:]), unnumbered(string(s.Local)), s.Domain.ASCII(), string(r.Local), r.Domain.ASCII())
}

// unnumbered replaces numbers, which are often those of a message.
func unnumbered(local string) string {
	var b strings.Builder
	for i := range len(local) {
		switch c := local[i]; {
		case c < '0' || c > '9':
			b.WriteByte(c)
		case i == 0 || local[i-1] < '0' || local[i-1] > '9':
			b.WriteByte('#')
		}
	}
	return b.String()
}

func hash(parts ...string) (k key) {
	var b []byte
	for _, p := range parts {
		b = append(binary.AppendUvarint(b, uint64(len(p))), p...)
	}
	sum := sha256.Sum256(b)
	copy(k[:], sum[:])
	return k
}
