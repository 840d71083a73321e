package routing

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"mxbypass/mailbox"
	"mxbypass/routing/mx"
)

// noDomain answers for an address without a domain, which only <Postmaster> has (RFC 5321 section 4.5.1).
func (q *query) noDomain(ctx context.Context, local mailbox.LocalPart) (found, error) {
	if !isPostmaster(local) {
		return found{}, fmt.Errorf("%w: no domain", mailbox.ErrSyntax)
	}
	return q.fallback(ctx), nil
}

// bypass answers for a bypass address, the same for every client. Like everything that it asks, it can answer with
// mailboxes of the directory or with the reason why there are none, and with nothing else.
func (q *query) bypass(ctx context.Context, b Bypass, written mailbox.LocalPart) (found, error) {
	folded := string(written)
	q.say("unfold", "the last %s splits %s into mailbox %s@%s at gateway %s", folded[len(b.Local):len(b.Local)+1], folded,
		string(b.Local), b.Domain.ASCII(), b.Gateway().ASCII())
	if b.AtGateway() {
		return q.atOwnName(ctx, b)
	}
	d, err := q.resolver.Domain(ctx, b.Domain)
	switch {
	case errors.Is(err, mailbox.ErrNoDomain):
		q.say("domain", "%s is not hosted here, and a bypass address is never relayed", b.Domain.ASCII())
		return found{}, ErrNotHosted
	case err != nil:
		q.sayUnavailable(err)
		return found{}, err
	case !d.Bypass:
		q.say("domain", "%s is hosted here, but it may not be reached by bypass addresses", d.Name.ASCII())
		return found{}, ErrBypassOff
	case !b.Serves(d.Site):
		q.say("gateway", "%s is hosted in site %s, which the gateway %s does not serve", d.Name.ASCII(), d.Site,
			b.Gateway().ASCII())
		return found{}, ErrNotServed
	}
	q.sayHosted(d)
	f, err := q.find(ctx, d, b.Local)
	if err == nil && len(f.recipients) > 0 {
		q.tellBypassed(ctx, d.Name)
	}
	return f, err
}

// atOwnName answers for u%mx@mx as for u@mx, without a second pass: mx is hosted or it has a postmaster at most.
func (q *query) atOwnName(ctx context.Context, b Bypass) (found, error) {
	d, err := q.resolver.Domain(ctx, b.Domain)
	if err != nil {
		return q.notHostedOwnName(ctx, b.Local, err)
	}
	q.sayHosted(d)
	return q.find(ctx, d, b.Local)
}

// notHostedOwnName answers for a local part at a name of ours for which the directory gave the error: its postmaster is
// always there, also when the directory is not.
func (q *query) notHostedOwnName(ctx context.Context, local mailbox.LocalPart, err error) (found, error) {
	switch {
	case isPostmaster(local):
		return q.fallback(ctx), nil
	case errors.Is(err, mailbox.ErrNoDomain):
		q.say("domain", "the name is our own and no hosted domain: only its postmaster can have mail")
		return found{}, mailbox.ErrNoMailbox
	}
	q.sayUnavailable(err)
	return found{}, err
}

// plain answers for every address that is no bypass address.
func (q *query) plain(ctx context.Context, a mailbox.Address) {
	if a.Domain.IsLiteral() { // never hosted
		q.elsewhere(a)
		return
	}
	d, err := q.resolver.Domain(ctx, a.Domain)
	switch {
	case err == nil:
		q.sayHosted(d)
		q.plainHosted(ctx, d, a)
	case q.ownName(a.Domain):
		if q.gateways.folded(a.Local) && !q.gateways.has(a.Domain) {
			q.sayNotGateway(a)
			q.finish(found{}, ErrNotGateway)
			return
		}
		q.finish(q.notHostedOwnName(ctx, a.Local, err))
	case errors.Is(err, mailbox.ErrNoDomain):
		q.elsewhere(a)
	default:
		q.sayUnavailable(err)
		q.finish(found{}, err)
	}
}

