package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"mxbypass/configs"
	"mxbypass/mailbox"
	"mxbypass/relay"
	"mxbypass/relay/lookup"
	"mxbypass/relay/tlspolicy"
	"mxbypass/relay/tlspolicy/dane"
	"mxbypass/relay/tlspolicy/mtasts"
	"mxbypass/relay/tlsrpt"
)

// transport is what is kept over reloads: policies and counts that have files, and the relay that reports leave by.
type transport struct {
	policies kept[*mtasts.Cache]
	reports  kept[*tlsrpt.Reporter]
	relay    atomic.Pointer[relay.Relay] // nil before it serves
}

// lookAtTransport looks at where policies of others are kept, and what is counted for reports to them.
func (a *assembly) lookAtTransport() {
	if !a.c.Sound("transport") {
		return
	}
	t := a.c.Transport
	settings := fmt.Sprint(a.c.StateDir, a.hostname, a.c.DNS, t) + digest(t.CAFile)
	if t.MTASTS {
		dir := a.stateFolder("mta-sts")
		a.then(func(context.Context) error { return a.openPolicies(settings, dir) })
	}
	if !t.TLSRPTContact.IsNull() {
		dir := a.stateFolder("tlsrpt")
		a.then(func(context.Context) error { return a.openReports(settings, dir) })
	}
}

func (a *assembly) openPolicies(settings, dir string) error {
	cache, release, err := a.keep.transport.policies.acquire(settings, func() (*mtasts.Cache, func() error, error) {
		cache, err := mtasts.Open(mtasts.Options{
			Dir: dir, TXT: a.lookups.TXT, Addr: a.lookups.Addr, Roots: a.secrets.TransportCAs, Log: a.log,
		})
		if err != nil {
			return nil, nil, err
		}
		return cache, cache.Close, nil
	})
	if err != nil {
		return err
	}
	a.opened.add(release)
	a.policies = cache
	return nil
}

func (a *assembly) openReports(settings, dir string) error {
	reports, release, err := a.keep.transport.reports.acquire(settings, func() (*tlsrpt.Reporter, func() error, error) {
		r, err := tlsrpt.Open(a.reportOptions(dir))
		if err != nil {
			return nil, nil, err
		}
		return r, r.Close, nil
	})
	if err != nil {
		return err
	}
	a.opened.add(release)
	a.reports = reports
	return nil
}

// newFinder makes what decides how sure connections to servers elsewhere have to be. What is said to be secure in DNS
// counts when the configuration trusts the servers.
func (a *assembly) newFinder() *tlspolicy.Finder {
	o := tlspolicy.Options{MTASTS: a.policies, Wishes: wishesOf(a.c), Roots: a.secrets.TransportCAs}
	if a.c.DNS.Validating {
		o.TLSA = func(ctx context.Context, name string) ([]dane.Record, bool, error) {
			return tlsaOf(a.lookups.TLSA(ctx, name))
		}
	}
	return tlspolicy.New(o)
}

// firstReports is how long after a start reports are sent that are due: when the relay serves, and has come to rest.
const firstReports = 10 * time.Second

func (a *assembly) reportOptions(dir string) tlsrpt.Options {
	t := a.c.Transport
	o := tlsrpt.Options{
		Dir: dir, Hostname: a.hostname, Contact: t.TLSRPTContact, From: t.TLSRPTFrom,
		Organization: cmp.Or(t.TLSRPTOrganization, a.hostname.ASCII()), TXT: a.lookups.TXT, Addr: a.lookups.Addr,
		Roots: a.secrets.TransportCAs, First: firstReports, Log: a.log,
		Submit: func(ctx context.Context, m *mailbox.Message, to mailbox.Address) error {
			r := a.keep.transport.relay.Load()
			if r == nil {
				return errors.New("the relay does not serve yet")
			}
			return r.Submit(ctx, m, to)
		},
	}
	if o.From.IsNull() {
		o.From = o.Contact
	}
	return o
}

// wishesOf is what the configuration says of destinations.
func wishesOf(c *configs.Config) map[mailbox.DomainName]tlspolicy.Wish {
	wishes := make(map[mailbox.DomainName]tlspolicy.Wish, len(c.Destinations))
	for _, d := range c.Destinations {
		w := tlspolicy.Wish{}
		switch d.TLS {
		case configs.DestinationMay:
			w.Level = tlspolicy.May
		case configs.DestinationEncrypt:
			w.Level = tlspolicy.Encrypt
		case configs.DestinationVerify:
			w.Level = tlspolicy.Verify
		case configs.DestinationSTS:
			w.Level, w.MTASTS = tlspolicy.Verify, true
		case configs.DestinationDANE:
			w.Level = tlspolicy.DANE
		case configs.DestinationNone:
		}
		for _, name := range d.Names {
			w.Names = append(w.Names, string(name))
		}
		wishes[d.Domain] = w
	}
	return wishes
}

// tlsaOf gives records as those who judge by them want them.
func tlsaOf(found []lookup.TLSA, secure bool, err error) ([]dane.Record, bool, error) {
	records := make([]dane.Record, len(found))
	for i, r := range found {
		records[i] = dane.Record{Usage: r.Usage, Selector: r.Selector, Matching: r.Matching, Data: r.Data}
	}
	return records, secure, err
}
