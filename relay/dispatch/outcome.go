package dispatch

import (
	"context"
	"errors"
	"time"

	"mxbypass/mailbox"
	"mxbypass/relay/dsn"
	"mxbypass/relay/maillog"
	"mxbypass/relay/outbound"
	"mxbypass/relay/queue"
)

// verdict is what was said about an item.
type verdict struct {
	item     *queue.Item
	failure  *outbound.Failure // nil: delivered, unless the attempt says otherwise
	sending  maillog.Sending
	reported bool      // the server reports success itself
	next     time.Time // when it is tried again; zero: as its attempts say
	overdue  bool      // it was not tried: its time is to be looked at
}

// decision is what becomes of an item.
type decision struct {
	verdict
	outcome queue.Outcome
	attempt *queue.Attempt // why it is not delivered
	action  dsn.Action     // what its sender is told; empty: nothing
	status  [3]int
	expired bool
}

// settle decides what becomes of the items and writes it, with the reports that follow, in one commit. An error means
// that it could not be written: the items stay leased until the next start.
func (d *Dispatcher) settle(ctx context.Context, env *Environment, vs []verdict,
	content func(*queue.Header) mailbox.Content,
) ([]decision, error) {
	now := time.Now()
	all := make([]decision, len(vs))
	for i, v := range vs {
		all[i] = decide(v, env.Schedule, now)
	}
	reports, notes := d.reports(ctx, env, all, content)
	err := d.finish(all, reports)
	if errors.Is(err, queue.ErrDamaged) { // a report cannot be written because the message cannot be read
		for i := range all {
			all[i].quarantine(err)
		}
		reports, notes = nil, nil
		err = d.finish(all, nil)
	}
	if err != nil {
		return nil, err
	}
	for i := range all {
		d.tellOf(&all[i], now)
	}
	for _, note := range notes {
		note()
	}
	for _, r := range reports {
		d.queued(destinations(r.Recipients))
	}
	return all, nil
}

func decide(v verdict, s Schedule, now time.Time) decision {
	c := decision{verdict: v, outcome: queue.Outcome{Item: v.item, Kind: queue.Gone}}
	null := v.item.Message.Reverse.IsNull()
	ask := v.item.Report.Notify
	switch f := v.failure; {
	case f == nil && !v.overdue:
		if ask.Success() && !null && !v.reported {
			c.action, c.status = dsn.Relayed, [3]int{2, 0, 0}
			if v.item.Purpose == purposeStore {
				c.action = dsn.Delivered
			}
		}
		return c
	case f == nil:
		if c.attempt = lastOf(v.item); c.attempt == nil {
			c.attempt = &queue.Attempt{Time: now, Enhanced: [3]int{4, 4, 7}, Text: "there was no time to try it"}
		}
	case errors.Is(f.Err, queue.ErrDamaged):
		c.attempt = attemptOf(f)
		c.outcome.Kind, c.outcome.Attempt = queue.Aside, c.attempt
		return c
	default:
		c.attempt = attemptOf(f)
	}
	c.outcome.Attempt, c.status = c.attempt, c.attempt.Enhanced
	expired := !now.Before(v.item.Expires)
	if v.failure != nil && v.failure.Permanent || expired {
		if expired && (v.failure == nil || !v.failure.Permanent) {
			c.expired, c.status = true, [3]int{4, 4, 7} // RFC 3463 section 3.5: delivery time expired
		}
		if ask.Failure() {
			c.action = dsn.Failed
		}
		return c
	}
	c.retry(s, now)
	if notice := v.item.Notice; !notice.IsZero() && !now.Before(notice) {
		c.outcome.Notice = time.Time{}
		if ask.Delay() && !null {
			c.action = dsn.Delayed
		}
	}
	return c
}

