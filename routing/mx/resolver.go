package mx

import (
	"context"
	"net/netip"
	"time"

	"mxbypass/mailbox"
)

// Outcome is what a question to DNS led to. The zero value is Failed.
type Outcome uint8

// The outcomes.
const (
	Failed   Outcome = iota // nobody told; never a "no"
	Found                   // there are records
	NoData                  // the name exists, without records of that type
	NXDomain                // there is no such name
)

// Answer is the answer to one question.
type Answer[Record any] struct {
	Outcome Outcome
	Records []Record // Found: one or more
	// TTL says how long the answer may be kept: the lowest of its records and aliases, or for NoData and NXDomain that of
	// RFC 2308 section 5. Zero when it must not be kept, and when it failed.
	TTL time.Duration
	// Alias is where the chain of CNAMEs from the name that was asked ends; empty: the name is no alias. Printable.
	Alias string
	// Authoritative tells that the TTLs come from the zone itself, and not from somebody's cache.
	Authoritative bool
	// Secure tells that a resolver which we trust has validated all of it by DNSSEC, a "no" as well (RFC 4035 section 3.2.3).
	Secure bool
	// Err says why it failed. With Found it says that records may be missing (addresses of one family).
	Err error
}

// MX is one MX record.
type MX struct {
	Preference uint16
	Host       mailbox.DomainName // zero: what stands there is no host name
	Root       bool               // the host is the root, "."; a single one is a null MX (RFC 7505)
	TTL        time.Duration
}

// Resolver asks DNS. It is safe for concurrent use, honours the context, and always ends within a time of its own.
type Resolver interface {
	// LookupMX gives the MX records of a name, by preference, and by name among equals.
	LookupMX(ctx context.Context, name mailbox.DomainName) Answer[MX]
	// LookupAddr gives the A and AAAA records of a name.
	LookupAddr(ctx context.Context, name mailbox.DomainName) Answer[netip.Addr]
}
