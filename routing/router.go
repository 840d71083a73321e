package routing

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mxbypass/mailbox"
	"mxbypass/routing/mx"
)

// DefaultPatience is how long a route waits for an MX state that it only tells about.
const DefaultPatience = 100 * time.Millisecond

const postmaster = mailbox.LocalPart("postmaster")

// Resolver finds the mailboxes behind a local part of a hosted domain; [mailbox.Resolver] is one. Its errors are those of
// [mailbox.Directory]: what is neither [mailbox.ErrNoDomain] nor [mailbox.ErrNoMailbox] is temporary.
type Resolver interface {
	Domain(ctx context.Context, name mailbox.DomainName) (mailbox.Domain, error)
	Resolve(ctx context.Context, d mailbox.Domain, local mailbox.LocalPart) (mailbox.Resolution, error)
}

// MXStates tells the MX state of a domain: [mx.Unknown] when it cannot before ctx ends. It bounds its own time.
type MXStates interface {
	State(ctx context.Context, d mailbox.DomainName) mx.State
}

// Options are what a router is made of. Hostname, Resolver and MX are required.
type Options struct {
	Hostname mailbox.DomainName // our own name; it is no gateway unless it is one of Gateways
	Gateways []Gateway
	Resolver Resolver
	MX       MXStates
	// Postmaster is the mailbox for mail to a postmaster that is no mailbox of its domain. When it is null or cannot
	// take mail, that mail goes to the reserved site [mailbox.SitePostmaster].
	Postmaster mailbox.Address
	// Smarthost tells that mail for elsewhere goes to the smarthost, unless a domain says otherwise.
	Smarthost bool
	// Verifier asks the other half of split domains. Nil: it cannot be asked, and who might be there is deferred.
	Verifier Verifier
	// Returns knows the senders that were rewritten. Nil: none was.
	Returns Returner
	// Patience is how long a route waits for an MX state that it only tells about; 0 means [DefaultPatience].
	Patience time.Duration
}

// Router decides where mail goes. It is safe for concurrent use and never changes.
type Router struct {
	hostname   mailbox.DomainName
	gateways   Gateways
	resolver   Resolver
	mx         MXStates
	postmaster mailbox.Address
	smarthost  bool
	verifier   Verifier
	returns    Returner
	patience   time.Duration
}

// NewRouter makes a router.
func NewRouter(o Options) (*Router, error) {
	switch {
	case o.Hostname.IsZero() || o.Hostname.IsLiteral():
		return nil, errors.New("routing: the hostname must be a name")
	case o.Resolver == nil || o.MX == nil:
		return nil, errors.New("routing: a resolver and MX states are required")
	case o.Patience < 0:
		return nil, errors.New("routing: the patience cannot be negative")
	}
	gateways, err := NewGateways(o.Gateways)
	if err != nil {
		return nil, fmt.Errorf("routing: %w", err)
	}
	r := &Router{o.Hostname, gateways, o.Resolver, o.MX, o.Postmaster, o.Smarthost, o.Verifier, o.Returns, o.Patience}
	if r.patience == 0 {
		r.patience = DefaultPatience
	}
	if r.returns != nil {
		if d := r.returns.Domain(); d.IsZero() || d.IsLiteral() {
			return nil, errors.New("routing: the domain of rewritten senders must be a name")
		}
	}
	return r, nil
}

// Route decides where the mail of one recipient goes, for this client. The decision is final for this recipient: Deliver
// means that a mailbox exists, Relay that the mail is taken further, Refuse that it never will be taken, Defer that it
// could not be known or done now.
func (r *Router) Route(ctx context.Context, path mailbox.Path, client Client) Route {
	q := query{Router: r, client: client, purpose: Submitted, route: Route{Path: path, Steps: make([]Step, 0, 6)}}
	if r.returns != nil && path.Address.Domain == r.returns.Domain() && q.returned(ctx) {
		return q.route
	}
	q.decide(ctx, path.Address)
	return q.route
}

// ownName tells whether host means this system, be it hosted or not: its mail is never for elsewhere.
func (r *Router) ownName(host mailbox.DomainName) bool {
	return host == r.hostname || host == localhost || r.gateways.has(host) || r.returns != nil && host == r.returns.Domain()
}

// query is one question to the router, with the route as far as it is known.
type query struct {
	*Router
	client  Client
	purpose Purpose // of what is relayed
	route   Route
}

func (q *query) say(rule, format string, args ...string) {
	q.route.Steps = append(q.route.Steps, newStep(rule, format, args...))
}

// found is what the directory has for an address.
type found struct {
	recipients []mailbox.Recipient
	outbound   []Outbound // redirections
}

// finish ends the query with what the directory has or with the reason why there is nothing. It cannot relay to anything
// that the directory does not name.
func (q *query) finish(f found, err error) {
	q.route.Err = err
	switch {
	case err == nil && len(f.recipients) == 0:
		q.route.Action, q.route.Outbound = Relay, f.outbound
	case err == nil:
		q.route.Action, q.route.Recipients, q.route.Outbound = Deliver, f.recipients, f.outbound
	case final(err):
		q.route.Action = Refuse
	default:
		q.route.Action = Defer
	}
}

// relay ends the query of a plain address that goes to a next hop.
func (q *query) relay(to mailbox.Address, hop Hop) {
	q.sayRelayed(hop)
	q.route.Action = Relay
	q.route.Outbound = []Outbound{{To: to, Hop: hop, Purpose: q.purpose, Original: mailbox.Printable(q.route.Path.Written)}}
}

// decide answers for an address: the one that was asked, or the sender that it stands for.
func (q *query) decide(ctx context.Context, a mailbox.Address) {
	bypass, ok, err := q.gateways.Unfold(mailbox.Path{Address: a})
	switch {
	case a.Domain.IsZero():
		q.finish(q.noDomain(ctx, a.Local))
	case err != nil:
		q.route.Gateway = a.Domain
		q.say("unfold", "%s at the gateway %s is refused: %s", string(a.Local), a.Domain.ASCII(), err.Error())
		q.finish(found{}, err)
	case ok:
		q.route.Gateway = bypass.Gateway()
		q.finish(q.bypass(ctx, bypass, a.Local))
	default:
		q.plain(ctx, a)
	}
}

// final tells whether the answer will stay the same until somebody changes the configuration, the directory or the
// address. Everything else, and everything unknown, is temporary.
func final(err error) bool {
	for _, e := range []error{mailbox.ErrNoMailbox, mailbox.ErrSyntax, mailbox.ErrTooLong, ErrNotHosted,
		ErrBypassOff, ErrNotServed, ErrNotGateway, ErrNested, ErrRelayDenied, ErrBackToSource, ErrReturnOnly,
		ErrBadReturn} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
