package queue

import (
	"context"
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
		return Stats{}, fmt.Errorf("queue: %w", err)
	}
	return s, nil
}

func (a *Admin) stats(ctx context.Context) (Stats, error) {
	var s Stats
	var counts [4][3]int64
	for n, ask := range []string{countMessages, countWaiting, countLeased, countAside} {
		answer, err := a.readers.numbers(ctx, ask)
		if err != nil {
			return s, err
		}
		counts[n] = answer[0]
	}
	s.Messages, s.Octets = counts[0][0], counts[0][1]
	held, quarantined, both := counts[3][0], counts[3][1], counts[3][2]
	s.Recipients = map[State]int64{Waiting: counts[1][0], Active: counts[2][0] - both, Held: held, Quarantined: quarantined}
	oldest, err := a.readers.numbers(ctx, "SELECT created FROM message ORDER BY id LIMIT 1")
	if err != nil {
		return s, err
	}
	for _, o := range oldest {
		s.Oldest = fromMicros(o[0])
	}
	most, err := a.readers.numbers(ctx, busiest, mostDestinations)
	for _, c := range most {
		d, err := a.destination(ctx, c[0])
		if err != nil {
			return s, err
		}
		d.Recipients = c[1]
		s.Destinations = append(s.Destinations, d)
	}
	return s, err
}

func (a *Admin) destination(ctx context.Context, id int64) (d DestinationStats, err error) {
	err = a.readers.each(ctx, "SELECT "+destinationColumns+" FROM destination WHERE id = ?", func(r *record) bool {
		at, _ := r.destination()
		d.Name, d.Failures = at.Name, at.Failures
		if r.due != never {
			d.Next = at.Due
		}
		if at.Last != nil {
			d.Reason = at.Last.Text
		}
		return false
	}, id)
	if err != nil {
		return d, err
	}
	created, err := a.readers.numbers(ctx, "SELECT created FROM message WHERE id = ("+oldestOf+")", id)
	for _, c := range created {
		d.Oldest = fromMicros(c[0])
	}
	return d, err
}
