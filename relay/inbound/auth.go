package inbound

import (
	"context"
	"crypto/tls"
	"errors"
	"time"

	"github.com/emersion/go-sasl"

	"mxbypass/mailbox"
	"mxbypass/relay/inbound/wire"
	"mxbypass/relay/login"
	"mxbypass/relay/reply"
)

// maxName bounds the name of a login for the log and the counters; a longer one is nobody's.
const maxName = 512

// Extensions implements [wire.Peer].
func (s *session) Extensions() []string {
	var e []string
	switch {
	case s.tls != nil:
		e = append(e, "REQUIRETLS")
		if s.offersAuth() {
			e = append(e, "AUTH PLAIN LOGIN")
		}
	case s.service.TLS == StartTLS && s.TLS() != nil:
		e = append(e, "STARTTLS")
	}
	return e
}

// TLS implements [wire.Peer].
func (s *session) TLS() *tls.Config {
	core, release := s.server.options.Acquire()
	defer release()
	return core.Trust().TLS
}

// Secured implements [wire.Peer].
func (s *session) Secured(state tls.ConnectionState) {
	s.tls = describe(state)
	s.hello, s.extended = "", false
	core, release := s.server.options.Acquire()
	defer release()
	if known := core.Trust().Certificate; known != nil {
		if name, ok := known(state); ok {
			s.certificate = name
		}
	}
	s.log.Secured(s.tls.version, s.tls.cipher, s.certificate)
}

// Insecure implements [wire.Peer].
func (s *session) Insecure(err error) { s.log.Insecure(err) }

// offersAuth tells whether AUTH makes sense on this connection, under TLS.
func (s *session) offersAuth() bool {
	if !s.service.Auth && s.service.Protocol != Submission {
		return false
	}
	core, release := s.server.options.Acquire()
	defer release()
	return core.Trust().Logins != nil
}

// admitTLS and admitAuth are the order of these commands.
func (s *session) admitTLS(cmd *wire.Command) *reply.Reply {
	switch {
	case s.tls != nil:
		return s.outOfOrder(cmd, "TLS is already active")
	case s.tx != nil:
		return s.outOfOrder(cmd, "a transaction is in progress, finish it or send RSET")
	case s.service.TLS != StartTLS || s.TLS() == nil:
		r := reply.Reply{Code: 502, Enhanced: [3]int{5, 5, 1}, Text: "command not implemented"}
		s.Refused(cmd, r, reply.ErrSequence)
		return &r
	}
	return nil
}

func (s *session) admitAuth(cmd *wire.Command) *reply.Reply {
	refused := func(err error, code int, enhanced [3]int, text string) *reply.Reply {
		r := reply.Reply{Code: code, Enhanced: enhanced, Text: text}
		s.Refused(cmd, r, err)
		return &r
	}
	switch {
	case !s.offersAuth():
		return refused(reply.ErrSequence, 502, [3]int{5, 5, 1}, "command not implemented")
	case s.tls == nil:
		r := reply.For(reply.ErrNoPlainAuth)
		s.Refused(cmd, r, reply.ErrNoPlainAuth)
		return &r
	case s.hello == "":
		return s.outOfOrder(cmd, "greet with EHLO first")
	case s.tx != nil:
		return s.outOfOrder(cmd, "a transaction is in progress, finish it or send RSET")
	case s.user != nil:
		return s.outOfOrder(cmd, "you are logged in already")
	case cmd.Mechanism != sasl.Plain && cmd.Mechanism != sasl.Login:
		return refused(reply.ErrParameter, 504, [3]int{5, 5, 4}, "want AUTH PLAIN or AUTH LOGIN")
	}
	return nil
}

