package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	// maxIdle is how many destinations without work are settled at a time.
	maxIdle = 500

	selectDestinations = "SELECT " + destinationColumns + `, EXISTS (SELECT 1 FROM recipient WHERE destination = destination.id
		AND state = 0 AND lease = 0 AND due <= ?1) FROM destination WHERE due <= ?1 ORDER BY due, id`
)

// Destinations gives destinations with something to do at now, longest due first, at most limit, leaving out those
// for which skip says so.
func (q *Queue) Destinations(ctx context.Context, now time.Time, limit int, skip func(id int64) bool) (
	[]Destination, error,
) {
	for {
		found, idle, err := q.destinations(ctx, micros(now), limit, skip)
		if err == nil {
			err = q.settle(ctx, idle, micros(now))
		}
		if errors.Is(err, ErrDamaged) && len(idle) > 0 {
			q.log.Error("destinations without mail cannot be removed from the queue", "path", q.path, "error", err)
			return found, nil
		}
		if err != nil {
			return nil, fmt.Errorf("queue: destinations: %w", err)
		}
		if len(idle) < maxIdle {
			return found, nil
		}
	}
}

// settle settles destinations together, or when that cannot be done each alone.
func (q *Queue) settle(ctx context.Context, ids []int64, now int64) error {
	if len(ids) == 0 {
		return nil
	}
	err := q.writer.do(ctx, 0, func(t *tx) error {
		for _, id := range ids {
			if err := t.settle(id, now); err != nil {
				return err
			}
		}
		return nil
	})
	if !errors.Is(err, ErrDamaged) || len(ids) == 1 {
		return err
	}
	var last error
	for i := range ids {
		if err := q.settle(ctx, ids[i:i+1], now); err != nil {
			last = err
		}
	}
	return last
}

// destinations also gives those that have nothing to do, though they are due.
func (q *Queue) destinations(ctx context.Context, now int64, limit int, skip func(id int64) bool) (
	found []Destination, idle []int64, err error,
) {
	err = q.readers.each(ctx, selectDestinations, func(r *record) bool {
		at, _ := r.destination() // of one that is damaged Ready gives nothing, and puts its mail aside
		work := r.integer("whether there is work")
		switch {
		case skip(at.ID):
		case work == 0:
			idle = append(idle, at.ID)
		default:
			found = append(found, *at)
		}
		return len(found) < limit && len(idle) < maxIdle
	}, now)
	return found, idle, err
}

// NextDue tells when the earliest destination is due; false when nothing waits.
func (q *Queue) NextDue(ctx context.Context) (time.Time, bool, error) {
	due, err := q.readers.numbers(ctx, "SELECT due FROM destination ORDER BY due LIMIT 1")
	switch {
	case err != nil:
		return time.Time{}, false, fmt.Errorf("queue: %w", err)
	case len(due) == 0, due[0][0] == never:
		return time.Time{}, false, nil
	}
	return time.UnixMicro(due[0][0]), true, nil
}

const (
	itemColumns = recipientColumns + ", " + headerColumns + `, d.id, d.name, d.due, d.until, d.failures, d.last_time,
		d.last_host, d.last_command, d.last_code, d.last_enhanced, d.last_text, d.last_tls`
	fromItems = ` FROM recipient r LEFT JOIN message m ON m.id = r.message LEFT JOIN destination d ON d.id = r.destination `

	whereReady = `WHERE r.destination = ? AND r.state = 0 AND r.lease = 0 AND r.due <= ?
		ORDER BY r.due, r.message, r.n LIMIT ?`
	selectItem = "SELECT " + itemColumns + fromItems + "WHERE r.message = ? AND r.n = ?"

	whereOverdue = "WHERE r.state = 0 AND r.lease = 0 AND r.watch <= ? ORDER BY r.watch, r.message, r.n LIMIT ?"
)

// Ready gives items of a destination that are due at now and that nobody works on, longest due first, those of one
// message together, at most limit. Damaged rows are quarantined on the way.
func (q *Queue) Ready(ctx context.Context, destination int64, now time.Time, limit int) ([]*Item, error) {
	items, err := q.items(ctx, whereReady, limit, destination, micros(now))
	if err != nil {
		return nil, fmt.Errorf("queue: what is due: %w", err)
	}
	return together(items), nil
}

// Overdue gives items of which something is to be said: their time of notice or of expiry has passed. At most limit, and
// none that is leased or held.
func (q *Queue) Overdue(ctx context.Context, now time.Time, limit int) ([]*Item, error) {
	items, err := q.items(ctx, whereOverdue, limit, micros(now))
	if err != nil {
		return nil, fmt.Errorf("queue: what is overdue: %w", err)
	}
	return items, nil
}

// together brings the items of a message to where the first of them is.
func together(items []*Item) []*Item {
	first := make(map[int64]int, len(items))
	for n, i := range items {
		if _, has := first[i.Row]; !has {
			first[i.Row] = n
		}
	}
	slices.SortStableFunc(items, func(a, b *Item) int { return first[a.Row] - first[b.Row] })
	return items
}
