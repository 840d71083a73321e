package mailbox

import (
	"errors"
	"fmt"
)

// Errors of addresses. All of them are final for the address as it was written.
var (
	// ErrSyntax: what was written is no address.
	ErrSyntax = errors.New("invalid address")
	// ErrTooLong: longer than RFC 5321 section 4.5.3.1 allows.
	ErrTooLong = errors.New("address too long")
	// ErrNeedsUTF8: not ASCII, and the client did not ask for SMTPUTF8.
	ErrNeedsUTF8 = errors.New("address needs SMTPUTF8")
)

// Errors of directories and stores. An error that is none of these and not a [RemoteError] is temporary: unknown is
// never "no".
var (
	// ErrNoDomain: the directory answered, and it does not know the domain.
	ErrNoDomain = errors.New("domain not hosted here")
	// ErrNoMailbox: the directory answered, and there is no such mailbox or alias.
	ErrNoMailbox = errors.New("no such mailbox")
	// ErrDisabled: the mailbox or its domain is disabled for now; temporary.
	ErrDisabled = errors.New("mailbox disabled")
	// ErrAliasLoop: aliases lead to themselves or too deep; temporary, because the operator will mend it.
	ErrAliasLoop = errors.New("alias loop")
	// ErrUnavailable: the directory or the store cannot answer now; temporary.
	ErrUnavailable = errors.New("not available")
	// ErrOverQuota: the mailbox is full; temporary or final as the store says.
	ErrOverQuota = errors.New("mailbox full")
	// ErrNoSpace: the file system has no room; temporary.
	ErrNoSpace = errors.New("no space left")
	// ErrNoUTF8: the message can only travel with SMTPUTF8, and the server behind the store does not offer it. Final.
	ErrNoUTF8 = fmt.Errorf("%w, which the mailbox server does not offer", ErrNeedsUTF8)
	// ErrTooBig: the message is bigger than the server behind the store announced to take. Final.
	ErrTooBig = errors.New("message too big for the mailbox server")
	// ErrInDoubt: the connection to the server was lost after the whole message was sent, before the answer came.
	// Temporary; the message may have been delivered, and a second attempt may cost a duplicate.
	ErrInDoubt = errors.New("no answer to the complete message, it may have been delivered")
)

// RemoteError is the refusal of another server (LMTP, SMTP), kept whole.
type RemoteError struct {
	Code     int    // 4xx or 5xx
	Enhanced [3]int // RFC 3463; zero when the server gave none
	Text     string // without the codes; lines joined by "\n"; as it came: escape before showing
	Host     string // who said it
	Command  string // in answer to what: "connect", "LHLO", "STARTTLS", …, "RCPT", "DATA", "mail data", "end of data"
}

// Error implements error, safely printable.
func (e *RemoteError) Error() string {
	return fmt.Sprintf("%s answered %s with %d %s", e.Host, e.Command, e.Code, Printable(e.Text))
}

// Temporary tells whether the same may succeed later.
func (e *RemoteError) Temporary() bool { return e.Code/100 == 4 }
