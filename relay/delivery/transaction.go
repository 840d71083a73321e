package delivery

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"

	"mxbypass/mailbox"
	"mxbypass/relay/reply"
	"mxbypass/routing"
)

// errUnderway: an earlier attempt may still succeed. The client comes again when that is known.
var errUnderway = fmt.Errorf("%w: an earlier delivery of this message is not finished yet", mailbox.ErrUnavailable)

// unit is one copy: one mailbox with one tag, or one address elsewhere.
type unit struct {
	to  mailbox.Recipient // of an address elsewhere: what the ledger knows it by
	out *routing.Outbound // not nil: elsewhere
	err error             // nil once the message is in the mailbox or in the queue

	open       bool // still to be delivered, or not yet known
	queued     bool
	remembered bool // found in the ledger, where it stays until the client has an answer that ends it
}

// group is the part of a message that goes to one store.
type group struct {
	units    []int
	store    mailbox.Store
	delivery mailbox.Delivery
	certain  bool
}

// transaction is one message on its way to the stores. It is run by one goroutine, while another one waits for it and
// may give up: what both look at is guarded by mu.
type transaction struct {
	d     *Deliverer
	m     *mailbox.Message
	each  bool
	index []int // of each recipient, its unit
	done  chan struct{}

	commitCtx    context.Context
	cancelCommit context.CancelFunc

	mu       sync.Mutex
	units    []unit
	finished bool
	content  *[sha256.Size]byte // once it was needed
	late     *late              // not nil: the client has its answer
}

// copyID is what makes two recipients the same copy.
type copyID struct {
	box mailbox.Mailbox
	tag mailbox.LocalPart
}

func newTransaction(d *Deliverer, m *mailbox.Message, to []routing.Target, each bool) *transaction {
	tx := &transaction{d: d, m: m, each: each, done: make(chan struct{}), index: make([]int, len(to))}
	tx.commitCtx, tx.cancelCommit = context.WithCancel(d.base)
	tx.units = make([]unit, 0, len(to))
	var seen map[copyID]int
	if len(to) > 1 {
		seen = make(map[copyID]int, len(to))
	}
	for i, t := range to {
		u := unitOf(t)
		id := copyID{u.to.Mailbox, u.to.Tag}
		n, ok := seen[id]
		if !ok {
			n = len(tx.units)
			tx.units = append(tx.units, u)
			if seen != nil {
				seen[id] = n
			}
		}
		tx.index[i] = n
	}
	return tx
}

// siteElsewhere is where the ledger has the copies of addresses elsewhere. No configured site can have this name.
const siteElsewhere = "(elsewhere)"

func unitOf(t routing.Target) unit {
	if t.Outbound == nil {
		return unit{to: *t.Mailbox, open: true}
	}
	box := mailbox.Mailbox{Address: t.Outbound.To, Site: siteElsewhere + t.Outbound.Hop.String()}
	return unit{to: mailbox.Recipient{Mailbox: box, Delivered: t.Outbound.To}, out: t.Outbound, open: true}
}

// outcomes gives the outcome of each unit.
func (tx *transaction) outcomes() []reply.Outcome {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.late != nil {
		return tx.late.answer
	}
	all := make([]reply.Outcome, len(tx.units))
	for i := range tx.units {
		all[i] = tx.units[i].outcome()
	}
	return all
}

func (u *unit) outcome() reply.Outcome { return reply.Outcome{Err: u.err, Queued: u.queued} }

func (tx *transaction) run(ctx context.Context) {
	defer tx.cancelCommit()
	defer tx.finish()
	tx.recall()
	groups := tx.group()
	tx.parallel(len(groups), func(i int) { tx.prepare(ctx, &groups[i]) })
	if err := ctx.Err(); err != nil {
		tx.abort(groups, err)
		return
	}
	if tx.mustStop() {
		tx.abort(groups, reply.ErrHeldBack)
		return
	}
	var certain, uncertain []group
	for _, g := range groups {
		switch {
		case g.delivery == nil:
		case g.certain:
			certain = append(certain, g)
		default:
			uncertain = append(uncertain, g)
		}
	}
	tx.parallel(len(uncertain), func(i int) { tx.commit(&uncertain[i]) })
	if tx.mustStop() {
		tx.abort(certain, reply.ErrHeldBack)
		return
	}
	tx.parallel(len(certain), func(i int) { tx.commit(&certain[i]) })
	tx.enqueue()
	tx.report()
}

