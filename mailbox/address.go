package mailbox

import (
	"strings"
	"unicode"
)

// Address is a mailbox address: local part and domain. The zero value is the null reverse-path (RFC 5321
// section 4.5.5). Two addresses with equal fields are the same address; directories compare the folded local part.
type Address struct {
	Local  LocalPart
	Domain DomainName
}

// IsNull tells whether this is the null reverse-path.
func (a Address) IsNull() bool { return a == Address{} }

// NeedsUTF8 tells whether the address can only travel with SMTPUTF8: the domain can always be written in A-labels, a
// local part cannot.
func (a Address) NeedsUTF8() bool { return !a.Local.IsASCII() }

// Fold gives the address as directories compare it.
func (a Address) Fold() Address { return Address{a.Local.Fold(), a.Domain} }

// Wire prints the address for a command, without the angle brackets: the local part quoted where it must be, the domain
// in A-labels. The null reverse-path is the empty string.
func (a Address) Wire() string {
	if a.Domain.IsZero() {
		if a.Local == "" {
			return ""
		}
		return a.Local.Wire() // <Postmaster>, RFC 5321 section 4.5.1
	}
	return a.Local.Wire() + "@" + a.Domain.ASCII()
}

// Header prints the address for a header field that we write (RFC 5322 addr-spec, RFC 6532 when the local part needs
// it). It is the form on the wire, so that a message never needs SMTPUTF8 because of a domain.
func (a Address) Header() string { return a.Wire() }

// String prints the address for logs and people: the form on the wire, with everything that is not graphic replaced, so
// that it can go to a terminal. The null reverse-path is <>.
func (a Address) String() string {
	if a.IsNull() {
		return "<>"
	}
	return Printable(a.Wire())
}

// Printable replaces every character of s that is not graphic, or that reorders text, by U+FFFD. It is for what came
// from the network and is shown to people. Invalid UTF-8 becomes U+FFFD as well.
func Printable(s string) string {
	plain := true
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] >= 0x7f {
			plain = false
			break
		}
	}
	if plain {
		return s
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) || unicode.Is(unicode.Cf, r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}
