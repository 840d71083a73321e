package inbound

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/emersion/go-smtp"

	"mxbypass/mailbox"
	"mxbypass/relay/guard/dnslist"
	"mxbypass/relay/header"
	"mxbypass/relay/inbound/wire"
	"mxbypass/relay/login"
	"mxbypass/relay/maillog"
	"mxbypass/relay/reply"
	"mxbypass/routing"
)

// session is one connection: what go-smtp calls for its commands, and what the gate asks about them. Everything in it
// belongs to the goroutine of the connection.
type session struct {
	server   *Server
	service  Service
	wire     *wire.Conn
	log      *maillog.Conn
	id       string
	client   netip.Addr    // zero for a unix socket
	network  netip.Addr    // what the limit per client counts
	port     uint16        // of the client
	lateness time.Duration // by which it is greeted

	hello    string // as the client called itself; empty before HELO
	extended bool   // EHLO
	tx       *transaction

	tls         *secured        // nil: there is no TLS
	user        *login.Identity // who has logged in; nil: nobody has
	certificate string          // names the certificate that makes the client a trusted one; empty: none does
	listed      *dnslist.Query  // what lists in DNS say of the client; nil: they are not asked
	leave       func()          // gives back the place that the guard has counted
}

var (
	_ smtp.Session = (*session)(nil)
	_ wire.Peer    = (*session)(nil)
)

// errAnswered is for go-smtp: the command failed, and the client was told why.
var errAnswered = errors.New("answered")

// Admit implements [wire.Peer]: the order of commands (RFC 5321 section 4.1.4).
func (s *session) Admit(cmd *wire.Command) *reply.Reply {
	switch cmd.Verb {
	case wire.HELO, wire.EHLO, wire.LHLO:
		if cmd.Hello != "" && (cmd.Verb == wire.LHLO) == (s.service.Protocol == LMTP) {
			return s.greeted(cmd)
		}
	case wire.STARTTLS:
		return s.admitTLS(cmd)
	case wire.AUTH:
		return s.admitAuth(cmd)
	case wire.MAIL:
		switch {
		case s.hello == "":
			return s.outOfOrder(cmd, "greet with EHLO first")
		case s.tx != nil:
			return s.outOfOrder(cmd, "a transaction is in progress, finish it or send RSET")
		}
	case wire.RCPT:
		switch {
		case s.tx == nil:
			return s.outOfOrder(cmd, "MAIL comes first")
		case len(s.tx.accepted) >= s.server.options.Limits.Recipients:
			r := reply.For(reply.ErrTooManyRecipients)
			s.Refused(cmd, r, reply.ErrTooManyRecipients)
			return &r
		}
	case wire.DATA, wire.BDAT:
		switch {
		case s.tx == nil:
			return s.outOfOrder(cmd, "MAIL and RCPT come first")
		case len(s.tx.accepted) == 0 && s.tx.refused > 0:
			r := reply.For(reply.ErrNoRecipients)
			return &r
		case len(s.tx.accepted) == 0:
			return s.outOfOrder(cmd, "RCPT comes first")
		}
	}
	return nil
}

// greeted notes the name of the client, if it can be one.
func (s *session) greeted(cmd *wire.Command) *reply.Reply {
	core, release := s.server.options.Acquire()
	defer release()
	if judge := core.Trust().Hello; judge != nil && s.service.Protocol == SMTP && !s.trusted(core) {
		if err := judge(cmd.Hello, s.client); err != nil {
			r := reply.For(err)
			s.Refused(cmd, r, err)
			return &r
		}
	}
	s.hello, s.extended = cmd.Hello, cmd.Verb != wire.HELO
	s.log.Greeted(s.hello, s.with(false))
	return nil
}

func (s *session) outOfOrder(cmd *wire.Command, text string) *reply.Reply {
	r := reply.For(reply.ErrSequence)
	r.Text = text
	s.Refused(cmd, r, reply.ErrSequence)
	return &r
}

// Refused implements [wire.Peer].
func (s *session) Refused(cmd *wire.Command, r reply.Reply, err error) {
	msg := ""
	if s.tx != nil {
		msg = s.tx.id
		if cmd.Verb == wire.RCPT {
			s.tx.refused++
		}
	}
	s.log.Refused(msg, cmd.Verb, cmd.About, r, err)
}

// Transaction implements [wire.Peer].
func (s *session) Transaction() (open, utf8 bool) {
	return s.tx != nil, s.tx != nil && s.tx.utf8
}

// Patience implements [wire.Peer].
func (s *session) Patience() time.Duration { return s.server.patience() }

// Panicked implements [wire.Peer].
func (s *session) Panicked(v any, stack []byte) {
	s.server.options.Log.Logger().Error("panic in a session", "conn", s.id, "panic", mailbox.Printable(fmt.Sprint(v)),
		"stack", string(stack))
}

// Closed implements [wire.Peer].
func (s *session) Closed() {
	s.endTransaction()
	if s.listed != nil {
		s.listed.Close()
	}
	if s.leave != nil {
		s.leave()
	}
	s.log.Disconnected()
	s.server.forget(s)
}

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

func (s *session) refuse(r reply.Reply) error {
	s.wire.Answer(r)
	return errAnswered
}

// guard keeps a mistake of ours in this session from ending the process. The connection ends: nobody knows in what
// state it is.
func (s *session) guard(err *error) {
	if v := recover(); v != nil {
		s.Panicked(v, debug.Stack())
		s.wire.Fail()
		*err = errAnswered
	}
}

// Reset implements [smtp.Session]: after every message, and for RSET, EHLO and errors.
func (s *session) Reset() { s.endTransaction() }

// Logout implements [smtp.Session].
func (s *session) Logout() error {
	s.endTransaction()
	return nil
}

func (s *session) endTransaction() {
	if s.tx != nil {
		s.tx.endFilters()
		s.tx.release()
		s.tx = nil
	}
}

// with names the protocol in Received (RFC 3848, RFC 6531 section 4.3).
func (s *session) with(utf8 bool) string {
	name := "SMTP"
	switch {
	case s.service.Protocol == LMTP:
		name = "LMTP"
	case s.extended && !utf8:
		name = "ESMTP"
	}
	if utf8 {
		name = "UTF8" + name
	}
	if !s.extended {
		return name // the letters are for what EHLO has to be said before
	}
	if s.tls != nil {
		name += "S"
	}
	if s.user != nil {
		name += "A"
	}
	return name
}