// retry has the item tried again.
func (c *decision) retry(s Schedule, now time.Time) {
	c.outcome.Kind, c.outcome.Notice = queue.Retry, c.item.Notice
	switch {
	case !c.next.IsZero():
		c.outcome.Next = c.next
	default:
		c.outcome.Next = now.Add(s.after(c.item.Attempts))
	}
}

// lastOf gives the newest failure that is known of an item: its own, or that of its destination.
func lastOf(item *queue.Item) *queue.Attempt {
	last := item.Last
	if at := item.Fate; at != nil && at.Last != nil && (last == nil || at.Last.Time.After(last.Time)) {
		last = at.Last
	}
	return last
}

// quarantine puts an item aside that cannot be reported on, because its message is damaged. Who was delivered, or is tried
// again, is not concerned.
func (c *decision) quarantine(err error) {
	switch c.action {
	case dsn.Failed:
		c.outcome.Kind, c.failure = queue.Aside, ours(err, false)
	case dsn.Delayed:
		c.outcome.Notice = time.Time{}
	}
	c.action = ""
}

// finish writes the outcomes and reports. While the queue cannot be written it waits, because nothing may go on before
// what was done is recorded.
func (d *Dispatcher) finish(all []decision, reports []queue.Entry) error {
	outcomes := make([]queue.Outcome, len(all))
	for i := range all {
		outcomes[i] = all[i].outcome
	}
	return d.write(outcomes, reports)
}

const longestWriteWait = time.Minute

func (d *Dispatcher) write(outcomes []queue.Outcome, reports []queue.Entry) error {
	for wait := time.Second; ; wait = min(2*wait, longestWriteWait) {
		err := d.queue.Finish(d.writing, outcomes, reports)
		switch {
		case err == nil, errors.Is(err, queue.ErrDamaged), errors.Is(err, queue.ErrClosed):
			return err
		}
		d.trouble("what became of messages cannot be written, and they wait for it", err)
		if !pause(d.writing, wait) {
			return err
		}
	}
}

// giveBack returns leased groups that were not tried, and what they hold. a says why; they are due at once.
func (d *Dispatcher) giveBack(groups []*group, a *queue.Attempt) {
	if len(groups) == 0 {
		return
	}
	now := time.Now()
	var outcomes []queue.Outcome
	for _, g := range groups {
		for _, item := range g.items {
			outcomes = append(outcomes, queue.Outcome{Item: item, Kind: queue.Retry, Attempt: a, Next: now, Notice: item.Notice})
		}
	}
	err := d.write(outcomes, nil)
	for _, g := range groups {
		if g.kept != nil {
			g.kept.release()
		}
	}
	if err != nil {
		return
	}
	for _, o := range outcomes {
		d.log.Deferred(parcel(o.Item, now), words(a), now, false)
	}
}

// tellOf logs what became of an item.
func (d *Dispatcher) tellOf(c *decision, now time.Time) {
	p := parcel(c.item, now)
	if c.attempt != nil {
		p.TLS = c.attempt.TLS
	}
	if c.outcome.Kind != queue.Aside {
		p.Err = untold(c.failure)
	}
	switch c.outcome.Kind {
	case queue.Gone:
		switch {
		case c.attempt == nil:
			d.log.Sent(p, c.sending)
		case c.expired:
			d.log.GivenUp(p, words(c.attempt))
		default:
			d.log.Bounced(p, words(c.attempt))
		}
	case queue.Retry:
		if !c.overdue {
			d.log.Deferred(p, words(c.attempt), c.outcome.Next, c.failure != nil && c.failure.InDoubt)
		}
	case queue.Aside:
		d.log.Quarantined(p, c.failure.Err)
	}
}

func parcel(item *queue.Item, now time.Time) maillog.Parcel {
	return maillog.Parcel{ID: item.Message.ID, From: item.Message.Reverse, To: item.To, Destination: item.Destination,
		Purpose: item.Purpose, Delay: now.Sub(item.Message.Created), Attempts: item.Attempts}
}
