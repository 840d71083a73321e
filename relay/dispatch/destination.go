package dispatch

import (
	"slices"
	"strings"
	"sync"
	"time"

	"mxbypass/mailbox"
	"mxbypass/relay/outbound"
	"mxbypass/relay/queue"
)

// group is what one transaction carries: recipients of one message that have the sender and the marks in common.
type group struct {
	items  []*queue.Item
	read   []*queue.Item // the same when they were read; empty for what was just accepted
	kept   *holding      // the message as it came in; nil: it is read from the queue
	leased bool          // the attempt is recorded
}

// makeGroups sorts items, those of one message together, into groups of at most size.
func makeGroups(items []*queue.Item, size int) []*group {
	type kind struct {
		row         int64
		destination string
		reverse     mailbox.Address
		mark        string
	}
	open := map[kind]*group{}
	var all []*group
	for _, item := range items {
		k := kind{item.Row, item.Destination, item.Reverse, item.Mark}
		g := open[k]
		if g == nil || len(g.items) >= size {
			g = &group{}
			open[k], all = g, append(all, g)
		}
		g.items = append(g.items, item)
	}
	return all
}

// destination is what shares connections and fate, while there is work for it. It is guarded by the dispatcher's mu;
// name and site never change.
type destination struct {
	name string
	id   int64
	site string // of a store; empty: a hop

	fresh   []*group               // leased: just accepted, or read
	stock   []*group               // read from the queue, not leased
	inHand  map[queue.Key]struct{} // read, and not yet finished: not to be read again
	put     []queue.Key            // to leave inHand when the reading that is under way has ended
	more    bool                   // the queue may have more
	reading bool                   // somebody reads
	old     bool                   // it is the turn of what was read, not of what is fresh
	waiting bool                   // for a worker, in the dispatcher's turn

	workers  int
	window   float64        // how many may work
	cohort   float64        // failures since the last success, each as a part of the window
	proven   bool           // it has answered
	down     bool           // nothing is begun any more
	until    time.Time      // down: when it is tried again
	failures int            // of the destination, in a row
	last     *queue.Attempt // down: why

	telling sync.Mutex // held while its fate is written to the queue; not guarded by mu, and taken before it
}

func newDestination(name string, id int64, failures int, l Limits) *destination {
	t := &destination{name: name, id: id, failures: failures, window: float64(l.Initial), inHand: map[queue.Key]struct{}{}}
	t.site, _ = strings.CutPrefix(name, storeScheme)
	if t.site == name {
		t.site = ""
	}
	return t
}

// limit is how many may work on it now. One that was down is asked by one worker; so is one that has not answered yet
// while connections are scarce: a few that hang must not take them all.
func (t *destination) limit(l Limits, workers int) int {
	switch {
	case t.down:
		return 0
	case !t.proven && (t.failures > 0 || 2*workers >= l.Connections):
		return 1
	}
	return max(int(min(t.window, float64(l.PerDestination))), 1)
}

// wants tells whether one more worker would have something to do.
func (t *destination) wants(l Limits, workers int) bool {
	return t.workers < t.limit(l, workers) && (len(t.fresh)+len(t.stock) > 0 || t.readable())
}

// full tells whether what is accepted now has to wait in the queue.
func (t *destination) full() bool {
	if t.proven {
		return len(t.fresh) >= maxFresh
	}
	return len(t.fresh) >= maxFreshFirst
}

func (t *destination) readable() bool { return t.more && !t.reading && len(t.stock) == 0 }

// next gives what is to be done: a group, or (nil, true) to read from the queue. What is fresh and what waited longer
// take turns.
func (t *destination) next() (g *group, read bool) {
	t.old = !t.old
	switch {
	case len(t.fresh) > 0 && (!t.old || len(t.stock) == 0 && !t.readable()):
		g, t.fresh = t.fresh[0], t.fresh[1:]
	case len(t.stock) > 0:
		g, t.stock = t.stock[0], t.stock[1:]
	case t.readable():
		t.reading, t.more = true, false
		return nil, true
	}
	return g, false
}

// forget lets items be read again.
func (t *destination) forget(items []*queue.Item) {
	for _, item := range items {
		if t.reading { // what was read before they were finished would bring them back
			t.put = append(t.put, item.Key)
			continue
		}
		delete(t.inHand, item.Key)
	}
}

// stored takes what was read, without what somebody has in hand, and ends the reading.
func (t *destination) stored(items []*queue.Item, size int) {
	fresh := items[:0:0]
	for _, item := range items {
		if _, has := t.inHand[item.Key]; !has {
			t.inHand[item.Key] = struct{}{}
			fresh = append(fresh, item)
		}
	}
	groups := makeGroups(fresh, size)
	for _, g := range groups {
		g.read = g.items
	}
	t.stock = append(t.stock, groups...)
	t.reading = false
	for _, k := range t.put {
		delete(t.inHand, k)
	}
	t.put = nil
}

// maxAhead is how many groups have their attempt recorded together with that of another one.
const maxAhead = 8

// ahead takes the worker's share of what comes next; nothing while it is not sure that the destination answers.
func (t *destination) ahead() []*group {
	if !t.proven {
		return nil
	}
	n := min(len(t.stock)/max(t.workers, 1), maxAhead)
	groups := slices.Clone(t.stock[:n])
	t.stock = t.stock[n:]
	return groups
}

// unbegun takes what is leased and not begun.
func (t *destination) unbegun() []*group {
	groups := t.fresh
	t.fresh = nil
	for _, g := range groups {
		t.forget(g.read)
	}
	return groups
}

// drop drops what was read: it stays in the queue.
func (t *destination) drop() {
	for _, g := range t.stock {
		t.forget(g.read)
	}
	t.stock, t.more = nil, false
}

// succeeded: it answered, whatever it said. rose tells that it was down before.
func (t *destination) succeeded(l Limits) (rose bool) {
	rose = t.failures > 0
	if rose {
		t.failures, t.down, t.more, t.window = 0, false, true, float64(l.Initial)
	}
	t.proven, t.cohort = true, 0
	t.window = min(t.window+1/t.window, float64(l.PerDestination))
	return rose
}

// failed: it did not answer. fell tells that it is down now: it has never answered, or as many failures as there may be
// workers came without an answer between them.
func (t *destination) failed() (fell bool) {
	if t.down {
		return false
	}
	t.cohort += 1 / t.window
	t.window = max(t.window-1, 1)
	if t.proven && t.cohort < 1 {
		return false
	}
	t.down, t.proven = true, false
	t.failures++
	return true
}

// fate is what is remembered of a destination that failed, so that fresh mail need not ask for it.
type fate struct {
	until    time.Time
	failures int
	last     *queue.Attempt
	final    *outbound.Failure // what every item for it fails with; nil: it is tried again at until
}

// maxFates bounds what is remembered. What is forgotten costs one attempt.
const maxFates = 10_000

type fates map[string]fate

func (f fates) set(name string, v fate, now time.Time) {
	if _, has := f[name]; !has && len(f) >= maxFates {
		for k, old := range f {
			if !now.Before(old.until) {
				delete(f, k)
			}
		}
		if len(f) >= maxFates {
			return
		}
	}
	f[name] = v
}

// down tells whether the destination is not to be tried now.
func (f fates) down(name string, now time.Time) bool {
	v, has := f[name]
	return has && v.final == nil && now.Before(v.until)
}
