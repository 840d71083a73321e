package outbound

import (
	"context"
	"crypto/tls"
	"errors"
	"net/netip"

	"mxbypass/mailbox"
	"mxbypass/mailbox/smtpclient"
	"mxbypass/relay/tlspolicy"
	"mxbypass/relay/tlsrpt"
	"mxbypass/routing"
)

// session is what is known of the security of a connection: its note.
type session struct {
	rule    *tlspolicy.Rule
	checked error // why the certificate does not meet the rule
	local   netip.Addr
}

func sessionOf(c *smtpclient.Client) *session {
	if s, ok := c.Note().(*session); ok {
		return s
	}
	return &session{rule: &tlspolicy.Rule{}}
}

// sure tells whether the server of a connection is known.
func sure(c *smtpclient.Client) bool {
	s := sessionOf(c)
	return c.TLS() != "" && s.rule.Sure() && s.rule.Refused == "" && s.checked == nil
}

// describe says how a connection is encrypted, and by whose rule its server is known.
func describe(c *smtpclient.Client) string {
	version, s := c.TLS(), sessionOf(c)
	switch {
	case version == "" || s.rule.Source == tlspolicy.Opportunistic || s.rule.Source == "":
		return version
	case !sure(c):
	case s.rule.Source == tlspolicy.Destination:
		return version + ", verified as configured"
	case s.rule.Source == tlspolicy.ByRequireTLS:
		return version + ", verified for REQUIRETLS"
	default:
		return version + ", verified by " + s.rule.String()
	}
	return version + ", not verified (" + s.rule.String() + ")"
}

// open connects to one address under the rule that holds for it, and does what comes before mail. The error is a *Failure
// where it was the rule that could not be met.
func (c *Client) open(ctx context.Context, hop routing.Hop, t target, patience smtpclient.Timeouts) (
	*smtpclient.Client, error,
) {
	rule := c.rule(hop, t)
	if rule.Refused != "" && !rule.Testing {
		c.report(hop, t, rule, rule.Result, rule.Refused, netip.Addr{})
		return nil, refusal(t, rule)
	}
	s := &session{rule: rule}
	o := c.options(hop, t, s, patience)
	smtp, err := smtpclient.Dial(ctx, "tcp", t.addr.String(), o)
	c.reportSession(hop, t, s, smtp, err)
	if err != nil && o.TLS == smtpclient.TLSIfThere && errors.Is(err, smtpclient.ErrTLS) && ctx.Err() == nil {
		c.o.Log.Info("no TLS with a server, it gets mail without", "server", t.host(), "error", err)
		o.TLS = smtpclient.TLSNever
		smtp, err = smtpclient.Dial(ctx, "tcp", t.addr.String(), o)
	}
	switch {
	case err != nil && errors.Is(err, smtpclient.ErrTLS):
		return nil, unmet(err, hop, t, s)
	case err == nil && hop.Need == routing.NeedTLS && !smtp.KeepsTLS():
		smtp.Quit()
		return nil, &Failure{Scope: ScopeDestination, Permanent: true, Host: t.host(), MTA: nameOf(t), Command: "EHLO",
			Enhanced: [3]int{5, 7, 30}, Text: "the message needs REQUIRETLS, which the server does not offer", TLS: describe(smtp)}
	}
	return smtp, err
}

// rule is the one for mail of a hop at one of its hosts. What the configuration says of the TLS of the smarthost replaces
// every other.
func (c *Client) rule(hop routing.Hop, t target) *tlspolicy.Rule {
	if s := c.o.Smarthost; hop.Kind == routing.HopSmarthost && s != nil && s.TLS != nil {
		return &tlspolicy.Rule{Source: tlspolicy.Destination, Level: tlspolicy.Verify}
	}
	return t.rules.For(hop.Need)
}

// refusal is the failure of a host that a rule forbids.
func refusal(t target, rule *tlspolicy.Rule) *Failure {
	f := &Failure{Scope: ScopeDestination, Permanent: rule.Final, Host: t.host(), MTA: nameOf(t), Command: "connect",
		Enhanced: [3]int{4, 7, 5}, Text: rule.Refused, TLS: rule.String()}
	if rule.Final {
		f.Enhanced = [3]int{5, 7, 30}
	}
	return f
}

// unmet is the failure of TLS that was wanted. For REQUIRETLS it is final where the server is there and cannot do it (RFC
// 8689 section 4.2.1), and not where it was lost.
func unmet(err error, hop routing.Hop, t target, s *session) *Failure {
	f := *failureOf(err, t.host(), nameOf(t))
	f.TLS = s.rule.String()
	if errors.Is(err, smtpclient.ErrNoStartTLS) {
		f.Text = smtpclient.ErrNoStartTLS.Error()
	}
	f.Text += " (TLS is required: " + f.TLS + ")"
	if hop.Need == routing.NeedTLS && (s.checked != nil || errors.Is(err, smtpclient.ErrNoStartTLS)) {
		f.Permanent, f.Enhanced = true, [3]int{5, 7, 10}
	}
	return &f
}

