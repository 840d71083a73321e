package main

import (
	"context"
	"fmt"
	"log/slog"

	"mxbypass/configs"
	"mxbypass/mailbox"
	"mxbypass/mailbox/directory"
	"mxbypass/relay/certs"
	"mxbypass/relay/guard/greylist"
	"mxbypass/relay/inbound"
)

// shared are the parts that are kept over reloads.
type shared struct {
	mx        mxCaches
	transport transport
	certs     kept[*certs.Manager]
	greylists kept[*greylist.List]
}

// openTrust opens what knows whom and what to trust, and notes it in opened.
func openTrust(ctx context.Context, c *configs.Config, hostname mailbox.DomainName, d directory.Reader, keep *shared,
	log *slog.Logger, opened *closers,
) (t inbound.Trust, err error) {
	if err := keep.openCerts(ctx, c, log, opened, &t); err != nil {
		return t, err
	}
	resolver := mailbox.Resolver{Directory: d, Delimiter: c.Directory.SubaddressDelimiter}
	logins, err := openLogin(c, resolver, d)
	if err != nil {
		return t, err
	}
	t.Logins, t.Hello = logins, helloCheck(c, hostname)
	lookups, err := openLookup(c)
	if err != nil {
		return t, err
	}
	if t.Lists, err = openLists(c, lookups, log); err != nil {
		return t, err
	}
	if err := keep.openGreylist(c, log, opened, &t); err != nil {
		return t, err
	}
	judge, err := openMsgAuth(c, hostname, lookups, &keep.mx, opened)
	if err != nil {
		return t, err
	}
	if judge != nil { // and not a nil in an interface
		t.Judge = judge
	}
	signer, err := openSigner(c, hostname, log)
	if err != nil {
		return t, err
	}
	if signer != nil { // and not a nil in an interface
		t.Signer = signer
	}
	if t.Filters, err = openFilters(c, log); err != nil {
		return t, err
	}
	for _, f := range t.Filters {
		opened.add(f.Close)
	}
	return t, nil
}

// openCerts opens the certificates, or takes those of the configuration before: their challenges have a port, which can
// be taken only once.
func (s *shared) openCerts(ctx context.Context, c *configs.Config, log *slog.Logger, opened *closers,
	t *inbound.Trust,
) error {
	if !c.HasCertificate() {
		return nil
	}
	m, release, err := s.certs.acquire(certsSettings(c), func() (*certs.Manager, func() error, error) {
		var own closers
		m, err := openCerts(ctx, c, log, &own)
		return m, own.close, err
	})
	if err != nil {
		return err
	}
	opened.add(release)
	m.Look() // who reloads wants what is in the files now
	t.TLS, t.Certificate = m.Config(), m.Trusted
	return nil
}

// openGreylist does the same for the greylist, which has a file.
func (s *shared) openGreylist(c *configs.Config, log *slog.Logger, opened *closers, t *inbound.Trust) error {
	if !c.Greylist.Enabled {
		return nil
	}
	settings := fmt.Sprint(c.StateDir, c.Greylist)
	g, release, err := s.greylists.acquire(settings, func() (*greylist.List, func() error, error) {
		g, err := openGreylist(c, log)
		if err != nil {
			return nil, nil, err
		}
		return g, g.Close, nil
	})
	if err != nil {
		return err
	}
	opened.add(release)
	t.Greylist = g
	return nil
}

// serviceOf is what a listener of the configuration offers.
func serviceOf(c *configs.Config, l configs.Listener) inbound.Service {
	return inbound.Service{
		Protocol: inbound.Protocol(l.Protocol),
		TLS:      inbound.Encryption(c.Encryption(l)),
		Auth:     l.Auth && l.Protocol != configs.LMTP,
		Proxies:  l.ProxyNetworks,
		Filters:  l.Filters,
	}
}
