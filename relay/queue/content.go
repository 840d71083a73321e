package queue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"mxbypass/mailbox"
)

// content is the content of a queued message.
type content struct {
	ctx    context.Context
	db     *sql.DB
	header *Header
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
			if r.err == io.EOF {
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
	var values [2]any
	err := r.db.QueryRowContext(r.ctx, selectChunk, firstChunk(h.Row)+r.n).Scan(&values[0], &values[1])
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return r.missing()
	case r.ctx.Err() != nil:
		return ErrClosed
	case err != nil:
		return fmt.Errorf("queue: chunk %d of %s: %w", r.n, h.ID, classify(err))
	}
	crc, is := values[0].(int64)
	data, are := values[1].([]byte)
	r.n++
	r.size += int64(len(data))
	switch {
	case !is || !are:
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
	var one int
	err := r.db.QueryRowContext(r.ctx, "SELECT 1 FROM message WHERE id = ?", h.Row).Scan(&one)
	switch {
	case err == nil:
		return fmt.Errorf("queue: %w: chunk %d of %s is missing", ErrDamaged, r.n, h.ID)
	case errors.Is(err, sql.ErrNoRows):
		return fmt.Errorf("queue: %s: %w: it was removed meanwhile", h.ID, ErrNotFound)
	case r.ctx.Err() != nil:
		return ErrClosed
	}
	return fmt.Errorf("queue: %w", classify(err))
}
