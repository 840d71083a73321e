package dnslist

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"

	"mxbypass/relay/lookup"
)

// Query is what is being asked about one client.
type Query struct {
	lists  *Lists
	cancel context.CancelFunc
	ended  <-chan struct{} // the time for answers is over
	done   sync.WaitGroup

	mu      sync.Mutex
	answers []answer      // one for each list
	missing int           // lists that have not answered
	heard   chan struct{} // closed when there is nothing to wait for any more
	enough  bool          // it is
}

// answer is what a list says.
type answer struct {
	known  bool // it has said something that makes sense
	listed bool
	code   netip.Addr
	reason string
}

// Begin asks all lists about a client, and returns at once. The query must be closed; the end of ctx ends it as well.
func (l *Lists) Begin(ctx context.Context, addr netip.Addr) *Query {
	addr = addr.Unmap().WithZone("")
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	q := &Query{
		lists: l, cancel: cancel, ended: ctx.Done(),
		missing: len(l.zones), heard: make(chan struct{}), answers: make([]answer, len(l.zones)),
	}
	for i, z := range l.zones {
		select {
		case l.underway <- struct{}{}:
		default:
			l.say(z, "too many questions at once")
			q.take(i, answer{})
			continue
		}
		q.done.Go(func() {
			defer func() { <-l.underway }()
			q.take(i, q.ask(ctx, i, addr))
		})
	}
	return q
}

// Close ends what is still being asked, and waits for that.
func (q *Query) Close() {
	q.cancel()
	q.done.Wait()
}

// ask asks a list, and one that refuses also why.
func (q *Query) ask(ctx context.Context, i int, addr netip.Addr) (a answer) {
	z := q.lists.zones[i]
	name := lookup.ReverseName(addr) + "." + z.Zone.Zone
	addrs, err := q.lists.lookup.Addr4(ctx, name)
	if err != nil {
		var d *net.DNSError
		switch isDNS := errors.As(err, &d); {
		case isDNS && d.IsNotFound:
			a.known = true
		case errors.Is(ctx.Err(), context.Canceled): // nobody waits any more
		case isDNS:
			q.lists.say(z, d.Err) // without the name, which may hold a key
		default:
			q.lists.say(z, "no answer in time")
		}
		return a
	}
	var trouble string
	a.code, a.listed, trouble = z.judge(addrs)
	if trouble != "" {
		q.lists.say(z, trouble)
		return a
	}
	a.known = true
	if a.listed && z.Action == Refuse {
		q.note(i, a) // the reason may come too late
		if texts, err := q.lists.lookup.TXT(ctx, name); err == nil && len(texts) > 0 {
			a.reason = oneLine(texts[0], maxReason)
		}
	}
	return a
}

func (q *Query) note(i int, a answer) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.answers[i] = a
}

// take notes all that a list says, and wakes who waits when nothing more can matter.
func (q *Query) take(i int, a answer) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.answers[i] = a
	q.missing--
	good := a.listed && q.lists.zones[i].Action == Allow
	if (q.missing == 0 || good) && !q.enough {
		q.enough = true
		close(q.heard)
	}
}

// Verdict waits until all lists have answered, the time that they have for it is over, or ctx ends, and says what is
// known then. It may be asked for any number of times.
func (q *Query) Verdict(ctx context.Context) Verdict {
	select {
	case <-q.heard:
	case <-q.ended:
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	var v Verdict
	doubt := false
	for i, z := range q.lists.zones {
		a := q.answers[i]
		if z.Action == Allow {
			doubt = doubt || !a.known
			v.Allowed = v.Allowed || a.listed
			continue
		}
		if !a.listed {
			continue
		}
		v.Marks = append(v.Marks, z.Name+"="+a.code.String())
		if z.Action == Refuse && v.Err == nil {
			v.Err = &ListedError{List: z.Name, Code: a.code, Reason: a.reason}
		}
	}
	if v.Allowed || doubt {
		v.Err = nil
	}
	return v
}
