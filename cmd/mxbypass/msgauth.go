package main

import (
	"mxbypass/configs"
	"mxbypass/mailbox"
	"mxbypass/relay/lookup"
	"mxbypass/relay/msgauth"
	"mxbypass/routing/mx"
)

// openMsgAuth makes what judges the origin of mail from elsewhere.
func openMsgAuth(c *configs.Config, hostname mailbox.DomainName, lookups *lookup.Client, states *mx.Cache) (
	*msgauth.Checker, error,
) {
	providers, err := mx.EmbeddedProviders()
	if err != nil {
		return nil, err
	}
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
