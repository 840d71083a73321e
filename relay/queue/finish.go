package queue

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// watch is when somebody is to be told something; see Overdue.
func watch(notice, expires time.Time) int64 {
	at := int64(never)
	for _, t := range []time.Time{notice, expires} {
		if !t.IsZero() {
			at = min(at, micros(t))
		}
	}
	return at
}

const leaseItem = `UPDATE recipient SET lease = ?3, attempts = attempts + 1, doubt = 0, due = ?4
	WHERE message = ?1 AND n = ?2 AND lease = 0 AND state = 0`

// Lease records that an attempt begins, and leases the items, in one commit. next is when they are due again should this
// process die. It returns those that could be had: others were removed, held or taken meanwhile.
func (q *Queue) Lease(ctx context.Context, items []*Item, next time.Time) ([]*Item, error) {
	had, err := q.lease(ctx, items, next)
	if errors.Is(err, ErrDamaged) && len(items) > 1 { // the others are to be had all the same
		had, err = nil, nil
		for n := range items {
			one, alone := q.lease(ctx, items[n:n+1], next)
			if alone != nil && !errors.Is(alone, ErrDamaged) {
				err = alone
				break
			}
			had = append(had, one...)
		}
	}
	if err != nil && len(had) == 0 {
		return nil, fmt.Errorf("queue: %w", err)
	}
	return had, nil // what was leased before an error is leased
}

