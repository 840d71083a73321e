package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"

	"mxbypass/configs"
	"mxbypass/mailbox"
	"mxbypass/mailbox/smtpclient"
	"mxbypass/relay"
	"mxbypass/relay/dispatch"
	"mxbypass/relay/lookup"
	"mxbypass/relay/outbound"
	"mxbypass/routing"
	"mxbypass/routing/mx"
	"mxbypass/routing/srs"
)

// away is all that has to do with servers elsewhere under one configuration.
type away struct {
	client   *outbound.Client
	rewriter *srs.Rewriter // nil: no sender is rewritten
}

// openAway makes it for a command that sends no mail, and notes in opened what has to be closed.
func openAway(ctx context.Context, c *configs.Config, hostname mailbox.DomainName, lookups *lookup.Client,
	log *slog.Logger, opened *closers,
) (away, error) {
	a := newAssembly(c, new(shared), log)
	a.hostname, a.lookups = hostname, lookups
	var err error
	if a.secrets, err = c.Credentials(); err != nil {
		return away{}, err
	}
	if a.rewriter, err = newRewriter(c, a.secrets); err != nil {
		return away{}, err
	}
	if err := resolveSmarthost(ctx, c, lookups, log); err != nil {
		return away{}, err
	}
	made, err := a.newAway()
	if err == nil {
		opened.add(made.client.Close)
	}
	return made, err
}

// newAway makes it of what the assembly has.
func (a *assembly) newAway() (away, error) {
	own, err := ownHosts(a.c)
	if err != nil {
		return away{}, err
	}
	o := outbound.Options{
		Hostname:  a.hostname,
		Resolver:  a.lookups,
		Policies:  a.newFinder(),
		Own:       own,
		Smarthost: smarthostOf(a.c.Relay, a.secrets),
		Sources:   a.c.Relay.SourceAddresses,
		Timeouts:  smtpclient.Timeouts{Connect: a.c.Queue.ConnectTimeout.Std()},
		IdleLimit: a.c.Queue.IdleLimit.Std(),
		Log:       a.log,
	}
	if a.reports != nil { // and not a nil in an interface
		o.Reports = a.reports
	}
	client, err := outbound.New(o)
	return away{client, a.rewriter}, err
}

// verifier is what asks the other half of split domains.
func (a away) verifier() routing.Verifier {
	if a.client == nil {
		return nil // and not a nil in an interface
	}
	return a.client
}

// returns is what the router knows of rewritten senders.
func (a away) returns() routing.Returner {
	if a.rewriter == nil {
		return nil // and not a nil in an interface
	}
	return a.rewriter
}

// outgoing is how the relay lets queued mail leave.
func (a away) outgoing(c *configs.Config, log *slog.Logger) relay.Outgoing {
	q := c.Queue
	o := relay.Outgoing{
		Connect: func(ctx context.Context, hop routing.Hop) (dispatch.Conn, error) {
			conn, err := a.client.Connect(ctx, hop)
			if err != nil {
				return nil, err // and not a nil in an interface
			}
			return conn, nil
		},
		Postmaster: c.Postmaster,
		Schedule: dispatch.Schedule{
			First:          q.RetryFirst.Std(),
			Max:            q.RetryMax.Std(),
			Lifetime:       q.Lifetime.Std(),
			ReportLifetime: q.ReportLifetime.Std(),
			Notice:         q.DelayNotice.Std(),
		},
		Limits: dispatch.Limits{
			Connections:    q.Connections,
			PerDestination: q.ConnectionsPerDestination,
			Initial:        q.FirstConnections,
			Recipients:     q.RecipientsPerMessage,
		},
		DoubleBounces: q.DoubleBounces == configs.DoubleBouncesPostmaster,
		RefuseFailed:  c.Relay.StoreFailure == configs.StoreFailureRefuse,
	}
	if a.rewriter != nil {
		o.Rewrite = func(_ context.Context, sender mailbox.Address) mailbox.Address {
			rewritten, err := a.rewriter.Forward(sender)
			if err == nil {
				return rewritten
			}
			if !errors.Is(err, srs.ErrNotRewritable) {
				log.Warn("a sender is not rewritten", "error", err)
			}
			return sender
		}
	}
	return o
}

func newRewriter(c *configs.Config, secrets configs.Credentials) (*srs.Rewriter, error) {
	if c.Relay.SRSDomain.IsZero() {
		return nil, nil
	}
	return srs.New(srs.Options{Domain: c.Relay.SRSDomain, Keys: secrets.SRSKeys, MaxAge: c.Relay.SRSMaxAge.Std()})
}

func smarthostOf(r configs.Relay, secrets configs.Credentials) *outbound.Smarthost {
	if r.Smarthost.IsZero() {
		return nil
	}
	s := &outbound.Smarthost{
		Host: r.Smarthost.Host, Implicit: r.Smarthost.Implicit, User: r.SmarthostUser, Password: secrets.SmarthostPassword,
	}
	if r.TLSRequired() {
		s.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: secrets.SmarthostCAs}
	}
	return s
}

// resolveSmarthost looks the smarthost up: one that does not exist is a mistake in the file, and is said at the start
// rather than with the first message. DNS that fails says nothing about it.
func resolveSmarthost(ctx context.Context, c *configs.Config, resolver mx.Resolver, log *slog.Logger) error {
	host := c.Relay.Smarthost.Host.Host
	if host.IsZero() || host.IsLiteral() {
		return nil
	}
	switch answer := resolver.LookupAddr(ctx, host); answer.Outcome {
	case mx.NXDomain, mx.NoData:
		return configs.Problems{c.Problem("relay.smarthost", "%q: DNS knows no address of %s", c.Relay.Smarthost, host)}
	case mx.Failed:
		log.Warn("the smarthost cannot be looked up now", "host", host.ASCII(), "error", fmt.Sprint(answer.Err))
	}
	return nil
}
