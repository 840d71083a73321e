package spool

import (
	"fmt"
	"io"
	"sync"

	"mxbypass/mailbox"
)

// file is the part of *os.File that is used here.
type file interface {
	io.Writer
	io.ReaderAt
	io.Closer
}

// Writer takes in one message. Write and Seal are for one goroutine; Release may come from another one, when a
// connection is closed under a transfer.
type Writer struct {
	spool *Spool

	mu     sync.Mutex
	chunks [][]byte // in memory; with a file: at most one, the octets not yet written to it
	file   file
	size   int64
	err    error // the first failure; the writer is of no use then
	sealed *content
	done   bool
}

// Write adds p to the message. The error wraps [ErrTooBig], [ErrBusy] or [mailbox.ErrNoSpace]; after an error only
// Release is of use.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = w.write(p)
	}
	if w.err != nil {
		return 0, w.err
	}
	w.size += int64(len(p))
	return len(p), nil
}

func (w *Writer) write(p []byte) error {
	switch limit := w.spool.maxMessage; {
	case w.done || w.sealed != nil:
		return errClosed
	case limit > 0 && w.size+int64(len(p)) > limit:
		return fmt.Errorf("%w: more than %d octets", ErrTooBig, limit)
	case w.file == nil && w.size+int64(len(p)) > w.spool.perMessage:
		if err := w.spill(); err != nil {
			return err
		}
	}
	for len(p) > 0 && w.file == nil {
		n := len(w.chunks) - 1
		if n < 0 || len(w.chunks[n]) == cap(w.chunks[n]) {
			chunk := w.spool.memory.get(len(w.chunks))
			if chunk == nil {
				if err := w.spill(); err != nil {
					return err
				}
				break
			}
			w.chunks = append(w.chunks, chunk)
			n++
		}
		c := w.chunks[n]
		k := copy(c[len(c):cap(c)], p)
		w.chunks[n] = c[:len(c)+k]
		p = p[k:]
	}
	return w.writeFile(p)
}

// spill moves the message to a file. The last chunk stays, as the buffer for what follows.
func (w *Writer) spill() error {
	if err := w.spool.Room(0); err != nil {
		return err
	}
	f, err := w.spool.openFile()
	if err != nil {
		return fileError(err)
	}
	w.file = f
	for _, c := range w.chunks {
		if _, err := f.Write(c); err != nil {
			return fileError(err)
		}
	}
	if n := len(w.chunks); n > 0 {
		for _, c := range w.chunks[:n-1] {
			w.spool.memory.put(c)
		}
		w.chunks[0] = w.chunks[n-1][:0]
		w.chunks = w.chunks[:1]
	}
	return nil
}

// writeFile adds p to the file, through the buffer if there is one.
func (w *Writer) writeFile(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if len(w.chunks) > 0 {
		if c := w.chunks[0]; len(c)+len(p) <= cap(c) {
			w.chunks[0] = append(c, p...)
			return nil
		}
		if err := w.flush(); err != nil {
			return err
		}
		if c := w.chunks[0]; len(p) < cap(c) {
			w.chunks[0] = append(c, p...)
			return nil
		}
	}
	if _, err := w.file.Write(p); err != nil {
		return fileError(err)
	}
	return nil
}

func (w *Writer) flush() error {
	if w.file == nil || len(w.chunks) == 0 || len(w.chunks[0]) == 0 {
		return nil
	}
	if _, err := w.file.Write(w.chunks[0]); err != nil {
		return fileError(err)
	}
	w.chunks[0] = w.chunks[0][:0]
	return nil
}

// Seal ends the message and gives its content, which is valid until Release, or longer for who calls its Retain (see
// [Content]). The error is that of Write.
func (w *Writer) Seal() (mailbox.Content, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil && (w.done || w.sealed != nil) {
		w.err = errClosed
	}
	if w.err == nil {
		w.err = w.flush()
	}
	if w.err != nil {
		return nil, w.err
	}
	if w.file != nil {
		w.freeChunks() // the buffer is not needed any more
	}
	w.sealed = &content{spool: w.spool, size: w.size, chunks: w.chunks, file: w.file}
	w.sealed.refs.Store(1)
	w.chunks, w.file = nil, nil
	return w.sealed, nil
}

// Release gives back what the message holds. It may be called more than once, and before Seal to drop the message.
func (w *Writer) Release() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done {
		return
	}
	w.done = true
	if w.sealed != nil {
		w.sealed.release()
		return
	}
	w.freeChunks()
	if w.file != nil {
		_ = w.file.Close() // its octets are of no interest any more
		w.file = nil
	}
	w.spool.writers.Add(-1)
}

func (w *Writer) freeChunks() {
	for _, c := range w.chunks {
		w.spool.memory.put(c)
	}
	w.chunks = nil
}
