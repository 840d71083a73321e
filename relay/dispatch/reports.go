package dispatch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mxbypass/mailbox"
	"mxbypass/relay/dsn"
	"mxbypass/relay/queue"
	"mxbypass/routing"
)

// errNowhere: there is no way to the one who is to be told, and there will be none.
var errNowhere = errors.New("no way to its recipient")

// postmaster is the one path without a domain (RFC 5321 section 4.1.1.3).
var postmaster = mailbox.Path{Address: mailbox.Address{Local: "postmaster"}, Written: "postmaster"}

// about is what goes into one report.
type about struct {
	row    int64
	action dsn.Action
}

// reports makes the reports that follow from decisions: one for each message and action. notes log them once they are
// written. A decision whose report cannot be made now is changed: its recipient stays in the queue until it can.
func (d *Dispatcher) reports(ctx context.Context, env *Environment, all []decision,
	content func(*queue.Header) mailbox.Content,
) (entries []queue.Entry, notes []func()) {
	var order []about
	groups := map[about][]*decision{}
	for i := range all {
		c := &all[i]
		if c.action == "" {
			continue
		}
		k := about{c.item.Row, c.action}
		if groups[k] == nil {
			order = append(order, k)
		}
		groups[k] = append(groups[k], c)
	}
	for _, k := range order {
		cs := groups[k]
		h := cs[0].item.Message
		entry, note, err := d.reportOn(ctx, env, cs, content(h))
		if err != nil {
			if note := d.putOff(env, cs, err); note != nil {
				notes = append(notes, note)
			}
			continue
		}
		if entry.Message != nil {
			entries = append(entries, entry)
		}
		notes = append(notes, note)
	}
	return entries, notes
}

// reportOn makes the report on recipients of one message with one action. What has a null sender, and what nobody can be
// told of, goes to the postmaster or is dropped: then the entry has no message. An error means that it cannot be known
// now.
func (d *Dispatcher) reportOn(ctx context.Context, env *Environment, cs []*decision, content mailbox.Content) (
	queue.Entry, func(), error,
) {
	item, action := cs[0].item, cs[0].action
	h := item.Message
	drop := func(reason string) (queue.Entry, func(), error) {
		return queue.Entry{}, func() { d.log.Dropped(h.ID, h.Reverse, string(action), reason) }, nil
	}
	if h.Reverse.IsNull() {
		if item.Purpose == purposeLast {
			return drop("the postmaster cannot have it either: " + words(cs[0].attempt))
		}
		m := &mailbox.Message{ID: d.ids.Next(), UTF8: h.UTF8, Trace: h.Trace, Content: content, RequireTLS: h.RequireTLS}
		return d.lastResort(ctx, env, m, h.ID, "a report cannot be delivered: "+words(cs[0].attempt), drop)
	}
	original := dsn.Original{ID: h.ID, Arrived: h.Created, Reverse: h.Reverse, EnvelopeID: h.EnvelopeID, Return: h.Return,
		UTF8Header: h.UTF8Header, Content: content}
	told := make([]dsn.Recipient, len(cs))
	for i, c := range cs {
		told[i] = c.told()
	}
	entry, err := d.report(ctx, env, original, h.RequireTLS, told)
	switch {
	case err == nil:
		return entry, func() { d.log.Notified(entry.Message.ID, h.ID, h.Reverse, string(action), len(cs)) }, nil
	case errors.Is(err, errNowhere) && action == dsn.Failed:
		return d.lastResort(ctx, env, entry.Message, h.ID, "its sender cannot be told: "+err.Error(), drop)
	case errors.Is(err, errNowhere):
		return drop(err.Error())
	}
	return queue.Entry{}, nil, err
}

// lastResort queues a message for the postmaster that nobody else can have.
func (d *Dispatcher) lastResort(ctx context.Context, env *Environment, m *mailbox.Message, about, reason string,
	drop func(string) (queue.Entry, func(), error),
) (queue.Entry, func(), error) {
	if !env.DoubleBounces {
		return drop(reason)
	}
	recipients, err := place(ctx, env, m, postmaster)
	switch {
	case errors.Is(err, errNowhere):
		return drop(reason + "; and there is no postmaster: " + err.Error())
	case err != nil:
		return queue.Entry{}, nil, err
	}
	for i := range recipients {
		recipients[i].Purpose = purposeLast
	}
	return queue.Entry{Message: m, Recipients: recipients}, func() { d.log.Postmaster(m.ID, about, reason) }, nil
}

