package routing

import (
	"errors"
	"net/netip"

	"mxbypass/mailbox"
	"mxbypass/routing/mx"
)

// Errors of a route, beside those of package mailbox. Reasons for people are in the route's steps.
var (
	// ErrNotHosted: the domain of a bypass address is not hosted here, or it may not be bypassed to. Final.
	ErrNotHosted = errors.New("domain not hosted here")
	// ErrNotServed: the domain is hosted, in a site that this gateway does not serve. Final.
	ErrNotServed = errors.New("domain not served by this gateway")
	// ErrNotGateway: a bypass address under a host that is no gateway (or an address literal). Final.
	ErrNotGateway = errors.New("not a gateway")
	// ErrNested: more than one hop in a bypass address. Final.
	ErrNested = errors.New("more than one hop in a bypass address")
	// ErrRelayDenied: a plain address elsewhere, from a client that is not trusted. Final.
	ErrRelayDenied = errors.New("relay access denied")
	// ErrCannotRelay: the table says relay, and this version has no queue yet. Temporary.
	ErrCannotRelay = errors.New("not yet able to relay")
	// ErrMXUnknown: the answer depends on an MX state that DNS did not tell. Temporary.
	ErrMXUnknown = errors.New("MX state unknown")
)

// Client is who asks for a route.
type Client struct {
	Addr    netip.Addr // zero for a local command or a unix socket
	Trusted bool       // may submit mail for elsewhere
}

// Action is what a route does.
type Action string

// The actions.
const (
	Deliver Action = "deliver" // to mailboxes of ours
	Relay   Action = "relay"   // to a next hop; only plain addresses of trusted clients ever get here
	Refuse  Action = "refuse"  // final
	Defer   Action = "defer"   // cannot be known or done now
)

// Step is one line of a route's explanation.
type Step struct {
	Rule   string `json:"rule"`   // short and stable, for machines: "parse", "unfold", "gateway", "domain", "mx", …
	Detail string `json:"detail"` // a sentence for people, printable
}

// Route is the decision for one recipient, with its explanation.
type Route struct {
	Action     Action
	Path       mailbox.Path        // what was asked
	Recipients []mailbox.Recipient // Deliver: one or more
	Err        error               // Refuse, Defer: why, for the table of replies
	Steps      []Step
	// Bypassed is the MX state that a bypass address went past; nil for plain addresses, and when DNS had not told in
	// the short time that a bypass address waits for it.
	Bypassed *mx.State
	// Gateway is the gateway of a bypass address.
	Gateway mailbox.DomainName
}
