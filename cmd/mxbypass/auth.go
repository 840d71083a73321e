package main

import (
	"mxbypass/configs"
	"mxbypass/mailbox"
	"mxbypass/relay/login"
)

// openLogin makes what verifies the passwords of users.
func openLogin(c *configs.Config, resolver mailbox.Resolver, secrets mailbox.Secrets) (*login.Authenticator, error) {
	return login.New(login.Options{
		Resolver: resolver,
		Secrets:  secrets,
		Parallel: c.Auth.Parallel,
		Remember: c.Auth.CacheTime.Std(),
	})
}
