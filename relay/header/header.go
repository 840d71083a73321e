package header

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"mxbypass/mailbox"
)

// ErrTooBig: the header is longer than the caller wanted to read.
var ErrTooBig = errors.New("header too big")

// Field is one field of a header (RFC 5322 section 2.2), as it stands.
type Field struct {
	Name string // as written; what is no field (no colon) has none
	Raw  []byte // the lines with their line ends, the name included; not to be written to
}

// NewField makes a field from its name and its value, which may be folded by CRLF and white space.
func NewField(name, value string) Field {
	return Field{name, []byte(name + ": " + value + "\r\n")}
}

// Is tells whether the field has that name, in any case.
func (f Field) Is(name string) bool { return strings.EqualFold(f.Name, name) }

// Value is what follows the colon, unfolded (RFC 5322 section 2.2.3), without white space around it.
func (f Field) Value() string {
	_, v, _ := bytes.Cut(f.Raw, []byte{':'})
	return strings.TrimSpace(string(bytes.ReplaceAll(v, []byte("\r\n"), nil)))
}

// Header is the header of a content. Its fields may be replaced by others; the content stays as it is.
type Header struct {
	Fields []Field

	base mailbox.Content
	skip int64 // octets of the header of base, without the empty line
}

// Read reads the header of c, of at most limit octets; beyond them the error wraps [ErrTooBig]. Any other one is that
// of reading c.
func Read(c mailbox.Content, limit int64) (*Header, error) {
	h := &Header{base: c}
	r := bufio.NewReader(io.LimitReader(c.NewReader(), limit+1))
	for {
		line, err := r.ReadBytes('\n')
		ended := errors.Is(err, io.EOF)
		if err != nil && !ended {
			return nil, fmt.Errorf("header: %w", err)
		}
		if h.skip+int64(len(line)) > limit {
			return nil, ErrTooBig
		}
		if len(line) == 0 || string(line) == "\r\n" {
			return h, nil
		}
		h.skip += int64(len(line))
		h.add(line)
		if ended {
			return h, nil
		}
	}
}

// add adds a line: to the last field when it goes on, else as a new one.
func (h *Header) add(line []byte) {
	if n := len(h.Fields); n > 0 && (line[0] == ' ' || line[0] == '\t') {
		h.Fields[n-1].Raw = append(h.Fields[n-1].Raw, line...)
		return
	}
	name, _, found := bytes.Cut(line, []byte{':'})
	if !found {
		name = nil
	}
	h.Fields = append(h.Fields, Field{strings.TrimRight(string(name), " \t"), line})
}

// All are the fields of that name, from the top.
func (h *Header) All(name string) []Field {
	var found []Field
	for _, f := range h.Fields {
		if f.Is(name) {
			found = append(found, f)
		}
	}
	return found
}

// Has tells whether there is a field of that name.
func (h *Header) Has(name string) bool {
	return slices.ContainsFunc(h.Fields, func(f Field) bool { return f.Is(name) })
}

// Prepend puts fields on top, in their order.
func (h *Header) Prepend(fields ...Field) { h.Fields = slices.Concat(fields, h.Fields) }

// Remove takes fields away, and tells how many.
func (h *Header) Remove(unwanted func(Field) bool) int {
	n := len(h.Fields)
	h.Fields = slices.DeleteFunc(slices.Clone(h.Fields), unwanted)
	return n - len(h.Fields)
}

// Content is the fields as they are now with the body of the content that was read. Later changes of the header do not
// change it.
func (h *Header) Content() mailbox.Content {
	var b bytes.Buffer
	for _, f := range h.Fields {
		b.Write(f.Raw)
	}
	return &edited{base: h.base, header: b.Bytes(), skip: h.skip}
}

// Body reads the content from the empty line on that ends its header; nothing when there is none.
func (h *Header) Body() io.Reader { return (&edited{base: h.base, skip: h.skip}).NewReader() }

// WithBody is the fields as they are now with another body.
func (h *Header) WithBody(body mailbox.Content) mailbox.Content {
	var b bytes.Buffer
	for _, f := range h.Fields {
		b.Write(f.Raw)
	}
	b.WriteString("\r\n")
	return &edited{base: body, header: b.Bytes()}
}
