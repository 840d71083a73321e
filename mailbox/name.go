package mailbox

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// CheckMailboxName tells whether a mailbox may have this local part: it must be a dot-string, so that it is written
// without quotes everywhere, and it must be harmless as the name of a folder, because stores make one of it. It is asked
// when a mailbox is made and again each time that one is used. The error wraps [ErrSyntax] or [ErrTooLong].
func CheckMailboxName(l LocalPart) error {
	folded := l.Fold()
	switch {
	case len(l) > MaxLocalPart || len(folded) > MaxLocalPart:
		return fmt.Errorf("%w: a local part has at most %d octets", ErrTooLong, MaxLocalPart)
	case !l.IsDotString() || !folded.IsDotString():
		return fmt.Errorf("%w: a mailbox name is made of letters, digits, signs and single dots between them", ErrSyntax)
	case strings.IndexByte(string(l), '/') >= 0:
		return fmt.Errorf("%w: a mailbox name has no %q", ErrSyntax, "/")
	}
	if isASCII(string(l)) {
		return nil
	}
	for _, r := range string(l) {
		if r >= utf8.RuneSelf && (unicode.IsSpace(r) || !unicode.IsGraphic(r)) {
			return fmt.Errorf("%w: a mailbox name has no spaces and nothing invisible", ErrSyntax)
		}
	}
	return nil
}

// CheckDomainName tells whether a domain of that name can be hosted: it is a name, not an address literal, and it has
// more than one label. The error wraps [ErrSyntax].
func CheckDomainName(d DomainName) error {
	switch {
	case d.IsZero():
		return fmt.Errorf("%w: no domain", ErrSyntax)
	case d.IsLiteral():
		return fmt.Errorf("%w: an address literal is no domain", ErrSyntax)
	case !strings.Contains(d.ascii, "."):
		return fmt.Errorf("%w: a hosted domain has at least two labels", ErrSyntax)
	}
	return nil
}
