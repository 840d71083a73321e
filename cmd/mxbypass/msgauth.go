package main

import (
	"mxbypass/configs"
	"mxbypass/relay/lookup"
)

// openLookup makes what asks DNS for everything but MX states. Its cache is kept no longer than the configuration.
func openLookup(c *configs.Config) (*lookup.Client, error) {
	o := lookup.Options{Timeout: c.DNS.Timeout.Std(), CacheEntries: c.DNS.CacheEntries, Trusted: c.DNS.Validating}
	for _, s := range c.DNS.Servers {
		o.Servers = append(o.Servers, s.String())
	}
	return lookup.New(o)
}