// report composes a report and finds the way to the sender of the original message. The error wraps errNowhere when there
// is none; the entry has its message then. A report on a message that must stay under TLS must do so, too, where it can,
// and does not bring it back (RFC 8689 section 5).
func (d *Dispatcher) report(ctx context.Context, env *Environment, original dsn.Original, requireTLS bool,
	told []dsn.Recipient,
) (queue.Entry, error) {
	if requireTLS {
		original.Return = mailbox.ReturnHeaders
	}
	to := mailbox.Path{Address: original.Reverse, Written: original.Reverse.Wire()}
	recipients, way := place(ctx, env, &mailbox.Message{}, to)
	if way != nil && !errors.Is(way, errNowhere) {
		return queue.Entry{}, way
	}
	m, err := d.compose(dsn.Notification{ID: d.ids.Next(), Hostname: env.Hostname, Postmaster: env.Postmaster,
		Time: time.Now(), Original: original, Recipients: told})
	if err != nil {
		return queue.Entry{}, fmt.Errorf("report on %s: %w", original.ID, err)
	}
	m.RequireTLS = requireTLS
	return queue.Entry{Message: m, Recipients: recipients}, way
}

// place routes a message of our own, which has a null sender, as one of a trusted client. The error wraps errNowhere
// when that is final.
func place(ctx context.Context, env *Environment, m *mailbox.Message, to mailbox.Path) ([]queue.Recipient, error) {
	route := env.Route(ctx, to, routing.Client{Trusted: true, NullSender: true})
	if route.Action != routing.Refuse && route.Action != routing.Defer {
		recipients := envelope{env, m, time.Now(), need(m)}.recipients(ctx, route.Targets(mailbox.Report{}))
		if len(recipients) > 0 {
			return recipients, nil
		}
	}
	if route.Action == routing.Refuse {
		return nil, fmt.Errorf("%w: %s: %w", errNowhere, to.Address, route.Err)
	}
	return nil, fmt.Errorf("no way to %s is known now: %w", to.Address, route.Err)
}

// told is what a report says about the recipient.
func (c *decision) told() dsn.Recipient {
	r := dsn.Recipient{Action: c.action, Final: c.item.To, Written: c.item.Original, Original: c.item.Report.Original,
		Status: c.status, Last: time.Now()}
	a := c.attempt
	switch c.action {
	case dsn.Delivered:
		r.Reason = "the message is in the mailbox"
		return r
	case dsn.Relayed:
		r.RemoteMTA = mtaOf(c.sending.Host)
		r.Reason = "the message was given to " + mailbox.Printable(c.sending.Host) + ", which sends no reports of success"
		return r
	case dsn.Delayed:
		r.RetryUntil = c.item.Expires
	}
	r.Last, r.RemoteMTA = a.Time, mtaOf(a.Host)
	switch {
	case a.Code != 0: // the server's own words say why
		r.Diagnostic = said(a)
	case c.expired:
		r.Reason = "it could not be delivered in time; at the last attempt: " + words(a)
	default:
		r.Reason = words(a)
	}
	return r
}

// putOff changes decisions whose report cannot be made now: who failed stays in the queue, and the notice of a delay
// comes later. A report of success is given up. After a lifetime of reports more the end is dropped, and logged.
func (d *Dispatcher) putOff(env *Environment, cs []*decision, err error) (note func()) {
	now := time.Now()
	d.trouble("a report cannot be made now", err)
	for _, c := range cs {
		if errors.Is(err, queue.ErrDamaged) {
			c.quarantine(err)
			continue
		}
		h, action := c.item.Message, c.action
		c.action = ""
		later := now.Add(env.Schedule.after(1))
		switch {
		case action == dsn.Delayed:
			c.outcome.Notice = later
		case action == dsn.Failed && now.Before(c.item.Expires.Add(env.Schedule.ReportLifetime)):
			c.outcome.Kind, c.outcome.Next = queue.Retry, later
		default:
			note = func() { d.log.Dropped(h.ID, h.Reverse, string(action), err.Error()) }
		}
	}
	return note
}
