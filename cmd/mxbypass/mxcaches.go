package main

import (
	"context"
	"fmt"
	"sync"

	"mxbypass/configs"
	"mxbypass/routing/mx"
)

// mxCaches keeps what DNS has told over a reload that changes nothing about DNS: while no server answers, what is in the
// cache is all there is.
type mxCaches struct {
	mu    sync.Mutex
	inUse map[string]*mxCache // by what they were made of, printed
}

// mxCache is a cache that several configurations use one after the other.
type mxCache struct {
	*mx.Cache
	settings string
	owner    *mxCaches
	users    int
}

// acquire returns the cache for a configuration. It is closed after as many calls of release.
func (cs *mxCaches) acquire(c *configs.Config) (*mxCache, error) {
	own, err := ownHosts(c)
	if err != nil {
		return nil, err
	}
	settings := fmt.Sprint(c.DNS, own)
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c := cs.inUse[settings]; c != nil {
		c.users++
		return c, nil
	}
	resolver, err := openResolver(c)
	if err != nil {
		return nil, err
	}
	providers, err := mx.EmbeddedProviders()
	if err != nil {
		return nil, err
	}
	cache, err := mx.NewCache(mx.CacheOptions{
		Resolver:  resolver,
		Providers: providers,
		Own:       own,
		Timeout:   c.DNS.Timeout.Std(),
		Entries:   c.DNS.CacheEntries,
		Stale:     c.DNS.Stale.Std(),
	})
	if err != nil {
		return nil, err
	}
	if cs.inUse == nil {
		cs.inUse = map[string]*mxCache{}
	}
	cs.inUse[settings] = &mxCache{Cache: cache, settings: settings, owner: cs, users: 1}
	return cs.inUse[settings], nil
}

// release gives back one use, and closes the cache after the last.
func (c *mxCache) release() error {
	c.owner.mu.Lock()
	defer c.owner.mu.Unlock()
	if c.users--; c.users > 0 {
		return nil
	}
	delete(c.owner.inUse, c.settings)
	return c.Close(context.Background()) // it ends its lookups, and waits for that only
}

// openResolver is the way to DNS that the configuration names.
func openResolver(c *configs.Config) (*mx.DNS, error) {
	o := mx.DNSOptions{Timeout: c.DNS.Timeout.Std()}
	for _, s := range c.DNS.Servers {
		o.Servers = append(o.Servers, s.String())
	}
	return mx.NewDNS(o)
}
