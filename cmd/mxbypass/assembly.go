package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"mxbypass/configs"
	"mxbypass/mailbox"
	"mxbypass/mailbox/directory"
	"mxbypass/mailbox/directory/sqldir"
	"mxbypass/mailbox/inspect"
	"mxbypass/mailbox/lmtp"
	"mxbypass/mailbox/maildir"
	"mxbypass/relay"
	"mxbypass/relay/filter"
	"mxbypass/relay/inbound"
	"mxbypass/relay/lookup"
	"mxbypass/relay/tlspolicy/mtasts"
	"mxbypass/relay/tlsrpt"
	"mxbypass/routing"
	"mxbypass/routing/mx"
	"mxbypass/routing/srs"
)

// assembly makes the parts of a relay from a configuration. It looks at everything first, to tell all mistakes at once,
// and changes nothing; then it opens what it has looked at. There is one list of parts for the start, a reload and
// "config check", which ends in between: what the check finds right is what the start takes.
type assembly struct {
	findings
	c    *configs.Config
	keep *shared
	log  *slog.Logger
	only bool // looks only: nothing is opened that leaves a trace, nobody is asked

	later  []func(context.Context) error // opens what has been looked at
	opened closers

	hostname  mailbox.DomainName
	stateDir  bool // can be used
	secrets   configs.Credentials
	rewriter  *srs.Rewriter // nil: no sender is rewritten
	lookups   *lookup.Client
	states    *mx.Cache
	directory directory.Reader // nil as long as it is only looked at
	stores    map[string]mailbox.Store
	policies  *mtasts.Cache    // nil: none are looked for
	reports   *tlsrpt.Reporter // nil: nobody is told
	trust     inbound.Trust
	router    *routing.Router
	elsewhere away
}

func newAssembly(c *configs.Config, keep *shared, log *slog.Logger) *assembly {
	return &assembly{findings: findings{config: c}, c: c, keep: keep, log: log, stores: map[string]mailbox.Store{}}
}

// buildParts makes the parts of a relay from a configuration, all of them or none. The error has all mistakes.
func buildParts(ctx context.Context, c *configs.Config, keep *shared, log *slog.Logger) (relay.Parts, error) {
	a := newAssembly(c, keep, log)
	if err := a.run(ctx); err != nil {
		return relay.Parts{}, errors.Join(err, a.opened.close())
	}
	a.findings.log(log)
	return a.parts(), nil
}

// checkParts tells what would keep buildParts from succeeding, in one list with what is wrong with the keys, and warns.
// It changes nothing, and has no connections. Keep is that of the relay that runs in this process, if there is one.
func checkParts(ctx context.Context, c *configs.Config, keys error, keep *shared) (warnings []string, err error) {
	if c == nil {
		return nil, keys
	}
	a := newAssembly(c, keep, slog.New(slog.DiscardHandler))
	a.only = true
	if keys != nil && !errors.As(keys, &a.mistakes) {
		a.others = append(a.others, keys)
	}
	err = a.run(ctx)
	return a.warned(), errors.Join(err, a.opened.close())
}

