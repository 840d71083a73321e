package inbound

import (
	"context"
	"errors"
	"time"

	"github.com/emersion/go-smtp"

	"mxbypass/mailbox"
	"mxbypass/relay/inbound/wire"
	"mxbypass/relay/reply"
	"mxbypass/routing"
)

// Mail implements [smtp.Session]. The path that go-smtp has is a placeholder; the gate has the parsed one.
func (s *session) Mail(string, *smtp.MailOptions) (err error) {
	defer s.guard(&err)
	cmd := s.wire.Command()
	if err := s.server.options.Spool.Room(cmd.Size); err != nil {
		r := reply.For(err)
		s.Refused(cmd, r, err)
		return s.refuse(r)
	}
	if err := s.begin(cmd); err != nil {
		s.endTransaction()
		r := reply.For(err)
		s.Refused(cmd, r, err)
		return s.refuse(r)
	}
	s.wire.Answer(reply.Reply{Code: 250, Enhanced: [3]int{2, 1, 0}, Text: "sender OK"})
	return nil
}

// begin begins a transaction, if the client may.
func (s *session) begin(cmd *wire.Command) error {
	core, release := s.server.options.Acquire()
	s.tx = &transaction{
		id:      s.server.ids.Next(),
		start:   time.Now(),
		core:    core,
		release: release,
		client: routing.Client{
			Addr:       s.client,
			Trusted:    s.trusted(core),
			NullSender: cmd.Path.Address.IsNull(),
		},
		reverse:    cmd.Path.Address,
		utf8:       cmd.UTF8,
		requireTLS: cmd.RequireTLS,
		give:       cmd.Return,
		envelopeID: cmd.EnvelopeID,
	}
	ctx, cancel := context.WithTimeout(s.server.base, s.server.options.Timeouts.Answer)
	defer cancel()
	if err := s.maySend(ctx, core, s.tx.reverse); err != nil {
		return err
	}
	if err := s.counted(Guard.Message); err != nil {
		return err
	}
	return s.filtersMail(ctx, cmd)
}

// Rcpt implements [smtp.Session].
func (s *session) Rcpt(string, *smtp.RcptOptions) (err error) {
	defer s.guard(&err)
	cmd, tx := s.wire.Command(), s.tx
	ctx, cancel := context.WithTimeout(s.server.base, s.server.options.Timeouts.Answer)
	defer cancel()
	route := tx.core.Route(ctx, cmd.Path, tx.client)
	r := reply.ForRoute(route)
	if route.Action != routing.Deliver && route.Action != routing.Relay || len(route.Recipients)+len(route.Outbound) == 0 {
		cause := route.Err
		if errors.Is(cause, mailbox.ErrNoMailbox) {
			if err := s.counted(Guard.Unknown); err != nil { // whoever has none left does not learn who exists
				cause, r = err, reply.For(err)
			}
		}
		s.Refused(cmd, r, cause)
		return s.refuse(r)
	}
	if err := s.welcome(ctx, route); err != nil {
		r := reply.For(err)
		s.Refused(cmd, r, err)
		return s.refuse(r)
	}
	tx.accepted = append(tx.accepted, accepted{route, cmd.Report})
	s.log.Routed(tx.id, tx.reverse, route)
	s.wire.Answer(r)
	return nil
}
