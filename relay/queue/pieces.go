package queue

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"

	"golang.org/x/sync/semaphore"

	"mxbypass/mailbox"
)

const (
	// atOnce is the longest content that is written in one commit with its message; longer ones come in slices of it.
	atOnce = 1 << 20
	// maxBuffered bounds the content that is in memory on its way into the queue, besides what was there already.
	maxBuffered = 64 << 20
)

// piece is a chunk before it is written.
type piece struct {
	crc  int64
	data []byte
}

// castagnoli is made once; it never changes.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// buffers are the pieces of contents that have to be read. There is room for so much, and who comes later waits.
type buffers struct {
	room *semaphore.Weighted
	free sync.Pool
}

func newBuffers() *buffers {
	return &buffers{room: semaphore.NewWeighted(maxBuffered),
		free: sync.Pool{New: func() any { return new([chunkSize]byte) }}}
}

// source cuts a content into pieces.
type source struct {
	buffers *buffers
	size    int64
	whole   []byte // what is in memory, in one piece; nil: it is read
	from    io.Reader
	survey  survey
	before  func(context.Context) error // it waits for room: whoever waits must hold none

	pieces []piece // of the slice that was read last
	used   []*[chunkSize]byte
	taken  int64 // of the room
}

func newSource(b *buffers, c mailbox.Content) *source {
	s := &source{buffers: b, size: c.Size()}
	if all := c.Buffers(); len(all) == 1 && len(all[0]) <= chunkSize {
		s.whole = all[0]
		s.size = int64(len(s.whole))
	} else {
		s.from = c.NewReader()
	}
	return s
}

// slice reads the next pieces, at most atOnce octets of them. done: the content has ended.
func (s *source) slice(ctx context.Context) (done bool, err error) {
	s.release()
	if s.from == nil {
		s.take(s.whole)
		return true, nil
	}
	want := min(s.size-s.survey.size, atOnce)
	room := (want + chunkSize - 1) / chunkSize * chunkSize
	if err := s.enter(ctx, room); err != nil {
		return false, err
	}
	s.taken = room
	for want > 0 {
		b := s.buffers.free.Get().(*[chunkSize]byte)
		s.used = append(s.used, b)
		p := b[:min(want, chunkSize)]
		if _, err := io.ReadFull(s.from, p); err != nil {
			return false, fmt.Errorf("reading the message: %w", unexpected(err))
		}
		s.take(p)
		want -= int64(len(p))
	}
	if s.survey.size < s.size {
		return false, nil
	}
	return true, s.ends()
}

// enter takes room, or waits for it.
func (s *source) enter(ctx context.Context, room int64) error {
	if s.buffers.room.TryAcquire(room) {
		return nil
	}
	if err := s.before(ctx); err != nil {
		return err
	}
	return s.buffers.room.Acquire(ctx, room)
}

func (s *source) take(p []byte) {
	if len(p) == 0 {
		return
	}
	s.survey.add(p)
	s.pieces = append(s.pieces, piece{int64(crc32.Checksum(p, castagnoli)), p})
}

var errTooMuch = errors.New("reading the message: it is longer than it says")

// ends proves that nothing follows.
func (s *source) ends() error {
	var more [1]byte
	switch n, err := io.ReadFull(s.from, more[:]); {
	case n > 0:
		return errTooMuch
	case err != io.EOF:
		return fmt.Errorf("reading the message: %w", err)
	}
	return nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// release gives back what the last slice took.
func (s *source) release() {
	for _, b := range s.used {
		s.buffers.free.Put(b)
	}
	if s.taken > 0 {
		s.buffers.room.Release(s.taken)
	}
	clear(s.pieces)
	s.pieces, s.used, s.taken = s.pieces[:0], s.used[:0], 0
}
