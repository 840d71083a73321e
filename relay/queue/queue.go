// Package queue keeps messages that cannot be given away at once, durably: in SQLite, written so that another SQL server
// can take its place.
package queue

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"mxbypass/mailbox"
)

// Errors of a queue.
var (
	// ErrDamaged: a row or a body is not what was written.
	ErrDamaged = errors.New("damaged")
	// ErrLost: somebody else works on the item, or it was removed meanwhile.
	ErrLost = errors.New("lost to somebody else")
	// ErrClosed: the queue is closed.
	ErrClosed = errors.New("the queue is closed")
	// ErrNotFound: there is no such message in the queue.
	ErrNotFound = errors.New("not in the queue")
)

// Options of a queue.
type Options struct {
	Path string // of the database; made when it is missing
	Log  *slog.Logger
	Now  func() time.Time // nil: time.Now
}

// Queue is the queue of one relay. It is safe for concurrent use.
type Queue struct{}

// Open opens the queue. Only one process at a time runs one (the caller holds a lock); commands use [OpenAdmin] beside it.
func Open(ctx context.Context, o Options) (*Queue, error) { panic("contract") }

// Close ends the writer. What was acknowledged is on disk already.
func (q *Queue) Close() error { panic("contract") }

// Put writes a message with its recipients. When it returns nil, a crash cannot lose it. With lease the items come back
// leased, their first attempt recorded in the same commit: the caller works on them at once. Errors wrap
// mailbox.ErrNoSpace where that is the cause. Put reads the content before it returns, and not afterwards.
func (q *Queue) Put(ctx context.Context, e Entry, lease bool) ([]*Item, error) { panic("contract") }

// Destinations gives destinations with something to do at now, longest due first, at most limit, leaving out those
// for which skip says so.
func (q *Queue) Destinations(ctx context.Context, now time.Time, limit int, skip func(id int64) bool) ([]Destination, error) {
	panic("contract")
}

// NextDue tells when the earliest destination is due; false when nothing waits.
func (q *Queue) NextDue(ctx context.Context) (time.Time, bool, error) { panic("contract") }

// Ready gives items of a destination that are due at now and that nobody works on, longest due first, those of one
// message together, at most limit. Damaged rows are quarantined on the way.
func (q *Queue) Ready(ctx context.Context, destination int64, now time.Time, limit int) ([]*Item, error) {
	panic("contract")
}

// Lease records that an attempt begins, and leases the items, in one commit. next is when they are due again should this
// process die. It returns those that could be had: others were removed, held or taken meanwhile.
func (q *Queue) Lease(ctx context.Context, items []*Item, next time.Time) ([]*Item, error) {
	panic("contract")
}

// Finish writes the outcomes and the reports that follow from them, all in one commit: who is reported on is out of the
// queue, and nobody is reported on twice. An item that is not ours any more (removed by a command) is passed over.
func (q *Queue) Finish(ctx context.Context, outcomes []Outcome, reports []Entry) error {
	panic("contract")
}

// Postpone writes that a destination as a whole failed, and when it is tried next: whatever is put or comes back
// meanwhile, it is not due before. With a nil failure it works again: its mail is due as each item says.
func (q *Queue) Postpone(ctx context.Context, destination int64, next time.Time, failure *Attempt) error {
	panic("contract")
}

// Overdue gives items of which something is to be said: their time of notice or of expiry has passed. At most limit, and
// none that is leased or held.
func (q *Queue) Overdue(ctx context.Context, now time.Time, limit int) ([]*Item, error) {
	panic("contract")
}

// Content gives the content of a queued message. Its readers stream; an error that wraps ErrDamaged ends one that finds
// that it is not what was written.
func (q *Queue) Content(h *Header) mailbox.Content { panic("contract") }

// Changed is sent to when another process has changed the queue (a command): what waits should be looked at again.
func (q *Queue) Changed() <-chan struct{} { panic("contract") }
