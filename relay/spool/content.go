package spool

import (
	"io"
	"sync/atomic"

	"mxbypass/mailbox"
)

// Content is what [Writer.Seal] returns, for those who need it longer than the writer lives.
type Content interface {
	mailbox.Content
	// Retain keeps the content until the returned function is called, also after Release of the writer. It must be
	// called before that Release. A store that answers late still reads the message then.
	Retain() (release func())
}

var _ Content = (*content)(nil)

type content struct {
	spool  *Spool
	size   int64
	chunks [][]byte
	file   file
	refs   atomic.Int64
}

func (c *content) Size() int64 { return c.size }

func (c *content) Buffers() [][]byte {
	if c.file != nil {
		return nil
	}
	return c.chunks
}

func (c *content) NewReader() io.Reader {
	if c.file != nil {
		return io.NewSectionReader(c.file, 0, c.size)
	}
	return &chunkReader{chunks: c.chunks}
}

func (c *content) Retain() (release func()) {
	c.refs.Add(1)
	var once atomic.Bool
	return func() {
		if once.CompareAndSwap(false, true) {
			c.release()
		}
	}
}

func (c *content) release() {
	if c.refs.Add(-1) > 0 {
		return
	}
	for _, chunk := range c.chunks {
		c.spool.memory.put(chunk)
	}
	if c.file != nil {
		_ = c.file.Close() // its octets are of no interest any more
	}
	c.spool.writers.Add(-1)
}

// chunkReader reads chunks one after the other.
type chunkReader struct {
	chunks [][]byte
	offset int // in the first one
}

func (r *chunkReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(r.chunks) > 0 {
		if n := copy(p, r.chunks[0][r.offset:]); n > 0 {
			r.offset += n
			return n, nil
		}
		r.chunks, r.offset = r.chunks[1:], 0
	}
	return 0, io.EOF
}

// WriteTo implements io.WriterTo: whole chunks go to w, without a copy between.
func (r *chunkReader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for len(r.chunks) > 0 {
		n, err := w.Write(r.chunks[0][r.offset:])
		total += int64(n)
		r.offset += n
		if err != nil {
			return total, err
		}
		r.chunks, r.offset = r.chunks[1:], 0
	}
	return total, nil
}
