package mx

import (
	"time"

	"mxbypass/mailbox"
)

// Kind is what DNS says about where the mail of a domain goes.
type Kind string

// The kinds of MX state.
const (
	Self     Kind = "self"     // every MX host is ours
	External Kind = "external" // every MX host is somebody else's
	Mixed    Kind = "mixed"    // some are ours
	Null     Kind = "null"     // "0 .": the domain accepts no mail (RFC 7505)
	None     Kind = "none"     // no MX; RFC 5321 section 5.1 then uses A and AAAA
	Unknown  Kind = "unknown"  // the lookup failed; never a "no"
)

// Host is one MX record.
type Host struct {
	Preference uint16
	Name       mailbox.DomainName
	TTL        time.Duration
	Ours       bool
	Provider   string // who runs it, for people; empty: not known
}

// State is the answer for one domain. It is advice for routing, never an authorisation.
type State struct {
	Domain   mailbox.DomainName
	Kind     Kind
	Provider string // of an external or mixed state: who runs the hosts that are not ours; empty: not known
	Hosts    []Host // by preference; empty for Null, None, Unknown
	Stale    bool   // from a cache past its TTL, because no server answered
	Err      error  // why it is Unknown (or Stale)
}
