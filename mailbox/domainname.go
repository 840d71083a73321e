package mailbox

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// MaxDomainName is the longest domain in octets (RFC 5321 section 4.5.3.1.2).
const MaxDomainName = 255

// DomainName is the name of a domain or host: lower case, A-labels (RFC 5890), no trailing dot. It may also be an
// address literal (RFC 5321 section 4.1.3), which no hosted domain and no gateway ever is. Two names that mean the same
// domain are equal with ==. The zero value is no domain.
type DomainName struct{ ascii string }

// lookup maps and checks a name as for a lookup (UTS 46, not transitional): U-labels become A-labels and A-labels are
// proved to be ones. STD 3 rules and hyphens are ours (see validLabels), because senders with an underscore and names
// with hyphens in the third and fourth place do exist.
var lookup = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.BidiRule(), idna.VerifyDNSLength(true),
	idna.StrictDomainName(false), idna.CheckHyphens(false))

// ParseDomainName parses a domain name in any of its spellings: A-labels or U-labels, any case, with at most one
// trailing dot. Address literals are refused. The error wraps [ErrSyntax] or [ErrTooLong].
func ParseDomainName(s string) (DomainName, error) {
	s = strings.TrimSuffix(s, ".")
	if len(s) > MaxDomainName {
		return DomainName{}, fmt.Errorf("%w: a domain has at most %d octets", ErrTooLong, MaxDomainName)
	}
	if s == "" {
		return DomainName{}, fmt.Errorf("%w: empty domain", ErrSyntax)
	}
	if !utf8.ValidString(s) {
		return DomainName{}, fmt.Errorf("%w: the domain is not valid UTF-8", ErrSyntax)
	}
	ascii := strings.ToLower(s)
	if !plainLDH(ascii) {
		var err error
		if ascii, err = toASCII(s); err != nil {
			return DomainName{}, fmt.Errorf("%w: invalid domain name", ErrSyntax)
		}
	}
	if !validLabels(ascii) {
		return DomainName{}, fmt.Errorf("%w: invalid domain name", ErrSyntax)
	}
	return DomainName{ascii}, nil
}

// MustDomainName is [ParseDomainName] for names that stand in the source code.
func MustDomainName(s string) DomainName {
	d, err := ParseDomainName(s)
	if err != nil {
		panic(fmt.Sprintf("mailbox: %q: %v", s, err))
	}
	return d
}

// ASCII gives the name in A-labels, as DNS and SMTP without SMTPUTF8 want it.
func (d DomainName) ASCII() string { return d.ascii }

// Unicode gives the name in U-labels for people to read, where it leads back to this very name.
func (d DomainName) Unicode() string {
	if !strings.Contains(d.ascii, "xn--") {
		return d.ascii
	}
	u, err := lookup.ToUnicode(d.ascii)
	if err != nil || Printable(u) != u {
		return d.ascii
	}
	if back, err := lookup.ToASCII(u); err != nil || back != d.ascii {
		return d.ascii
	}
	return u
}

// String is [DomainName.ASCII].
func (d DomainName) String() string { return d.ascii }

// IsZero tells whether there is no name.
func (d DomainName) IsZero() bool { return d.ascii == "" }

// IsLiteral tells whether this is an address literal such as [192.0.2.1].
func (d DomainName) IsLiteral() bool { return strings.HasPrefix(d.ascii, "[") }

// looksLikeIPv4 tells whether the last label is a number. No top-level domain is (RFC 3696 section 2), while system
// resolvers take such a name for an address.
func (d DomainName) looksLikeIPv4() bool {
	last := d.ascii[strings.LastIndexByte(d.ascii, '.')+1:]
	return last != "" && strings.Trim(last, "0123456789") == ""
}

// parseLiteral parses an address literal with its brackets (RFC 5321 section 4.1.3; no General-address-literal).
func parseLiteral(s string) (DomainName, error) {
	inner, ok := strings.CutSuffix(strings.TrimPrefix(s, "["), "]")
	if !ok {
		return DomainName{}, fmt.Errorf("%w: unfinished address literal", ErrSyntax)
	}
	v6 := len(inner) > 5 && strings.EqualFold(inner[:5], "IPv6:")
	if v6 {
		inner = inner[5:]
	}
	ip, err := netip.ParseAddr(inner)
	if err != nil || ip.Zone() != "" || ip.Is6() != v6 {
		return DomainName{}, fmt.Errorf("%w: invalid address literal", ErrSyntax)
	}
	if v6 {
		return DomainName{"[IPv6:" + ip.String() + "]"}, nil
	}
	return DomainName{"[" + ip.String() + "]"}, nil
}

// toASCII gives the name in A-labels that lead back to themselves. The second look is needed: what a character is mapped
// to can break a rule that the character itself kept (a Hebrew letter symbol beside Latin ones).
func toASCII(s string) (string, error) {
	ascii, err := lookup.ToASCII(s)
	if err != nil {
		return "", err
	}
	if again, err := lookup.ToASCII(ascii); err != nil || again != ascii {
		return "", fmt.Errorf("%q is no stable name", s)
	}
	return ascii, nil
}

// plainLDH tells whether s is in the form that we keep, so that the usual name costs no IDNA pass.
func plainLDH(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_') {
			return false
		}
		// Two hyphens may mark an A-label (RFC 5890 section 2.3.1): let IDNA look.
		if c == '-' && i > 0 && s[i-1] == '-' {
			return false
		}
	}
	return true
}

// validLabels checks label lengths and the letters, digits and hyphens rule (RFC 1123 section 2.1), with the underscore
// that exists in practice.
func validLabels(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := 0; i < len(label); i++ {
			c := label[i]
			if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
				return false
			}
		}
	}
	return true
}