// plainHosted answers for a plain address of a hosted domain by the policy of the domain.
func (q *query) plainHosted(ctx context.Context, d mailbox.Domain, a mailbox.Address) {
	switch d.MX {
	case mailbox.PolicyLocal:
		q.finish(q.find(ctx, d, a.Local))
	case mailbox.PolicyExternal:
		if q.client.Trusted {
			q.say("policy", "the policy is external, and %s", q.entitlement())
			q.relayExternal(a, d)
			return
		}
		q.say("policy", "the policy is external, but the client is not trusted: only a mailbox here will do")
		q.finish(q.find(ctx, d, a.Local))
	case mailbox.PolicySplit:
		f, err := q.find(ctx, d, a.Local)
		if errors.Is(err, mailbox.ErrNoMailbox) {
			q.say("policy", "the policy is split: who has no mailbox here may have one with the other half")
			q.otherHalf(ctx, d, a)
			return
		}
		q.finish(f, err)
	default:
		q.auto(ctx, d, a)
	}
}

// auto answers for a plain address as the MX state of its domain says. For a client that is not trusted every state that
// is known gives the same answer, so that a mailbox that is here need not wait for DNS.
func (q *query) auto(ctx context.Context, d mailbox.Domain, a mailbox.Address) {
	if q.client.Trusted {
		state := q.mx.State(ctx, d.Name)
		q.sayState(d.Name, state)
		if state.Kind == mx.External {
			q.say("policy", "the policy is auto, the MX is external, and %s", q.entitlement())
			q.relayExternal(a, d)
			return
		}
		f, err := q.find(ctx, d, a.Local)
		q.finish(f, unlessUnknown(state, err))
		return
	}
	f, err := q.find(ctx, d, a.Local)
	switch {
	case err == nil:
		if state, told := q.stateSoon(ctx, d.Name); told {
			q.sayState(d.Name, state)
		}
	case errors.Is(err, mailbox.ErrNoMailbox):
		state := q.mx.State(ctx, d.Name)
		q.sayState(d.Name, state)
		err = unlessUnknown(state, err)
	}
	q.finish(f, err)
}

// unlessUnknown makes "no such mailbox" temporary while it is not known whether this is the place to ask for it.
func unlessUnknown(state mx.State, err error) error {
	if state.Kind == mx.Unknown && errors.Is(err, mailbox.ErrNoMailbox) {
		return ErrMXUnknown
	}
	return err
}

// elsewhere answers for a plain address whose domain is neither hosted here nor a name of ours.
func (q *query) elsewhere(a mailbox.Address) {
	switch {
	case q.gateways.folded(a.Local) && (a.Domain.IsLiteral() || !q.client.Trusted):
		q.sayNotGateway(a)
		q.finish(found{}, ErrNotGateway)
	case !q.client.Trusted:
		q.say("domain", "%s is not hosted here, and the client may not submit mail for elsewhere", a.Domain.ASCII())
		q.finish(found{}, ErrRelayDenied)
	default:
		q.say("domain", "%s is not hosted here, and %s", a.Domain.ASCII(), q.entitlement())
		q.relay(a, q.hopTo(a.Domain))
	}
}

// find asks the directory for the mailboxes behind a local part of a hosted domain. A postmaster is always found (RFC
// 5321 section 4.5.1), unless the directory cannot tell.
func (q *query) find(ctx context.Context, d mailbox.Domain, local mailbox.LocalPart) (found, error) {
	f, err := q.ask(ctx, d, local)
	if err == nil {
		return f, nil
	}
	if errors.Is(err, mailbox.ErrNoMailbox) {
		q.say("directory", "no mailbox or alias %s@%s", string(local), d.Name.ASCII())
	} else {
		q.say("directory", "%s", err.Error())
	}
	known := errors.Is(err, mailbox.ErrNoMailbox) || errors.Is(err, mailbox.ErrDisabled) ||
		errors.Is(err, mailbox.ErrAliasLoop)
	if known && isPostmaster(local) {
		return q.fallback(ctx), nil
	}
	return found{}, err
}

