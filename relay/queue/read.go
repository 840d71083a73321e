package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// reading makes items of rows. Those of one message share its header, those of one destination its fate.
type reading struct {
	headers map[int64]*Header
	fates   map[int64]*Destination
}

func newReading() *reading {
	return &reading{headers: map[int64]*Header{}, fates: map[int64]*Destination{}}
}

// item reads itemColumns. With an error there is as much of the item as could be read.
func (g *reading) item(r *record) (itemRow, error) {
	i := r.item()
	h := r.header()
	switch {
	case h == nil:
		r.fail("the row of the message is missing")
		h = &Header{Row: i.Row}
	case g.headers[h.Row] != nil:
		h = g.headers[h.Row]
	case r.err == nil:
		g.headers[h.Row] = h
	}
	i.Message = h
	if i.inherits {
		i.Reverse = h.Reverse
	}
	if r.values[r.at] == nil {
		r.fail("the row of the destination is missing")
		i.Fate = &Destination{}
		return i, r.err
	}
	at, _ := r.destination()
	if had := g.fates[at.ID]; had != nil {
		at = had
	} else if r.err == nil {
		g.fates[at.ID] = at
	}
	i.Fate, i.Destination = at, at.Name
	return i, r.err
}

// unreadable are items whose damage cannot even be written to their rows. They are passed over until the next start.
type unreadable struct {
	mu   sync.Mutex
	keys map[Key]struct{}
}

func newUnreadable() unreadable { return unreadable{keys: map[Key]struct{}{}} }

func (u *unreadable) has(k Key) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, has := u.keys[k]
	return has
}

func (u *unreadable) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.keys)
}

func (u *unreadable) add(k Key) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.keys[k] = struct{}{}
}

// items reads the items that where selects; its last parameter is limit. What is damaged is put aside, and does not count.
func (q *Queue) items(ctx context.Context, where string, limit int, args ...any) ([]*Item, error) {
	for {
		items, damaged, err := q.read(ctx, "SELECT "+itemColumns+fromItems+where, append(args, limit+q.unreadable.count())...)
		if errors.Is(err, ErrDamaged) { // a page, not a row: whatever can be read is read by itself
			items, damaged, err = q.oneByOne(ctx, where, append(args, limit+q.unreadable.count())...)
		}
		if err != nil {
			return nil, err
		}
		for k, why := range damaged {
			if err := q.quarantine(ctx, k, why); err != nil {
				return nil, err
			}
		}
		if len(items) > 0 || len(damaged) == 0 {
			return items[:min(len(items), limit)], nil
		}
	}
}

func (q *Queue) read(ctx context.Context, query string, args ...any) (items []*Item, damaged map[Key]error, err error) {
	g := newReading()
	damaged = map[Key]error{}
	err = q.readers.each(ctx, query, func(r *record) bool {
		switch i, err := g.item(r); {
		case q.unreadable.has(i.Key):
		case err != nil:
			damaged[i.Key] = err
		default:
			items = append(items, i.Item)
		}
		return true
	}, args...)
	return items, damaged, err
}

// oneByOne finds the items by their index alone, and reads each by itself.
func (q *Queue) oneByOne(ctx context.Context, where string, args ...any) (items []*Item, damaged map[Key]error, err error) {
	keys, err := q.readers.numbers(ctx, "SELECT r.message, r.n FROM recipient r "+where, args...)
	if err != nil {
		return nil, nil, err
	}
	damaged = map[Key]error{}
	for _, n := range keys {
		k := Key{n[0], int(n[1])}
		if q.unreadable.has(k) {
			continue
		}
		one, bad, err := q.read(ctx, selectItem, k.Row, k.N)
		switch {
		case errors.Is(err, ErrDamaged):
			damaged[k] = err
		case err != nil:
			return nil, nil, err
		}
		items = append(items, one...)
		for k, why := range bad {
			damaged[k] = why
		}
	}
	return items, damaged, nil
}

// quarantine puts an item aside, with the reason in place of its last failure.
func (q *Queue) quarantine(ctx context.Context, k Key, why error) error {
	q.log.Error("a message in the queue is damaged, and put aside", "path", q.path, "row", k.Row, "recipient", k.N,
		"error", why)
	a := &Attempt{Time: q.now(), Enhanced: [3]int{4, 3, 0}, Text: why.Error()}
	err := q.writer.do(ctx, 512, func(t *tx) error {
		if _, err := t.exec(quarantineItem, k.Row, int64(k.N)); err != nil {
			return err
		}
		_, err := t.exec(noteItem, append(failure(a), k.Row, int64(k.N))...)
		return err
	})
	if errors.Is(err, ErrDamaged) { // its row cannot be written
		q.unreadable.add(k)
		return nil
	}
	if err != nil {
		return fmt.Errorf("putting a damaged message aside: %w", err)
	}
	return nil
}

const quarantineItem = "UPDATE recipient SET state = 2 WHERE message = ? AND n = ? AND state = 0 AND lease = 0"
