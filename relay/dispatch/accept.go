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

const (
	// storeScheme stands before the site in the destination of mail for a store.
	storeScheme = "store:"
	// purposeStore is the purpose of mail for a store; the others are those of package routing.
	purposeStore = "store"
	// purposeLast is that of what went to the postmaster because nobody else could be told: when that fails too, it is
	// dropped.
	purposeLast = "double bounce"

	// maxFresh is how many groups of a destination wait for a worker with their content in memory; while it has not
	// answered yet they are fewer, because it may hang.
	maxFresh      = 500
	maxFreshFirst = 100

	// relayedField marks what the other half of a split domain gets: the inbound side refuses what comes back with it.
	relayedField = "X-Mxbypass-Relayed"
)

var errNoTargets = errors.New("dispatch: a message for nobody")

// Accept takes responsibility for a message: nil means that it is durable. It may be on its way before Accept returns.
// The content is read before it returns, and later only if it was retained. Errors are those of [queue.Queue.Put].
func (d *Dispatcher) Accept(ctx context.Context, m *mailbox.Message, to []Target) error {
	env, release := d.environment()
	defer release()
	recipients := envelope{env, m, time.Now(), need(m)}.recipients(ctx, to)
	if len(recipients) == 0 {
		return errNoTargets
	}
	names := destinations(recipients)
	var kept *holding
	if d.room(names) {
		kept = d.held.hold(m.Content)
	}
	if kept != nil {
		defer kept.release()
	}
	items, err := d.queue.Put(ctx, queue.Entry{Message: m, Recipients: recipients}, kept != nil)
	if err != nil {
		return fmt.Errorf("queueing the message: %w", err)
	}
	d.log.Queued(m, len(recipients), len(names), kept != nil)
	if kept == nil {
		d.queued(names)
		return nil
	}
	d.begin(makeGroups(items, env.Limits.sane().Recipients), kept)
	return nil
}

// Delivered queues the reports of success that the senders asked for (NOTIFY=SUCCESS) on mailboxes that were served at
// once. An error means that the report is not queued; the mail is delivered all the same.
func (d *Dispatcher) Delivered(ctx context.Context, m *mailbox.Message, to []mailbox.Recipient) error {
	var told []dsn.Recipient
	now := time.Now()
	for _, r := range to {
		if r.Report.Notify.Success() && !m.Reverse.IsNull() {
			told = append(told, dsn.Recipient{Action: dsn.Delivered, Final: r.Delivered, Written: mailbox.Printable(r.Original),
				Original: r.Report.Original, Status: [3]int{2, 0, 0}, Last: now,
				Reason: "the message is in the mailbox"})
		}
	}
	if len(told) == 0 {
		return nil
	}
	env, release := d.environment()
	defer release()
	entry, err := d.report(ctx, env, dsn.Original{ID: m.ID, Arrived: now, Reverse: m.Reverse, EnvelopeID: m.EnvelopeID,
		Return: m.Return, UTF8Header: m.UTF8, Content: m.Content}, m.RequireTLS, told)
	if err == nil {
		_, err = d.queue.Put(ctx, entry, false)
	}
	if err != nil {
		return fmt.Errorf("report of success on %s: %w", m.ID, err)
	}
	d.log.Notified(entry.Message.ID, m.ID, m.Reverse, string(dsn.Delivered), len(told))
	d.queued(destinations(entry.Recipients))
	return nil
}

// envelope makes the recipients of a message.
type envelope struct {
	env  *Environment
	m    *mailbox.Message
	now  time.Time
	need routing.Need
}

// recipients gives what is queued for the targets, each address of a destination once.
func (e envelope) recipients(ctx context.Context, to []Target) []queue.Recipient {
	type place struct {
		destination string
		to, box     mailbox.Address
		tag         mailbox.LocalPart
	}
	seen := make(map[place]bool, len(to))
	all := make([]queue.Recipient, 0, len(to))
	for _, t := range to {
		var r queue.Recipient
		switch {
		case t.Mailbox != nil:
			r = e.here(*t.Mailbox)
		case t.Outbound != nil:
			r = e.elsewhere(ctx, *t.Outbound)
		default:
			continue
		}
		p := place{r.Destination, r.To, r.Mailbox, r.Tag}
		if seen[p] {
			continue
		}
		seen[p] = true
		null := e.m.Reverse.IsNull()
		r.Due, r.Expires = e.now, e.now.Add(e.env.Schedule.lifetime(null))
		if wait := e.env.Schedule.Notice; wait > 0 && !null && r.Report.Notify.Delay() {
			r.Notice = e.now.Add(wait)
		}
		all = append(all, r)
	}
	return all
}

func (e envelope) here(r mailbox.Recipient) queue.Recipient {
	return queue.Recipient{Destination: storeScheme + r.Mailbox.Site, To: r.Delivered, Mailbox: r.Mailbox.Address, Tag: r.Tag,
		Purpose: purposeStore, Reverse: e.m.Reverse, Original: r.Original, Report: r.Report}
}

func (e envelope) elsewhere(ctx context.Context, o routing.Outbound) queue.Recipient {
	hop := o.Hop
	hop.Need = e.need
	r := queue.Recipient{Destination: hop.String(), To: o.To, Purpose: string(o.Purpose), Reverse: e.m.Reverse,
		Original: o.Original, Report: o.Report}
	switch o.Purpose {
	case routing.Redirected:
		if e.env.Rewrite != nil && !e.m.Reverse.IsNull() {
			r.Reverse = e.env.Rewrite(ctx, e.m.Reverse)
		}
		r.Mark = e.mark("Delivered-To", o.From, "")
	case routing.OtherHalf:
		r.Mark = e.mark(relayedField, o.To, " by "+e.env.Hostname.ASCII())
	}
	return r
}

// mark writes a field that tells a loop. It is left out where it would be the only thing in the header that is not
// ASCII: then the Received fields alone end a loop.
func (e envelope) mark(field string, a mailbox.Address, more string) string {
	if a.IsNull() || a.NeedsUTF8() && !e.m.UTF8 {
		return ""
	}
	return field + ": " + a.Header() + more + "\r\n"
}

// destinations gives the different destinations of recipients.
func destinations(recipients []queue.Recipient) []string {
	var names []string
	seen := map[string]bool{}
	for _, r := range recipients {
		if !seen[r.Destination] {
			seen[r.Destination] = true
			names = append(names, r.Destination)
		}
	}
	return names
}
