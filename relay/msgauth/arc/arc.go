package arc

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

// Chain is what was found out about the sets of a message.
//
// What stands in it beside Status, Instances and Temporary was written by others: to be printed with care, and to be
// believed as far as its sealers are.
type Chain struct {
	Status    Status
	Instances int // the highest instance that was found, also in a broken chain

	// Sealers are the domains (d=) of the seals in A-labels, the newest first. Of a broken chain there are none.
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
