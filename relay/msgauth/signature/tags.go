package signature

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"
)

// ErrTags: a list of tags breaks its syntax.
var ErrTags = errors.New("malformed list of tags")

// maxTags bounds a list. The longest that anybody defines has fourteen.
const maxTags = 64

// Tag is one tag of a list.
type Tag struct{ Name, Value string }

// Tags is a list of tags (RFC 6376 section 3.2): "a=b; c=d". Names are case-sensitive and stand there once.
type Tags struct {
	list []Tag
	at   []span // of the values, with all white space around them
}

type span struct{ start, end int }

// ParseTags parses a list, which may be folded and may have UTF-8 in its values (RFC 8616). The error wraps [ErrTags].
func ParseTags(text []byte) (Tags, error) {
	var t Tags
	for at := 0; ; {
		end := len(text)
		if i := bytes.IndexByte(text[at:], ';'); i >= 0 {
			end = at + i
		}
		if end == len(text) && len(t.list) > 0 && len(trim(text[at:])) == 0 {
			return t, nil // the last semicolon may end the list
		}
		if err := t.add(text, at, end); err != nil {
			return Tags{}, err
		}
		if end == len(text) {
			return t, nil
		}
		at = end + 1
	}
}

// add adds the tag that stands at a place of the text.
func (t *Tags) add(text []byte, start, end int) error {
	name, value, found := bytes.Cut(text[start:end], []byte{'='})
	if name = trim(name); !found || !isTagName(name) {
		return fmt.Errorf("%w: %q is no tag", ErrTags, shortened(text[start:end]))
	}
	at := span{end - len(value), end}
	value = trim(value)
	if !utf8.Valid(value) || bytes.ContainsFunc(value, func(r rune) bool {
		return r < ' ' && r != '\t' && r != '\r' && r != '\n' || r == 0x7f
	}) {
		return fmt.Errorf("%w: control character or invalid UTF-8 in %s=", ErrTags, name)
	}
	if _, twice := t.Get(string(name)); twice {
		return fmt.Errorf("%w: %s= stands there twice", ErrTags, name)
	}
	if len(t.list) == maxTags {
		return fmt.Errorf("%w: more than %d", ErrTags, maxTags)
	}
	t.list, t.at = append(t.list, Tag{string(name), string(value)}), append(t.at, at)
	return nil
}

// Get gives the value of a tag, without white space around it, and whether the tag is there.
func (t Tags) Get(name string) (string, bool) {
	for _, tag := range t.list {
		if tag.Name == name {
			return tag.Value, true
		}
	}
	return "", false
}

// span tells where in the text the value of a tag stands, with all white space around it.
func (t Tags) span(name string) (span, bool) {
	for i, tag := range t.list {
		if tag.Name == name {
			return t.at[i], true
		}
	}
	return span{}, false
}

// isTagName: a letter, then letters, digits and underscores.
func isTagName(name []byte) bool {
	for i, c := range name {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (i == 0 || c != '_' && (c < '0' || c > '9')) {
			return false
		}
	}
	return len(name) > 0
}

// isSpace tells the white space of a folded field. Line ends in it are folds.
func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func trim(text []byte) []byte { return bytes.Trim(text, " \t\r\n") }

// shortened keeps a message about somebody's text short.
func shortened(text []byte) []byte { return text[:min(len(text), 40)] }

// bare takes all white space out of a value, as lists and base64 want it.
func bare(value string) string {
	b := make([]byte, 0, len(value))
	for i := range len(value) {
		if c := value[i]; !isSpace(c) {
			b = append(b, c)
		}
	}
	return string(b)
}
