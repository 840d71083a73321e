package queue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// mostDestinations is how many destinations Stats names.
const mostDestinations = 20

// The counts come from the indexes, which are a tenth of the rows.
const (
	countWaiting = "SELECT count(*) FROM recipient WHERE state = 0 AND lease = 0"
	countLeased  = "SELECT count(*) FROM recipient WHERE lease <> 0"
	countAside   = `SELECT coalesce(sum(state = 1), 0), coalesce(sum(state = 2), 0), coalesce(sum(lease <> 0), 0)
		FROM recipient WHERE state <> 0`
	countMessages = "SELECT count(*), coalesce(sum(size), 0) FROM message"

	// What is leased is little, and belongs to a destination like the rest.
	busiest = `SELECT destination, sum(n) AS total FROM (
			SELECT destination, count(*) AS n FROM recipient WHERE state = 0 AND lease = 0 GROUP BY destination
			UNION ALL SELECT destination, count(*) FROM recipient WHERE lease <> 0 GROUP BY destination
			UNION ALL SELECT destination, count(*) FROM recipient WHERE state <> 0 AND lease = 0 GROUP BY destination)
		GROUP BY destination ORDER BY total DESC, destination LIMIT ?`

	oldestOf = `SELECT min(message) FROM (
		SELECT min(message) AS message FROM recipient WHERE destination = ?1 AND state = 0 AND lease = 0
		UNION ALL SELECT min(message) FROM recipient WHERE destination = ?1 AND lease <> 0
		UNION ALL SELECT min(message) FROM recipient WHERE destination = ?1 AND state <> 0)`
)

// Stats counts. It reads what it counts, and locks nothing.
func (a *Admin) Stats(ctx context.Context) (Stats, error) {
	s, err := a.stats(ctx)
	if err != nil {
		return Stats{}, fmt.Errorf("queue: %w", classify(err))
	}
	return s, nil
}

func (a *Admin) stats(ctx context.Context) (Stats, error) {
	var s Stats
	var waiting, leased, held, quarantined, both int64
	for _, question := range []struct {
		ask  string
		into []any
	}{
		{countMessages, []any{&s.Messages, &s.Octets}},
		{countWaiting, []any{&waiting}},
		{countLeased, []any{&leased}},
		{countAside, []any{&held, &quarantined, &both}},
	} {
		if err := a.db.QueryRowContext(ctx, question.ask).Scan(question.into...); err != nil {
			return s, err
		}
	}
	s.Recipients = map[State]int64{Waiting: waiting, Active: leased - both, Held: held, Quarantined: quarantined}
	var created int64
	err := a.db.QueryRowContext(ctx, "SELECT created FROM message ORDER BY id LIMIT 1").Scan(&created)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return s, err
	}
	s.Oldest = fromMicros(created)
	counts, err := numbersOf(ctx, a.db, busiest, mostDestinations)
	if err != nil {
		return s, err
	}
	for _, c := range counts {
		d, err := a.destination(ctx, c[0])
		if err != nil {
			return s, err
		}
		d.Recipients = c[1]
		s.Destinations = append(s.Destinations, d)
	}
	return s, nil
}

func (a *Admin) destination(ctx context.Context, id int64) (d DestinationStats, err error) {
	rows, err := a.db.QueryContext(ctx, "SELECT "+destinationColumns+" FROM destination WHERE id = ?", id)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	if rows.Next() {
		r, err := scan(rows)
		if err != nil {
			return d, err
		}
		at, _ := r.destination()
		d.Name, d.Failures, d.Next = at.Name, at.Failures, at.Due
		if r.due == never {
			d.Next = fromMicros(0)
		}
		if at.Last != nil {
			d.Reason = at.Last.Text
		}
	}
	if err := rows.Err(); err != nil {
		return d, err
	}
	var oldest, created sql.NullInt64
	if err := a.db.QueryRowContext(ctx, oldestOf, id).Scan(&oldest); err != nil {
		return d, err
	}
	err = a.db.QueryRowContext(ctx, "SELECT created FROM message WHERE id = ?", oldest.Int64).Scan(&created)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	d.Oldest = fromMicros(created.Int64)
	return d, err
}
