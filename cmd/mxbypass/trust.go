package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"mxbypass/configs"
	"mxbypass/mailbox"
	"mxbypass/relay/certs"
	"mxbypass/relay/guard/greylist"
	"mxbypass/relay/inbound"
	"mxbypass/relay/lookup"
	"mxbypass/relay/sign"
)

// shared are the parts that are kept over reloads.
type shared struct {
	lookups   kept[*lookup.Client]
	mx        mxCaches
	transport transport
	certs     kept[*certs.Manager]
	greylists kept[*greylist.List]
}

// lookAtTrust looks at what knows whom and what to trust.
func (a *assembly) lookAtTrust() {
	a.lookAtCerts()
	if a.c.Sound("dnslist") && a.lookups != nil {
		lists, err := openLists(a.c, a.lookups, a.log)
		a.wrong("dnslist", err)
		a.trust.Lists = lists
	}
	a.lookAtGreylist()
	a.lookAtSigner()
	a.lookAtFilters()
	a.trust.Hello = helloCheck(a.c, a.hostname)
}

// composeTrust makes what judges users and messages.
func (a *assembly) composeTrust() error {
	resolver := mailbox.Resolver{Directory: a.directory, Delimiter: a.c.Directory.SubaddressDelimiter}
	logins, err := openLogin(a.c, resolver, a.directory)
	if err != nil {
		return err
	}
	judge, err := openMsgAuth(a.c, a.hostname, a.lookups, a.states)
	if err != nil {
		return err
	}
	a.trust.Logins, a.trust.Judge = logins, judge
	return nil
}

// lookAtCerts reads the certificates in files. Those of an authority are there when it gives them.
func (a *assembly) lookAtCerts() {
	c := a.c
	if !c.Sound("tls") || !c.Sound("certificate") || !c.Sound("acme") {
		return
	}
	if !c.HasCertificate() {
		var errs []error
		if authorities(c, "tls.client_ca_file", c.TLS.ClientCAFile, &errs) != nil || len(c.TLS.ClientFingerprints) > 0 {
			a.warn("tls", "clients are asked for certificates under TLS only, and there is no certificate of ours")
		}
		a.wrong("tls", errors.Join(errs...))
		return
	}
	m, err := newCerts(c, slog.New(slog.DiscardHandler), false)
	a.wrong("certificate", err)
	if len(c.ACME.Names) > 0 {
		a.stateFolder("acme")
	}
	if err == nil {
		a.warnOfCerts(m)
	}
	a.then(a.openCerts)
}

// warnOfCerts warns of certificates that clients will not take. That one runs out is for the log of a relay its own
// business, every day.
func (a *assembly) warnOfCerts(m *certs.Manager) {
	for i := range a.c.Certificates {
		leaf := m.Leaf(i)
		key := fmt.Sprintf("certificate[%d].cert", i)
		switch left := time.Until(leaf.NotAfter); {
		case !a.only || left > certs.Ending:
		case left <= 0:
			a.warn(key, "it has run out (%s): clients that look at it will not send; renew it", leaf.NotAfter.Format(time.RFC3339))
		default:
			a.warn(key, "it runs out soon (%s): renew it", leaf.NotAfter.Format(time.RFC3339))
		}
		if time.Now().Before(leaf.NotBefore) {
			a.warn(key, "it is not valid before %s", leaf.NotBefore.Format(time.RFC3339))
		}
	}
	for i, g := range a.c.Gateways {
		if !promised(a.c.ACME.Names, g.Host) && !m.Covers(g.Host.ASCII()) {
			a.warn(fmt.Sprintf("gateway[%d].host", i), "no certificate is for %s: clients that look at it will not send; "+
				"have one with that name", g.Host)
		}
	}
}

// promised tells whether an authority is asked for a certificate for a host.
func promised(names []configs.CertName, host mailbox.DomainName) bool {
	_, parent, _ := strings.Cut(host.ASCII(), ".")
	return slices.ContainsFunc(names, func(n configs.CertName) bool {
		return n.Wildcard && n.Domain.ASCII() == parent || !n.Wildcard && n.Domain == host
	})
}

// openCerts opens the certificates, or takes those of the configuration before: their challenges have a port, which can
// be taken only once.
func (a *assembly) openCerts(ctx context.Context) error {
	m, release, err := a.keep.certs.acquire(certsSettings(a.c), func() (*certs.Manager, func() error, error) {
		var own closers
		m, err := openCerts(ctx, a.c, a.log, &own)
		return m, own.close, err
	})
	if err != nil {
		return err
	}
	a.opened.add(release)
	m.Look() // who reloads wants what is in the files now
	a.trust.TLS, a.trust.Certificate = m.Config(), m.Trusted
	return nil
}

// lookAtGreylist does the same for the greylist, which has a file.
func (a *assembly) lookAtGreylist() {
	if !a.c.Greylist.Enabled || !a.c.Sound("greylist") {
		return
	}
	path := a.stateFile("greylist.db")
	settings := fmt.Sprint(a.c.StateDir, a.c.Greylist)
	a.then(func(context.Context) error {
		g, release, err := a.keep.greylists.acquire(settings, func() (*greylist.List, func() error, error) {
			g, err := openGreylist(a.c, path, a.log)
			if err != nil {
				return nil, nil, err
			}
			return g, g.Close, nil
		})
		if err != nil {
			return err
		}
		a.opened.add(release)
		a.trust.Greylist = g
		return nil
	})
}

// lookAtSigner warns of keys that do not sign. That a domain has no key is no mistake: keys may come later.
func (a *assembly) lookAtSigner() {
	if !a.c.Sound("state_dir") || !a.c.Sound("sign") {
		return
	}
	keys := sign.OpenKeys(dkimFolder(a.c), a.log)
	signer := newSigner(a.c, a.hostname, keys)
	a.trust.Signer = signer
	if seal := a.c.Sign.SealDomain; !seal.IsZero() {
		domain, err := signer.Sealing()
		if err == nil && domain.IsZero() {
			err = errors.New("no RSA key signs for it")
		}
		if err != nil {
			a.warn("sign.seal_domain", "mail that is sent on is not sealed: %s (mxbypass dkim create %s --type rsa)",
				strings.ReplaceAll(err.Error(), "\n", "; "), seal)
		}
	}
	if a.only && a.stateDir { // there may be thousands, which a relay reads when it needs them
		for _, err := range keys.Check() {
			a.warn("state_dir", "signing keys: %v", err)
		}
	}
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
