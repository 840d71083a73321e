package smtpclient

import (
	"context"
	"fmt"
	"slices"
	"time"

	"mxbypass/mailbox"
)

// Transaction is a message that was begun: the server has answered for each recipient, and DATA was not said. Exactly
// one of Send and Reset follows, once.
type Transaction struct {
	c       *Client
	mail    Mail
	results []error
	answer  string
}

// Begin gives the envelope to the server, in one write when it can pipeline. The error is that of the whole transaction:
// MAIL was refused (*mailbox.RemoteError), the connection failed, or the server cannot have this message ([ErrTooBig],
// [ErrEightBit], [mailbox.ErrNoUTF8]). Refused recipients are no error; see [Transaction.Results].
func (c *Client) Begin(ctx context.Context, mail Mail) (*Transaction, error) {
	t := &Transaction{c: c, mail: mail, results: make([]error, len(mail.To))}
	defer c.guard(ctx)()
	if err := context.Cause(ctx); err != nil {
		return nil, c.lost(ctx, "MAIL", err)
	}
	if err := t.fit(); err != nil {
		return nil, err
	}
	if !slices.Contains(t.results, nil) {
		return t, nil
	}
	var err error
	if c.Announces("PIPELINING") {
		err = t.pipelined(ctx)
	} else {
		err = t.stepwise(ctx)
	}
	if err != nil {
		return nil, err
	}
	if c.r.Buffered() > 0 { // then the answers may belong to other commands than they seem to
		return nil, c.unasked(ctx, "RCPT")
	}
	return t, nil
}

// pipelined writes all commands, then reads all replies. That cannot lock up: the commands of 100 recipients fit in the
// buffers between us and the server, and otherwise the timeout of the write ends it.
func (t *Transaction) pipelined(ctx context.Context) error {
	c := t.c
	p := t.appendMail(c.buf[:0])
	for i, to := range t.mail.To {
		if t.results[i] == nil {
			p = t.appendRcpt(p, to)
		}
	}
	if err := c.say(ctx, "MAIL", p, c.opts.Timeouts.Mail); err != nil {
		return err
	}
	if err := c.readOwed(ctx); err != nil {
		return err
	}
	_, refused := c.expect(ctx, "MAIL", c.opts.Timeouts.Mail)
	for i := range t.results {
		if c.broken {
			break
		}
		if t.results[i] != nil {
			continue
		}
		if t.results[i] = t.expectRcpt(ctx); c.broken && refused == nil {
			refused = t.results[i]
		}
	}
	return refused
}

// stepwise waits for the reply to each command.
func (t *Transaction) stepwise(ctx context.Context) error {
	c := t.c
	if err := c.readOwed(ctx); err != nil {
		return err
	}
	if err := c.say(ctx, "MAIL", t.appendMail(c.buf[:0]), c.opts.Timeouts.Mail); err != nil {
		return err
	}
	if _, err := c.expect(ctx, "MAIL", c.opts.Timeouts.Mail); err != nil {
		return err
	}
	for i, to := range t.mail.To {
		if t.results[i] != nil {
			continue
		}
		if err := c.say(ctx, "RCPT", t.appendRcpt(c.buf[:0], to), c.opts.Timeouts.Rcpt); err != nil {
			return err
		}
		if t.results[i] = t.expectRcpt(ctx); c.broken {
			return t.results[i]
		}
	}
	return nil
}

func (t *Transaction) expectRcpt(ctx context.Context) error {
	_, err := t.c.expect(ctx, "RCPT", t.c.opts.Timeouts.Rcpt)
	return err
}

// readOwed reads the replies to earlier RSET.
func (c *Client) readOwed(ctx context.Context) error {
	for ; c.owed > 0; c.owed-- {
		if _, err := c.expect(ctx, "RSET", c.opts.Timeouts.Reset); err != nil {
			c.broken = true
			return fmt.Errorf("%w: %w", ErrStale, err)
		}
	}
	return nil
}

