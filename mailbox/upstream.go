package mailbox

import (
	"fmt"
	"net/netip"
)

// Bounds of the upstreams of a domain.
const (
	MaxUpstreams    = 100
	UpstreamAuto    = "auto" // those of the provider of the domain's external MX
	minUpstreamBits = 8      // a network that is wider names the world
)

// ParseUpstream parses one of the upstreams of a domain: a network ("192.0.2.0/24", also an address alone), the name of
// an SPF record that lists networks ("_spf.google.com"), or [UpstreamAuto], which gives neither. The error wraps
// [ErrSyntax].
func ParseUpstream(s string) (network netip.Prefix, name DomainName, err error) {
	if s == UpstreamAuto {
		return netip.Prefix{}, DomainName{}, nil
	}
	if network, err = netip.ParsePrefix(s); err != nil {
		ip, failed := netip.ParseAddr(s)
		if failed == nil && ip.Zone() == "" {
			network, err = netip.PrefixFrom(ip, ip.BitLen()), nil
		}
	}
	if err == nil {
		return checkNetwork(network)
	}
	if name, err = ParseDomainName(s); err == nil {
		err = CheckDomainName(name)
	}
	if err != nil || name.looksLikeIPv4() {
		return netip.Prefix{}, DomainName{}, fmt.Errorf("%w: want a network, the name of an SPF record, or %q", ErrSyntax,
			UpstreamAuto)
	}
	return netip.Prefix{}, name, nil
}

func checkNetwork(network netip.Prefix) (netip.Prefix, DomainName, error) {
	if masked := network.Masked(); masked != network {
		return netip.Prefix{}, DomainName{}, fmt.Errorf("%w: there are bits beside the network: %s was meant?", ErrSyntax, masked)
	}
	if network.Addr().Is4In6() {
		return netip.Prefix{}, DomainName{}, fmt.Errorf("%w: an IPv4 network is written as such", ErrSyntax)
	}
	if network.Bits() < minUpstreamBits {
		return netip.Prefix{}, DomainName{}, fmt.Errorf("%w: a network of fewer than %d bits is no upstream", ErrSyntax,
			minUpstreamBits)
	}
	return network, DomainName{}, nil
}
