package mailbox

import (
	"fmt"
	"net/netip"
	"slices"
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

// ParseUpstreams parses all upstreams of a domain, and writes each in its one form. The error wraps [ErrSyntax] or
// [ErrTooLong], and names the one that is wrong.
func ParseUpstreams(list []string) ([]string, error) {
	if len(list) > MaxUpstreams {
		return nil, fmt.Errorf("%w: a domain has at most %d upstreams", ErrTooLong, MaxUpstreams)
	}
	var all []string
	for _, s := range list {
		network, name, err := ParseUpstream(s)
		if err != nil {
			return nil, fmt.Errorf("%.80q: %w", s, err)
		}
		form := UpstreamAuto
		switch {
		case network.IsValid():
			form = network.String()
		case !name.IsZero():
			form = name.ASCII()
		}
		if slices.Contains(all, form) {
			return nil, fmt.Errorf("%w: %s is there twice", ErrSyntax, form)
		}
		all = append(all, form)
	}
	return all, nil
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
