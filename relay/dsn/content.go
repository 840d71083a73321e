package dsn

import (
	"bytes"
	"io"

	"mxbypass/mailbox"
)

// content is a notification: what was written for it, with the first octets of the original between head and tail.
type content struct {
	head     []byte
	original mailbox.Content
	part     int64
	tail     []byte
}

var _ mailbox.Content = (*content)(nil)

func (c *content) Size() int64 { return int64(len(c.head)) + c.part + int64(len(c.tail)) }

func (c *content) Buffers() [][]byte { return nil }

func (c *content) NewReader() io.Reader {
	original := io.Reader(bytes.NewReader(nil))
	if c.part > 0 {
		original = &exactly{c.original.NewReader(), c.part}
	}
	return io.MultiReader(bytes.NewReader(c.head), original, bytes.NewReader(c.tail))
}

// exactly reads as many octets as were promised. An original that ends before must not look like a shorter one.
type exactly struct {
	from io.Reader
	left int64
}

func (r *exactly) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > r.left {
		p = p[:r.left]
	}
	n, err := r.from.Read(p)
	r.left -= int64(n)
	switch {
	case r.left == 0:
		err = nil
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
