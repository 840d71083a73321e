package mx

import (
	"context"
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// Ask asks for one type of records of a name (RFC 1035), of any name that DNS can hold: in the form of presentation, with
// its final dot or without. Records are as the server has sent them, not bounded in number but by the size of a message.
//
// It is for what has nothing to do with MX states (keys, policies, reverse names); package lookup keeps what it learns.
func (d *DNS) Ask(ctx context.Context, name string, qtype uint16) Answer[dns.RR] {
	if _, ok := dns.IsDomainName(name); !ok {
		return Answer[dns.RR]{Outcome: NXDomain} // there can be none
	}
	r, err := d.follow(ctx, dns.Fqdn(name), qtype)
	if err != nil {
		return Answer[dns.RR]{Err: fmt.Errorf("looking up %s: %w", name, err)}
	}
	a := Answer[dns.RR]{Outcome: r.outcome, Records: r.records, TTL: r.ttl, Authoritative: r.authoritative, Secure: r.secure}
	if !strings.EqualFold(r.name, dns.Fqdn(name)) {
		a.Alias = r.name
	}
	return a
}
