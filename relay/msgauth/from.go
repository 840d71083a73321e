package msgauth

import (
	"io"
	"mime"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"mxbypass/mailbox"
	"mxbypass/relay/header"
)

// maxFrom is how many From domains of a message are judged. A second one is rare already.
const maxFrom = 4

// authors are the domains in the From field of a message.
type authors struct {
	domains []mailbox.DomainName
	more    bool // there are more than are judged
}

// unknown tells whether somebody may be shown as the author of whom nothing is known.
func (a authors) unknown() bool { return a.more || len(a.domains) == 0 }

// authorsOf finds the From domains, of every From field. What cannot be read as RFC 5322 has it is read as people's
// programs would show it. Otherwise a field could be one that is shown and not judged.
func authorsOf(h *header.Header) authors {
	var a authors
	for _, f := range h.All("From") {
		if addresses, err := header.From(&header.Header{Fields: []header.Field{f}}); err == nil {
			for _, from := range addresses {
				a.add(from.Domain)
			}
			continue
		}
		value := f.Value()
		if found := a.shown(value); !found {
			a.shown(decoded(value))
		}
	}
	return a
}

// shown adds the domains that a field shows which is none of RFC 5322: of each of its parts those in angle brackets, else
// whatever stands behind an "@".
func (a *authors) shown(value string) (found bool) {
	for part := range parts(around.ReplaceAllString(withoutComments(value), "$1")) {
		if _, inside, _ := strings.Cut(part, "<"); strings.Contains(inside, "@") {
			part = strings.ReplaceAll(inside, "<", " ")
		}
		for _, behind := range strings.Split(part, "@")[1:] {
			end := strings.IndexFunc(behind, func(r rune) bool {
				return !unicode.In(r, unicode.L, unicode.N, unicode.M) && !strings.ContainsRune("-_.。", r)
			})
			if end < 0 {
				end = len(behind)
			}
			if name, err := mailbox.ParseDomainName(behind[:end]); err == nil {
				a.add(name)
				found = true
			}
		}
	}
	return found
}

// around finds the white space that RFC 5322 section 4.4 once allowed around the dots and the "@" of an address.
var around = regexp.MustCompile(`[ \t]*([.@])[ \t]*`)

// parts gives what stands between the commas and semicolons that no quotes hide.
func parts(value string) func(yield func(string) bool) {
	quoted := false
	return strings.FieldsFuncSeq(value, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return !quoted && (r == ',' || r == ';')
	})
}

// withoutComments takes the comments out of a value (RFC 5322 section 3.2.2), if they are closed.
func withoutComments(value string) string {
	var outside strings.Builder
	quoted, depth := false, 0
	for i := 0; i < len(value); i++ {
		c := value[i]
		switch {
		case c == '"' && depth == 0:
			quoted = !quoted
		case c == '(' && !quoted:
			depth++
			continue
		case c == ')' && depth > 0:
			depth--
			continue
		}
		pair := value[i : i+1]
		if c == '\\' {
			pair = value[i:min(i+2, len(value))]
			i++
		}
		if depth == 0 {
			outside.WriteString(pair)
		}
	}
	if depth > 0 {
		return value
	}
	return outside.String()
}

// decoded gives a value with its encoded words (RFC 2047) as they are shown. There should be none in an address.
func decoded(value string) string {
	words := mime.WordDecoder{CharsetReader: func(_ string, in io.Reader) (io.Reader, error) { return in, nil }}
	text, err := words.DecodeHeader(value)
	if err != nil {
		return value
	}
	return text
}

func (a *authors) add(d mailbox.DomainName) {
	switch {
	case slices.Contains(a.domains, d):
	case len(a.domains) == maxFrom:
		a.more = true
	default:
		a.domains = append(a.domains, d)
	}
}
