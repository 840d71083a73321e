package dispatch

import (
	"context"
	"errors"
	"time"

	"mxbypass/mailbox"
	"mxbypass/relay/maillog"
	"mxbypass/relay/outbound"
	"mxbypass/relay/queue"
	"mxbypass/routing"
)

const (
	// readAhead is how many items of a destination are read at a time.
	readAhead = 200

	// The bounds of what one worker does before its place is given away.
	maxPerConnection = 100
	maxConnection    = 5 * time.Minute
)

// worker works on one destination, over one connection at a time.
type worker struct {
	*Dispatcher
	at    *destination
	env   *Environment
	conn  Conn // nil: none, or a store
	since time.Time
	done  int // groups
}

// work is the life of a worker; without a group it reads first.
func (d *Dispatcher) work(t *destination, g *group) {
	env, release := d.environment()
	defer release()
	w := &worker{Dispatcher: d, at: t, env: env, since: time.Now()}
	defer d.leave(t)
	defer w.hangUp()
	for ok := true; ok; {
		willing := true
		if g == nil {
			g, willing = w.read()
		}
		if g != nil {
			willing = w.handle(g)
			w.done++
			if g.kept != nil {
				g.kept.release()
			}
		}
		if w.done >= maxPerConnection || time.Since(w.since) >= maxConnection {
			willing = false
		}
		g, ok = d.carryOn(t, willing)
	}
}

func (w *worker) hangUp() {
	if w.conn != nil {
		w.conn.Release()
		w.conn = nil
	}
}

