package dispatch

import (
	"context"
	"time"

	"mxbypass/relay/queue"
)

const (
	// sweepEvery is how often is looked for those who are to be told something although nobody tries them now.
	sweepEvery = time.Minute
	// sweepSize is how many items are looked at together.
	sweepSize = 200
	// maxPutOff bounds those whose report has to wait.
	maxPutOff = 10_000
)

// sweepLoop reports on items whose time of notice or expiry has passed while their destination did not answer.
func (d *Dispatcher) sweepLoop() {
	s := sweeper{Dispatcher: d, putOff: map[queue.Key]time.Time{}}
	for {
		s.sweep(d.stopping)
		if !pause(d.stopping, sweepEvery) {
			return
		}
	}
}

// sweeper remembers whom it could not report on.
type sweeper struct {
	*Dispatcher
	putOff map[queue.Key]time.Time // until when
}

// sweep works until there is nobody left.
func (s *sweeper) sweep(ctx context.Context) {
	now := time.Now()
	for k, until := range s.putOff {
		if !now.Before(until) {
			delete(s.putOff, k)
		}
	}
	for ctx.Err() == nil && len(s.putOff) < maxPutOff {
		limit := sweepSize + len(s.putOff)
		items, err := s.queue.Overdue(ctx, time.Now(), limit)
		if err != nil {
			s.trouble("the queue cannot be read", err)
			return
		}
		full := len(items) >= limit
		open := items[:0:0]
		for _, item := range items {
			if _, has := s.putOff[item.Key]; !has {
				open = append(open, item)
			}
		}
		if len(open) == 0 || !s.report(ctx, open) || !full {
			return
		}
	}
}

// report tells about items, and notes those for whom that has to wait. False: there is no use in going on.
func (s *sweeper) report(ctx context.Context, items []*queue.Item) bool {
	env, release := s.environment()
	defer release()
	until := time.Now().Add(env.Schedule.after(1))
	leased, err := s.queue.Lease(ctx, items, until)
	if err != nil {
		s.trouble("no report can be begun", err)
		return false
	}
	due := make(map[queue.Key]time.Time, len(items)) // it stays as it was
	for _, item := range items {
		due[item.Key] = item.Due
	}
	vs := make([]verdict, len(leased))
	for i, item := range leased {
		vs[i] = verdict{item: item, overdue: true, next: due[item.Key]}
	}
	all, err := s.settle(s.sending, env, vs, s.queue.Content)
	for i := range all {
		if c := &all[i]; c.expired && c.outcome.Kind == queue.Retry {
			s.putOff[c.item.Key] = until
		}
	}
	return err == nil && len(leased) > 0
}
