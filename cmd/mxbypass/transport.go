package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
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

// openTransport makes what decides how sure connections to servers elsewhere have to be, and what reports on them (nil:
// nobody). Without keep, as for a command that sends no mail, only the wishes of the configuration count.
func openTransport(c *configs.Config, hostname mailbox.DomainName, secrets configs.Credentials, keep *transport,
	log *slog.Logger, opened *closers,
) (*tlspolicy.Finder, tlsrpt.Recorder, error) {
	o := tlspolicy.Options{Wishes: wishesOf(c), Roots: secrets.TransportCAs}
	if keep == nil {
		return tlspolicy.New(o), nil, nil
	}
	dns, err := openLookup(c)
	if err != nil {
		return nil, nil, err
	}
	if c.DNS.Validating {
		o.TLSA = func(ctx context.Context, name string) ([]dane.Record, bool, error) {
			return tlsaOf(dns.TLSA(ctx, name))
		}
	}
	settings := fmt.Sprint(c.StateDir, hostname, c.DNS, c.Transport)
	if c.Transport.MTASTS {
		cache, release, err := keep.policies.acquire(settings, func() (*mtasts.Cache, func() error, error) {
			cache, err := mtasts.Open(mtasts.Options{Dir: filepath.Join(c.StateDir, "mta-sts"), TXT: dns.TXT, Addr: dns.Addr,
				Roots: secrets.TransportCAs, Log: log})
			if err != nil {
				return nil, nil, err
			}
			return cache, cache.Close, nil
		})
		if err != nil {
			return nil, nil, err
		}
		opened.add(release)
		o.MTASTS = cache
	}
	if c.Transport.TLSRPTContact.IsNull() {
		return tlspolicy.New(o), nil, nil
	}
	reports, release, err := keep.reports.acquire(settings, func() (*tlsrpt.Reporter, func() error, error) {
		r, err := tlsrpt.Open(reportOptions(c, hostname, secrets, keep, dns, log))
		if err != nil {
			return nil, nil, err
		}
		return r, r.Close, nil
	})
	if err != nil {
		return nil, nil, err
	}
	opened.add(release)
	return tlspolicy.New(o), reports, nil
}

// firstReports is how long after a start reports are sent that are due: when the relay serves, and has come to rest.
const firstReports = 10 * time.Second

func reportOptions(c *configs.Config, hostname mailbox.DomainName, secrets configs.Credentials, keep *transport,
	dns *lookup.Client, log *slog.Logger,
) tlsrpt.Options {
	t := c.Transport
	o := tlsrpt.Options{
		Dir: filepath.Join(c.StateDir, "tlsrpt"), Hostname: hostname, Contact: t.TLSRPTContact, From: t.TLSRPTFrom,
		Organization: cmp.Or(t.TLSRPTOrganization, hostname.ASCII()), TXT: dns.TXT, Addr: dns.Addr, Roots: secrets.TransportCAs,
		First: firstReports, Log: log,
		Submit: func(ctx context.Context, m *mailbox.Message, to mailbox.Address) error {
			r := keep.relay.Load()
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
