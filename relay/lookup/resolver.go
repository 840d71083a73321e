package lookup

import (
	"context"
	"net/netip"

	"github.com/miekg/dns"

	"mxbypass/mailbox"
	"mxbypass/routing/mx"
)

var _ interface {
	mx.Resolver
	mx.Asker
} = (*Client)(nil)

// Ask implements [mx.Asker], with what is kept: of the TTL that is left which has not passed since. Records are shared,
// and for reading only.
func (c *Client) Ask(ctx context.Context, name string, qtype uint16) mx.Answer[dns.RR] {
	a := c.ask(ctx, name, qtype)
	said := a.said
	if said.TTL > 0 {
		said.TTL = max(said.TTL-c.now().Sub(a.at), 0)
	}
	return said
}

// LookupMX implements [mx.Resolver].
func (c *Client) LookupMX(ctx context.Context, name mailbox.DomainName) mx.Answer[mx.MX] {
	return mx.Questions{Asker: c}.LookupMX(ctx, name)
}

// LookupAddr implements [mx.Resolver].
func (c *Client) LookupAddr(ctx context.Context, name mailbox.DomainName) mx.Answer[netip.Addr] {
	return mx.Questions{Asker: c}.LookupAddr(ctx, name)
}
