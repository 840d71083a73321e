package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"mxbypass/configs"
	"mxbypass/mailbox"
	"mxbypass/mailbox/directory"
	"mxbypass/mailbox/directory/file"
	"mxbypass/mailbox/directory/sqldir"
	"mxbypass/mailbox/lmtp"
	"mxbypass/mailbox/maildir"
	"mxbypass/mailbox/smtpclient"
	"mxbypass/relay"
	"mxbypass/relay/inbound"
	"mxbypass/routing"
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

// buildParts makes the parts of a relay from a configuration, all of them or none. It tells all that is wrong, not only
// the first.
func buildParts(ctx context.Context, c *configs.Config, keep *shared, log *slog.Logger) (relay.Parts, error) {
	var opened closers
	hostname, err := hostnameOf(c)
	if err != nil {
		return relay.Parts{}, err
	}
	elsewhere, err := openAway(ctx, c, hostname, &keep.transport, log, &opened)
	var router *routing.Router
	var trust inbound.Trust
	if err == nil {
		var d directory.Reader
		if d, err = openDirectory(ctx, c, log); err == nil {
			opened.add(d.Close)
			router, err = newRouter(c, hostname, d, &keep.mx, elsewhere, 0, &opened)
			var cause error
			trust, cause = openTrust(ctx, c, hostname, d, keep, log, &opened)
			err = errors.Join(err, cause)
		}
	}
	var stores map[string]mailbox.Store
	if err = errors.Join(err, checkStores(c)); err == nil { // so that nothing is made when something is wrong
		stores, err = openStores(c, hostname, log, &opened)
	}
	if err != nil {
		return relay.Parts{}, errors.Join(err, opened.close())
	}
	p := relay.Parts{
		Hostname:  hostname.ASCII(),
		Listeners: make(map[relay.Endpoint]inbound.Service, len(c.Listeners)),
		Limits:    limitsOf(c.Limits),
		Timeouts:  timeoutsOf(c.Limits),
		Router:    router,
		Stores:    stores,
		Trusted:   c.Clients.TrustedNetworks,
		Trust:     trust,
		Guard:     guardOptions(c),
		Outgoing:  elsewhere.outgoing(c, log),
		Close:     opened.close,
	}
	for _, l := range c.Listeners {
		p.Listeners[relay.Endpoint(l.Address)] = serviceOf(c, l)
	}
	return p, nil
}

// checkParts tells what would keep buildParts from succeeding, without making anything.
func checkParts(ctx context.Context, c *configs.Config) error {
	_, err := hostnameOf(c)
	errs := []error{err}
	d, err := openDirectory(ctx, c, slog.New(slog.DiscardHandler))
	if err == nil {
		err = d.Close()
	}
	errs = append(errs, err, checkStores(c), checkCerts(c))
	secrets, err := c.Credentials()
	if err == nil {
		_, err = newRewriter(c, secrets)
	}
	return errors.Join(append(errs, err)...)
}

func checkStores(c *configs.Config) error {
	var errs []error
	for _, s := range c.Sites {
		if s.Store == configs.StoreMaildir {
			errs = append(errs, siteError(s, maildir.Check(maildirOptions(s))))
		}
	}
	return errors.Join(errs...)
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

// newRouter makes what decides, and notes in opened what has to be closed. With a patience of 0 it has its own.
func newRouter(c *configs.Config, hostname mailbox.DomainName, d mailbox.Directory, caches *mxCaches, elsewhere away,
	patience time.Duration, opened *closers,
) (*routing.Router, error) {
	states, err := caches.acquire(c)
	if err != nil {
		return nil, err
	}
	opened.add(states.release)
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

// openStores opens the store of every site, and the Maildir of the fallback postmaster.
func openStores(c *configs.Config, hostname mailbox.DomainName, log *slog.Logger, opened *closers) (
	map[string]mailbox.Store, error,
) {
	stores := make(map[string]mailbox.Store, len(c.Sites)+1)
	var errs []error
	for _, site := range c.Sites {
		log := log.With("site", site.Name)
		switch site.Store {
		case configs.StoreMaildir:
			o := maildirOptions(site)
			o.Hostname, o.Logger = hostname.ASCII(), log
			s, err := maildir.New(o)
			if err != nil {
				errs = append(errs, siteError(site, err))
				continue
			}
			opened.add(s.Close)
			stores[site.Name] = s
		case configs.StoreLMTP, configs.StoreSMTP:
			s, err := lmtp.New(serverOptions(site, hostname, log))
			if err != nil {
				errs = append(errs, siteError(site, err))
				continue
			}
			opened.add(s.Close)
			stores[site.Name] = s
		}
	}
	// The state folder is nobody else's, and made here so that the Maildir in it does not make it readable.
	if err := os.MkdirAll(c.StateDir, 0o700); err != nil {
		return nil, errors.Join(append(errs, fmt.Errorf("state_dir: %w", err))...)
	}
	s, err := maildir.New(maildir.Options{
		Path: filepath.Join(c.StateDir, "postmaster"), Single: true, Hostname: hostname.ASCII(), Logger: log,
	})
	if err != nil {
		return nil, errors.Join(append(errs, fmt.Errorf("the postmaster's Maildir: %w", err))...)
	}
	opened.add(s.Close)
	stores[mailbox.SitePostmaster] = s
	return stores, errors.Join(errs...)
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

func siteError(s configs.Site, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("site %q: %w", s.Name, err)
}
