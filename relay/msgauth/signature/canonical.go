package signature

import (
	"bytes"
	"hash"
)

// Form is the form in which something is hashed (RFC 6376 section 3.4).
type Form string

// The forms.
const (
	Simple  Form = "simple"
	Relaxed Form = "relaxed"
)

// AppendField appends a field in that form, with its CRLF.
func AppendField(dst, raw []byte, form Form) []byte {
	if form == Simple {
		return append(dst, raw...)
	}
	name, value, _ := bytes.Cut(raw, []byte{':'})
	for _, c := range trim(name) {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		dst = append(dst, c)
	}
	dst = append(dst, ':')
	space := false
	for _, c := range trim(value) {
		if isSpace(c) {
			space = true
			continue
		}
		if space {
			dst, space = append(dst, ' '), false
		}
		dst = append(dst, c)
	}
	return append(dst, '\r', '\n')
}

// Body hashes a body in one of the forms, as it is written to it (RFC 6376 sections 3.4.3 and 3.4.4).
type Body struct {
	form Form
	hash hash.Hash
	out  []byte // on its way to the hash

	cr    bool // the last octet was a CR: part of a line end, if LF follows
	space bool // white space that counts if something follows on the line
	ends  int  // line ends that count if something follows
	any   bool // something has been hashed
}

// bodyBuffer is how much goes to the hash at a time.
const bodyBuffer = 4 << 10

// NewBody makes one that writes to h.
func NewBody(form Form, h hash.Hash) *Body {
	return &Body{form: form, hash: h, out: make([]byte, 0, bodyBuffer)}
}

// Write implements [io.Writer]. It never fails.
func (b *Body) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		c := p[0]
		switch {
		case b.cr:
			b.cr = false
			if c == '\n' {
				b.space = false
				b.ends++
				p = p[1:]
				continue
			}
			b.text([]byte{'\r'})
		case c == '\r':
			b.cr = true
			p = p[1:]
		case b.form == Relaxed && (c == ' ' || c == '\t'):
			b.space = true
			p = p[1:]
		default:
			run := b.run(p)
			b.text(p[:run])
			p = p[run:]
		}
	}
	return n, nil
}

// run tells how many octets at the beginning of p are hashed as they are.
func (b *Body) run(p []byte) int {
	if b.form == Simple {
		if i := bytes.IndexByte(p, '\r'); i >= 0 {
			return i
		}
		return len(p)
	}
	for i, c := range p {
		switch {
		case c > ' ':
		case c == ' ' && i > 0 && i+1 < len(p) && p[i+1] > ' ':
			// One space between words is what any number of them becomes.
		case c == ' ' || c == '\t' || c == '\r':
			return i
		}
	}
	return len(p)
}

// text hashes what is no white space, and what was put off before it.
func (b *Body) text(p []byte) {
	for ; b.ends > 0; b.ends-- {
		b.lineEnd()
	}
	if b.space {
		b.room(1)
		b.out = append(b.out, ' ')
		b.space = false
	}
	b.room(len(p))
	if len(p) > bodyBuffer {
		_, _ = b.hash.Write(p) // never fails (see [hash.Hash])
	} else {
		b.out = append(b.out, p...)
	}
	b.any = true
}

func (b *Body) lineEnd() {
	b.room(2)
	b.out = append(b.out, '\r', '\n')
}

// room makes room for n octets, if that is possible.
func (b *Body) room(n int) {
	if len(b.out)+n > bodyBuffer {
		b.flush()
	}
}

func (b *Body) flush() {
	_, _ = b.hash.Write(b.out) // never fails (see [hash.Hash])
	b.out = b.out[:0]
}

// Sum ends the body and gives its hash. A body ends with one line end, but the relaxed form of an empty one is empty.
func (b *Body) Sum() []byte {
	if b.cr {
		b.cr = false
		b.text([]byte{'\r'})
	}
	if b.any || b.form == Simple {
		b.lineEnd()
	}
	b.flush()
	return b.hash.Sum(nil)
}
