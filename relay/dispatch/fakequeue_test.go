package dispatch

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"mxbypass/mailbox"
	"mxbypass/relay/queue"
)

// text is a content in memory.
type text []byte

func (c text) Size() int64          { return int64(len(c)) }
func (c text) Buffers() [][]byte    { return [][]byte{c} }
func (c text) NewReader() io.Reader { return bytes.NewReader(c) }

// fakeQueue keeps in memory what a queue keeps on disk. What is given out are copies.
type fakeQueue struct {
	mu       sync.Mutex
	rows     int64
	messages map[int64]*queue.Header
	contents map[int64][]byte
	items    map[queue.Key]*queue.Item
	places   map[string]*queue.Destination
	token    int64

	lastPlace int64 // an ID is never used again
	changed   chan struct{}

	damaged map[int64]bool // contents that end in ErrDamaged
	bad     queue.Key      // a row that cannot be written
	aside   []queue.Key
	broken  func(op string) error // nil: everything works

	leases, postpones, finishes int
	touched                     map[queue.Key]int
}

func newFakeQueue() *fakeQueue {
	return &fakeQueue{messages: map[int64]*queue.Header{}, contents: map[int64][]byte{}, items: map[queue.Key]*queue.Item{},
		places: map[string]*queue.Destination{}, changed: make(chan struct{}, 1), damaged: map[int64]bool{},
		touched: map[queue.Key]int{}}
}

func (q *fakeQueue) fails(ctx context.Context, op string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if q.broken != nil {
		return q.broken(op)
	}
	return nil
}

func (q *fakeQueue) Put(ctx context.Context, e queue.Entry, lease bool) ([]*queue.Item, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.fails(ctx, "put"); err != nil {
		return nil, err
	}
	items, err := q.put(e)
	if err != nil || !lease {
		return nil, err
	}
	return q.lease(items, time.Time{}), nil
}

func (q *fakeQueue) put(e queue.Entry) ([]*queue.Item, error) {
	m := e.Message
	b, err := io.ReadAll(m.Content.NewReader())
	if err != nil {
		return nil, err
	}
	q.rows++
	h := &queue.Header{Row: q.rows, ID: m.ID, Created: time.Now(), Reverse: m.Reverse, UTF8: m.UTF8, RequireTLS: m.RequireTLS, Return: m.Return,
		EnvelopeID: m.EnvelopeID, Size: int64(len(b)), Trace: m.Trace}
	q.messages[h.Row], q.contents[h.Row] = h, b
	var items []*queue.Item
	for n, r := range e.Recipients {
		at := q.places[r.Destination]
		if at == nil {
			q.lastPlace++
			at = &queue.Destination{ID: q.lastPlace, Name: r.Destination}
			q.places[r.Destination] = at
		}
		item := &queue.Item{Key: queue.Key{Row: h.Row, N: n}, Message: h, Recipient: r, Fate: at}
		q.items[item.Key] = item
		items = append(items, item)
	}
	return items, nil
}

func (q *fakeQueue) lease(items []*queue.Item, next time.Time) []*queue.Item {
	var had []*queue.Item
	for _, asked := range items {
		item := q.items[asked.Key]
		if item == nil || item.Lease != 0 {
			continue
		}
		q.token++
		q.leases++
		q.touched[item.Key]++
		item.Lease = q.token
		item.Attempts++
		if !next.IsZero() {
			item.Due = next
		}
		had = append(had, q.copy(item))
	}
	return had
}

// settle removes destinations without mail.
func (q *fakeQueue) settle() {
	used := map[string]bool{}
	for _, item := range q.items {
		used[item.Destination] = true
	}
	for name := range q.places {
		if !used[name] {
			delete(q.places, name)
		}
	}
}

func (q *fakeQueue) copy(item *queue.Item) *queue.Item {
	c, at := *item, *q.places[item.Destination]
	c.Fate = &at
	return &c
}

func (q *fakeQueue) waiting(item *queue.Item, now time.Time) bool {
	return item.Lease == 0 && !item.Due.After(now) && !slices.Contains(q.aside, item.Key)
}

func (q *fakeQueue) Destinations(ctx context.Context, now time.Time, limit int, skip func(int64) bool) ([]queue.Destination, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.fails(ctx, "destinations"); err != nil {
		return nil, err
	}
	q.settle()
	due := map[string]bool{}
	for _, item := range q.items {
		if at := q.places[item.Destination]; q.waiting(item, now) && !at.Due.After(now) && !skip(at.ID) {
			due[at.Name] = true
		}
	}
	var all []queue.Destination
	for name := range due {
		all = append(all, *q.places[name])
	}
	slices.SortFunc(all, func(a, b queue.Destination) int { return cmp.Compare(a.ID, b.ID) })
	return all[:min(len(all), limit)], nil
}

