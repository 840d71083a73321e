package main

import (
	"context"
	"fmt"

	"mxbypass/configs"
	"mxbypass/relay/lookup"
	"mxbypass/routing/mx"
)

// lookAtDNS takes the one client that all of a relay asks DNS by. It is kept over a reload that changes nothing about DNS:
// what is known is not asked for again, and while no server answers it is all there is.
func (a *assembly) lookAtDNS() {
	if !a.c.Sound("dns") {
		return
	}
	lookups, release, err := a.keep.lookups.acquire(lookupSettings(a.c), func() (*lookup.Client, func() error, error) {
		client, err := openLookup(a.c)
		return client, func() error { return nil }, err
	})
	if err != nil {
		a.wrong("dns", err)
		return
	}
	a.opened.add(release)
	a.lookups = lookups
	a.warnOfServers()
	if a.hostname.IsZero() || !a.c.Sound("gateway") || !a.c.Sound("addresses") {
		return // who we are is not known
	}
	states, release, err := a.keep.mx.acquire(a.c, lookups)
	if err != nil {
		a.wrong("dns", err)
		return
	}
	a.opened.add(release)
	a.states = states
}

// warnOfServers tells when the system's resolvers are not what the configuration takes them for.
func (a *assembly) warnOfServers() {
	if len(a.c.DNS.Servers) > 0 {
		return
	}
	servers, trusted, err := mx.SystemServers()
	switch {
	case err != nil:
		a.warn("dns", "the system's resolvers are not known: %v; set servers, or the one on this machine is asked", err)
	case a.c.DNS.Validating && !trusted:
		a.warn("dns.validating", "none of the system's resolvers (%v) is on this machine, so that none is believed to validate: "+
			"set servers", servers)
	}
}

// lookupSettings are what a client is made of, printed. Whom its answers are for, and who believes what they say about
// DNSSEC, does not change while they are the same.
func lookupSettings(c *configs.Config) string { return fmt.Sprintf("%+v", lookupOptions(c)) }

func lookupOptions(c *configs.Config) lookup.Options {
	o := lookup.Options{Timeout: c.DNS.Timeout.Std(), CacheEntries: c.DNS.CacheEntries, Trusted: c.DNS.Validating}
	for _, s := range c.DNS.Servers {
		o.Servers = append(o.Servers, s.String())
	}
	return o
}

// openLookup makes a client.
func openLookup(c *configs.Config) (*lookup.Client, error) { return lookup.New(lookupOptions(c)) }

// openResolver is the way to DNS that the configuration names, and remembers nothing.
func openResolver(c *configs.Config) (*mx.DNS, error) {
	o := lookupOptions(c)
	return mx.NewDNS(mx.DNSOptions{Servers: o.Servers, Timeout: o.Timeout, Validating: o.Trusted})
}

// mxCaches keeps what was made of what DNS has told, as long as that is.
type mxCaches struct{ kept kept[*mx.Cache] }

// acquire returns the cache for a configuration, to be released when the configuration is not used any more. While the
// settings of DNS are the same, so is its client.
func (cs *mxCaches) acquire(c *configs.Config, lookups *lookup.Client) (*mx.Cache, func() error, error) {
	own, err := ownHosts(c)
	if err != nil {
		return nil, nil, err
	}
	return cs.kept.acquire(fmt.Sprint(c.DNS, own), func() (*mx.Cache, func() error, error) {
		cache, err := openCache(c, own, lookups)
		if err != nil {
			return nil, nil, err
		}
		// It ends its lookups, and waits for that only.
		return cache, func() error { return cache.Close(context.Background()) }, nil
	})
}

func openCache(c *configs.Config, own mx.Own, resolver mx.Resolver) (*mx.Cache, error) {
	providers, err := mx.EmbeddedProviders()
	if err != nil {
		return nil, err
	}
	return mx.NewCache(mx.CacheOptions{
		Resolver:  resolver,
		Providers: providers,
		Own:       own,
		Timeout:   c.DNS.Timeout.Std(),
		Entries:   c.DNS.CacheEntries,
		Stale:     c.DNS.Stale.Std(),
	})
}
