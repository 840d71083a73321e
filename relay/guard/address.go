package guard

import "net/netip"

// plain gives an address as it is counted: an IPv4 address in IPv6 is one of IPv4, and a zone is no part of it.
func plain(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }

// hostOf is the host of a plain address: itself, or for IPv6 the /64 that every host has to itself.
func hostOf(addr netip.Addr) netip.Prefix { return cut(addr, 32, 64) }

// networkOf is the network of a plain address: what a customer of a provider usually has, a /24 or a /48.
func networkOf(addr netip.Addr) netip.Prefix { return cut(addr, 24, 48) }

func cut(addr netip.Addr, v4, v6 int) netip.Prefix {
	bits := v4
	if addr.Is6() {
		bits = v6
	}
	return netip.PrefixFrom(addr, bits).Masked()
}

// exempt tells whether a plain address is in no counter over time.
func (o *Options) exempt(addr netip.Addr) bool {
	for _, p := range o.Exempt {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