func (q *Queue) lease(ctx context.Context, items []*Item, next time.Time) (had []*Item, err error) {
	err = q.writer.do(ctx, int64(512*len(items)), func(t *tx) error {
		had = make([]*Item, 0, len(items))
		token := t.lease()
		for _, i := range items {
			n, err := t.exec(leaseItem, i.Row, int64(i.N), token, micros(next))
			if err != nil {
				return err
			}
			if n == 1 {
				leased := *i
				leased.Lease, leased.Due = token, fromMicros(micros(next))
				leased.Attempts++
				had = append(had, &leased)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return had, nil
}

// Finish writes the outcomes and the reports that follow from them, all in one commit: who is reported on is out of the
// queue, and nobody is reported on twice. An item that is not ours any more (removed by a command) is passed over; when
// that goes for all of them, so are the reports.
func (q *Queue) Finish(ctx context.Context, outcomes []Outcome, reports []Entry) error {
	parcels := make([]*parcel, 0, len(reports))
	octets := int64(512 * len(outcomes))
	defer func() {
		for _, p := range parcels {
			p.source.release()
		}
	}()
	for _, e := range reports {
		p, err := q.parcel(ctx, e, parcels)
		if err != nil {
			abandon(parcels)
			return fmt.Errorf("queue: a report: %w", err)
		}
		parcels = append(parcels, p)
		octets += p.octets()
	}
	var w ways
	written, err := q.finish(ctx, octets, outcomes, parcels, &w)
	for errors.Is(err, ErrDamaged) && w.around() {
		q.log.Error("the queue is damaged: what is done with cannot be removed as usual", "path", q.path, "error", err)
		written, err = q.finish(ctx, octets, outcomes, parcels, &w)
	}
	if err != nil || !written {
		abandon(parcels)
	}
	if err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	return nil
}

func (q *Queue) finish(ctx context.Context, octets int64, outcomes []Outcome, parcels []*parcel, w *ways) (
	written bool, err error,
) {
	w.item, w.message = -1, 0
	err = q.writer.do(ctx, octets, func(t *tx) error {
		n, err := t.finish(outcomes, w)
		written = n > 0 || len(outcomes) == 0
		if err != nil || !written {
			return err
		}
		for _, p := range parcels {
			if _, err := p.write(t, false); err != nil {
				return err
			}
		}
		return nil
	})
	return written, err
}

func abandon(parcels []*parcel) {
	for _, p := range parcels {
		p.abandon()
	}
}

const (
	deleteItem = "DELETE FROM recipient WHERE message = ? AND n = ? AND lease = ?"
	retryItem  = `UPDATE recipient SET lease = 0, doubt = 0, due = ?, notice = ?, watch = ?
		WHERE message = ? AND n = ? AND lease = ?`
	asideItem = `UPDATE recipient SET lease = 0, state = 2 WHERE message = ? AND n = ? AND lease = ?`
	noteItem  = `UPDATE recipient SET last_time = ?, last_host = ?, last_command = ?, last_code = ?, last_enhanced = ?,
		last_text = ?, last_tls = ? WHERE message = ? AND n = ?`
	deleteMessage = `DELETE FROM message WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM recipient WHERE message = ?1)`
	deleteChunk   = "DELETE FROM chunk WHERE id = ?"
	deleteChunks  = "DELETE FROM chunk WHERE id BETWEEN ? AND ?"
)

// ways are the ways around what is destroyed in the database. A row beside a destroyed page can be written, but not
// always be removed, because that moves its neighbours; and SQLite commits nothing after it has met such a page. So who
// meets one is remembered, and all is done again: an item that cannot be removed is put aside, lest it is tried again; if
// that does not work either it stays leased; and of a message that nobody waits for something may be left.
type ways struct {
	items    map[int]OutcomeKind // by outcome: Aside, or 0 to leave it
	messages map[int64]bool      // to be left
	item     int                 // the outcome, or else the message, at which the last try ended
	message  int64
}

// around finds another way; false: the last try did not end at anything that there is a way around.
func (w *ways) around() bool {
	if w.items == nil {
		w.items, w.messages = map[int]OutcomeKind{}, map[int64]bool{}
	}
	switch had, tried := w.items[w.item]; {
	case w.message != 0:
		w.messages[w.message] = true
	case w.item < 0 || tried && had == 0:
		return false
	case tried:
		w.items[w.item] = 0
	default:
		w.items[w.item] = Aside
	}
	return true
}

// finish writes outcomes, and returns how many of them were still ours to write.
func (t *tx) finish(outcomes []Outcome, w *ways) (done int, err error) {
	var left []*Header // messages of which a recipient is gone
	for i := range outcomes {
		o := outcomes[i]
		w.item, w.message = i, 0
		if way, other := w.items[i]; other {
			o.Kind = way
			o.Attempt = &Attempt{Time: o.Item.Due, Enhanced: [3]int{4, 3, 0},
				Text: "it was worked on, but what became of it cannot be written: the database is damaged"}
		}
		if o.Item.Lease == 0 || o.Kind == 0 && w.items != nil {
			continue
		}
		ours, err := t.outcome(&o)
		if err != nil {
			return 0, err
		}
		if !ours {
			continue
		}
		done++
		if h := o.Item.Message; o.Kind == Gone && (len(left) == 0 || left[len(left)-1].Row != h.Row) {
			left = append(left, h)
		}
	}
	for _, h := range left {
		if w.message = h.Row; w.messages[h.Row] {
			continue
		}
		if err := t.removeMessage(h.Row, h.Size); err != nil {
			return 0, err
		}
	}
	w.item, w.message = -1, 0
	return done, nil
}

func (t *tx) outcome(o *Outcome) (ours bool, err error) {
	i := o.Item
	var n int64
	switch o.Kind {
	case Gone:
		n, err = t.exec(deleteItem, i.Row, int64(i.N), i.Lease)
		return n == 1, err
	case Retry:
		n, err = t.exec(retryItem, micros(o.Next), micros(o.Notice), watch(o.Notice, i.Expires), i.Row, int64(i.N), i.Lease)
	case Aside:
		n, err = t.exec(asideItem, i.Row, int64(i.N), i.Lease)
	default:
		return false, fmt.Errorf("an outcome of kind %d", o.Kind)
	}
	if err != nil || n != 1 {
		return false, err
	}
	if o.Attempt != nil {
		if _, err := t.exec(noteItem, append(failure(o.Attempt), i.Row, int64(i.N))...); err != nil {
			return false, err
		}
	}
	if o.Kind == Aside {
		return true, nil
	}
	at, err := t.place(i.Destination, micros(o.Next))
	if err != nil {
		return false, err
	}
	return true, t.hasten(at, micros(o.Next))
}

// removeMessage removes a message that nobody waits for any more, with its content.
func (t *tx) removeMessage(row, size int64) error {
	n, err := t.exec(deleteMessage, row)
	if err != nil || n == 0 {
		return err
	}
	if size <= chunkSize {
		_, err = t.exec(deleteChunk, firstChunk(row))
	} else {
		_, err = t.exec(deleteChunks, firstChunk(row), lastChunk(row))
	}
	return err
}

const (
	postponePlace = `UPDATE destination SET failures = failures + 1, due = ?1, until = ?1, last_time = ?2, last_host = ?3,
		last_command = ?4, last_code = ?5, last_enhanced = ?6, last_text = ?7, last_tls = ?8
		WHERE id = ?9`
	revivePlace = `UPDATE destination SET failures = 0, until = 0, last_time = NULL, last_host = NULL, last_command = NULL,
		last_code = NULL, last_enhanced = NULL, last_text = NULL, last_tls = NULL WHERE id = ?`
)

// Postpone writes that a destination as a whole failed, and when it is tried next: whatever is put or comes back
// meanwhile, it is not due before. With a nil failure it works again: its mail is due as each item says.
func (q *Queue) Postpone(ctx context.Context, destination int64, next time.Time, a *Attempt) error {
	err := q.writer.do(ctx, 512, func(t *tx) error {
		if a == nil {
			if _, err := t.exec(revivePlace, destination); err != nil {
				return err
			}
			return t.settle(destination, micros(q.now()))
		}
		t.places.forgetID(destination)
		args := append([]any{micros(next)}, failure(a)...)
		_, err := t.exec(postponePlace, append(args, destination)...)
		return err
	})
	if err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	return nil
}
