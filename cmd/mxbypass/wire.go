package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"mxbypass/configs"
	"mxbypass/mailbox"
	"mxbypass/mailbox/directory"
	"mxbypass/mailbox/directory/file"
	"mxbypass/mailbox/directory/sqldir"
	"mxbypass/mailbox/lmtp"
	"mxbypass/mailbox/maildir"
	"mxbypass/mailbox/smtpclient"
	"mxbypass/relay/inbound"
	"mxbypass/routing"
	"mxbypass/routing/mx"
)

// closers are what was opened, in order. close ends it in the opposite one.
type closers []func() error

func (c *closers) add(f func() error) { *c = append(*c, f) }

func (c *closers) close() error {
	var err error
	for i := len(*c) - 1; i >= 0; i-- {
		err = errors.Join(err, (*c)[i]())
	}
	*c = nil
	return err
}

// hostnameOf is the configured name, or that of the machine.
func hostnameOf(c *configs.Config) (mailbox.DomainName, error) {
	if !c.Hostname.IsZero() {
		return c.Hostname, nil
	}
	name, err := os.Hostname()
	if err != nil {
		return mailbox.DomainName{}, fmt.Errorf("hostname is not set, and the machine does not know its own: %w", err)
	}
	parsed, err := mailbox.ParseDomainName(name)
	if err != nil {
		return mailbox.DomainName{}, fmt.Errorf("hostname is not set, and that of the machine, %q, is no domain name", name)
	}
	return parsed, nil
}

func limitsOf(l configs.Limits) inbound.Limits {
	return inbound.Limits{
		MessageSize:          int64(l.MessageSize),
		Header:               int64(l.HeaderSize),
		Received:             l.Received,
		Recipients:           l.Recipients,
		Connections:          l.Connections,
		ConnectionsPerClient: l.ConnectionsPerClient,
		ErrorsSlow:           l.ErrorsSlow,
		ErrorsClose:          l.ErrorsClose,
	}
}

func timeoutsOf(l configs.Limits) inbound.Timeouts {
	return inbound.Timeouts{
		Greeting:  l.GreetingDelay.Std(),
		Command:   l.CommandTimeout.Std(),
		DataBlock: l.DataTimeout.Std(),
		Answer:    l.StoreTimeout.Std(),
	}
}

// rulesOf are what names in a directory must keep under this configuration.
func rulesOf(c *configs.Config) directory.Rules {
	separators := map[mailbox.DomainName][]string{}
	for _, g := range c.Gateways {
		separators[g.Host] = g.Separators
	}
	sites := map[string]bool{}
	for _, s := range c.Sites {
		sites[s.Name] = true
	}
	return directory.Rules{
		Delimiter:  c.Directory.SubaddressDelimiter,
		Separators: func(d mailbox.DomainName) []string { return separators[d] },
		HasSite:    func(name string) bool { return sites[name] },
	}
}

// openDirectory opens the directory for reading: as it is, for the relay and for route.
func openDirectory(ctx context.Context, c *configs.Config, log *slog.Logger) (directory.Reader, error) {
	var d directory.Reader
	var err error
	if c.Directory.Driver == configs.DriverSQLite {
		d, err = sqldir.Open(ctx, sqldir.Options{
			Path:         c.Directory.Path,
			CacheEntries: c.Directory.CacheEntries,
			Rules:        rulesOf(c),
			Log:          log,
		})
	} else {
		d, err = file.Open(file.Options{Path: c.Directory.Path, Rules: rulesOf(c), Log: log})
	}
	if err != nil {
		return nil, withRemedy(c, err)
	}
	return d, nil
}

// newRouter makes what decides. With a patience of 0 it has its own.
func newRouter(c *configs.Config, hostname mailbox.DomainName, d mailbox.Directory, states *mx.Cache, elsewhere away,
	patience time.Duration,
) (*routing.Router, error) {
	resolver := mailbox.Resolver{Directory: d, Delimiter: c.Directory.SubaddressDelimiter}
	gateways := make([]routing.Gateway, len(c.Gateways))
	for i, g := range c.Gateways {
		gateways[i] = routing.Gateway{Host: g.Host, Sites: g.Sites, Separators: g.Separators}
	}
	return routing.NewRouter(routing.Options{
		Hostname:   hostname,
		Gateways:   gateways,
		Resolver:   resolver,
		MX:         states,
		Postmaster: c.Postmaster,
		Smarthost:  !c.Relay.Smarthost.IsZero(),
		Verifier:   elsewhere.verifier(),
		Returns:    elsewhere.returns(),
		Patience:   patience,
	})
}

func maildirOptions(s configs.Site) maildir.Options {
	o := maildir.Options{
		Path:       s.Path,
		DirMode:    fs.FileMode(s.Mode),
		FileMode:   fs.FileMode(s.Mode) & 0o666,
		TagFolders: s.TagFolders,
		Sync:       maildir.Sync(s.Sync),
	}
	if s.Owner.Set {
		o.Owner = &maildir.Owner{UID: s.Owner.UID, GID: s.Owner.GID}
	}
	return o
}

func serverOptions(s configs.Site, hostname mailbox.DomainName, log *slog.Logger) lmtp.Options {
	command := s.CommandTimeout.Std()
	return lmtp.Options{
		Address:     s.Address.String(),
		Protocol:    smtpclient.Protocol(s.Store),
		Hostname:    hostname,
		Connections: s.Connections,
		Timeouts: smtpclient.Timeouts{
			Connect: s.ConnectTimeout.Std(), Greeting: command, Hello: command, Mail: command, Rcpt: command,
			DataStart: command,
		},
		Logger: log,
	}
}