// maxDirectorySteps is how many steps of the directory an explanation keeps, however many an alias has.
const maxDirectorySteps = 20

// ask gives the recipients of a local part as the directory knows them.
func (q *query) ask(ctx context.Context, d mailbox.Domain, local mailbox.LocalPart) (found, error) {
	resolution, err := q.resolver.Resolve(ctx, d, local)
	for i, step := range resolution.Steps {
		if i == maxDirectorySteps {
			q.say("directory", "… and %s steps more", strconv.Itoa(len(resolution.Steps)-i))
			break
		}
		q.say("directory", "%s", step)
	}
	switch {
	case errors.Is(err, mailbox.ErrNoDomain):
		// The domain was there a moment ago: the directory is changing.
		return found{}, fmt.Errorf("%w: %v", mailbox.ErrUnavailable, err)
	case err != nil:
		return found{}, err
	case len(resolution.Recipients)+len(resolution.Redirects) == 0:
		return found{}, fmt.Errorf("%w: the directory resolves %s to nothing", mailbox.ErrUnavailable, d.Name)
	}
	return q.targets(ctx, resolution)
}

// targets makes what the directory has for an address.
func (q *query) targets(ctx context.Context, from mailbox.Resolution) (found, error) {
	original := mailbox.Printable(q.route.Path.Written)
	f := found{recipients: make([]mailbox.Recipient, len(from.Recipients))}
	for i, r := range from.Recipients {
		f.recipients[i] = mailbox.Recipient{Mailbox: r.Mailbox, Tag: r.Tag, Original: original, Delivered: r.Delivered}
	}
	for i, r := range from.Redirects {
		hop, err := q.redirectHop(ctx, r.To)
		if err != nil {
			q.say("redirect", "%s cannot send its mail to %s now: %s", r.From.String(), r.To.String(), err.Error())
			return found{}, err
		}
		switch {
		case i < maxDirectorySteps:
			q.say("redirect", "%s sends its mail to %s, by %s", r.From.String(), r.To.String(), hop.String())
		case i == maxDirectorySteps:
			q.say("redirect", "… and to %s addresses more", strconv.Itoa(len(from.Redirects)-i))
		}
		f.outbound = append(f.outbound, Outbound{To: r.To, Hop: hop, Purpose: Redirected, From: r.From, Original: original})
	}
	return f, nil
}

// fallback gives the mailbox that takes mail for a postmaster who has none: the configured one, or the reserved one when
// there is none or it cannot take mail now.
func (q *query) fallback(ctx context.Context) found {
	if a := q.postmaster; !a.IsNull() {
		d, err := q.resolver.Domain(ctx, a.Domain)
		if err == nil {
			var f found
			if f, err = q.ask(ctx, d, a.Local); err == nil {
				q.say("postmaster", "mail to postmaster is always accepted: the configured mailbox %s@%s takes it",
					string(a.Local), a.Domain.ASCII())
				return f
			}
		}
		q.say("postmaster", "the configured mailbox %s@%s cannot take it: %s", string(a.Local), a.Domain.ASCII(),
			err.Error())
	}
	q.say("postmaster", "mail to postmaster is always accepted: the fallback postmaster mailbox takes it")
	address := mailbox.Address{Local: postmaster, Domain: q.hostname}
	return found{recipients: []mailbox.Recipient{{
		Mailbox:   mailbox.Mailbox{Address: address, Site: mailbox.SitePostmaster},
		Original:  mailbox.Printable(q.route.Path.Written),
		Delivered: address,
	}}}
}

func isPostmaster(local mailbox.LocalPart) bool { return local.Fold() == postmaster }