func (a *assembly) run(ctx context.Context) error {
	a.look(ctx)
	if err := a.err(); err != nil {
		return err
	}
	if !a.only {
		var errs []error
		for _, open := range a.later {
			errs = append(errs, open(ctx))
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	return a.compose()
}

// then notes what is to be done when nothing is wrong.
func (a *assembly) then(open func(context.Context) error) { a.later = append(a.later, open) }

// running tells whether this process has the state folder open already.
func (a *assembly) running() bool { return a.keep.transport.relay.Load() != nil }

// look goes through all parts, and notes what opens them. What others need comes first.
func (a *assembly) look(ctx context.Context) {
	var err error
	a.hostname, err = hostnameOf(a.c)
	a.wrong("hostname", err)
	a.lookAtState(ctx)
	a.lookAtListeners()
	a.lookAtDNS()
	a.secrets, err = a.c.Credentials()
	a.wrong("relay", err)
	if err == nil && a.c.Sound("relay") {
		a.rewriter, err = newRewriter(a.c, a.secrets)
		a.wrong("relay.srs_domain", err)
	}
	a.lookAtDirectory(ctx)
	a.lookAtSites()
	a.lookAtTrust()
	a.lookAtTransport()
	a.then(func(ctx context.Context) error { return resolveSmarthost(ctx, a.c, a.lookups, a.log) })
}

// compose makes what is made of other parts. It fails for no reason that the look does not know.
func (a *assembly) compose() error {
	var err error
	if a.elsewhere, err = a.newAway(); err != nil {
		return err
	}
	a.opened.add(a.elsewhere.client.Close)
	if a.router, err = newRouter(a.c, a.hostname, a.directory, a.states, a.elsewhere, 0); err != nil {
		return err
	}
	return a.composeTrust()
}

func (a *assembly) parts() relay.Parts {
	p := relay.Parts{
		Hostname:  a.hostname.ASCII(),
		Listeners: make(map[relay.Endpoint]inbound.Service, len(a.c.Listeners)),
		Limits:    limitsOf(a.c.Limits),
		Timeouts:  timeoutsOf(a.c.Limits),
		Router:    a.router,
		Stores:    a.stores,
		Trusted:   a.c.Clients.TrustedNetworks,
		Trust:     a.trust,
		Guard:     guardOptions(a.c),
		Outgoing:  a.elsewhere.outgoing(a.c, a.log),
		Close:     a.opened.close,
	}
	for _, l := range a.c.Listeners {
		p.Listeners[relay.Endpoint(l.Address)] = serviceOf(a.c, l)
	}
	return p
}

// lookAtState looks at the state folder, and what the relay itself has in it.
func (a *assembly) lookAtState(ctx context.Context) {
	const key = "state_dir"
	if !a.c.Sound(key) {
		return
	}
	dir := a.c.StateDir
	err := inspect.Folder(dir)
	if a.stateDir = err == nil; a.stateDir && !a.running() {
		err = relay.Check(ctx, dir)
	}
	a.wrong(key, err)
	if info, err := os.Stat(dir); err == nil && a.stateDir && info.Mode().Perm()&0o077 != 0 {
		a.warn(key, "%q has the mail, and the keys, of others in it, who can look at them (mode %04o): chmod 700", dir,
			uint32(info.Mode().Perm()))
	}
	// It is nobody else's, and made here so that the Maildir in it does not make it readable.
	a.then(func(context.Context) error {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("state_dir: %w", err)
		}
		return nil
	})
	a.maildir(key, mailbox.SitePostmaster, maildir.Options{
		Path: a.stateFolder("postmaster"), Single: true, Hostname: a.hostname.ASCII(), Logger: a.log,
	})
}

// stateFile looks at a file of ours in the state folder, stateFolder at a folder.
func (a *assembly) stateFile(name string) string {
	path := filepath.Join(a.c.StateDir, name)
	if a.stateDir { // else all that is to be said has been
		a.wrong("state_dir", inspect.File(path))
	}
	return path
}

func (a *assembly) stateFolder(name string) string {
	path := filepath.Join(a.c.StateDir, name)
	if a.stateDir {
		a.wrong("state_dir", inspect.Folder(path))
	}
	return path
}

// lookAtListeners leaves the ports alone, which somebody may have who is about to end.
func (a *assembly) lookAtListeners() {
	for i, l := range a.c.Listeners {
		key := fmt.Sprintf("listener[%d]", i)
		if l.Address.Network == "unix" {
			a.wrong(key+".address", placeForSocket(l.Address.Address))
		}
		if l.Auth && l.Protocol != configs.LMTP && a.c.Encryption(l) == configs.ListenerPlain && a.c.Has(key+".auth") {
			a.warn(key+".auth", "nobody can log in here: passwords are taken under TLS only, and this listener has none")
		}
	}
}

func placeForSocket(path string) error {
	info, err := os.Lstat(path)
	if err == nil && info.Mode()&os.ModeSocket == 0 {
		return fmt.Errorf("%s is no socket: move it away, or give another path", path)
	}
	return inspect.Entry(path)
}

func (a *assembly) lookAtDirectory(ctx context.Context) {
	if !a.c.Sound("directory") || !a.c.Sound("site") || !a.c.Sound("gateway") {
		return // what names in it must keep is not known
	}
	const key = "directory.path"
	open := func(ctx context.Context) error {
		d, err := openDirectory(ctx, a.c, a.log)
		if err != nil {
			return err
		}
		a.opened.add(d.Close)
		a.directory = d
		return nil
	}
	if a.c.Directory.Driver != configs.DriverSQLite || a.running() {
		a.wrong(key, open(ctx))
		return
	}
	// A database is changed by who opens it, if only by the files beside it.
	if err := sqldir.Check(ctx, a.c.Directory.Path); err != nil {
		a.wrong(key, withRemedy(a.c, err))
	}
	a.then(open)
}

func (a *assembly) lookAtSites() {
	for i, s := range a.c.Sites {
		key := fmt.Sprintf("site[%d]", i)
		if !a.c.Sound(key) {
			continue
		}
		log := a.log.With("site", s.Name)
		switch s.Store {
		case configs.StoreMaildir:
			o := maildirOptions(s)
			o.Hostname, o.Logger = a.hostname.ASCII(), log
			a.maildir(key+".path", s.Name, o)
		case configs.StoreLMTP, configs.StoreSMTP:
			if a.hostname.IsZero() {
				continue
			}
			store, err := lmtp.New(serverOptions(s, a.hostname, log))
			if a.wrong(key+".address", err); err == nil {
				a.opened.add(store.Close)
				a.stores[s.Name] = store
			}
		}
	}
}

// maildir looks at where the mailboxes of a site are, or will be.
func (a *assembly) maildir(key, site string, o maildir.Options) {
	if site != mailbox.SitePostmaster || a.stateDir {
		a.wrong(key, maildir.Check(o))
	}
	a.then(func(context.Context) error {
		s, err := maildir.New(o)
		if err != nil {
			return fmt.Errorf("site %q: %w", site, err)
		}
		a.opened.add(s.Close)
		a.stores[site] = s
		return nil
	})
}

// lookAtFilters makes the filters: nothing is connected before there is mail.
func (a *assembly) lookAtFilters() {
	if !a.c.Sound("filter") {
		return
	}
	filters, err := openFilters(a.c, a.log)
	a.wrong("filter", err)
	a.trust.Filters = map[string]*filter.Filter{}
	for name, f := range filters {
		a.stateFolder(filepath.Join("filters", name))
		if f != nil {
			a.opened.add(f.Close)
			a.trust.Filters[name] = f
		}
	}
}
