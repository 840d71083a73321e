package routing

import (
	"context"
	"errors"
	"fmt"

	"mxbypass/mailbox"
)

// hopTo is where mail for a domain that is not hosted here goes.
func (q *query) hopTo(domain mailbox.DomainName) Hop {
	if q.smarthost {
		return Hop{Kind: HopSmarthost}
	}
	return Hop{Kind: HopMX, Domain: domain}
}

// externalHop is where the external mail of a hosted domain goes.
func (q *query) externalHop(d mailbox.Domain) Hop {
	if q.smarthost && d.External == (mailbox.External{}) {
		return Hop{Kind: HopSmarthost}
	}
	return q.halfHop(d)
}

// halfHop is where the other half of a hosted domain is: never the smarthost, which knows of no half.
func (q *query) halfHop(d mailbox.Domain) Hop {
	if !d.External.Host.IsZero() {
		return Hop{Kind: HopServer, Server: d.External.Host}
	}
	return Hop{Kind: HopExternal, Domain: d.Name}
}

// hopOf is where redirected mail goes, be the domain hosted here or not.
func (q *query) hopOf(ctx context.Context, domain mailbox.DomainName) (Hop, error) {
	if domain.IsLiteral() {
		return q.hopTo(domain), nil
	}
	d, err := q.resolver.Domain(ctx, domain)
	switch {
	case err == nil:
		return q.externalHop(d), nil
	case errors.Is(err, mailbox.ErrNoDomain):
		return q.hopTo(domain), nil
	}
	return Hop{}, err
}

// otherHalf answers for an address of a split domain that has no mailbox here. For a client that is not trusted the
// other half is asked first: nothing may be accepted that could only bounce.
func (q *query) otherHalf(ctx context.Context, d mailbox.Domain, a mailbox.Address) {
	where := "the other half of " + d.Name.ASCII()
	if q.client.Trusted {
		q.relay(a, q.externalHop(d), where)
		return
	}
	hop := q.halfHop(d)
	if q.verifier == nil {
		q.finish(found{}, fmt.Errorf("%w: nobody can ask", ErrOtherHalf))
		return
	}
	err := q.verifier.Verify(ctx, Probe{To: a, Hop: hop, Client: q.client.Addr})
	var answer *mailbox.RemoteError
	switch {
	case err == nil:
		q.say("verify", "the other half takes mail for %s", a.String())
		q.purpose = OtherHalf
		q.relay(a, hop, where)
	case errors.Is(err, ErrBackToSource):
		q.say("verify", "the client is in the network of the other half: the mail would go back to where it came from")
		q.finish(found{}, err)
	case errors.As(err, &answer) && unknownThere(answer):
		q.say("verify", "the other half does not take mail for %s: %s", a.String(), answer.Error())
		q.finish(found{}, fmt.Errorf("%w: %w", mailbox.ErrNoMailbox, answer))
	default:
		q.say("verify", "the other half cannot be asked now: %s", oneLine(err))
		q.finish(found{}, fmt.Errorf("%w: %w", ErrOtherHalf, err))
	}
}

// unknownThere tells whether a server says that it does not know the recipient. A refusal for reasons of policy (RFC 3463
// section 3.8: X.7) is about us, and says nothing of the recipient.
func unknownThere(answer *mailbox.RemoteError) bool {
	const policy = 7
	return !answer.Temporary() && answer.Command == "RCPT" && answer.Enhanced[1] != policy
}

// returned answers for an address in the domain of rewritten senders (SRS), where only reports are on their way home. It
// is false when the address is none of these.
func (q *query) returned(ctx context.Context) bool {
	home, err := q.returns.Reverse(q.route.Path.Address.Local)
	switch {
	case errors.Is(err, ErrNotRewritten):
		return false
	case err != nil:
		q.say("return", "%s", err.Error())
		q.finish(found{}, err)
	case !q.client.NullSender:
		q.say("return", "it stands for %s, and takes reports only: mail with the null sender", home.String())
		q.finish(found{}, ErrReturnOnly)
	default:
		q.say("return", "it stands for %s, whose mail was redirected here", home.String())
		q.client.Trusted, q.purpose = true, ReturnHome
		q.plain(ctx, home)
	}
	return true
}
