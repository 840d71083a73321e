package directory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"mxbypass/mailbox"
)

// Errors of changes. Those of package mailbox tell that a domain or mailbox is not there.
var (
	// ErrInvalid: what was asked for breaks a rule. Errors of [Invalidf] are this one.
	ErrInvalid = errors.New("invalid")
	// ErrExists: there is already one of that name.
	ErrExists = errors.New("already exists")
	// ErrInUse: something else leads to it, or is in it.
	ErrInUse = errors.New("in use")
	// ErrReadOnly: the directory cannot be written to by whoever asked.
	ErrReadOnly = errors.New("directory is read-only")
)

// Invalidf is an error that errors.Is finds to be ErrInvalid, with a text of its own. The format is that of fmt.Errorf.
func Invalidf(format string, args ...any) error { return invalidError{fmt.Errorf(format, args...)} }

type invalidError struct{ error }

func (e invalidError) Unwrap() error        { return e.error }
func (e invalidError) Is(target error) bool { return target == ErrInvalid }

// Reader is a directory that can be listed and closed.
type Reader interface {
	mailbox.Directory
	mailbox.Secrets
	// Domains yields every hosted domain, by name. It ends after the first error.
	Domains(ctx context.Context) iter.Seq2[mailbox.Domain, error]
	// Entries yields the mailboxes and aliases of a domain by folded local part, or those of all domains when the name
	// is zero, domain by domain. It ends after the first error.
	Entries(ctx context.Context, domain mailbox.DomainName) iter.Seq2[mailbox.Entry, error]
	io.Closer
}

// Editor is a directory that can be changed. Every method is one transaction: it happens wholly or not at all, and when
// it returns nil, the change is durable and every other process that uses the directory sees it within a second. What
// is asked for is checked against the Rules of the directory.
type Editor interface {
	Reader
	// AddDomain adds a domain; ErrExists when it is there. It is ErrInvalid when something leads to a mailbox of it, which
	// does not exist yet, unless its policy says that such a one is kept by the other half.
	AddDomain(ctx context.Context, d mailbox.Domain) error
	// SetDomain gives the domain of that name to change, and keeps what change leaves in it. The name stays.
	SetDomain(ctx context.Context, name mailbox.DomainName, change func(*mailbox.Domain) error) error
	// RemoveDomain removes a domain. One with mailboxes is only removed, with them, when all is set; else ErrInUse.
	// It is ErrInUse as well when aliases, copies or a catch-all of other domains lead into it.
	RemoveDomain(ctx context.Context, name mailbox.DomainName, all bool) error
	// AddEntry adds a mailbox or an alias; ErrExists when there is one or the other of that name.
	AddEntry(ctx context.Context, e mailbox.Entry) error
	// SetEntry gives the mailbox or alias to change, and keeps what change leaves in it. The address stays.
	SetEntry(ctx context.Context, a mailbox.Address, change func(*mailbox.Entry) error) error
	// SetSecret gives a mailbox the hash of its password, or takes it away when it is empty. The error wraps ErrInvalid when
	// mailbox/password does not verify such hashes, and for an alias. AddEntry and SetEntry leave passwords alone, except
	// that a mailbox which becomes an alias loses its own.
	SetSecret(ctx context.Context, a mailbox.Address, hash string) error
	// RemoveEntry removes a mailbox or an alias; ErrInUse when an alias, a copy or a catch-all leads to it. Where the other
	// half of the domain keeps what is not here, aliases and copies lead there from then on.
	RemoveEntry(ctx context.Context, a mailbox.Address) error
	// Import adds many in one transaction; see Source and Report.
	Import(ctx context.Context, from Source, o ImportOptions) (Report, error)
}