// group sorts the open units by their store.
func (tx *transaction) group() []group {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	var groups []group
	bySite := map[string]int{}
	for i := range tx.units {
		u := &tx.units[i]
		if !u.open || u.out != nil {
			continue
		}
		site := u.to.Mailbox.Site
		n, ok := bySite[site]
		if !ok {
			store := tx.d.stores[site]
			if store == nil {
				u.err, u.open = fmt.Errorf("%w: no store for site %q", mailbox.ErrUnavailable, site), false
				continue
			}
			n = len(groups)
			bySite[site] = n
			groups = append(groups, group{store: store})
		}
		groups[n].units = append(groups[n].units, i)
	}
	return groups
}

func (tx *transaction) prepare(ctx context.Context, g *group) {
	to := make([]mailbox.Recipient, len(g.units))
	for i, n := range g.units {
		to[i] = tx.units[n].to
	}
	delivery, errs := prepare(ctx, g.store, tx.m, to)
	g.delivery = delivery
	g.certain = delivery != nil && certain(delivery)
	tx.mu.Lock()
	defer tx.mu.Unlock()
	for i, n := range g.units {
		if errs[i] != nil {
			tx.units[n].err, tx.units[n].open = errs[i], false
		}
	}
}

// commit runs also after the client was answered, under a context of its own: a store that was asked to commit is
// listened to until the end, so that its success is known when the client comes again.
func (tx *transaction) commit(g *group) {
	errs := commit(tx.commitCtx, g.delivery, len(g.units))
	tx.mu.Lock()
	defer tx.mu.Unlock()
	for i, n := range g.units {
		if u := &tx.units[n]; u.open {
			u.err, u.open = errs[i], false
		}
	}
}

// mustStop tells whether nothing more may be delivered: the client has its answer, or will be told to try again.
func (tx *transaction) mustStop() bool {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	return tx.late != nil || !tx.each && tx.anyTemporary() && !tx.mayQueue()
}

// anyTemporary runs under mu.
func (tx *transaction) anyTemporary() bool {
	for i := range tx.units {
		if temporary(tx.units[i].err) {
			return true
		}
	}
	return false
}

// mayQueue tells whether what failed for now can be queued. Somebody else must have the message, or be about to: when
// nobody can have it, the client keeps it. It runs under mu.
func (tx *transaction) mayQueue() bool {
	if tx.each || tx.d.refuse {
		return false
	}
	anybody := false
	for i := range tx.units {
		switch u := &tx.units[i]; {
		case errors.Is(u.err, errUnderway): // to queue it as well would make a second copy
			return false
		case u.err == nil:
			anybody = true
		}
	}
	return anybody
}

// abort drops what was prepared, for the reason err.
func (tx *transaction) abort(groups []group, err error) {
	for i := range groups {
		abort(groups[i].delivery)
	}
	tx.mu.Lock()
	defer tx.mu.Unlock()
	for i := range tx.units {
		if u := &tx.units[i]; u.open {
			u.err, u.open = err, false
		}
	}
}

// parallel calls f for 0 to n-1, a few at a time, and returns when all are done.
func (tx *transaction) parallel(n int, f func(int)) {
	if n == 1 {
		f(0)
		return
	}
	var wait sync.WaitGroup
	slots := make(chan struct{}, maxParallel)
	for i := range n {
		slots <- struct{}{}
		wait.Go(func() {
			f(i)
			<-slots
		})
	}
	wait.Wait()
}
