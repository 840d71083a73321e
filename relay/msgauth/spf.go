package msgauth

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"

	"blitiri.com.ar/go/spf"

	"mxbypass/mailbox"
	"mxbypass/relay/lookup"
)

// spfResult is what SPF says of one client and one sender.
type spfResult struct {
	value  spf.Result
	why    string             // what decided; for people
	client netip.Addr         // for which it was asked
	sender mailbox.Address    // smtp.mailfrom; null: the hello was asked for
	domain mailbox.DomainName // whose record was asked for; zero: there is none
}

// checkSPF asks whether a client may send for a sender or, when that is null, for the name that it gives itself (RFC 7208
// section 2.4).
func (c *Checker) checkSPF(ctx context.Context, client netip.Addr, hello string, sender mailbox.Address) spfResult {
	r := spfResult{value: spf.None, client: client, sender: sender, domain: sender.Domain}
	local := "postmaster"
	if sender.IsNull() {
		name, err := mailbox.ParseDomainName(hello)
		if err != nil || !strings.Contains(name.ASCII(), ".") {
			r.why = "no sender, and no name of a host in EHLO"
			return r
		}
		r.domain = name
	} else if sender.Local != "" {
		local = strings.ReplaceAll(string(sender.Local), "@", "_") // in macros only; the module looks for the first one
	}
	if r.domain.IsZero() || r.domain.IsLiteral() {
		r.domain, r.why = mailbox.DomainName{}, "no domain"
		return r
	}
	var err error
	r.value, err = c.spf(ctx, client, hello, local+"@"+r.domain.ASCII())
	if err != nil {
		r.why = err.Error()
	}
	return r
}

// spf asks the module. Its error says what decided, also when the result is a pass.
func (c *Checker) spf(ctx context.Context, client netip.Addr, hello, sender string) (spf.Result, error) {
	client = client.Unmap().WithZone("")
	return spf.CheckHostWithSender(client.AsSlice(), hello, sender, spf.WithContext(ctx),
		spf.WithResolver(spfResolver{c.o.Lookup, client.Is4()}))
}

// spfResolver asks DNS for SPF: only for addresses of the family of the client, as RFC 7208 section 5 has it. IPv4 is
// always asked for: "exists" needs it.
type spfResolver struct {
	lookup *lookup.Client
	v4     bool
}

var _ spf.DNSResolver = spfResolver{}

// LookupTXT implements [spf.DNSResolver].
func (r spfResolver) LookupTXT(ctx context.Context, name string) ([]string, error) {
	texts, err := r.lookup.TXT(ctx, name)
	return checkedSPF(texts), err
}

// LookupMX implements [spf.DNSResolver].
func (r spfResolver) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	return r.lookup.MX(ctx, name)
}

// LookupIPAddr implements [spf.DNSResolver].
func (r spfResolver) LookupIPAddr(ctx context.Context, name string) ([]net.IPAddr, error) {
	ask := r.lookup.Addr
	if r.v4 {
		ask = r.lookup.Addr4
	}
	addrs, err := ask(ctx, name)
	all := make([]net.IPAddr, len(addrs))
	for i, a := range addrs {
		all[i].IP = a.AsSlice()
	}
	return all, err
}

// LookupAddr implements [spf.DNSResolver].
func (r spfResolver) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return nil, &net.DNSError{Err: err.Error(), Name: addr, IsNotFound: true}
	}
	return r.lookup.PTR(ctx, a)
}

// maxNames is how many names of an address are looked at (RFC 7208 section 5.5 has the same for SPF).
const maxNames = 10

// iprev is whether the address of the client has a name that leads back to it (RFC 8601 section 3).
type iprev struct {
	value string
	name  string // that name, or one that does not; empty: there is none
}

func (c *Checker) checkReverse(ctx context.Context, client netip.Addr) iprev {
	names, err := c.o.Lookup.PTR(ctx, client)
	if err != nil {
		return iprev{value: failureOf(err)}
	}
	r := iprev{value: "fail"}
	for _, name := range names[:min(len(names), maxNames)] {
		name = strings.TrimSuffix(name, ".")
		addrs, err := spfResolver{c.o.Lookup, client.Unmap().Is4()}.LookupIPAddr(ctx, name)
		for _, a := range addrs {
			if a.IP.Equal(client.AsSlice()) {
				return iprev{"pass", name}
			}
		}
		r.name = cmp.Or(r.name, name)
		if err != nil && failureOf(err) == "temperror" {
			r.value = "temperror"
		}
	}
	return r
}

// failureOf gives the result for an error of DNS: no such records is one for good.
func failureOf(err error) string {
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return "permerror"
	}
	return "temperror"
}
