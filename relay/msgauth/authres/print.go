package authres

import (
	"strings"

	"mxbypass/mailbox"
)

// Result is what one method has found.
type Result struct {
	Method     string
	Value      string // pass, fail, …
	Comment    string // for people; empty: none
	Reason     string // why, as reason=; empty: none
	Properties []Property
}

// Property is what a result is about, such as header.from=example.org.
type Property struct{ Name, Value string }

// Property gives the value of a property; empty: there is none.
func (r Result) Property(name string) string {
	for _, p := range r.Properties {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

// Bounds of what stands in a field.
const (
	maxValue   = 320 // an address has at most 254 octets, quoted perhaps more
	maxComment = 200
	lineLength = 78 // where a line is folded, if there is a space
)

// Field prints a field with its name, folded, with CRLF at its end.
func Field(id string, results []Result) []byte {
	p := printer{column: len("Authentication-Results:")}
	p.b.WriteString("Authentication-Results:")
	p.word(value(id) + ";")
	if len(results) == 0 {
		p.word("none")
	}
	for i, r := range results {
		p.line()
		p.result(r)
		if i < len(results)-1 {
			p.b.WriteByte(';')
		}
	}
	p.b.WriteString("\r\n")
	return []byte(p.b.String())
}

// printer writes words, and folds between them.
type printer struct {
	b      strings.Builder
	column int
	fresh  bool // at the beginning of a line
}

func (p *printer) line() {
	p.b.WriteString("\r\n\t")
	p.column, p.fresh = 8, true
}

func (p *printer) word(w string) {
	if !p.fresh && p.column+1+len(w) >= lineLength {
		p.line()
	}
	if !p.fresh {
		p.b.WriteByte(' ')
		p.column++
	}
	p.b.WriteString(w)
	p.column += len(w)
	p.fresh = false
}

func (p *printer) result(r Result) {
	p.word(r.Method + "=" + r.Value)
	if r.Comment != "" {
		p.comment(r.Comment)
	}
	if r.Reason != "" {
		p.word("reason=" + quoted(r.Reason))
	}
	for _, q := range r.Properties {
		if q.Value != "" {
			p.word(q.Name + "=" + value(q.Value))
		}
	}
}

// comment writes a comment, folded between its words (RFC 5322 section 3.2.2).
func (p *printer) comment(text string) {
	text = "(" + commentText.Replace(clip(text, maxComment)) + ")"
	for w := range strings.FieldsSeq(text) {
		p.word(w)
	}
}

// commentText: what has a meaning in comments is replaced, and not quoted: few who read these fields unquote.
var commentText = strings.NewReplacer("(", "[", ")", "]", `\`, "/")

// value prints a value (RFC 8601 section 2.2): as it is when it is a token, or two with an "@" between them as in an
// address, else quoted.
func value(s string) string {
	s = clip(s, maxValue)
	local, domain, at := strings.Cut(s, "@")
	if s != "" && isToken(local) && isToken(domain) && (!at || domain != "") {
		return s
	}
	return quoted(s)
}

func quoted(s string) string {
	return `"` + strings.NewReplacer(`"`, `\"`, `\`, `\\`).Replace(clip(s, maxValue)) + `"`
}

// isToken tells whether a text is made of what tokens are made of (RFC 2045 section 5.1); that of length zero is one here.
func isToken(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?=`, r)
	})
}

// clip makes a text printable and short, without a cut in the middle of a character.
func clip(s string, n int) string {
	s = mailbox.Printable(s[:min(len(s), n)])
	return strings.TrimRight(s, "\uFFFD")
}