// Results gives what the server answered for each recipient, in order: nil when it was accepted.
func (t *Transaction) Results() []error { return t.results }

// Send sends the message and gives the result for each recipient: those of RCPT stay, and the others get the server's
// answer to the message, one each with LMTP, the same one with SMTP. An error that wraps [mailbox.ErrInDoubt] means that
// no answer came to the complete message.
func (t *Transaction) Send(ctx context.Context) []error {
	c := t.c
	defer c.guard(ctx)()
	if err := t.data(ctx); err != nil {
		return t.all(err)
	}
	if c.opts.Protocol == SMTP {
		return t.all(t.verdict(ctx))
	}
	results := slices.Clone(t.results)
	var dead error // after a lost connection: the same for those who follow
	for i := range results {
		if results[i] != nil {
			continue
		}
		if dead == nil {
			results[i] = t.verdict(ctx)
			if results[i] != nil && !isRefusal(results[i]) {
				dead = results[i]
			}
			continue
		}
		results[i] = dead
	}
	return results
}

// all gives the accepted recipients the same result.
func (t *Transaction) all(err error) []error {
	results := slices.Clone(t.results)
	for i := range results {
		if results[i] == nil {
			results[i] = err
		}
	}
	return results
}

// MailData stands in errors for what follows DATA (RFC 5321 section 4.1.1.4): the server had taken the envelope, and the
// message was on its way.
const MailData = "mail data"

// data sends DATA and the message. Every error means that the server has not seen the end of the message.
func (t *Transaction) data(ctx context.Context) error {
	c := t.c
	if err := context.Cause(ctx); err != nil {
		return c.lost(ctx, "DATA", err)
	}
	if err := c.say(ctx, "DATA", []byte("DATA\r\n"), c.opts.Timeouts.DataStart); err != nil {
		return err
	}
	if _, err := c.expect(ctx, "DATA", c.opts.Timeouts.DataStart); err != nil {
		if !c.broken {
			t.Reset()
		}
		return err
	}
	if c.r.Buffered() > 0 { // some refuse what they have just asked for
		if err := c.lastWords("DATA"); err != nil {
			return err
		}
		return c.unasked(ctx, "DATA")
	}
	var failed error // of the network, already complete
	w := newDotWriter(c.buf, func(p []byte) error {
		failed = c.write(ctx, MailData, p, c.opts.Timeouts.DataBlock)
		return failed
	})
	err := t.writeTo(w)
	if err != nil && failed == nil {
		// Without its end nothing is delivered.
		return c.lost(ctx, "DATA", fmt.Errorf("%w: %w", ErrContent, err))
	}
	return failed
}

func (t *Transaction) writeTo(w *dotWriter) error {
	if _, err := w.Write(t.mail.Trace); err != nil {
		return err
	}
	if err := copyContent(w, t.mail.Message.Content); err != nil {
		return err
	}
	return w.Close()
}

// verdict reads an answer to the complete message.
func (t *Transaction) verdict(ctx context.Context) error {
	rep, err := t.c.expect(ctx, "end of data", t.c.opts.Timeouts.DataEnd)
	if err != nil && !isRefusal(err) {
		return fmt.Errorf("%w: %w", mailbox.ErrInDoubt, err)
	}
	if err == nil {
		t.answer = rep.text
	}
	return err
}

// Answer gives the server's words when it took the message, without codes, as they came: most tell the name that the
// message has there. Empty before.
func (t *Transaction) Answer() string { return t.answer }

// Reset gives the transaction up. It does not wait for the server: the reply is read before the next transaction.
func (t *Transaction) Reset() {
	c := t.c
	if c.broken {
		return
	}
	_ = c.socket.SetDeadline(time.Now().Add(farewell)) // fails on a closed connection only, as writing will
	if _, err := c.conn.Write([]byte("RSET\r\n")); err != nil {
		c.Close()
		return
	}
	c.owed++
}
