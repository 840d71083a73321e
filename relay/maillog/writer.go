package maillog

import (
	"bufio"
	"io"
	"sync"
	"time"
)

const (
	bufferSize = 64 << 10
	flushEvery = 100 * time.Millisecond
)

// bufferedWriter gathers lines and writes them from its own goroutine. A line is never split over two writes unless it
// is longer than the buffer.
type bufferedWriter struct {
	mu     sync.Mutex
	buf    *bufio.Writer
	sticky *forgiving
	dirty  bool
	closed bool // from now on lines are written as they come

	wake    chan struct{} // there is something to write
	done    chan struct{}
	stopped chan struct{}
}

// forgiving remembers that the log could not be written, and goes on: bufio gives up after the first error, but a full
// disk gets room again, and mail must not stop for want of a log.
type forgiving struct {
	w   io.Writer
	err error
}

func (f *forgiving) Write(p []byte) (int, error) {
	if _, err := f.w.Write(p); err != nil {
		f.err = err
	}
	return len(p), nil
}

func newBufferedWriter(w io.Writer) *bufferedWriter {
	f := &forgiving{w: w}
	b := &bufferedWriter{
		buf:     bufio.NewWriterSize(f, bufferSize),
		sticky:  f,
		wake:    make(chan struct{}, 1),
		done:    make(chan struct{}),
		stopped: make(chan struct{}),
	}
	go b.run()
	return b
}

// Write takes one line.
func (b *bufferedWriter) Write(p []byte) (int, error) {
	b.mu.Lock()
	if len(p) > b.buf.Available() {
		_ = b.buf.Flush() // keeps lines whole; its error is in sticky
	}
	_, _ = b.buf.Write(p)
	first := !b.dirty
	b.dirty = true
	if b.closed {
		_ = b.buf.Flush()
	}
	b.mu.Unlock()
	if first {
		select {
		case b.wake <- struct{}{}:
		default:
		}
	}
	return len(p), nil
}

// Flush writes what was gathered, and returns the first error since the last Flush that somebody asked for.
func (b *bufferedWriter) Flush() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	_ = b.buf.Flush()
	b.dirty = false
	err := b.sticky.err
	b.sticky.err = nil
	return err
}

func (b *bufferedWriter) flush() {
	b.mu.Lock()
	_ = b.buf.Flush()
	b.dirty = false
	b.mu.Unlock()
}

func (b *bufferedWriter) run() {
	defer close(b.stopped)
	timer := time.NewTimer(flushEvery)
	timer.Stop()
	defer timer.Stop()
	for {
		select {
		case <-b.done:
			return
		case <-b.wake:
			timer.Reset(flushEvery)
		case <-timer.C:
			b.flush()
		}
	}
}

// Close ends the goroutine and writes the rest. Lines that come later are written as they come, one by one.
func (b *bufferedWriter) Close() error {
	close(b.done)
	<-b.stopped
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	return b.Flush()
}
