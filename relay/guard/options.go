package guard

import (
	"net/netip"
	"time"
)

// Rate is how much of something there may be in a span of time. The zero value is no limit.
type Rate struct {
	Count int
	Per   time.Duration
}

// Rates are those of one kind of client.
type Rates struct {
	Connections Rate
	Messages    Rate
	Recipients  Rate
	Unknown     Rate // recipients that do not exist
}

// Logins is how failed logins are answered.
type Logins struct {
	Host    Rate          // failures of a host
	Network Rate          // failures of a network
	Name    Rate          // failures of a name, and of a name from a network where it has succeeded
	Lock    time.Duration // for which nothing is tried once a rate is used up; zero: only until there is room again
	Slowest time.Duration // the longest delay; zero: none
}

// Options are the limits. The zero value limits nothing.
type Options struct {
	Exempt   []netip.Prefix // in no counter over time but that of a login; loopback: in no other one
	AtOnce   int            // connections of a network; zero: any number
	Host     Rates          // of an IPv4 address or an IPv6 /64
	Network  Rates          // of an IPv4 /24 or an IPv6 /48
	SlowFrom int            // percent of a rate from which answers are slow
	Slowest  time.Duration  // the delay at the end of a rate; zero: none
	Logins   Logins

	Now func() time.Time // for tests; nil: [time.Now]. That of the first options counts.
}
