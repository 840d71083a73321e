package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"mxbypass/mailbox"
	"mxbypass/relay/reply"
	"mxbypass/routing"
)

const (
	defaultTimeout = 60 * time.Second

	// defaultLate is how long a store may still work after the client had its answer.
	defaultLate = 5 * time.Minute

	// maxLate bounds the messages in stores that are late. Beyond it stores are not asked at all: they hang.
	maxLate = 1000

	// breakOff is how long Close waits for a store to notice that it is broken off.
	breakOff = time.Second

	// maxParallel bounds the stores that one message is given to at the same time.
	maxParallel = 8
)

// errStuck: so many deliveries are late that the stores must be taken for hanging.
var errStuck = fmt.Errorf("%w: too many late deliveries", mailbox.ErrUnavailable)

// Queue takes what cannot be delivered at once.
type Queue interface {
	// Accept takes the responsibility for a message: nil means that it is durable.
	Accept(ctx context.Context, m *mailbox.Message, to []routing.Target) error
	// Delivered sends the reports of success that the client asked for.
	Delivered(ctx context.Context, m *mailbox.Message, to []mailbox.Recipient) error
}

// Options of a deliverer. Stores, Ledger, Queue and Log are needed.
type Options struct {
	Stores map[string]mailbox.Store // by site
	Ledger *Ledger                  // shared with the deliverer of another configuration, and closed by its owner
	Queue  Queue                    // for what goes elsewhere, and for what a store cannot take now
	Log    *slog.Logger             // for what the client is not told
	// RefuseFailed leaves a message with the client when a store cannot take it for one of its recipients now. Otherwise
	// such recipients are queued, if somebody else has the message.
	RefuseFailed bool
	Timeout      time.Duration // for the answer, from the end of data; default 60 s
	Late         time.Duration // for a store to end what it began, after the answer; default 5 min
}

// Deliverer gives messages to stores; see the package comment. It is safe for concurrent use.
type Deliverer struct {
	stores  map[string]mailbox.Store
	ledger  *Ledger
	queue   Queue
	refuse  bool // what a store cannot take now, instead of queueing it
	log     *slog.Logger
	timeout time.Duration
	late    time.Duration

	base    context.Context // of every commit: it outlives the client's patience
	cancel  context.CancelFunc
	running sync.WaitGroup
	lates   atomic.Int64
}

// New makes a deliverer. [Deliverer.Close] ends it.
func New(o Options) *Deliverer {
	d := &Deliverer{stores: o.Stores, ledger: o.Ledger, queue: o.Queue, refuse: o.RefuseFailed, log: o.Log,
		timeout: o.Timeout, late: o.Late}
	if d.timeout <= 0 {
		d.timeout = defaultTimeout
	}
	if d.late <= 0 {
		d.late = defaultLate
	}
	d.base, d.cancel = context.WithCancel(context.Background())
	return d
}

// Close waits for deliveries that are late, and breaks them off when ctx ends: their success may then go unnoticed,
// which may cost a duplicate. No Deliver may run or begin any more.
func (d *Deliverer) Close(ctx context.Context) error {
	defer d.cancel()
	done := make(chan struct{})
	go func() {
		d.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	n := d.lates.Load()
	d.cancel()
	select {
	case <-done:
	case <-time.After(breakOff): // a store that does not honour the end of its context
	}
	return fmt.Errorf("%d late deliveries broken off: %w", n, context.Cause(ctx))
}

// Deliver brings m to its targets, and returns one outcome for each, in order: without an error when the message is in the
// mailbox or in the queue, durably, otherwise with why it is not (the errors of a [mailbox.Store], or
// [reply.ErrHeldBack]). Targets that are the same mailbox with the same tag, or the same address elsewhere, share one copy
// and one outcome.
//
// With each, every recipient stands for itself (LMTP). Without it there is one answer for all (SMTP): after a temporary
// failure of one of them nobody has the message, or whoever has it, and is reported without an error, is in the ledger;
// unless the one that failed could be queued.
//
// The answer comes before the timeout of the options, or when ctx ends. m must not be changed any more, also not later:
// a store may be late. A content that can be retained (see package spool) is retained as long as that.
func (d *Deliverer) Deliver(ctx context.Context, m *mailbox.Message, to []routing.Target, each bool) []reply.Outcome {
	results := make([]reply.Outcome, len(to))
	if d.lates.Load() >= maxLate {
		for i := range results {
			results[i].Err = errStuck
		}
		return results
	}
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	tx := newTransaction(d, m, to, each)
	release := retain(m.Content)
	d.running.Add(1)
	go func() {
		defer d.running.Done()
		defer release()
		defer close(tx.done)
		tx.run(ctx)
	}()
	select {
	case <-tx.done:
	case <-ctx.Done():
		tx.abandon(ctx)
	}
	outcomes := tx.outcomes()
	for i := range to {
		results[i] = outcomes[tx.index[i]]
	}
	return results
}

// retain keeps the content for as long as a store may read it.
func retain(c mailbox.Content) (release func()) {
	if r, ok := c.(interface{ Retain() (release func()) }); ok {
		return r.Retain()
	}
	return func() {}
}

// temporary tells whether a client may try again after err.
func temporary(err error) bool { return err != nil && !reply.For(err).Permanent() }

// prepare and commit call a store; a bug in it becomes an error, which is temporary: it must not end the process, and
// what the store did before is not known.

func prepare(ctx context.Context, s mailbox.Store, m *mailbox.Message, to []mailbox.Recipient) (
	delivery mailbox.Delivery, errs []error,
) {
	defer func() {
		if p := recover(); p != nil {
			delivery, errs = nil, same(len(to), fmt.Errorf("store: panic in Prepare: %v", p))
		}
	}()
	delivery, errs = s.Prepare(ctx, m, to)
	if len(errs) != len(to) {
		abort(delivery)
		return nil, same(len(to), errors.New("store: Prepare gave results for other recipients"))
	}
	if delivery == nil {
		for i := range errs {
			if errs[i] == nil {
				errs[i] = errors.New("store: Prepare gave neither an error nor a delivery")
			}
		}
	}
	return delivery, errs
}

func commit(ctx context.Context, delivery mailbox.Delivery, n int) (errs []error) {
	defer func() {
		if p := recover(); p != nil {
			errs = same(n, fmt.Errorf("store: panic in Commit: %v", p))
		}
	}()
	if errs = delivery.Commit(ctx); len(errs) != n {
		return same(n, errors.New("store: Commit gave results for other recipients"))
	}
	return errs
}

func abort(delivery mailbox.Delivery) {
	if delivery == nil {
		return
	}
	defer func() { _ = recover() }() // the message stays with the client in any case
	delivery.Abort()
}

func same(n int, err error) []error {
	errs := make([]error, n)
	for i := range errs {
		errs[i] = err
	}
	return errs
}

// certain asks a delivery for what it can promise; one that cannot say is not certain.
func certain(delivery mailbox.Delivery) (is bool) {
	defer func() { _ = recover() }()
	return delivery.Certain()
}
