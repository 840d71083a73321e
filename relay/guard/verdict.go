package guard

import (
	"errors"
	"time"
)

// Errors of a [Verdict].
var (
	// ErrNetworkFull: the network of the client has all the connections at once that it may have.
	ErrNetworkFull = errors.New("too many connections at once from the network")
	// ErrTooOften: the client, or its network, connects too often.
	ErrTooOften = errors.New("too many connections over time")
	// ErrTooFast: the client, or its network, has sent too many messages, or named too many recipients, over time.
	ErrTooFast = errors.New("too much over time")
	// ErrTooManyUnknown: the client, or its network, has named too many recipients that do not exist. It holds for those
	// that do exist as well, so that nothing is learned from it.
	ErrTooManyUnknown = errors.New("too many unknown recipients over time")
	// ErrLocked: too many logins have failed, for this client or for this name.
	ErrLocked = errors.New("too many failed logins")
)

// Verdict says whether a client may do what it is about to do.
type Verdict struct {
	Delay time.Duration // how long the answer should wait
	Err   error         // why not; one of the errors of this package
}