func (q *fakeQueue) NextDue(ctx context.Context) (next time.Time, some bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.fails(ctx, "next due"); err != nil {
		return time.Time{}, false, err
	}
	for _, item := range q.items {
		if item.Lease != 0 || slices.Contains(q.aside, item.Key) {
			continue
		}
		due := item.Due
		if at := q.places[item.Destination]; at.Due.After(due) {
			due = at.Due
		}
		if !some || due.Before(next) {
			next, some = due, true
		}
	}
	return next, some, nil
}

func (q *fakeQueue) Ready(ctx context.Context, destination int64, now time.Time, limit int) ([]*queue.Item, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.fails(ctx, "ready"); err != nil {
		return nil, err
	}
	return q.find(limit, func(item *queue.Item) bool {
		return q.waiting(item, now) && q.places[item.Destination].ID == destination
	}), nil
}

func (q *fakeQueue) find(limit int, want func(*queue.Item) bool) []*queue.Item {
	var all []*queue.Item
	for _, item := range q.items {
		if want(item) {
			all = append(all, item)
		}
	}
	slices.SortFunc(all, func(a, b *queue.Item) int {
		return cmp.Or(a.Due.Compare(b.Due), cmp.Compare(a.Row, b.Row), cmp.Compare(a.N, b.N))
	})
	all = all[:min(len(all), limit)]
	for i := range all {
		all[i] = q.copy(all[i])
	}
	return all
}

func (q *fakeQueue) Lease(ctx context.Context, items []*queue.Item, next time.Time) ([]*queue.Item, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.fails(ctx, "lease"); err != nil {
		return nil, err
	}
	for _, item := range items {
		if item.Key == q.bad {
			return nil, queue.ErrDamaged
		}
	}
	return q.lease(items, next), nil
}

func (q *fakeQueue) Finish(ctx context.Context, outcomes []queue.Outcome, reports []queue.Entry) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.fails(ctx, "finish"); err != nil {
		return err
	}
	for _, e := range reports { // before anything changes: it is one commit
		if _, err := io.Copy(io.Discard, e.Message.Content.NewReader()); err != nil {
			return err
		}
	}
	q.finishes++
	for _, o := range outcomes {
		item := q.items[o.Item.Key]
		if item == nil || item.Lease != o.Item.Lease || item.Lease == 0 {
			continue
		}
		item.Lease, item.InDoubt = 0, false
		switch o.Kind {
		case queue.Gone:
			delete(q.items, item.Key)
		case queue.Retry:
			item.Due, item.Notice, item.Last = o.Next, o.Notice, o.Attempt
		case queue.Aside:
			q.aside = append(q.aside, item.Key)
		}
	}
	for _, e := range reports {
		if _, err := q.put(e); err != nil {
			return err
		}
	}
	return nil
}

func (q *fakeQueue) Postpone(ctx context.Context, destination int64, next time.Time, failure *queue.Attempt) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.fails(ctx, "postpone"); err != nil {
		return err
	}
	q.postpones++
	for _, at := range q.places {
		if at.ID == destination {
			if failure == nil {
				at.Due, at.Failures = time.Time{}, 0
				q.settle()
			} else {
				at.Due, at.Last = next, failure
				at.Failures++
			}
			return nil
		}
	}
	return nil
}

func (q *fakeQueue) Overdue(ctx context.Context, now time.Time, limit int) ([]*queue.Item, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.fails(ctx, "overdue"); err != nil {
		return nil, err
	}
	return q.find(limit, func(item *queue.Item) bool {
		watch := item.Expires
		if !item.Notice.IsZero() && item.Notice.Before(watch) {
			watch = item.Notice
		}
		return item.Lease == 0 && !watch.After(now) && !slices.Contains(q.aside, item.Key)
	}), nil
}

func (q *fakeQueue) Content(h *queue.Header) mailbox.Content {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.damaged[h.Row] {
		return damaged{text(q.contents[h.Row])}
	}
	return text(q.contents[h.Row])
}

// damaged is a content that is not what was written.
type damaged struct{ text }

func (damaged) Buffers() [][]byte    { return nil }
func (damaged) NewReader() io.Reader { return failing{} }

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, queue.ErrDamaged }

func (q *fakeQueue) Changed() <-chan struct{} { return q.changed }

// crash is what the next Open finds of a process that died.
func (q *fakeQueue) crash() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, item := range q.items {
		if item.Lease != 0 {
			item.Lease, item.InDoubt = 0, true
			item.Due = time.Now()
		}
	}
}

// left gives what is in the queue, and how much of it is leased.
func (q *fakeQueue) left() (items, leased int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, item := range q.items {
		if item.Lease != 0 {
			leased++
		}
	}
	return len(q.items), leased
}

// counts tells how often it was used for what.
func (q *fakeQueue) counts() (leases, postpones, finishes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.leases, q.postpones, q.finishes
}

func (q *fakeQueue) mend() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.broken = nil
}
