package queue

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"mxbypass/mailbox"
)

// content is the content of a queued message.
type content struct {
	ctx     context.Context
	readers *reader
	header  *Header
}

var _ mailbox.Content = (*content)(nil)

func (c *content) Size() int64 { return c.header.Size }

func (c *content) Buffers() [][]byte { return nil }

func (c *content) NewReader() io.Reader { return &contentReader{content: c} }

// contentReader reads one chunk after the other. Nothing is open between them.
type contentReader struct {
	*content
	chunk []byte // what is left of the last one
	n     int64  // chunks that were read
	size  int64
	err   error
}

// Read implements io.Reader.
func (r *contentReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(r.chunk) == 0 && r.err == nil {
		r.err = r.load()
	}
	if len(r.chunk) == 0 {
		return 0, r.err
	}
	n := copy(p, r.chunk)
	r.chunk = r.chunk[n:]
	return n, nil
}

// WriteTo implements io.WriterTo: whole chunks go to w.
func (r *contentReader) WriteTo(w io.Writer) (total int64, err error) {
	for {
		if len(r.chunk) == 0 && r.err == nil {
			r.err = r.load()
		}
		if len(r.chunk) == 0 {
			if errors.Is(r.err, io.EOF) {
				return total, nil
			}
			return total, r.err
		}
		n, err := w.Write(r.chunk)
		total += int64(n)
		r.chunk = r.chunk[n:]
		if err != nil {
			return total, err
		}
	}
}

const selectChunk = "SELECT crc, data FROM chunk WHERE id = ?"

// load reads the next chunk.
func (r *contentReader) load() error {
	h := r.header
	if r.size == h.Size {
		return io.EOF
	}
	var crc int64
	var data []byte
	found, intact := false, true
	err := r.readers.each(r.ctx, selectChunk, func(row *record) bool {
		var are bool
		found = true
		crc = row.integer("the checksum")
		data, are = row.next().([]byte)
		intact = row.err == nil && are
		return false
	}, firstChunk(h.Row)+r.n)
	switch {
	case r.ctx.Err() != nil:
		return ErrClosed
	case err != nil:
		return fmt.Errorf("queue: chunk %d of %s: %w", r.n, h.ID, err)
	case !found:
		return r.missing()
	}
	r.n++
	r.size += int64(len(data))
	switch {
	case !intact:
		return fmt.Errorf("queue: %w: chunk %d of %s is none", ErrDamaged, r.n-1, h.ID)
	case int64(crc32.Checksum(data, castagnoli)) != crc:
		return fmt.Errorf("queue: %w: the checksum of chunk %d of %s is wrong", ErrDamaged, r.n-1, h.ID)
	case r.size > h.Size, r.size < h.Size && len(data) != chunkSize:
		return fmt.Errorf("queue: %w: chunk %d of %s has %d octets", ErrDamaged, r.n-1, h.ID, len(data))
	}
	r.chunk = data
	return nil
}

// missing: there is no such chunk, because the message is damaged, or because it is gone.
func (r *contentReader) missing() error {
	h := r.header
	there, err := r.readers.numbers(r.ctx, "SELECT 1 FROM message WHERE id = ?", h.Row)
	switch {
	case r.ctx.Err() != nil:
		return ErrClosed
	case err != nil:
		return fmt.Errorf("queue: %w", err)
	case len(there) > 0:
		return fmt.Errorf("queue: %w: chunk %d of %s is missing", ErrDamaged, r.n, h.ID)
	}
	return fmt.Errorf("queue: %s: %w: it was removed meanwhile", h.ID, ErrNotFound)
}
