package msgauth

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"mxbypass/mailbox"
	"mxbypass/relay/header"
	"mxbypass/relay/lookup"
	"mxbypass/relay/msgauth/arc"
	"mxbypass/relay/msgauth/authres"
	"mxbypass/relay/msgauth/dmarc"
	"mxbypass/routing/mx"
)

// What a message may be turned away for.
var (
	// ErrRejected: the domain in the From field wants messages refused that do not come from it, and this one does not.
	ErrRejected = errors.New("refused by the DMARC policy of the domain in the From field")
	// ErrUnsure: DNS did not answer what the judgement depends on.
	ErrUnsure = errors.New("the origin of the message cannot be verified now")
)

const defaultTimeout = 10 * time.Second

// Options are what a [Checker] is made of.
type Options struct {
	Hostname  mailbox.DomainName     // our authserv-id
	Lookup    *lookup.Client         // asks DNS
	Policy    mailbox.Authentication // of domains that have none; empty: mark
	Sealers   []mailbox.DomainName   // whose ARC seals count
	Timeout   time.Duration          // of all questions about a message; zero: 10 s
	MaxHeader int64                  // octets; a longer header is an error
	// MXOf tells the MX state of a hosted domain, for upstreams that are "auto". Nil: there are none.
	MXOf      func(ctx context.Context, domain mailbox.DomainName) mx.State
	Providers mx.Providers
	Now       func() time.Time // nil: time.Now
}

// Checker judges messages. It is safe for concurrent use.
type Checker struct {
	o      Options
	finder dmarc.Finder
}

// New makes a checker.
func New(o Options) (*Checker, error) {
	if o.Lookup == nil || o.Hostname.IsZero() || o.MaxHeader <= 0 {
		return nil, errors.New("msgauth: no lookup, no hostname or no bound of headers")
	}
	o.Policy = cmp.Or(o.Policy, mailbox.AuthenticationMark)
	o.Timeout = cmp.Or(o.Timeout, defaultTimeout)
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Checker{o, dmarc.Finder{Lookup: o.Lookup}}, nil
}

// Message is a message as it came.
type Message struct {
	Client  netip.Addr
	Hello   string
	Reverse mailbox.Address
	Domains []mailbox.Domain // the hosted domains of the recipients, each once
	Content mailbox.Content
	ID      string
}

// policyOf is what a domain wants.
func (c *Checker) policyOf(d mailbox.Domain) mailbox.Authentication {
	return cmp.Or(d.Authentication, c.o.Policy)
}

// wanted tells whether somebody wants to know.
func (c *Checker) wanted(domains []mailbox.Domain) bool {
	if len(domains) == 0 {
		return c.o.Policy != mailbox.AuthenticationOff
	}
	return slices.ContainsFunc(domains, func(d mailbox.Domain) bool { return c.policyOf(d) != mailbox.AuthenticationOff })
}

// Check judges a message. The error says that it could not be looked at: it wraps [header.ErrTooBig], is that of reading
// the content, or that of the context.
func (c *Checker) Check(ctx context.Context, m *Message) (*Verdict, error) {
	h, err := header.Read(m.Content, c.o.MaxHeader)
	if err != nil {
		return nil, err
	}
	v := &Verdict{checker: c, Content: c.withoutClaims(m.Content, h), Chain: arc.Chain{Status: arc.None}}
	if !c.wanted(m.Domains) {
		return v, ctx.Err()
	}
	asking, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	if err := c.ask(asking, m, h, v); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	c.conclude(asking, m, v)
	v.Results = authres.Field(c.o.Hostname.ASCII(), v.results())
	return v, nil
}

// WithoutClaims takes away what a message that is not judged claims to have from us. The error is that of Check.
func (c *Checker) WithoutClaims(content mailbox.Content) (mailbox.Content, error) {
	h, err := header.Read(content, c.o.MaxHeader)
	if err != nil {
		return nil, err
	}
	return c.withoutClaims(content, h), nil
}

// withoutClaims takes away the fields that claim to be ours: results that we have not found (RFC 8601 section 5), and our
// marks. The header itself stays as it is, for signatures are over it.
func (c *Checker) withoutClaims(content mailbox.Content, h *header.Header) mailbox.Content {
	ours := func(f header.Field) bool {
		return f.Is("Authentication-Results") && authres.Claims(f.Value(), c.o.Hostname.ASCII()) ||
			f.Is(QuarantineField) || f.Is(ListedField)
	}
	if !slices.ContainsFunc(h.Fields, ours) {
		return content
	}
	stripped := *h
	stripped.Remove(ours)
	return stripped.Content()
}

// ask asks everything that can be asked at the same time.
func (c *Checker) ask(ctx context.Context, m *Message, h *header.Header, v *Verdict) error {
	v.authors = authorsOf(h)
	v.policies = make([]policy, len(v.authors.domains))
	v.forwarded = make([]forwarded, len(m.Domains))
	v.domains = m.Domains
	var all sync.WaitGroup
	for i, d := range v.authors.domains {
		all.Go(func() { v.policies[i].Found, v.policies[i].err = c.finder.Find(ctx, d) })
	}
	all.Go(func() { v.reverse = c.checkReverse(ctx, m.Client) })
	all.Go(func() { v.sender = c.checkSPF(ctx, m.Client, m.Hello, m.Reverse) })
	all.Go(func() { v.Chain = arc.Validate(ctx, h, c.o.Lookup.TXT) })
	all.Go(func() { c.askUpstreams(ctx, m, h, v) })
	var err error
	v.signatures, v.unverified, err = c.checkDKIM(ctx, h, v.authors.domains)
	all.Wait()
	return err
}

// askUpstreams finds out for which domains the client is an upstream, and judges SPF for the hop before.
func (c *Checker) askUpstreams(ctx context.Context, m *Message, h *header.Header, v *Verdict) {
	for i, d := range m.Domains {
		if c.policyOf(d) == mailbox.AuthenticationOff {
			continue
		}
		f := &v.forwarded[i]
		*f = c.checkUpstream(ctx, m, h, d)
		if f.why == "" || !f.before.IsValid() || !f.known {
			continue
		}
		if f.spf = v.before(f.before, f.sender); f.spf == nil {
			r := c.checkSPF(ctx, f.before, "", f.sender)
			f.spf = &r
		}
	}
}

// conclude holds what was found out against the policies.
func (c *Checker) conclude(ctx context.Context, m *Message, v *Verdict) {
	for _, p := range v.policies {
		v.vouched = append(v.vouched, c.vouched(ctx, v.Chain, p))
		v.direct = append(v.direct, c.judge(ctx, p, v.sender, v.signatures, m.ID))
	}
	for i := range v.forwarded {
		f := &v.forwarded[i]
		if f.why == "" {
			continue
		}
		var before spfResult
		if f.spf != nil {
			before = *f.spf
		}
		for _, p := range v.policies {
			f.judged = append(f.judged, c.judge(ctx, p, before, v.signatures, m.ID))
		}
	}
}
