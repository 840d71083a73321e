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

// free tells whether a plain address is not counted for what it sends. The machine itself is no stranger: who connects
// from there could do worse, and what stands before us there without saying for whom is not one client.
func (o *Options) free(addr netip.Addr) bool { return addr.IsLoopback() || o.exempt(addr) }

// exempt tells whether a plain address is in no counter over time.
func (o *Options) exempt(addr netip.Addr) bool {
	for _, p := range o.Exempt {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
