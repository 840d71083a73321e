package outbound

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"mxbypass/mailbox/smtpclient"
	"mxbypass/routing"
)

// maxTransaction bounds one transaction, whatever its steps may take by themselves: many recipients, each of them slow.
const maxTransaction = time.Hour

// Send runs one transaction and gives one result per recipient, in order. A connection that was used before and turns out
// to be dead before the message was sent is replaced once. After it [Conn.Usable] tells whether another one can follow.
func (c *Conn) Send(ctx context.Context, m Mail) []Result {
	ctx, cancel := context.WithTimeoutCause(ctx, maxTransaction, errTooLong)
	defer cancel()
	results := make([]Result, len(m.To))
	tx, err := c.begin(ctx, m)
	if err != nil {
		f := c.failure(err)
		for i := range results {
			results[i].Failure = f
		}
		return results
	}
	refused := tx.Results()
	errs := refused
	if slices.Contains(refused, nil) {
		errs = tx.Send(ctx)
	} else {
		tx.Reset()
	}
	reports := c.smtp.Announces("DSN")
	for i, err := range errs {
		if err == nil {
			results[i] = Result{Reply: printableReply(tx.Answer()), Reported: reports}
			continue
		}
		f := c.failure(err)
		if refused[i] != nil && f.Scope == ScopeMessage { // said of one address
			f.Scope, f.Command, f.Text = ScopeRecipient, "RCPT", "the address needs SMTPUTF8, which the server does not offer"
		}
		results[i].Failure = f
	}
	return results
}

// begin gives the server the envelope. A connection may have been closed after an earlier transaction without our knowing,
// or just now because the server wants only so many: then all can be said again on a new one.
func (c *Conn) begin(ctx context.Context, m Mail) (*smtpclient.Transaction, error) {
	m.RequireTLS = c.requires(m)
	tx, err := c.smtp.Begin(ctx, m)
	used := c.used
	c.used = true
	if err == nil || !used || !stale(ctx, c.smtp, err) {
		return tx, err
	}
	c.smtp.Close()
	fresh, f := c.client.dial(ctx, c.hop, c.client.o.Timeouts)
	if f != nil {
		return nil, f
	}
	c.smtp = fresh
	m.RequireTLS = c.requires(m)
	return c.smtp.Begin(ctx, m)
}

// requires tells whether the message is given on with REQUIRETLS. One for which the hop is not one that keeps it is a
// report: it says so where that can be, and arrives where it cannot (RFC 8689 section 5).
func (c *Conn) requires(m Mail) bool {
	return m.Message.RequireTLS && (c.hop.Need == routing.NeedTLS || sure(c.smtp) && c.smtp.KeepsTLS())
}

// stale tells whether a transaction failed because its connection had ended. A server that is only slow with the envelope
// is not asked twice.
func stale(ctx context.Context, c *smtpclient.Client, err error) bool {
	slow := errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, smtpclient.ErrStale)
	return !c.Usable() && ctx.Err() == nil && !slow
}
