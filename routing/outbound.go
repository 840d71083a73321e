package routing

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"mxbypass/mailbox"
)

// HopKind is how the servers of a hop are found.
type HopKind uint8

// The kinds of hops.
const (
	HopNone      HopKind = iota
	HopMX                // the MX records of Domain; where we are among them, only better ones (RFC 5321 section 5.1)
	HopExternal          // the MX records of Domain without the hosts that are ours
	HopServer            // Server, without asking for MX records
	HopSmarthost         // the smarthost of the configuration
)

// Need is what a message wants of the connections that it travels by (RFC 8689).
type Need uint8

// The needs.
const (
	NeedPolicy   Need = iota // what the policies of its destination want
	NeedTLS                  // REQUIRETLS: TLS with a server that is known for sure and promises the same
	NeedDelivery             // "TLS-Required: No": to arrive, whatever the recipient's domain says about TLS
)

// Hop is where mail for elsewhere is taken next. Hops are compared with ==; mail for the same hop shares its connections
// and its fate, so what needs other connections has another hop.
type Hop struct {
	Kind   HopKind
	Domain mailbox.DomainName // HopMX, HopExternal
	Server mailbox.NextHop    // HopServer
	Need   Need
}

const (
	mxScheme       = "mx:"
	externalScheme = "external:"
	smarthostWord  = "smarthost"

	needTLSWord      = ";requiretls"
	needDeliveryWord = ";tls-optional"
)

// String writes the hop for people and for the queue: "mx:example.org", "external:exemple.org", "smtp://host:25",
// "smarthost"; with ";requiretls" or ";tls-optional" behind it where the mail needs that.
func (h Hop) String() string {
	switch h.Need {
	case NeedTLS:
		return h.place() + needTLSWord
	case NeedDelivery:
		return h.place() + needDeliveryWord
	case NeedPolicy:
	}
	return h.place()
}

func (h Hop) place() string {
	switch h.Kind {
	case HopMX:
		return mxScheme + h.Domain.ASCII()
	case HopExternal:
		return externalScheme + h.Domain.ASCII()
	case HopServer:
		return h.Server.String()
	case HopSmarthost:
		return smarthostWord
	}
	return ""
}

// ParseHop reads what [Hop.String] writes.
func ParseHop(s string) (Hop, error) {
	need := NeedPolicy
	place, ok := strings.CutSuffix(s, needTLSWord)
	if ok {
		need = NeedTLS
	} else if place, ok = strings.CutSuffix(s, needDeliveryWord); ok {
		need = NeedDelivery
	}
	h, err := parsePlace(place)
	if err != nil {
		return Hop{}, err
	}
	h.Need = need
	return h, nil
}

func parsePlace(s string) (Hop, error) {
	if s == smarthostWord {
		return Hop{Kind: HopSmarthost}, nil
	}
	for _, k := range []struct {
		scheme string
		kind   HopKind
	}{{mxScheme, HopMX}, {externalScheme, HopExternal}} {
		name, ok := strings.CutPrefix(s, k.scheme)
		if !ok {
			continue
		}
		d, err := parseHopDomain(name)
		if err != nil {
			return Hop{}, fmt.Errorf("hop %q: %w", s, err)
		}
		return Hop{Kind: k.kind, Domain: d}, nil
	}
	server, err := mailbox.ParseNextHop(s)
	if err != nil {
		return Hop{}, fmt.Errorf("hop %q: %w", s, err)
	}
	return Hop{Kind: HopServer, Server: server}, nil
}

// parseHopDomain reads a domain or an address literal.
func parseHopDomain(s string) (mailbox.DomainName, error) {
	if !strings.HasPrefix(s, "[") {
		return mailbox.ParseDomainName(s)
	}
	p, err := mailbox.ParsePath("x@"+s, false)
	return p.Address.Domain, err
}

// Purpose is why mail leaves: what entitles it to.
type Purpose string

// The purposes.
const (
	Submitted  Purpose = "submitted"  // a trusted client sends it
	OtherHalf  Purpose = "other half" // of a split domain, for a client that is not trusted: verified before
	Redirected Purpose = "redirected" // the directory sends the mail of a mailbox or alias on
	ReturnHome Purpose = "return"     // to a sender whom we had rewritten (SRS)
)

// Outbound is one address elsewhere that the mail of a route goes to.
type Outbound struct {
	To      mailbox.Address
	Hop     Hop
	Purpose Purpose
	// From is the mailbox or alias that redirects; null for other purposes. The sender is rewritten for it (SRS), and a
	// loop is seen by it.
	From     mailbox.Address
	Original string         // the forward-path as the client wrote it, printable
	Report   mailbox.Report // what the client wants to be told about it
}

// Probe is a question to a server elsewhere: would it take mail for this address?
type Probe struct {
	To     mailbox.Address
	Hop    Hop
	Client netip.Addr // who brings the mail; zero: a local command
}

// ErrBackToSource is a [Verifier]'s: the mail would go back to the network that it came from. Final. Beside it, a
// [mailbox.RemoteError] is the server's answer, and all else is temporary.
var ErrBackToSource = errors.New("the mail would go back to where it came from")

// Verifier asks the servers of a hop whether they take mail for an address: nil means yes. It is safe for concurrent use,
// bounds its own time, and keeps answers for a while.
type Verifier interface {
	Verify(ctx context.Context, p Probe) error
}

// Returner knows the senders that we have rewritten (SRS).
type Returner interface {
	// Domain is that of the rewritten addresses.
	Domain() mailbox.DomainName
	// Reverse gives the address that a rewritten local part stands for. The error wraps ErrNotRewritten when it does not
	// look like one, and ErrBadReturn when it is forged or too old.
	Reverse(local mailbox.LocalPart) (mailbox.Address, error)
}

// Errors of a [Returner].
var (
	// ErrNotRewritten: the local part is none of ours.
	ErrNotRewritten = errors.New("no rewritten address")
	// ErrBadReturn: it looks like one, and is forged or too old. Final.
	ErrBadReturn = errors.New("not a valid return address")
)
