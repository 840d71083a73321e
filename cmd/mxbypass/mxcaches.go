package main

import (
	"context"
	"fmt"

	"mxbypass/configs"
	"mxbypass/routing/mx"
)

// mxCaches keeps what DNS has told over a reload that changes nothing about DNS: while no server answers, what is in the
// cache is all there is.
type mxCaches struct{ kept kept[*mx.Cache] }

// mxCache is one use of a cache.
type mxCache struct {
	*mx.Cache
	release func() error
}

// acquire returns the cache for a configuration, to be released when the configuration is not used any more.
func (cs *mxCaches) acquire(c *configs.Config) (*mxCache, error) {
	own, err := ownHosts(c)
	if err != nil {
		return nil, err
	}
	cache, release, err := cs.kept.acquire(fmt.Sprint(c.DNS, own), func() (*mx.Cache, func() error, error) {
		cache, err := openCache(c, own)
		if err != nil {
			return nil, nil, err
		}
		// It ends its lookups, and waits for that only.
		return cache, func() error { return cache.Close(context.Background()) }, nil
	})
	if err != nil {
		return nil, err
	}
	return &mxCache{cache, release}, nil
}

func openCache(c *configs.Config, own mx.Own) (*mx.Cache, error) {
	resolver, err := openResolver(c)
	if err != nil {
		return nil, err
	}
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

// openResolver is the way to DNS that the configuration names.
func openResolver(c *configs.Config) (*mx.DNS, error) {
	o := mx.DNSOptions{Timeout: c.DNS.Timeout.Std(), Validating: c.DNS.Validating}
	for _, s := range c.DNS.Servers {
		o.Servers = append(o.Servers, s.String())
	}
	return mx.NewDNS(o)
}
