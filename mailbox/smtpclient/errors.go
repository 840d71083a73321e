package smtpclient

import (
	"errors"
	"fmt"

	"mxbypass/mailbox"
)

// Errors of a connection. They wrap [mailbox.ErrUnavailable] where they are returned: another try can be better.
var (
	// ErrTLS: encryption that was wanted could not be had. The cause is wrapped. With TLSIfThere the same server may be
	// tried again without TLS, on a new connection.
	ErrTLS = errors.New("no TLS")
	// ErrNoStartTLS: it is because the server does not announce STARTTLS. It stands beside ErrTLS.
	ErrNoStartTLS = errors.New("the server does not announce STARTTLS")
	// ErrNoAuth: the server offers no way of AUTH that we know.
	ErrNoAuth = errors.New("the server offers neither AUTH PLAIN nor AUTH LOGIN")
	// ErrStale: the connection was of no more use before the transaction began. A new one can be tried.
	ErrStale = errors.New("stale connection")
)

// ErrContent: the message cannot be read, or is not what [mailbox.Content] promises. The cause is wrapped. Neither the
// server nor the network is to blame, and the server has not seen the end of the message.
var ErrContent = errors.New("the message cannot be read")

// LostError says that a connection failed, or that the server said what cannot stand there. It wraps
// [mailbox.ErrUnavailable] and the cause: that of the context where it ended the connection.
type LostError struct {
	Host    string // as in the Options
	Command string // what was being said or answered
	Err     error
}

// Error implements error.
func (e *LostError) Error() string {
	return fmt.Sprintf("%s: %s: %v: %v", e.Host, e.Command, mailbox.ErrUnavailable, e.Err)
}

// Unwrap gives what it is and why.
func (e *LostError) Unwrap() []error { return []error{mailbox.ErrUnavailable, e.Err} }

// Errors of a message that the server cannot have as it is, found before it was told about the message: the connection
// can be used for others. They are final, and so is [mailbox.ErrNoUTF8].
var (
	// ErrTooBig: bigger than the server announced to accept (5.3.4).
	ErrTooBig = fmt.Errorf("%w: its limit is announced", mailbox.ErrTooBig)
	// ErrEightBit: the message has octets beyond ASCII, and the server does not announce 8BITMIME (5.6.3).
	ErrEightBit = errors.New("message needs 8BITMIME, which the server does not offer")
	// ErrRequireTLS: the message must stay under TLS, and the server does not promise that (5.7.30, RFC 8689).
	ErrRequireTLS = errors.New("message needs REQUIRETLS, which the server does not offer")
)
