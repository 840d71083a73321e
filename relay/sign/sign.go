package sign

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"

	"mxbypass/mailbox"
	"mxbypass/relay/header"
	"mxbypass/relay/msgauth/arc"
	"mxbypass/relay/msgauth/signature"
)

// ErrKeys: a domain has keys, and none of them can be used. It is temporary: the operator has to mend them.
var ErrKeys = errors.New("the signing keys of the domain cannot be used")

// Options of a signer.
type Options struct {
	Keys *Keys
	// Hostname is ours. Where it or a parent of it has a key, that one seals, unless SealDomain names another domain.
	Hostname   mailbox.DomainName
	SealDomain mailbox.DomainName // zero: by Hostname
	MaxHeader  int64              // octets; a longer header is an error
	Now        func() time.Time   // nil: time.Now
}

// Signer signs and seals. It is safe for concurrent use.
type Signer struct{ o Options }

// New makes a signer.
func New(o Options) *Signer {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Signer{o}
}

// Sign gives the DKIM-Signature fields for a message of ours, with CRLF: one for each algorithm of which the domain of
// its From field has a key, or nil when it has none or there is no such field. When the field names several people, the
// first one whose domain has keys signs. The error wraps [ErrKeys] when there are keys which cannot be used,
// [header.ErrTooBig], or is that of reading c.
func (s *Signer) Sign(ctx context.Context, c mailbox.Content) ([]byte, error) {
	h, err := header.Read(c, s.o.MaxHeader)
	if err != nil {
		return nil, err
	}
	from, err := header.From(h)
	if err != nil {
		return nil, nil //nolint:nilerr // nobody to sign for, and not for us to judge
	}
	var keys []Key
	for _, a := range from {
		if keys, err = s.keysFor(a.Domain); err != nil {
			return nil, err
		}
		if len(keys) > 0 {
			break
		}
	}
	if len(keys) == 0 {
		return nil, ctx.Err()
	}
	body, err := signature.BodyHash(h.Body(), signature.Relaxed)
	if err != nil {
		return nil, err
	}
	fields := signature.NewFields(h.Fields)
	names := signedNames(fields)
	var signed []byte
	for _, k := range keys {
		draft := signature.NewDraft("DKIM-Signature", []signature.Tag{
			{Name: "v", Value: "1"},
			{Name: "a", Value: k.Algorithm},
			{Name: "c", Value: "relaxed/relaxed"},
			{Name: "d", Value: k.Domain.ASCII()},
			{Name: "s", Value: k.Selector},
			{Name: "t", Value: strconv.FormatInt(s.o.Now().Unix(), 10)},
			{Name: "h", Value: strings.Join(names, ":")},
			{Name: "bh", Value: body},
		})
		field, err := draft.SignMessage(k.signer, fields, names)
		if err != nil {
			return nil, fmt.Errorf("DKIM: %s: %w", k.File, err)
		}
		signed = append(signed, field...)
	}
	return signed, ctx.Err()
}

// Seal gives the three fields of a new set for a message that is sent on, with CRLF, or nil when we have no RSA key to
// seal with (few who verify know another kind here) or the chain takes no further set. results is our
// Authentication-Results field, chain what the message had when it came. Errors are those of [Signer.Sign].
func (s *Signer) Seal(ctx context.Context, c mailbox.Content, results []byte, chain arc.Chain) ([]byte, error) {
	key, ok, err := s.sealKey()
	if err != nil || !ok {
		return nil, err
	}
	_, payload, ok := strings.Cut(string(results), ":")
	if !ok {
		return nil, nil
	}
	h, err := header.Read(c, s.o.MaxHeader)
	if err != nil {
		return nil, err
	}
	fields, err := arc.Seal(h, arc.SealInput{
		Results: payload, Chain: chain, Domain: key.Domain.ASCII(), Selector: key.Selector, Key: key.signer,
		Fields: sealedNames(signature.NewFields(h.Fields)), Time: s.o.Now(),
	})
	if err != nil {
		return nil, err
	}
	return fields, ctx.Err()
}

func (s *Signer) sealKey() (Key, bool, error) {
	var keys []Key
	var err error
	if !s.o.SealDomain.IsZero() {
		keys, err = s.o.Keys.signing(s.o.SealDomain)
	} else {
		keys, err = s.keysFor(s.o.Hostname)
	}
	for _, k := range keys {
		if k.Algorithm == signature.RSA {
			return k, true, nil
		}
	}
	return Key{}, false, err
}

// Sealing tells which domain seals now; zero when none does.
func (s *Signer) Sealing() (mailbox.DomainName, error) {
	key, _, err := s.sealKey()
	return key.Domain, err
}

// keysFor gives the keys of a domain or, where it has none, of the nearest parent, up to the one that was registered.
func (s *Signer) keysFor(domain mailbox.DomainName) ([]Key, error) {
	if domain.IsZero() || domain.IsLiteral() {
		return nil, nil
	}
	top, err := publicsuffix.EffectiveTLDPlusOne(domain.ASCII())
	if err != nil {
		top = domain.ASCII() // a public suffix has no parent that may speak for it
	}
	for {
		keys, err := s.o.Keys.signing(domain)
		if len(keys) > 0 || err != nil || domain.ASCII() == top {
			return keys, err
		}
		_, parent, _ := strings.Cut(domain.ASCII(), ".")
		if domain, err = mailbox.ParseDomainName(parent); err != nil {
			return nil, nil //nolint:nilerr // no parent
		}
	}
}
