package configs

import "net/netip"

// Abuse is about limits over time.
type Abuse struct {
	ExemptNetworks []netip.Prefix `toml:"exempt_networks"` // not counted by any of them
}

// Greylist turns unknown senders away for a while.
type Greylist struct{}

// List is a list of addresses in DNS (RFC 5782).
type List struct{}

func defaultAbuse() Abuse       { return Abuse{} }
func defaultGreylist() Greylist { return Greylist{} }

func (k checker) abuse() {}
