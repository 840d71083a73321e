package lmtp

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"

	"mxbypass/mailbox"
	"mxbypass/mailbox/smtpclient"
)

// maxRecipients of one transaction: what every server has to accept (RFC 5321 section 4.5.3.1.8).
const maxRecipients = 100

// part is one transaction of a delivery.
type part struct {
	from, to int // the recipients, by index
	client   *smtpclient.Client
	tx       *smtpclient.Transaction
	results  []error
}

// delivery implements mailbox.Delivery.
type delivery struct {
	store   *Store
	results []error // of Prepare
	parts   []*part // those with a prepared recipient
}

// Prepare implements mailbox.Store: it gives the envelope to the server.
func (s *Store) Prepare(ctx context.Context, m *mailbox.Message, to []mailbox.Recipient) (mailbox.Delivery, []error) {
	d := &delivery{store: s, results: make([]error, len(to))}
	parts := s.split(len(to))
	if err := s.pool.reserve(ctx, len(parts)); err != nil {
		for i := range d.results {
			d.results[i] = err
		}
		return nil, d.results
	}
	each(parts, func(p *part) { s.begin(ctx, m, to[p.from:p.to], p) })
	for _, p := range parts {
		copy(d.results[p.from:p.to], p.results)
		if slices.Contains(p.results, nil) {
			d.parts = append(d.parts, p)
			continue
		}
		if p.tx != nil {
			p.tx.Reset()
		}
		s.pool.put(p.client)
	}
	if len(d.parts) == 0 {
		return nil, d.results
	}
	return d, d.results
}

// split gives the transactions for n recipients: of at most maxRecipients each, unless there are more of them than one
// connection each could be had for.
func (s *Store) split(n int) []*part {
	size := max(maxRecipients, (n+s.pool.size-1)/s.pool.size)
	var parts []*part
	for from := 0; from < n; from += size {
		parts = append(parts, &part{from: from, to: min(from+size, n)})
	}
	return parts
}

// begin begins one transaction, with the slot that was reserved for it. A kept connection may be dead without our
// knowing (the server was restarted, it hung up just now): then, before DATA, all can be said again on a new one.
func (s *Store) begin(ctx context.Context, m *mailbox.Message, to []mailbox.Recipient, p *part) {
	client, reused, err := s.pool.get(ctx)
	if err == nil {
		p.tx, err = client.Begin(ctx, s.mail(m, to, client))
	}
	if err != nil && reused && isStale(ctx, client, err) {
		s.opts.Logger.Debug("a kept connection was dead", "server", s.opts.Address, "message", m.ID, "error", err)
		client.Close()
		if client, err = s.dial(ctx); err == nil {
			p.tx, err = client.Begin(ctx, s.mail(m, to, client))
		}
	}
	p.client = client
	if err == nil {
		p.results = p.tx.Results()
		return
	}
	p.tx = nil
	p.results = slices.Repeat([]error{err}, len(to))
}

// isStale tells whether a transaction failed because its connection had ended. A server that is only slow with the
// envelope is not asked twice.
func isStale(ctx context.Context, c *smtpclient.Client, err error) bool {
	slow := errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, smtpclient.ErrStale)
	return !c.Usable() && ctx.Err() == nil && !slow
}

// mail gives what a transaction carries; see the package comment for the trace.
func (s *Store) mail(m *mailbox.Message, to []mailbox.Recipient, c *smtpclient.Client) smtpclient.Mail {
	mail := smtpclient.Mail{Message: m, To: make([]smtpclient.Rcpt, len(to))}
	for i, r := range to {
		report := r.Report // of the delivery we tell the sender ourselves: the server's yes is all that we wait for
		report.Notify = report.Notify.WithoutSuccess()
		mail.To[i] = smtpclient.Rcpt{Address: r.Delivered, Report: report}
	}
	if len(to) == 1 {
		original := mailbox.Printable(to[0].Original)
		if isASCII(original) || c.Announces("SMTPUTF8") { // the header must not need what the message does not
			mail.Trace = append(mail.Trace, "X-Original-To: "+original+"\r\n"...)
		}
	}
	mail.Trace = append(mail.Trace, m.Trace...)
	return mail
}

// Commit implements mailbox.Delivery: it gives the message to the server.
func (d *delivery) Commit(ctx context.Context) []error {
	each(d.parts, func(p *part) {
		p.results = p.tx.Send(ctx)
		d.store.pool.put(p.client)
	})
	results := slices.Clone(d.results)
	for _, p := range d.parts {
		copy(results[p.from:p.to], p.results)
	}
	return results
}

// Abort implements mailbox.Delivery. It waits for nothing: the server's answer is read when the connection is used again.
func (d *delivery) Abort() {
	for _, p := range d.parts {
		p.tx.Reset()
		d.store.pool.put(p.client)
	}
}

// Certain implements mailbox.Delivery: the server can still refuse the message.
func (d *delivery) Certain() bool { return false }

// each runs f for all parts at the same time, and waits.
func each(parts []*part, f func(*part)) {
	if len(parts) == 1 {
		f(parts[0])
		return
	}
	var wg sync.WaitGroup
	for _, p := range parts {
		wg.Go(func() { f(p) })
	}
	wg.Wait()
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
