package sign

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"mxbypass/mailbox"
	"mxbypass/relay/msgauth/arc"
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
	Log        *slog.Logger
	Now        func() time.Time // nil: time.Now
}

// Signer signs and seals. It is safe for concurrent use.
type Signer struct{ o Options }

// New makes a signer.
func New(o Options) *Signer { return &Signer{o} }

// Sign gives the DKIM-Signature fields for a message of ours, with CRLF: one for each algorithm of which the domain of
// its From field has a key, or nil when it has none. The error wraps [ErrKeys] when there are keys which cannot be used,
// [header.ErrTooBig], or is that of reading c.
func (s *Signer) Sign(ctx context.Context, c mailbox.Content) ([]byte, error) {
	_, _ = ctx, c
	return nil, nil
}

// Seal gives the three fields of a new set for a message that is sent on, with CRLF, or nil when we have no RSA key to
// seal with or the chain takes no further set. results is our Authentication-Results field, chain what the message had
// when it came. Errors are those of [Signer.Sign].
func (s *Signer) Seal(ctx context.Context, c mailbox.Content, results []byte, chain arc.Chain) ([]byte, error) {
	_, _, _, _ = ctx, c, results, chain
	return nil, nil
}

// Complete gives a message of a user what it must have and lacks (RFC 6409 section 8): Date, Message-ID. hostname and id
// make the Message-ID. The error is that of reading c.
func Complete(c mailbox.Content, hostname, id string, now time.Time) (mailbox.Content, error) {
	_, _, _ = hostname, id, now
	return c, nil
}
