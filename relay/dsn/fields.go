package dsn

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxValue bounds a value that stands in one line: with the name of its field it keeps to the 998 octets of RFC 5322
	// section 2.1.1. What is longer is no address.
	maxValue = 900
	// maxDiagnostic and maxReason bound the words about one recipient, in octets.
	maxDiagnostic = 900
	maxReason     = 500

	foldAt = 76 // columns of a field
	wrapAt = 72 // columns of the words
)

// line writes a field whose value is known to be one that can stand there.
func line(b *bytes.Buffer, name, value string) {
	b.WriteString(name + ": " + value + "\r\n")
}

// folded writes a field whose value is words with single spaces between them, none longer than [maxValue]; see [clean].
func folded(b *bytes.Buffer, name, value string) {
	b.WriteString(name + ":")
	column := len(name) + 1
	for i, word := range strings.Fields(value) {
		if i > 0 && column+1+len(word) > foldAt {
			b.WriteString("\r\n")
			column = 0
		}
		b.WriteString(" " + word)
		column += 1 + len(word)
	}
	b.WriteString("\r\n")
}

// wrapped writes a paragraph of the words, each line after indent.
func wrapped(b *bytes.Buffer, indent, text string) {
	column := 0
	for _, word := range strings.Fields(text) {
		switch n := utf8.RuneCountInString(word); {
		case column == 0:
			b.WriteString(indent + word)
			column = len(indent) + n
		case column+1+n > wrapAt:
			b.WriteString("\r\n" + indent + word)
			column = len(indent) + n
		default:
			b.WriteString(" " + word)
			column += 1 + n
		}
	}
	b.WriteString("\r\n")
}

// clean makes one line of at most limit octets out of what came from the network: white space of any kind is one space,
// what is not graphic or reorders text is a question mark, and so is what is not ASCII unless it may be there.
func clean(s string, limit int, mayUTF8 bool) string {
	const more = "..."
	var b strings.Builder
	space := false
	for _, r := range s {
		if unicode.IsSpace(r) {
			space = b.Len() > 0
			continue
		}
		if r == utf8.RuneError || !unicode.IsGraphic(r) || unicode.Is(unicode.Cf, r) || r >= utf8.RuneSelf && !mayUTF8 {
			r = '?'
		}
		if b.Len()+1+utf8.RuneLen(r)+len(more) > limit {
			b.WriteString(more)
			break
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		b.WriteRune(r)
	}
	return b.String()
}

// exact leaves a value as it is, save for what would break the line or the charset. Addresses never hold any of that.
func exact(s string) string {
	if isOneLine(s) {
		return s
	}
	return clean(s, maxValue, true)
}

// isOneLine tells whether s can stand in a field, unchanged: valid UTF-8 without controls and line separators, and not
// too long.
func isOneLine(s string) bool {
	return len(s) <= maxValue && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp)
	})
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}
