package inbound

import (
	"context"
	"crypto/tls"
	"net/netip"

	"mxbypass/mailbox"
	"mxbypass/relay/guard"
	"mxbypass/relay/inbound/wire"
	"mxbypass/routing"
)

// arrive asks whether the client may connect at all, and begins to ask lists in DNS about it.
func (s *session) arrive() error {
	if !s.client.IsValid() {
		return nil
	}
	if g := s.server.options.Guard; g != nil {
		leave, v := g.Connect(s.client)
		if v.Err != nil {
			return v.Err
		}
		s.leave, s.lateness = leave, v.Delay
	}
	core, release := s.server.options.Acquire()
	defer release()
	if lists := core.Trust().Lists; lists != nil && s.service.Protocol == SMTP && !core.Trusted(s.client) {
		s.listed = lists.Begin(s.server.base, s.client)
	}
	return nil
}

// opening is what has to be done before the client is greeted. A client that is sent away slowly is greeted late.
func (s *session) opening() wire.Opening {
	var o wire.Opening
	if s.service.TLS == Implicit {
		if o.TLS = s.TLS(); o.TLS == nil {
			o.TLS = new(tls.Config) // no handshake comes to an end with it: better than to go on in the clear
		}
		return o
	}
	core, release := s.server.options.Acquire()
	defer release()
	if s.service.Protocol == SMTP && s.client.IsValid() && !core.Trusted(s.client) {
		o.Silence, o.Delay = true, max(s.server.options.Timeouts.Greeting, s.lateness)
	}
	return o
}

// counted counts something that the client does, keeps it waiting when that becomes much, and tells when it is too much.
// Whoever has logged in is known, and does not count for its network.
func (s *session) counted(count func(Guard, netip.Addr) guard.Verdict) error {
	g := s.server.options.Guard
	if g == nil || !s.client.IsValid() || s.user != nil || s.certificate != "" {
		return nil
	}
	v := count(g, s.client)
	s.slow(v.Delay)
	return v.Err
}

// welcome asks whether a recipient that exists may have mail from this client: what can change with time is asked last.
func (s *session) welcome(ctx context.Context, route routing.Route) error {
	tx, cmd := s.tx, s.wire.Command()
	if err := s.counted(Guard.Recipient); err != nil {
		return err
	}
	if !tx.client.Trusted && !isPostmaster(route) {
		if s.listed != nil {
			v := s.listed.Verdict(ctx)
			if v.Err != nil {
				return v.Err
			}
			tx.allowed, tx.marks = v.Allowed, v.Marks
		}
		if list := tx.core.Trust().Greylist; list != nil && !tx.allowed && s.client.IsValid() {
			if _, err := list.Check(s.client, tx.reverse, cmd.Path.Address); err != nil {
				return err
			}
		}
	}
	return s.filtersRcpt(ctx, cmd, route)
}

// isPostmaster tells whether the route is that of a postmaster: whoever has trouble with us must reach him (RFC 5321
// section 4.5.1).
func isPostmaster(route routing.Route) bool {
	local := route.Path.Address.Local.Fold()
	return local == "postmaster" || len(route.Recipients) == 1 && route.Recipients[0].Mailbox.Site == mailbox.SitePostmaster
}
