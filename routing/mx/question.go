package mx

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"

	"mxbypass/mailbox"
)

// Asker asks DNS for records of any type: [DNS], or who keeps what that has said.
type Asker interface {
	Ask(ctx context.Context, name string, qtype uint16) Answer[dns.RR]
}

// Questions puts the questions of a [Resolver] to an Asker.
type Questions struct{ Asker }

var _ Resolver = Questions{}

// LookupMX implements [Resolver].
func (q Questions) LookupMX(ctx context.Context, name mailbox.DomainName) Answer[MX] {
	return put(ctx, q.Asker, name, dns.TypeMX, decodeMX, compareMX)
}

func decodeMX(rr dns.RR) (MX, bool) {
	mx, ok := rr.(*dns.MX)
	if !ok {
		return MX{}, false
	}
	return MX{Preference: mx.Preference, Host: hostName(mx.Mx), Root: mx.Mx == ".", TTL: ttl(rr)}, true
}

func compareMX(a, b MX) int {
	return cmp.Or(cmp.Compare(a.Preference, b.Preference), strings.Compare(a.Host.ASCII(), b.Host.ASCII()))
}

// LookupAddr implements [Resolver]. The two families are asked for at the same time. When one of them fails, what the
// other knows is the answer, with the error beside it.
func (q Questions) LookupAddr(ctx context.Context, name mailbox.DomainName) Answer[netip.Addr] {
	var v4, v6 Answer[netip.Addr]
	var both sync.WaitGroup
	both.Go(func() { v6 = q.lookupFamily(ctx, name, dns.TypeAAAA) })
	v4 = q.lookupFamily(ctx, name, dns.TypeA)
	both.Wait()

	switch {
	case v4.Outcome == Found && v6.Outcome == Found:
		v4.Records = append(v4.Records, v6.Records...)
		v4.TTL = min(v4.TTL, v6.TTL)
		v4.Authoritative = v4.Authoritative && v6.Authoritative
		v4.Secure = v4.Secure && v6.Secure
		return v4
	case v4.Outcome == Found:
		v4.Err, v4.Secure = v6.Err, v4.Secure && (v6.Secure || v6.Err != nil)
		return v4
	case v6.Outcome == Found:
		v6.Err, v6.Secure = v4.Err, v6.Secure && (v4.Secure || v4.Err != nil)
		return v6
	case v4.Outcome == Failed:
		return v4
	case v6.Outcome == Failed:
		return v6
	}
	v4.TTL, v4.Secure = min(v4.TTL, v6.TTL), v4.Secure && v6.Secure
	return v4
}

func (q Questions) lookupFamily(ctx context.Context, name mailbox.DomainName, qtype uint16) Answer[netip.Addr] {
	return put(ctx, q.Asker, name, qtype, decodeAddr, netip.Addr.Compare)
}

func decodeAddr(rr dns.RR) (netip.Addr, bool) {
	var addr netip.Addr
	var ok bool
	switch rr := rr.(type) {
	case *dns.A:
		addr, ok = netip.AddrFromSlice(rr.A)
	case *dns.AAAA:
		addr, ok = netip.AddrFromSlice(rr.AAAA)
	}
	return addr.Unmap(), ok
}

// put asks one question.
func put[Record any](ctx context.Context, asker Asker, name mailbox.DomainName, qtype uint16,
	decode func(dns.RR) (Record, bool), compare func(a, b Record) int,
) Answer[Record] {
	if name.IsZero() || name.IsLiteral() {
		return Answer[Record]{Err: fmt.Errorf("looking up %s: not a domain name", name)}
	}
	return understood(name, asker.Ask(ctx, name.ASCII(), qtype), decode, compare)
}

// understood gives an answer with its records decoded, sorted and bounded.
func understood[Record any](name mailbox.DomainName, said Answer[dns.RR], decode func(dns.RR) (Record, bool),
	compare func(a, b Record) int,
) Answer[Record] {
	a := Answer[Record]{Outcome: said.Outcome, TTL: said.TTL, Authoritative: said.Authoritative, Secure: said.Secure,
		Err: said.Err, Alias: mailbox.Printable(strings.TrimSuffix(said.Alias, "."))}
	for _, rr := range said.Records {
		if record, ok := decode(rr); ok {
			a.Records = append(a.Records, record)
		}
	}
	if a.Outcome == Found && len(a.Records) == 0 { // for example an A record of no length
		return Answer[Record]{Err: fmt.Errorf("looking up %s: the answer has no usable record", name)}
	}
	slices.SortStableFunc(a.Records, compare)
	a.Records = a.Records[:min(len(a.Records), maxRecords)]
	return a
}

// Ask asks for one type of records of a name (RFC 1035), of any name that DNS can hold: in the form of presentation, with
// its final dot or without. Records are as the server has sent them, not bounded in number but by the size of a message.
//
// It is for every type of records; package lookup keeps what it learns.
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
