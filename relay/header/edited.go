package header

import (
	"bytes"
	"io"

	"mxbypass/mailbox"
)

// edited is a content with another beginning.
type edited struct {
	base   mailbox.Content
	header []byte
	skip   int64 // octets of base that the header stands for
}

// Separated gives a content that begins with white space an empty line before it, so that it is all body: under a field
// of ours its first lines would be read as the end of that field, and a stranger would have written in our name. Any other
// content is given back as it is.
func Separated(c mailbox.Content) mailbox.Content {
	if first := firstOctet(c); first != ' ' && first != '\t' {
		return c
	}
	return &edited{base: c, header: []byte("\r\n")}
}

// firstOctet is 0 for an empty content, and for one that cannot be read, which is found out by whoever reads more of it.
func firstOctet(c mailbox.Content) byte {
	if b := c.Buffers(); len(b) > 0 && len(b[0]) > 0 {
		return b[0][0]
	}
	var first [1]byte
	if _, err := io.ReadFull(c.NewReader(), first[:]); err != nil {
		return 0
	}
	return first[0]
}

// Size implements [mailbox.Content].
func (e *edited) Size() int64 { return int64(len(e.header)) + e.base.Size() - e.skip }

// Buffers implements [mailbox.Content].
func (e *edited) Buffers() [][]byte {
	buffers := e.base.Buffers()
	if buffers == nil {
		return nil
	}
	rest := make([][]byte, 0, len(buffers)+1)
	if len(e.header) > 0 {
		rest = append(rest, e.header)
	}
	skip := e.skip
	for _, b := range buffers {
		n := min(skip, int64(len(b)))
		skip -= n
		if n < int64(len(b)) {
			rest = append(rest, b[n:])
		}
	}
	return rest
}

// NewReader implements [mailbox.Content].
func (e *edited) NewReader() io.Reader {
	return &reader{head: bytes.NewReader(e.header), body: e.base.NewReader(), skip: e.skip}
}

// Retain keeps the content below for as long as a store may read this one; see package spool.
func (e *edited) Retain() (release func()) {
	if r, ok := e.base.(interface{ Retain() (release func()) }); ok {
		return r.Retain()
	}
	return func() {}
}

// reader reads the new beginning, then the rest of the old content.
type reader struct {
	head *bytes.Reader
	body io.Reader
	skip int64 // still to be passed over
}

// Read implements [io.Reader].
func (r *reader) Read(p []byte) (int, error) {
	if r.head.Len() > 0 {
		return r.head.Read(p)
	}
	if err := r.pass(); err != nil {
		return 0, err
	}
	return r.body.Read(p)
}

// WriteTo implements [io.WriterTo]: the parts go to w as they come.
func (r *reader) WriteTo(w io.Writer) (int64, error) {
	n, err := r.head.WriteTo(w)
	if err != nil {
		return n, err
	}
	if err := r.pass(); err != nil {
		return n, err
	}
	m, err := io.Copy(w, r.body)
	return n + m, err
}

// pass goes to where the old content is still wanted.
func (r *reader) pass() error {
	if r.skip == 0 {
		return nil
	}
	if s, ok := r.body.(io.Seeker); ok {
		if _, err := s.Seek(r.skip, io.SeekCurrent); err != nil {
			return err
		}
		r.skip = 0
		return nil
	}
	n, err := io.CopyN(io.Discard, r.body, r.skip)
	r.skip -= n
	return err
}
