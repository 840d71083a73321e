package routing

import (
	"context"
	"errors"
	"fmt"
	"strings"

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

// redirectHop is where redirected mail goes. The target of a redirection is somebody else's, or the other half's of a
// domain of ours. That it is neither is the operator's mistake, or the directory is changing: mail that would only come
// back to us waits with its client.
func (q *query) redirectHop(ctx context.Context, to mailbox.Address) (Hop, error) {
	d, err := q.resolver.Domain(ctx, to.Domain)
	switch {
	case err == nil && (d.MX == mailbox.PolicyExternal || d.MX == mailbox.PolicySplit):
		return q.externalHop(d), nil
	case err == nil, errors.Is(err, mailbox.ErrNoDomain) && q.ownName(to.Domain):
		return Hop{}, fmt.Errorf("%w: it leads to %s, which should be here and is not", mailbox.ErrUnavailable, to)
	case errors.Is(err, mailbox.ErrNoDomain):
		return q.hopTo(to.Domain), nil
	}
	return Hop{}, err
}

// relayExternal ends the query of an address of a hosted domain whose mail is kept elsewhere, for a trusted client.
func (q *query) relayExternal(a mailbox.Address, d mailbox.Domain) {
	if q.purpose != ReturnHome || !q.readAsRoute(a.Local) {
		q.relay(a, q.externalHop(d))
	}
}

// otherHalf answers for an address of a split domain that has no mailbox here. For a client that is not trusted the
// other half is asked first: nothing may be accepted that could only bounce.
func (q *query) otherHalf(ctx context.Context, d mailbox.Domain, a mailbox.Address) {
	if q.client.Trusted {
		q.relayExternal(a, d)
		return
	}
	if q.readAsRoute(a.Local) {
		return
	}
	hop := q.halfHop(d)
	var answer *mailbox.RemoteError
	switch err := q.verify(ctx, Probe{To: a, Hop: hop, Client: q.client.Addr}); {
	case err == nil:
		q.purpose = OtherHalf
		q.relay(a, hop)
	case errors.Is(err, ErrBackToSource):
		q.say("verify", "the client is in the network of the other half: the mail would go back to where it came from")
		q.finish(found{}, ErrBackToSource)
	case errors.As(err, &answer) && unknownThere(answer):
		q.say("verify", "the other half does not take mail for %s: %s", a.String(), answer.Error())
		q.finish(found{}, fmt.Errorf("%w: %w", mailbox.ErrNoMailbox, answer))
	default:
		// Not wrapped: whatever was said there, for us it is temporary.
		q.say("verify", "the other half cannot be asked now: %s", oneLine(err))
		q.finish(found{}, fmt.Errorf("%w: %v", ErrOtherHalf, oneLine(err)))
	}
}

// verify asks the other half, and says so when the answer is yes.
func (q *query) verify(ctx context.Context, p Probe) error {
	switch q.verifier.(type) {
	case nil:
		return errors.New("this relay has nothing to ask with")
	case presumed:
		q.say("verify", "the other half would be asked, by %s, whether it takes mail for %s: taken to say yes",
			p.Hop.String(), p.To.String())
		return nil
	}
	err := q.verifier.Verify(ctx, p)
	if err == nil {
		q.say("verify", "the other half takes mail for %s", p.To.String())
	}
	return err
}

// readAsRoute refuses a local part in which the servers of a hosted domain could read a way to somebody else (RFC 5321
// appendix F.2). They may relay for us, so this is asked for everybody who is not trusted himself: what we unfold for
// nobody is then unfolded by nobody behind us.
func (q *query) readAsRoute(local mailbox.LocalPart) bool {
	if !strings.ContainsAny(string(local), "%!") {
		return false
	}
	q.say("route", "a server could read a route in %s: only a trusted client's mail for it is passed on", string(local))
	q.finish(found{}, mailbox.ErrNoMailbox)
	return true
}

// unknownThere tells whether a server says that it will never take mail for the recipient: 501 and 55x (RFC 5321 section
// 4.2.3). Other codes are about the dialogue, and a refusal for reasons of policy (RFC 3463 section 3.8: X.7) is about us:
// they say nothing of the recipient.
func unknownThere(answer *mailbox.RemoteError) bool {
	const policy = 7
	return answer.Command == "RCPT" && (answer.Code == 501 || answer.Code/10 == 55) && answer.Enhanced[1] != policy
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
		q.say("return", "it stands for %s, whose mail was redirected here: a report goes home like mail of a trusted client",
			home.String())
		q.client.Trusted, q.purpose = true, ReturnHome
		q.decide(ctx, home)
	}
	return true
}
