package routing

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"mxbypass/mailbox"
	"mxbypass/routing/mx"
)

// Errors of a route, beside those of package mailbox. Reasons for people are in the route's steps.
var (
	// ErrNotHosted: the domain of a bypass address is not hosted here. Final.
	ErrNotHosted = errors.New("domain not hosted here")
	// ErrBypassOff: the domain is hosted, and its operator does not want it to be bypassed to. Final.
	ErrBypassOff = errors.New("bypass is off for this domain")
	// ErrNotServed: the domain is hosted, in a site that this gateway does not serve. Final.
	ErrNotServed = errors.New("domain not served by this gateway")
	// ErrNotGateway: a bypass address under a host that is no gateway (or an address literal). Final.
	ErrNotGateway = errors.New("not a gateway")
	// ErrNested: more than one hop in a bypass address. Final.
	ErrNested = errors.New("more than one hop in a bypass address")
	// ErrRelayDenied: a plain address elsewhere, from a client that is not trusted. Final.
	ErrRelayDenied = errors.New("relay access denied")
	// ErrOtherHalf: the other half of a split domain cannot be asked now. Temporary.
	ErrOtherHalf = errors.New("the other half of the domain cannot be asked now")
	// ErrReturnOnly: mail for a return address of ours (SRS) that is no report. Final.
	ErrReturnOnly = errors.New("this address takes reports only")
	// ErrMXUnknown: the answer depends on an MX state that DNS did not tell. Temporary.
	ErrMXUnknown = errors.New("MX state unknown")
)

// Client is who asks for a route.
type Client struct {
	Addr    netip.Addr // zero for a local command or a unix socket
	Trusted bool       // may submit mail for elsewhere
	// NullSender tells that the mail has the null reverse-path: it is a report (RFC 5321 section 4.5.5).
	NullSender bool
}

// Action is what a route does.
type Action string

// The actions.
const (
	Deliver Action = "deliver" // to mailboxes of ours
	Relay   Action = "relay"   // elsewhere; for a client that is not trusted only where the directory says so
	Refuse  Action = "refuse"  // final
	Defer   Action = "defer"   // cannot be known or done now
)

// Step is one line of a route's explanation. It is formatted when it is read: most never are.
type Step struct {
	Rule   string // short and stable, for machines: "unfold", "domain", "directory", "mx", …
	format string // with one %s for each argument
	args   [5]string
}

func newStep(rule, format string, args ...string) Step {
	s := Step{Rule: rule, format: format}
	copy(s.args[:], args)
	return s
}

// Detail is a sentence for people, printable.
func (s Step) Detail() string {
	args := make([]any, 0, len(s.args))
	for i := range min(len(s.args), strings.Count(s.format, "%s")) {
		args = append(args, mailbox.Printable(s.args[i]))
	}
	return fmt.Sprintf(s.format, args...)
}

// Route is the decision for one recipient, with its explanation.
type Route struct {
	Action     Action
	Path       mailbox.Path        // what was asked
	Recipients []mailbox.Recipient // Deliver: one or more
	Outbound   []Outbound          // Relay: one or more; Deliver: redirections beside the mailboxes
	Err        error               // Refuse, Defer: why, for the table of replies
	Steps      []Step
	// Bypassed is the MX state that a bypass address went past; nil for plain addresses, and when DNS had not told in
	// the short time that a bypass address waits for it.
	Bypassed *mx.State
	// Gateway is the gateway of a bypass address.
	Gateway mailbox.DomainName
	// Domain is the hosted domain that the address is in; zero: it is in none.
	Domain mailbox.Domain
}
