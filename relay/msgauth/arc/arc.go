package arc

import (
	"context"
	"crypto"
	"time"

	"mxbypass/relay/header"
)

// MaxInstances is how many sets a chain may have (RFC 8617 section 4.2.1).
const MaxInstances = 50

// The fields of a set.
const (
	ResultsField   = "ARC-Authentication-Results"
	SignatureField = "ARC-Message-Signature"
	SealField      = "ARC-Seal"
)

// Status is the state of a chain (RFC 8617 section 4.4), as it stands in cv= and in Authentication-Results.
type Status string

// The states.
const (
	None Status = "none"
	Pass Status = "pass"
	Fail Status = "fail"
)

// Chain is what was found out about the sets of a message. Everything in it but Status and Temporary is what the message
// says: text to be printed with care, and to be believed for a chain that passes only, as far as its sealers are.
type Chain struct {
	Status    Status
	Instances int // the highest instance that was found, also in a broken chain

	// Sealers are the domains (d=) of the seals, lower case, the newest first. Of a broken chain there are none.
	Sealers []string
	// Results is what the newest sealer found out: the payload of its ARC-Authentication-Results, unfolded, from the
	// authserv-id on. Empty for a broken chain.
	Results string
	// OldestPass is the lowest instance from which on every message signature still holds; 0 when all of them do
	// (RFC 8617 section 5.2).
	OldestPass int

	// Reason says in printable words why the chain fails.
	Reason string
	// Temporary: the chain fails only because a key could not be asked for, or the message could not be read, now.
	Temporary bool
}

// Lookup asks for the TXT records of a name. Its error is a [net.DNSError] that says IsNotFound when there are none; any
// other one is temporary.
type Lookup func(ctx context.Context, name string) ([]string, error)

// Validate validates the chain of a message as it came in (RFC 8617 section 5.2). h is its header as it was read.
func Validate(ctx context.Context, h *header.Header, lookupTXT Lookup) Chain {
	_, _, _ = ctx, h, lookupTXT
	return Chain{Status: None}
}

// SealInput is what a new set is made from.
type SealInput struct {
	Results string // the payload of an Authentication-Results field of ours: authserv-id; results
	Chain   Chain  // what Validate has said of the message as it came in
	Domain  string // d=, the name in A-labels
	// Selector, Key: the RSA key of the domain, whose public half DNS has.
	Selector string
	Key      crypto.Signer
	Time     time.Time // t=
}

// Seal gives the next set for the message whose header is h, as it is to leave: three fields with CRLF, to be put on top.
// It is nil when there must be no further set: the chain was broken when its last sealer saw it, it is full, or nobody
// could find out whether it is whole.
func Seal(h *header.Header, in SealInput) ([]byte, error) {
	_, _ = h, in
	return nil, nil
}