// read reads what the queue has for the destination, and gives the first group of it; nil: there is nothing. False: the
// queue cannot be read.
func (w *worker) read() (*group, bool) {
	w.mu.Lock()
	id, limit := w.at.id, readAhead+len(w.at.inHand)
	w.mu.Unlock()
	items, err := w.queue.Ready(w.sending, id, time.Now(), limit)
	if err != nil {
		w.trouble("the queue cannot be read", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at.stored(items, w.limits.Recipients)
	if w.at.down { // meanwhile
		w.at.drop()
	}
	if err != nil || len(w.at.stock) == 0 {
		return nil, err == nil
	}
	w.at.more = w.at.more || len(items) >= limit
	g := w.at.stock[0]
	w.at.stock = w.at.stock[1:]
	w.line(w.at)
	w.grant()
	return g, true
}

// handle brings a group to its end for now. False: the worker is to end, because the destination or the queue fails.
func (w *worker) handle(g *group) bool {
	defer w.letGo(g)
	if f := w.verdict(w.at); f != nil {
		return w.lease(g) && w.fail(g, f)
	}
	if w.at.site == "" && w.conn == nil {
		if f := w.connect(); f != nil {
			return w.unreachable(g, f)
		}
	}
	if !w.lease(g) {
		return false
	}
	if len(g.items) == 0 { // somebody else has them, or they were removed
		return true
	}
	results := w.attempt(g)
	if w.conn != nil && !w.conn.Usable() {
		w.hangUp()
	}
	return w.judge(g, results)
}

// letGo lets the items of a group be read again; those of fresh mail were never read.
func (w *worker) letGo(g *group) {
	if len(g.read) == 0 {
		return
	}
	w.mu.Lock()
	w.at.forget(g.read)
	w.mu.Unlock()
	g.read = nil
}

func (w *worker) connect() *outbound.Failure {
	hop, err := routing.ParseHop(w.at.name)
	if err == nil {
		// A server that is slow to talk holds up no shutdown: nothing was given to it yet.
		w.conn, err = w.env.Connect(w.stopping, hop)
	}
	if err == nil {
		return nil
	}
	w.conn = nil
	var f *outbound.Failure
	if !errors.As(err, &f) {
		f = &outbound.Failure{Enhanced: [3]int{4, 4, 0}, Text: "no connection can be made", Err: err}
	}
	f.Scope = outbound.ScopeDestination
	return f
}

// unreachable: no connection could be had for the group.
func (w *worker) unreachable(g *group, f *outbound.Failure) bool {
	a := attemptOf(f)
	switch {
	case w.stopping.Err() != nil: // our own doing
		w.back(g, stopped())
		return false
	case f.Permanent:
		w.condemn(w.at, f, w.env.Schedule)
		return w.lease(g) && w.fail(g, f)
	}
	w.back(g, a)
	w.letGo(g)
	if !w.silent(w.at, f, w.env.Schedule) {
		w.again()
	}
	return false
}

// back gives a group back that was not tried.
func (w *worker) back(g *group, a *queue.Attempt) {
	if g.leased {
		w.giveBack([]*group{{items: g.items}}, a)
	}
}

// again has the queue read once more, unless the destination is down.
func (w *worker) again() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at.more = w.at.more || !w.at.down
}

// fail gives every recipient of the group the same failure.
func (w *worker) fail(g *group, f *outbound.Failure) bool {
	if len(g.items) == 0 {
		return true
	}
	vs := make([]verdict, len(g.items))
	for i, item := range g.items {
		vs[i] = verdict{item: item, failure: f}
	}
	_, err := w.settle(w.sending, w.env, vs, g.content(w.queue))
	return err == nil
}

// lease records that the attempt begins. What cannot be had leaves the group. False: the queue cannot be written.
func (w *worker) lease(g *group) bool {
	if !g.leased && !w.record(g) {
		return false
	}
	for _, item := range g.items {
		if item.InDoubt {
			w.log.InDoubt(parcel(item, time.Now()))
		}
	}
	return true
}

// record writes that the attempt begins, and in the same commit those of groups that come next.
func (w *worker) record(g *group) bool {
	w.mu.Lock()
	next := w.at.ahead()
	w.mu.Unlock()
	err := w.leaseAll(append([]*group{g}, next...))
	if errors.Is(err, queue.ErrDamaged) { // perhaps in one of the others
		w.mu.Lock()
		w.at.stock, next = append(next, w.at.stock...), nil
		w.mu.Unlock()
		err = w.leaseAll([]*group{g})
	}
	if errors.Is(err, queue.ErrDamaged) { // it stays in hand, so that it is not read again and again
		w.trouble("an attempt cannot be recorded", err)
		err, g.items, g.read = nil, nil, nil
	}
	if err != nil {
		w.trouble("no attempt can be recorded", err)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.at.stock = append(next, w.at.stock...)
		w.at.drop()
		return false
	}
	w.mu.Lock()
	w.at.fresh = append(w.at.fresh, next...)
	why := w.at.last
	if !w.open {
		why = stopped()
	}
	var late []*group
	if !w.open || w.at.down { // meanwhile
		late = w.at.unbegun()
	}
	w.line(w.at)
	w.grant()
	w.mu.Unlock()
	w.giveBack(late, why)
	return true
}

func (w *worker) leaseAll(groups []*group) error {
	var items []*queue.Item
	for _, g := range groups {
		items = append(items, g.items...)
	}
	leased, err := w.queue.Lease(w.sending, items, time.Now().Add(w.env.Schedule.First))
	if err != nil {
		return err
	}
	had := make(map[queue.Key]*queue.Item, len(leased))
	for _, item := range leased {
		had[item.Key] = item
	}
	for _, g := range groups {
		g.leased = true
		items, g.items = g.items, nil
		for _, item := range items {
			if ours := had[item.Key]; ours != nil {
				g.items = append(g.items, ours)
			}
		}
	}
	return nil
}

// judge draws the conclusions from what was said about a group.
func (w *worker) judge(g *group, results []result) bool {
	vs := make([]verdict, len(results))
	var silence *outbound.Failure
	spoke := false
	for i, r := range results {
		vs[i] = verdict{item: g.items[i], failure: r.Failure, sending: w.by(r), reported: r.Reported}
		if f := r.Failure; f != nil && f.Scope == outbound.ScopeDestination && !f.Permanent {
			silence = f
		} else {
			spoke = true
		}
	}
	interrupted := w.sending.Err() != nil
	down := false
	switch {
	case interrupted:
	case !spoke:
		down = w.silent(w.at, silence, w.env.Schedule)
	}
	next := time.Now() // it waits for our next start
	if down {          // or for the destination, behind what was not tried: it may be what the server cannot stand
		next = w.downUntil()
	}
	for i := range vs {
		if f := vs[i].failure; f != nil && !f.Permanent && (interrupted || down && f.Scope == outbound.ScopeDestination) {
			vs[i].next = next
		}
	}
	_, err := w.settle(w.sending, w.env, vs, g.content(w.queue))
	if err != nil || !spoke || interrupted {
		return false
	}
	w.answered(w.at)
	return true
}

// downUntil is when the destination is tried again.
func (w *worker) downUntil() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at.until
}

// by says who took a message.
func (w *worker) by(r result) maillog.Sending {
	if w.at.site != "" {
		return maillog.Sending{Host: w.at.name}
	}
	return maillog.Sending{Host: r.host, TLS: r.tls, Reply: r.Reply}
}

// content tells where the content of the group is read: as it came in, or from the queue.
func (g *group) content(q backlog) func(*queue.Header) mailbox.Content {
	if g.kept != nil && g.kept.content != nil {
		return func(*queue.Header) mailbox.Content { return g.kept.content }
	}
	return q.Content
}

// trouble: the queue does not do its work. Nothing is lost by it but time.
func (d *Dispatcher) trouble(what string, err error) {
	if errors.Is(err, context.Canceled) || errors.Is(err, queue.ErrClosed) {
		return
	}
	d.troubled.Store(true)
	d.log.Logger().Error(what, "error", err)
}
