package outbound

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"mxbypass/mailbox"
	"mxbypass/mailbox/smtpclient"
)

// maxTransaction bounds one transaction, whatever its steps may take by themselves: many recipients, each of them slow.
const maxTransaction = time.Hour

// Send runs one transaction and gives one result per recipient, in order. A kept connection that turns out to be dead
// before the message was sent is replaced once. After it [Conn.Usable] tells whether another one can follow.
func (c *Conn) Send(ctx context.Context, m Mail) []Result {
	ctx, cancel := context.WithTimeout(ctx, maxTransaction)
	defer cancel()
	content := &watched{Content: m.Message.Content}
	message := *m.Message
	message.Content, m.Message = content, &message

	tx, err := c.begin(ctx, m)
	if err != nil {
		return c.same(len(m.To), content.judge(c.failure(err)))
	}
	errs := tx.Results()
	if slices.Contains(errs, nil) {
		errs = tx.Send(ctx)
	} else {
		tx.Reset()
	}
	results := make([]Result, len(errs))
	reports := c.smtp.Announces("DSN")
	for i, err := range errs {
		if err != nil {
			results[i].Failure = content.judge(c.failure(err))
			continue
		}
		results[i] = Result{Reply: printableReply(tx.Answer()), Reported: reports}
	}
	return results
}

// begin gives the server the envelope. The connection may have been dead for a while without our knowing: then all can be
// said again on a new one.
func (c *Conn) begin(ctx context.Context, m Mail) (*smtpclient.Transaction, error) {
	tx, err := c.smtp.Begin(ctx, m)
	if err == nil || !c.reused || !stale(ctx, c.smtp, err) {
		c.reused = false
		return tx, err
	}
	c.smtp.Close()
	c.reused = false
	fresh, f := c.client.dial(ctx, c.hop)
	if f != nil {
		return nil, f
	}
	c.smtp = fresh
	return c.smtp.Begin(ctx, m)
}

// stale tells whether a transaction failed because its connection had ended. A server that is only slow with the envelope
// is not asked twice.
func stale(ctx context.Context, c *smtpclient.Client, err error) bool {
	slow := errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, smtpclient.ErrStale)
	return !c.Usable() && ctx.Err() == nil && !slow
}

func (c *Conn) same(n int, f *Failure) []Result {
	results := make([]Result, n)
	for i := range results {
		results[i].Failure = f
	}
	return results
}

// watched is a content that remembers why it could not be read: then it is neither the server's fault nor the network's.
type watched struct {
	mailbox.Content
	failed atomic.Pointer[error]
}

// NewReader implements mailbox.Content.
func (w *watched) NewReader() io.Reader { return &watchedReader{w.Content.NewReader(), w} }

type watchedReader struct {
	io.Reader
	w *watched
}

// Read implements io.Reader.
func (r *watchedReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.w.failed.Store(&err)
	}
	return n, err
}

// judge corrects a failure that came of a content which cannot be read.
func (w *watched) judge(f *Failure) *Failure {
	cause := w.failed.Load()
	if cause == nil {
		return f
	}
	return &Failure{Scope: ScopeMessage, Enhanced: [3]int{4, 3, 0}, Text: "the message cannot be read from the queue", Err: *cause}
}
