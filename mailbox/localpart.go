package mailbox

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// MaxLocalPart is the longest local part in octets (RFC 5321 section 4.5.3.1.1).
const MaxLocalPart = 64

// LocalPart is the decoded left side of an address, without quotes or backslashes, in Unicode form C (RFC 6532
// section 3.1). It never holds a control character. How it must be quoted on the wire is its own business: see
// [LocalPart.Wire].
type LocalPart string

// Fold gives the form under which directories compare local parts: lower case, form C.
func (l LocalPart) Fold() LocalPart {
	for i := 0; i < len(l); i++ {
		if c := l[i]; c >= utf8.RuneSelf || 'A' <= c && c <= 'Z' {
			return LocalPart(norm.NFC.String(strings.ToLower(string(l))))
		}
	}
	return l
}

// IsASCII tells whether the local part travels without SMTPUTF8 (RFC 6531).
func (l LocalPart) IsASCII() bool { return isASCII(string(l)) }

// IsDotString tells whether the local part is a dot-string (RFC 5321 section 4.1.2), which needs no quotes.
func (l LocalPart) IsDotString() bool {
	if l == "" {
		return false
	}
	dot := true // as if a dot stood before the first atom: a leading dot is then a double one
	for _, r := range string(l) {
		if r == '.' {
			if dot {
				return false
			}
			dot = true
			continue
		}
		if !isAtext(r) {
			return false
		}
		dot = false
	}
	return !dot
}

// Wire gives the local part as it is written in a command or a header: quoted when it has to be.
func (l LocalPart) Wire() string {
	if l.IsDotString() {
		return string(l)
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range string(l) {
		if r == '"' || r == '\\' {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	b.WriteByte('"')
	return b.String()
}

// isAtext is atext of RFC 5322 section 3.2.3, with the UTF8-non-ascii of RFC 6531 section 3.3.
func isAtext(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return true
	case r >= utf8.RuneSelf:
		return allowedRune(r)
	}
	return strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
}

// allowedRune refuses what no address may hold: controls, separators of lines and paragraphs, code points that are no
// characters, and the replacement character that broken input turns into.
func allowedRune(r rune) bool {
	if r < utf8.RuneSelf { // nearly all of them
		return r >= 0x20 && r != 0x7f
	}
	switch {
	case r == utf8.RuneError, unicode.IsControl(r):
		return false
	case unicode.In(r, unicode.Zl, unicode.Zp, unicode.Cs, unicode.Noncharacter_Code_Point):
		return false
	}
	return true
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
