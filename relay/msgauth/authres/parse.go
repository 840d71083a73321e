package authres

import (
	"errors"
	"strings"

	"mxbypass/mailbox"
)

// ErrSyntax: a field cannot be read.
var ErrSyntax = errors.New("malformed Authentication-Results")

// maxResults bounds what is read of one field.
const maxResults = 50

// Parse reads the payload of a field, unfolded: what follows its name. It does without the finer points of the grammar,
// which those who write these fields do as well. The error wraps [ErrSyntax].
func Parse(payload string) (id string, results []Result, err error) {
	s := scanner{rest: payload}
	if id, err = s.id(); err != nil {
		return "", nil, err
	}
	for len(results) < maxResults {
		r, more, err := s.result()
		if err != nil {
			return "", nil, err
		}
		if !more {
			return id, results, nil
		}
		if r.Method != "" {
			results = append(results, r)
		}
	}
	return id, results, nil
}

// Claims tells whether a field claims to be ours, in whatever spelling: other case, quoted, with comments, in U-labels,
// with a version. One that cannot be read is taken for such a claim when our name is anywhere in it: somebody else may
// read it otherwise.
func Claims(payload, id string) bool {
	s := scanner{rest: payload}
	written, err := s.id()
	if err != nil {
		return strings.Contains(strings.ToLower(payload), strings.ToLower(id))
	}
	return same(written, id)
}

func same(a, b string) bool {
	if strings.EqualFold(a, b) {
		return true
	}
	x, errX := mailbox.ParseDomainName(strings.TrimSpace(a))
	y, errY := mailbox.ParseDomainName(b)
	return errX == nil && errY == nil && x == y
}

// scanner takes a payload apart into words, quoted strings, and the marks ";" and "=". Comments and white space only part
// them.
type scanner struct{ rest string }

type token struct {
	text string
	mark byte // ';', '=', or 0 for a word; 'e' at the end
}

func (s *scanner) next() (token, error) {
	if err := s.space(); err != nil {
		return token{}, err
	}
	if s.rest == "" {
		return token{mark: 'e'}, nil
	}
	switch c := s.rest[0]; c {
	case ';', '=':
		s.rest = s.rest[1:]
		return token{mark: c}, nil
	case '"':
		text, err := s.quoted()
		return token{text: text}, err
	}
	end := strings.IndexAny(s.rest, " \t\r\n;=\"(")
	if end < 0 {
		end = len(s.rest)
	}
	word := s.rest[:end]
	s.rest = s.rest[end:]
	return token{text: word}, nil
}

// peek tells which mark is next, if it is one.
func (s *scanner) peek() byte {
	ahead := *s
	t, err := ahead.next()
	if err != nil {
		return 0
	}
	return t.mark
}

// space passes over white space and comments (RFC 5322 section 3.2.2), which nest.
func (s *scanner) space() error {
	for {
		s.rest = strings.TrimLeft(s.rest, " \t\r\n")
		if s.rest == "" || s.rest[0] != '(' {
			return nil
		}
		depth, i := 0, 0
		for ; i < len(s.rest); i++ {
			switch s.rest[i] {
			case '\\':
				i++
			case '(':
				depth++
			case ')':
				depth--
			}
			if depth == 0 {
				break
			}
		}
		if i >= len(s.rest) {
			return ErrSyntax
		}
		s.rest = s.rest[i+1:]
	}
}

func (s *scanner) quoted() (string, error) {
	var b strings.Builder
	for i := 1; i < len(s.rest); i++ {
		switch c := s.rest[i]; {
		case c == '"':
			s.rest = s.rest[i+1:]
			return b.String(), nil
		case c == '\\' && i+1 < len(s.rest):
			i++
			b.WriteByte(s.rest[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", ErrSyntax
}

// id reads the authserv-id and a version behind it.
func (s *scanner) id() (string, error) {
	t, err := s.next()
	if err != nil {
		return "", err
	}
	if t.mark != 0 || t.text == "" {
		return "", ErrSyntax
	}
	switch s.peek() {
	case ';', 'e':
		return t.text, nil
	}
	version, err := s.next()
	if err != nil || strings.Trim(version.text, "0123456789") != "" {
		return "", ErrSyntax
	}
	if p := s.peek(); p != ';' && p != 'e' {
		return "", ErrSyntax
	}
	return t.text, nil
}

// result reads from a semicolon on to the next one. Without a method it is "none", or nothing.
func (s *scanner) result() (r Result, more bool, err error) {
	t, err := s.next()
	if err != nil || t.mark == 'e' {
		return Result{}, false, err
	}
	if t.mark != ';' {
		return Result{}, false, ErrSyntax
	}
	for first := true; ; first = false {
		if p := s.peek(); p == ';' || p == 'e' {
			return r, true, nil
		}
		name, value, err := s.pair()
		switch {
		case err != nil:
			return Result{}, false, err
		case first && value == "", len(r.Properties) == maxResults: // "none", or too much
		case first:
			method, _, _ := strings.Cut(name, "/") // its version
			r.Method, r.Value = strings.ToLower(method), strings.ToLower(value)
		case strings.EqualFold(name, "reason"):
			r.Reason = value
		default:
			r.Properties = append(r.Properties, Property{strings.ToLower(name), value})
		}
	}
}

// pair reads a word and, behind "=", its value; a word alone has none. A value may have an "=" in it.
func (s *scanner) pair() (name, value string, err error) {
	t, err := s.next()
	if err != nil {
		return "", "", err
	}
	if t.mark != 0 {
		return "", "", ErrSyntax
	}
	if s.peek() != '=' {
		return t.text, "", nil
	}
	if _, err := s.next(); err != nil {
		return "", "", err
	}
	value, err = s.value()
	return t.text, value, err
}

// value reads what stands behind "=", up to white space, a comment or a semicolon: words, quoted strings, and what parts
// words elsewhere, as the base64 of a signature has it.
func (s *scanner) value() (string, error) {
	if err := s.space(); err != nil {
		return "", err
	}
	var b strings.Builder
	for s.rest != "" && !strings.Contains(" \t\r\n;(", s.rest[:1]) {
		if s.rest[0] == '"' {
			text, err := s.quoted()
			if err != nil {
				return "", err
			}
			b.WriteString(text)
			continue
		}
		end := strings.IndexAny(s.rest, " \t\r\n;(\"")
		if end < 0 {
			end = len(s.rest)
		}
		b.WriteString(s.rest[:end])
		s.rest = s.rest[end:]
	}
	return b.String(), nil
}
