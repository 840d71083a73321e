package configs

import (
	"math"
	"slices"

	"mxbypass/mailbox"
)

// maxListZone leaves room for the 32 nibbles of an IPv6 address and their dots in a name.
const maxListZone = 253 - 64

func (k checker) abuse() {
	a := &k.Abuse
	k.atLeast("abuse.network_connections", a.NetworkConnections, 0)
	// A default gives way to what the file says.
	if least := k.Limits.ConnectionsPerClient; a.NetworkConnections > 0 && a.NetworkConnections < least {
		if !k.doc.has("abuse.network_connections") {
			a.NetworkConnections = least
		} else if k.sound("limits.connections_per_client") {
			k.at("abuse.network_connections", "%d is less than %q (%d): a network has at least one client", a.NetworkConnections,
				"limits.connections_per_client", least)
		}
	}
	if a.SlowFrom < 1 || a.SlowFrom > 100 {
		k.at("abuse.slow_from", "%d: want a share of the rates in percent, 1 to 100 (100: answers are never slow)", a.SlowFrom)
	}
	oneOf(k, "abuse.hello", a.Hello, HelloAny, HelloSane, HelloStrict)
	k.greylist()
	k.lists()
}

// atLeast reports a number that is too small, or too great for any machine.
func (k checker) atLeast(path string, n, least int) {
	if n < least || n > math.MaxInt32 {
		k.at(path, "%d: want a number from %d on", n, least)
	}
}

func (k checker) greylist() {
	g := &k.Greylist
	k.atLeast("greylist.auto_allow", g.AutoAllow, 0)
	if g.Entries < 1000 || g.Entries > 10_000_000 {
		k.at("greylist.entries", "%d: want 1000 to 10000000", g.Entries)
	}
	const within = "greylist.retry_within"
	switch {
	case g.RetryWithin > g.Delay:
	case !k.doc.has(within):
		g.RetryWithin = 4 * g.Delay
	case k.sound("greylist.delay"):
		k.at(within, "%q: it must be longer than %q (%s)", g.RetryWithin, "greylist.delay", g.Delay)
	}
}

func (k checker) lists() {
	for i, l := range k.Lists {
		path := element("dnslist", i)
		zone := path + ".zone"
		if k.required(zone, l.Zone.IsZero() && k.sound(zone), `the domain of the list, such as "zen.spamhaus.org"`) {
			if len(l.Zone.ASCII()) > maxListZone {
				k.at(zone, "%q: there is no room for an address before it", l.Zone)
			}
			if slices.ContainsFunc(k.Lists[:i], func(o List) bool { return o.Zone == l.Zone && o.Action == l.Action }) {
				k.at(zone, "%q is there twice", l.Zone)
			}
		}
		if l.Name != mailbox.Printable(l.Name) || len(l.Name) > 100 {
			k.at(path+".name", "%q: want one line of printable text", mailbox.Printable(l.Name))
		}
		oneOf(k, path+".action", l.Action, ListRefuse, ListMark, ListAllow)
	}
}
