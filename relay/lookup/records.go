package lookup

import (
	"cmp"
	"context"
	"encoding/hex"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// TLSA is one TLSA record (RFC 6698 section 2.1).
type TLSA struct {
	Usage, Selector, Matching uint8
	Data                      []byte
}

// err is the error of an answer; nil, and not a nil in an interface, when it has records.
func (a *answer) err() error {
	if a.failure == nil {
		return nil
	}
	return a.failure
}

// nothing is an answer of records that are none of those that were asked for.
func nothing[R any](records []R, name string, err error) ([]R, error) {
	if err == nil && len(records) == 0 {
		return nil, notFound(name)
	}
	return records, err
}

// TXT gives the TXT records of a name, the strings of each joined.
func (c *Client) TXT(ctx context.Context, name string) ([]string, error) {
	a := c.ask(ctx, name, dns.TypeTXT)
	var texts []string
	for _, rr := range a.said.Records {
		if t, ok := rr.(*dns.TXT); ok {
			texts = append(texts, unescaped(strings.Join(t.Txt, "")))
		}
	}
	return nothing(texts, name, a.err())
}

// unescaped gives the octets of a string as the library prints it.
func unescaped(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '\\' || i+1 == len(s):
			b.WriteByte(s[i])
		case i+3 < len(s) && isDigit(s[i+1]) && isDigit(s[i+2]) && isDigit(s[i+3]):
			b.WriteByte((s[i+1]-'0')*100 + (s[i+2]-'0')*10 + (s[i+3] - '0'))
			i += 3
		default:
			i++
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// Addr gives the addresses of a name, IPv4 first. When one of the two questions fails, the other one's addresses are the
// answer; without any it is the error.
func (c *Client) Addr(ctx context.Context, name string) ([]netip.Addr, error) {
	addrs, _, err := c.AddrSecure(ctx, name)
	return addrs, err
}

// AddrSecure is [Client.Addr] that tells whether all of it is secure, the "no" to either question as well.
func (c *Client) AddrSecure(ctx context.Context, name string) (addrs []netip.Addr, secure bool, err error) {
	var v4, v6 *answer
	var both sync.WaitGroup
	both.Go(func() { v6 = c.ask(ctx, name, dns.TypeAAAA) })
	v4 = c.ask(ctx, name, dns.TypeA)
	both.Wait()
	addrs = append(addresses(v4), addresses(v6)...)
	secure = v4.said.Secure && v6.said.Secure
	if len(addrs) > 0 {
		return addrs, secure, nil
	}
	for _, a := range []*answer{v4, v6} {
		if a.failure != nil && !a.failure.IsNotFound {
			return nil, false, a.failure
		}
	}
	return nil, secure, notFound(name)
}

// Addr4 gives the IPv4 addresses of a name: what DNS lists answer with.
func (c *Client) Addr4(ctx context.Context, name string) ([]netip.Addr, error) {
	a := c.ask(ctx, name, dns.TypeA)
	return nothing(addresses(a), name, a.err())
}

func addresses(a *answer) []netip.Addr {
	var addrs []netip.Addr
	for _, rr := range a.said.Records {
		var addr netip.Addr
		var ok bool
		switch rr := rr.(type) {
		case *dns.A:
			addr, ok = netip.AddrFromSlice(rr.A)
		case *dns.AAAA:
			addr, ok = netip.AddrFromSlice(rr.AAAA)
		}
		if ok {
			addrs = append(addrs, addr.Unmap())
		}
	}
	return addrs
}

// Exists tells whether there is a name in DNS, with whatever records or names below it (RFC 8020).
func (c *Client) Exists(ctx context.Context, name string) (bool, error) {
	a := c.ask(ctx, name, dns.TypeA)
	if a.failure != nil && !a.failure.IsNotFound {
		return false, a.failure
	}
	return !a.absent(), nil
}

// MX gives the MX records of a name by preference, their hosts with a final dot. A null MX (RFC 7505) is one of host ".".
func (c *Client) MX(ctx context.Context, name string) ([]*net.MX, error) {
	records, _, err := c.MXSecure(ctx, name)
	return records, err
}

// MXSecure is [Client.MX] that tells whether the answer is secure; a "no" can be as well.
func (c *Client) MXSecure(ctx context.Context, name string) (records []*net.MX, secure bool, err error) {
	a := c.ask(ctx, name, dns.TypeMX)
	for _, rr := range a.said.Records {
		if m, ok := rr.(*dns.MX); ok {
			records = append(records, &net.MX{Host: m.Mx, Pref: m.Preference})
		}
	}
	slices.SortStableFunc(records, func(x, y *net.MX) int { return cmp.Compare(x.Pref, y.Pref) })
	records, err = nothing(records, name, a.err())
	return records, a.said.Secure, err
}

// PTR gives the names of an address, with a final dot. Anybody can give any name to his own address.
func (c *Client) PTR(ctx context.Context, addr netip.Addr) ([]string, error) {
	zone := ".ip6.arpa"
	if addr.Unmap().Is4() {
		zone = ".in-addr.arpa"
	}
	name := ReverseName(addr) + zone
	a := c.ask(ctx, name, dns.TypePTR)
	var names []string
	for _, rr := range a.said.Records {
		if p, ok := rr.(*dns.PTR); ok {
			names = append(names, p.Ptr)
		}
	}
	return nothing(names, name, a.err())
}

// TLSA gives the TLSA records of a name such as _25._tcp.mx.example.org, and whether the answer is secure; a "no" can be
// as well.
func (c *Client) TLSA(ctx context.Context, name string) (records []TLSA, secure bool, err error) {
	a := c.ask(ctx, name, dns.TypeTLSA)
	for _, rr := range a.said.Records {
		t, ok := rr.(*dns.TLSA)
		if !ok {
			continue
		}
		if data, err := hex.DecodeString(t.Certificate); err == nil {
			records = append(records, TLSA{t.Usage, t.Selector, t.MatchingType, data})
		}
	}
	records, err = nothing(records, name, a.err())
	return records, a.said.Secure, err
}
