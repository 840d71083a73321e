package inbound

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"mxbypass/mailbox"
	"mxbypass/relay/filter"
	"mxbypass/relay/header"
	"mxbypass/relay/inbound/wire"
	"mxbypass/relay/msgauth"
	"mxbypass/relay/msgauth/arc"
	"mxbypass/relay/reply"
	"mxbypass/relay/sign"
	"mxbypass/routing"
)

// maxFrom bounds the addresses of a From field that a user may write.
const maxFrom = 16

// findings are what was found out about a message, and what it has become.
type findings struct {
	content mailbox.Content
	fields  []byte  // on top of it, above them our Received
	refused []error // by recipient; nil: nobody is refused
	discard bool    // a filter wants it to be accepted and thrown away
}

// refusal tells why the recipient of that place cannot have the message.
func (f findings) refusal(recipient int) error {
	if f.refused == nil {
		return nil
	}
	return f.refused[recipient]
}

// examine judges a message before it is accepted, and vouches for what leaves: where it comes from, what filters say of
// it, whether a user may write what stands in it. The error refuses it for everybody.
func (s *session) examine(ctx context.Context, tx *transaction, content mailbox.Content) (findings, error) {
	found := findings{content: content}
	trust := tx.core.Trust()
	chain := arc.Chain{Status: arc.None}
	var results []byte
	var quarantine string
	var steps []string
	for _, list := range tx.marks {
		steps = append(steps, "listed by "+list)
	}
	switch {
	case s.user != nil || s.service.Protocol == Submission:
		if err := s.completed(ctx, tx, &found); err != nil {
			return found, err
		}
	case trust.Judge != nil && s.service.Protocol == SMTP && !tx.client.Trusted:
		v, err := trust.Judge.Check(ctx, &msgauth.Message{Client: s.client, Hello: s.hello, Reverse: tx.reverse,
			Domains: tx.domains(), Content: content, ID: tx.id})
		if err != nil {
			return found, err
		}
		found.content, results, chain = v.Content, v.Results, v.Chain
		found.refused, quarantine = tx.verdicts(v)
		steps = append(steps, v.Steps()...)
	}
	s.log.Judged(tx.id, steps)
	reason, judged, err := s.filtered(ctx, tx, results, &found)
	if err != nil {
		return found, err
	}
	if reason = strings.TrimSpace(reason); reason != "" {
		quarantine = reason
	}
	signatures, err := s.vouch(ctx, tx, found.content, results, chain)
	if err != nil {
		return found, err
	}
	found.fields = signatures
	if quarantine != "" {
		mark := header.NewField(msgauth.QuarantineField, mailbox.Printable(quarantine))
		found.fields = append(found.fields, mark.Raw...)
	}
	for _, list := range tx.marks {
		found.fields = append(found.fields, header.NewField(msgauth.ListedField, mailbox.Printable(list)).Raw...)
	}
	if !judged { // else it is in the content that they have given back
		found.fields = append(found.fields, results...)
	}
	return found, nil
}

// domains are the hosted domains of the recipients.
func (tx *transaction) domains() []mailbox.Domain {
	var all []mailbox.Domain
	for _, a := range tx.accepted {
		d := a.route.Domain
		if !d.Name.IsZero() && !slices.ContainsFunc(all, func(o mailbox.Domain) bool { return o.Name == d.Name }) {
			all = append(all, d)
		}
	}
	return all
}

// verdicts gives what the domain of each recipient makes of a verdict, and why the message is to be put aside.
func (tx *transaction) verdicts(v *msgauth.Verdict) (refused []error, quarantine string) {
	for i, a := range tx.accepted {
		aside, err := v.For(a.route.Domain)
		if err != nil && isPostmaster(a.route) {
			err = nil
		}
		if err != nil && refused == nil {
			refused = make([]error, len(tx.accepted))
		}
		if err != nil {
			refused[i] = err
		}
		if aside {
			quarantine = "dmarc"
		}
	}
	return refused, quarantine
}

