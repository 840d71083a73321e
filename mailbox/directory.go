package mailbox

import "context"

// MXPolicy says how far plain mail for a hosted domain follows the MX records of that domain.
type MXPolicy string

// The policies; see the decision table in ARCHITECTURE.md.
const (
	PolicyAuto     MXPolicy = "auto"     // as the MX state says
	PolicyLocal    MXPolicy = "local"    // all of its mail is kept here
	PolicyExternal MXPolicy = "external" // its mail is kept by the external MX
	PolicySplit    MXPolicy = "split"    // what is not kept here is kept by the other half
)

// Valid tells whether p is one of the policies.
func (p MXPolicy) Valid() bool {
	return p == PolicyAuto || p == PolicyLocal || p == PolicyExternal || p == PolicySplit
}

// HasOtherHalf tells whether an address that is not kept here is one of the external MX, whatever DNS says.
func (p MXPolicy) HasOtherHalf() bool { return p == PolicyExternal || p == PolicySplit }

// Domain is a hosted domain.
type Domain struct {
	Name     DomainName
	Site     string   // names the store of its mailboxes
	MX       MXPolicy // never empty when it comes from a Directory
	Bypass   bool     // may be reached by bypass addresses
	Disabled bool     // all of its mailboxes are refused for now
	CatchAll Address  // a mailbox of this directory that takes unknown local parts; null: none
	External External // by which way its external mail leaves

	Authentication Authentication // what happens to mail that fails DMARC; empty: as the relay does by default
	Upstreams      []string       // whose mail for the domain is forwarded mail: as [ParseUpstreams] writes them
}

// Authentication says what the verdict of SPF, DKIM and DMARC means for the mail of a hosted domain.
type Authentication string

// The policies.
const (
	AuthenticationOff     Authentication = "off"     // nobody looks
	AuthenticationMark    Authentication = "mark"    // the verdict is written into the message
	AuthenticationEnforce Authentication = "enforce" // what the sender's domain wants refused is refused
)

// Valid tells whether a is one of the policies; the empty one is the relay's default.
func (a Authentication) Valid() bool {
	return a == "" || a == AuthenticationOff || a == AuthenticationMark || a == AuthenticationEnforce
}

// Entry is what a directory says about one local part of a hosted domain: a mailbox or an alias.
type Entry struct {
	Address  Address   // as the directory writes it; its folded form is the key
	Disabled bool      // a mailbox that is refused for now
	Alias    []Address // where an alias leads; empty: this is a mailbox
	Copies   []Address // of a mailbox: addresses that get its mail as well
	Password bool      // of a mailbox: its user can log in; see [Secrets]
}

// Directory knows the hosted domains, their mailboxes and aliases. It answers exact questions only; aliases,
// subaddresses and the catch-all are followed by [Resolver] in one way for every directory.
//
// Implementations are safe for concurrent use and honour the context. A directory that cannot answer says so with an
// error that is neither [ErrNoDomain] nor [ErrNoMailbox]: these two mean that it looked and knows better.
type Directory interface {
	// Domain returns the hosted domain of exactly that name, or an error that wraps ErrNoDomain.
	Domain(ctx context.Context, name DomainName) (Domain, error)
	// Entry returns the mailbox or alias under the folded address, or an error that wraps ErrNoMailbox.
	Entry(ctx context.Context, address Address) (Entry, error)
}

// Secrets knows how the password of a mailbox is kept. Implementations are safe for concurrent use and honour the
// context; an error that is not [ErrNoMailbox] is temporary.
type Secrets interface {
	// Secret returns the hash of the password of the mailbox under the folded address, in the form that mailbox/password
	// verifies. It is empty when the mailbox has none: nobody logs in as it. The error wraps ErrNoMailbox when there is
	// no such mailbox; an alias is none.
	Secret(ctx context.Context, address Address) (string, error)
}

// Mailbox is an identity of the directory: the one place to which mail of this address goes. It holds no next hop and no
// path; its site's store knows where it is.
type Mailbox struct {
	Address Address // canonical: as the directory writes it, domain and site looked up
	Site    string
}

// SitePostmaster is the reserved site of the fallback postmaster mailbox, for mail to postmaster when the operator named
// no mailbox (RFC 5321 section 4.5.1). No configured site can have this name.
const SitePostmaster = "(postmaster)"
