package main

import (
	"log/slog"
	"net/netip"
	"slices"

	"mxbypass/configs"
	"mxbypass/mailbox"
	"mxbypass/relay/guard"
	"mxbypass/relay/guard/dnslist"
	"mxbypass/relay/guard/greylist"
	"mxbypass/relay/lookup"
)

// guardOptions are the limits of what clients may do over time. Who is trusted is not counted.
func guardOptions(c *configs.Config) guard.Options {
	a := c.Abuse
	return guard.Options{
		Exempt: slices.Concat(a.ExemptNetworks, c.Clients.TrustedNetworks),
		AtOnce: a.NetworkConnections,
		Host: guard.Rates{
			Connections: guard.Rate(a.HostConnectionRate),
			Messages:    guard.Rate(a.HostMessageRate),
			Recipients:  guard.Rate(a.HostRecipientRate),
			Unknown:     guard.Rate(a.HostUnknownRate),
		},
		Network: guard.Rates{
			Connections: guard.Rate(a.NetworkConnectionRate),
			Messages:    guard.Rate(a.NetworkMessageRate),
			Recipients:  guard.Rate(a.NetworkRecipientRate),
			Unknown:     guard.Rate(a.NetworkUnknownRate),
		},
		SlowFrom: a.SlowFrom,
		Slowest:  a.Slowest.Std(),
		Logins: guard.Logins{
			Host:    guard.Rate(a.HostLoginFailures),
			Network: guard.Rate(a.NetworkLoginFailures),
			Name:    guard.Rate(a.LoginFailures),
			Lock:    a.LoginLock.Std(),
			Slowest: a.LoginSlowest.Std(),
		},
	}
}

// helloCheck is what judges the names that clients give themselves; nil when all of them are accepted.
func helloCheck(c *configs.Config, hostname mailbox.DomainName) func(name string, client netip.Addr) error {
	if c.Abuse.Hello == configs.HelloAny {
		return nil
	}
	h := &guard.Hello{
		Names:     []mailbox.DomainName{hostname},
		Addresses: c.Addresses,
		Strict:    c.Abuse.Hello == configs.HelloStrict,
	}
	for _, g := range c.Gateways {
		h.Names = append(h.Names, g.Host)
	}
	return h.Check
}

// openLists makes what asks the lists of the configuration; nil when there are none.
func openLists(c *configs.Config, lookups *lookup.Client, log *slog.Logger) (*dnslist.Lists, error) {
	if len(c.Lists) == 0 {
		return nil, nil
	}
	actions := map[configs.ListAction]dnslist.Action{
		configs.ListRefuse: dnslist.Refuse, configs.ListMark: dnslist.Mark, configs.ListAllow: dnslist.Allow,
	}
	o := dnslist.Options{Lookup: lookups, Timeout: c.Abuse.ListTimeout.Std(), Log: log}
	for _, l := range c.Lists {
		z := dnslist.Zone{Zone: l.Zone.ASCII(), Name: l.Name, Action: actions[l.Action]}
		for _, codes := range l.Codes {
			z.Codes = append(z.Codes, dnslist.Codes(codes))
		}
		o.Zones = append(o.Zones, z)
	}
	return dnslist.New(o)
}

// openGreylist opens the greylist in a file.
func openGreylist(c *configs.Config, path string, log *slog.Logger) (*greylist.List, error) {
	g := c.Greylist
	return greylist.Open(greylist.Options{
		Path:     path,
		Delay:    g.Delay.Std(),
		Within:   g.RetryWithin.Std(),
		Lifetime: g.Lifetime.Std(),
		Servers:  g.AutoAllow,
		Entries:  g.Entries,
		Log:      log,
	})
}