// completed makes a message of a user complete (RFC 6409 section 8), and looks whether it is the user's: what we sign
// for a domain must not be written by a user of another one.
func (s *session) completed(ctx context.Context, tx *transaction, found *findings) error {
	content := found.content
	var err error
	if judge := tx.core.Trust().Judge; judge != nil { // nobody judges a user, so that nothing can have been found out
		if content, err = judge.WithoutClaims(content); err != nil {
			return err
		}
	}
	if content, err = sign.Complete(content, s.server.options.Hostname, tx.id, tx.start); err != nil {
		return err
	}
	found.content = content
	if s.user == nil { // a certificate is trusted for whatever it sends
		return nil
	}
	h, err := header.Read(content, s.server.options.Limits.Header)
	if err != nil {
		return err
	}
	from, err := header.From(h)
	if err != nil || len(from) == 0 || len(from) > maxFrom {
		return fmt.Errorf("%w: no addresses can be read in it", reply.ErrNotYourFrom)
	}
	for _, a := range from {
		ok, err := tx.core.Trust().Logins.MayUse(ctx, *s.user, a)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("%w: %s", reply.ErrNotYourFrom, a)
		}
	}
	return nil
}

// headerError is what a header that became too long on its way through us means: that it was too long before.
func headerError(err error) error {
	if errors.Is(err, header.ErrTooBig) {
		return reply.ErrHeaderTooBig
	}
	return err
}

// vouch gives the fields that let others believe us: a signature for what our users send, a seal (RFC 8617) for what is
// sent on.
func (s *session) vouch(ctx context.Context, tx *transaction, c mailbox.Content, results []byte, chain arc.Chain) (
	[]byte, error,
) {
	signer := tx.core.Trust().Signer
	if signer == nil {
		return nil, nil
	}
	var leaves, sentOn bool
	for _, a := range tx.accepted {
		for _, o := range a.route.Outbound {
			leaves = true
			sentOn = sentOn || o.Purpose == routing.Redirected || o.Purpose == routing.OtherHalf
		}
	}
	switch {
	case tx.client.Trusted:
		// Whoever may submit mail for elsewhere is one of us; mail between two of us is signed as well, so that it can be
		// sent on.
		return signer.Sign(ctx, c)
	case leaves && sentOn && results != nil:
		return signer.Seal(ctx, c, results, chain)
	}
	return nil, nil
}

// filtersMail lets the filters of the listener see who is there and who sends.
func (s *session) filtersMail(ctx context.Context, cmd *wire.Command) error {
	for _, name := range s.service.Filters {
		f := s.tx.core.Trust().Filters[name]
		if f == nil {
			continue // a reload has taken it away; the listener goes with it
		}
		v := f.NewSession(s.seenByFilters())
		s.tx.filters = append(s.tx.filters, v)
		if err := v.Mail(ctx, cmd.Path.Address, cmd.Size); err != nil {
			return err
		}
	}
	return nil
}

// seenByFilters is the client as a filter is told of it.
func (s *session) seenByFilters() filter.Client {
	c := filter.Client{Addr: s.client, Port: s.port, Hello: s.hello, Hostname: s.server.options.Hostname, ID: s.tx.id}
	if s.tls != nil {
		c.TLSVersion, c.TLSCipher = s.tls.version, s.tls.cipher
	}
	if s.user != nil {
		c.Login = s.user.Mailbox.String()
	}
	return c
}

// filtersRcpt lets the filters see a recipient: as the mailbox that it stands for, where there is one.
func (s *session) filtersRcpt(ctx context.Context, cmd *wire.Command, route routing.Route) error {
	to := cmd.Path.Address
	if len(route.Recipients) > 0 {
		to = route.Recipients[0].Delivered
	}
	for _, f := range s.tx.filters {
		if err := f.Rcpt(ctx, to, cmd.Path.Written); err != nil {
			return err
		}
	}
	return nil
}

// filtered lets the filters see the message, with our results on top, one after the other. judged tells that the results
// are part of the content now.
func (s *session) filtered(ctx context.Context, tx *transaction, results []byte, found *findings) (
	quarantine string, judged bool, err error,
) {
	if len(tx.filters) == 0 {
		return "", false, nil
	}
	content := found.content
	if results != nil {
		h, err := header.Read(content, s.server.options.Limits.Header)
		if err != nil {
			return "", false, err
		}
		h.Prepend(header.Field{Name: "Authentication-Results", Raw: results})
		content = h.Content()
	}
	for _, f := range tx.filters {
		r, err := f.Message(ctx, tx.id, content)
		if err != nil {
			return "", false, err
		}
		content = r.Content
		found.discard = found.discard || r.Discard
		if r.Quarantine != "" {
			quarantine = r.Quarantine
		}
	}
	found.content = content
	return quarantine, results != nil, nil
}

func (tx *transaction) endFilters() {
	for _, f := range tx.filters {
		f.Close()
	}
	tx.filters = nil
}
