package main

import (
	"mxbypass/configs"
	"mxbypass/mailbox"
	"mxbypass/relay/lookup"
	"mxbypass/relay/msgauth"
	"mxbypass/routing/mx"
)

// openLookup makes what asks DNS for everything but MX states. Its cache is kept no longer than the configuration.
func openLookup(c *configs.Config) (*lookup.Client, error) {
	o := lookup.Options{Timeout: c.DNS.Timeout.Std(), CacheEntries: c.DNS.CacheEntries, Trusted: c.DNS.Validating}
	for _, s := range c.DNS.Servers {
		o.Servers = append(o.Servers, s.String())
	}
	return lookup.New(o)
}

// openMsgAuth makes what judges the origin of mail from elsewhere.
func openMsgAuth(c *configs.Config, hostname mailbox.DomainName, lookups *lookup.Client, caches *mxCaches,
	opened *closers,
) (*msgauth.Checker, error) {
	providers, err := mx.EmbeddedProviders()
	if err != nil {
		return nil, err
	}
	states, err := caches.acquire(c)
	if err != nil {
		return nil, err
	}
	opened.add(states.release)
	id := c.MsgAuth.AuthServID
	if id.IsZero() {
		id = hostname
	}
	return msgauth.New(msgauth.Options{
		Hostname:  id,
		Lookup:    lookups,
		Policy:    c.MsgAuth.Policy,
		Sealers:   c.MsgAuth.TrustedSealers,
		Timeout:   c.MsgAuth.Timeout.Std(),
		MaxHeader: int64(c.Limits.HeaderSize),
		MXOf:      states.State,
		Providers: providers,
	})
}