// options are those of a connection under a rule.
func (c *Client) options(hop routing.Hop, t target, s *session, patience smtpclient.Timeouts) smtpclient.Options {
	name := nameOf(t)
	if s.rule.SNI != "" {
		name = s.rule.SNI
	}
	o := smtpclient.Options{
		Protocol: smtpclient.SMTP, Hostname: c.o.Hostname, Host: t.host(), Timeouts: patience, Source: c.source(t.addr),
		TLS: smtpclient.TLSIfThere, Note: s, Connected: func(local netip.Addr) { s.local = local },
		// Whose certificate it is says the rule; where there is none, anybody is better than in the clear (RFC 7435).
		Config: &tls.Config{MinVersion: tls.VersionTLS12, ServerName: name, InsecureSkipVerify: true,
			VerifyConnection: func(state tls.ConnectionState) error {
				if s.checked = s.rule.Check(state, c.o.Now()); s.rule.Testing {
					return nil
				}
				return s.checked
			}},
	}
	switch {
	case s.rule.Level == tlspolicy.None:
		o.TLS = smtpclient.TLSNever
	case s.rule.Required():
		o.TLS = smtpclient.TLSRequired
	}
	if smart := c.o.Smarthost; hop.Kind == routing.HopSmarthost && smart != nil {
		smarthost(&o, smart)
	}
	return o
}

// smarthost changes the options to those of the smarthost.
func smarthost(o *smtpclient.Options, s *Smarthost) {
	if s.TLS != nil {
		o.TLS, o.Config = smtpclient.TLSRequired, s.TLS.Clone()
		o.Config.ServerName = serverName(s.Host.Host)
	}
	if s.Implicit {
		o.TLS = smtpclient.TLSImplicit
	}
	if s.User != "" {
		o.Auth = &smtpclient.Auth{User: s.User, Password: s.Password}
	}
}

// reportSession counts a connection, for the domain that its mail is for. What fails before TLS is not counted (RFC 8460
// section 4).
func (c *Client) reportSession(hop routing.Hop, t target, s *session, smtp *smtpclient.Client, err error) {
	if c.o.Reports == nil || s.rule.Level == tlspolicy.None {
		return
	}
	switch {
	case s.checked != nil:
		c.report(hop, t, s.rule, s.rule.ResultOf(s.checked), s.checked.Error(), s.local)
	case errors.Is(err, smtpclient.ErrNoStartTLS), err == nil && smtp.TLS() == "":
		c.report(hop, t, s.rule, tlsrpt.StartTLSNotSupported, "", s.local)
	case errors.Is(err, smtpclient.ErrTLS):
		c.report(hop, t, s.rule, tlsrpt.ValidationFailure, err.Error(), s.local)
	case err == nil && s.rule.Refused != "": // in testing
		c.report(hop, t, s.rule, s.rule.Result, s.rule.Refused, s.local)
	case err == nil:
		c.report(hop, t, s.rule, "", "", s.local)
	}
}

// report counts one session of mail that goes by MX records. Mail that follows rules of its own says nothing of those of
// the domain.
func (c *Client) report(hop routing.Hop, t target, rule *tlspolicy.Rule, result tlsrpt.ResultType, reason string,
	local netip.Addr,
) {
	if c.o.Reports == nil || hop.Need != routing.NeedPolicy || hop.Domain.IsZero() || hop.Domain.IsLiteral() {
		return
	}
	if result == "" {
		if reason == "" {
			c.o.Reports.Record(rule.Policy, nil)
		}
		return
	}
	c.o.Reports.Record(rule.Policy, &tlsrpt.Failure{Type: result, SendingIP: local, ReceivingIP: t.addr.Addr(),
		MX: nameOf(t), Reason: mailbox.Printable(shorten(oneLine(reason), maxText/2))})
}

// rulesOf finds the rules of a host; its addresses are known.
func (l *lookups) rulesOf(h exchanger, alias string, secure bool) *tlspolicy.Rules {
	rules := l.c.o.Policies.Rules(l.ctx, l.domain, tlspolicy.Host{Name: h.name, Alias: alias, Port: l.port, Secure: secure,
		Sure: l.sure, Signed: l.signed})
	if rules.Usual.Result == tlsrpt.DNSSECInvalid { // look again soon
		l.keep(0)
	}
	return rules
}

// allowed leaves out hosts that are not to be used, where there are others.
func (l *lookups) allowed(hop routing.Hop, found []ranked) []ranked {
	var usable []ranked
	refused := map[mailbox.DomainName]ranked{}
	for _, r := range found {
		if rule := &r.rules.Usual; rule.Refused == "" || rule.Testing {
			usable = append(usable, r)
		} else {
			refused[r.name] = r
		}
	}
	if len(usable) == 0 {
		return found
	}
	for _, r := range refused {
		l.c.o.Log.Info("a server is not used", "hop", hop.String(), "server", r.host(), "reason", r.rules.Usual.Refused)
	}
	return usable
}
