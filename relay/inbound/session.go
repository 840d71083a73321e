package inbound

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/emersion/go-smtp"

	"mxbypass/mailbox"
	"mxbypass/relay/guard/dnslist"
	"mxbypass/relay/inbound/wire"
	"mxbypass/relay/login"
	"mxbypass/relay/maillog"
	"mxbypass/relay/reply"
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
