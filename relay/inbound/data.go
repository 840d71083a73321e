package inbound

import (
	"context"
	"errors"
	"io"
	"time"

	"mxbypass/mailbox"
	"mxbypass/relay/header"
	"mxbypass/relay/inbound/wire"
	"mxbypass/relay/reply"
)

// Data implements [smtp.Session], for DATA and BDAT, SMTP and LMTP alike. What go-smtp would read is not the message:
// the gate has that.
func (s *session) Data(io.Reader) (err error) {
	defer s.guard(&err)
	tx := s.tx
	w := s.server.options.Spool.NewWriter()
	defer w.Release()
	body, err := s.wire.ReadBody(&s.server.body, w)
	switch {
	case err == nil:
	case wire.Fatal(err) || errors.Is(err, wire.ErrAborted):
		s.log.Refused(tx.id, wire.DATA, "", reply.For(err), err)
		return errAnswered
	default:
		return s.refuseMessage(tx, err)
	}
	content, err := w.Seal()
	if err != nil {
		return s.refuseMessage(tx, err)
	}
	s.deliver(tx, header.Separated(content), body)
	return nil
}

// deliver hands the message over and answers.
func (s *session) deliver(tx *transaction, content mailbox.Content, body wire.Body) {
	end := time.Now()
	ctx, cancel := context.WithTimeout(s.server.base, s.server.options.Timeouts.Answer)
	defer cancel()
	found, err := s.examine(ctx, tx, content)
	if err != nil {
		_ = s.refuseMessage(tx, headerError(err)) // for go-smtp, which is told by who called us
		return
	}
	m := tx.message(found, s.trace(tx, end))
	s.log.Received(m, len(tx.accepted), end.Sub(tx.start))
	to, owner, results := tx.assign(seenBefore(body, s.server.options.Hostname), found)
	if len(to) > 0 {
		settle(results, owner, to, tx.core.Deliver(ctx, m, to, s.service.Protocol == LMTP))
	}
	took := time.Since(end)
	for _, r := range results {
		switch {
		case r.Err != nil:
			s.log.NotDelivered(tx.id, r.Route, reply.For(r.Err), r.Err)
		case found.discard:
			s.log.Discarded(tx.id, r.Route)
		case !r.Queued: // of what is queued the dispatcher tells
			s.log.Delivered(tx.id, r.Route, took)
		}
	}
	s.answer(tx, results, found.discard)
}

// answer tells what became of a message.
func (s *session) answer(tx *transaction, results []reply.Result, discarded bool) {
	each := reply.Each
	if discarded { // the client is told no more than that we have had it
		each = func(id string, r reply.Result) reply.Reply {
			if r.Err != nil {
				return reply.Each(id, r)
			}
			return reply.Reply{Code: 250, Enhanced: [3]int{2, 0, 0}, Text: "accepted, id " + id}
		}
	}
	switch {
	case s.service.Protocol == LMTP: // RFC 2033 section 4.2: one reply for each accepted RCPT, in order
		for _, r := range results {
			s.wire.Answer(each(tx.id, r))
		}
	case discarded && len(results) > 0:
		s.wire.Answer(each(tx.id, results[0]))
	default:
		s.wire.Answer(reply.Final(tx.id, results))
	}
}

// trace is what our Received field says about the message that came at this time.
func (s *session) trace(tx *transaction, at time.Time) trace {
	return trace{hello: s.hello, client: s.client, hostname: s.server.options.Hostname, with: s.with(tx.utf8), tls: s.tls,
		id: tx.id, at: at}
}

// refuseMessage answers a message that cannot be taken.
func (s *session) refuseMessage(tx *transaction, err error) error {
	r := reply.For(err)
	s.log.Refused(tx.id, wire.DATA, "", r, err)
	if s.service.Protocol == LMTP {
		for range tx.accepted[1:] {
			s.wire.Answer(r)
		}
	}
	return s.refuse(r)
}