// Login implements [wire.Peer].
func (s *session) Login(cmd *wire.Command, ask func(string) ([]byte, error)) (r reply.Reply, err error) {
	var name, password string
	if cmd.Mechanism == sasl.Plain {
		name, password, err = plain(cmd.Initial, ask)
	} else {
		name, password, err = twoSteps(cmd.Initial, ask)
	}
	switch {
	case errors.Is(err, errMalformed):
		r = reply.Reply{Code: 501, Enhanced: [3]int{5, 5, 2}, Text: "malformed response"}
		s.Refused(cmd, r, err)
		return r, nil
	case err != nil:
		return r, err
	}
	id, err := s.authenticate(name, password)
	if err != nil {
		r = reply.For(err)
		s.log.LoginFailed(shown(name), r, err)
		return r, nil
	}
	s.user = &id
	s.log.LoggedIn(id.Mailbox.String())
	return reply.Reply{Code: 235, Enhanced: [3]int{2, 7, 0}, Text: "authenticated"}, nil
}

// errMalformed: what the client said is no response of the mechanism.
var errMalformed = errors.New("malformed response")

// plain is the mechanism PLAIN (RFC 4616). Who asks to be somebody else than who has the password is refused.
func plain(initial []byte, ask func(string) ([]byte, error)) (name, password string, err error) {
	if initial == nil {
		if initial, err = ask(""); err != nil {
			return "", "", err
		}
	}
	server := sasl.NewPlainServer(func(identity, user, secret string) error {
		if identity != "" && identity != user {
			return errMalformed
		}
		name, password = user, secret
		return nil
	})
	if _, _, err := server.Next(initial); err != nil {
		return "", "", errMalformed
	}
	return name, password, nil
}

// twoSteps is the mechanism LOGIN, which never became a standard: name and password, each asked for.
func twoSteps(initial []byte, ask func(string) ([]byte, error)) (name, password string, err error) {
	if initial == nil {
		if initial, err = ask("Username:"); err != nil {
			return "", "", err
		}
	}
	secret, err := ask("Password:")
	return string(initial), string(secret), err
}

// authenticate asks who this is. What a wrong name costs and what a wrong password costs is the same, and so is what is
// said.
func (s *session) authenticate(name, password string) (login.Identity, error) {
	core, release := s.server.options.Acquire()
	defer release()
	logins, guard := core.Trust().Logins, s.server.options.Guard
	if logins == nil {
		return login.Identity{}, login.ErrWrong
	}
	counted := login.Key(name) // whatever way the name is spelt
	if guard != nil {
		v := guard.LoginAllowed(s.client, counted)
		s.slow(v.Delay)
		if v.Err != nil {
			return login.Identity{}, v.Err
		}
	}
	ctx, cancel := context.WithTimeout(s.server.base, s.server.options.Timeouts.Answer)
	defer cancel()
	id, err := logins.Authenticate(ctx, name, password)
	switch {
	case guard == nil:
	case err == nil:
		guard.LoginSucceeded(s.client, counted)
	case errors.Is(err, login.ErrWrong):
		guard.LoginFailed(s.client, counted)
	}
	return id, err
}

// shown is a name as it may stand in the log.
func shown(name string) string {
	if len(name) > maxName {
		name = name[:maxName]
	}
	return mailbox.Printable(name)
}

// slow keeps the client waiting, unless the server ends.
func (s *session) slow(d time.Duration) {
	if d > 0 {
		s.server.sleep(d)
	}
}

// trusted tells whether the client may submit mail for elsewhere.
func (s *session) trusted(core Core) bool {
	return s.user != nil || s.certificate != "" || s.client.IsValid() && core.Trusted(s.client)
}

// maySend tells whether the sender is one that this client may use: a user has its mailbox and what leads to it, and the
// null sender, which is for notifications of the user's programs (RFC 8098).
func (s *session) maySend(ctx context.Context, core Core, sender mailbox.Address) error {
	switch {
	case s.user == nil && s.service.Protocol == Submission && s.certificate == "":
		return reply.ErrNeedsAuth
	case s.user == nil || sender.IsNull():
		return nil
	}
	ok, err := core.Trust().Logins.MayUse(ctx, *s.user, sender)
	if err == nil && !ok {
		err = reply.ErrNotYourSender
	}
	return err
}
