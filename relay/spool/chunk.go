package spool

import (
	"sync"
	"sync/atomic"
)

// The two sizes of chunks. Nine of ten messages fit in a few small ones; with large ones a message of a megabyte is a
// list of about twenty pieces.
const (
	smallChunk = 16 << 10
	largeChunk = 64 << 10

	// smallFirst is how many small chunks a message starts with before it takes large ones.
	smallFirst = 4

	// maxIdle bounds the memory that waits in each free list for the next message.
	maxIdle = 16 << 20
)

// budget is the memory that all messages in flight may use.
type budget struct {
	total int64
	used  atomic.Int64
}

// take reserves n octets, or says no.
func (b *budget) take(n int) bool {
	if b.used.Add(int64(n)) <= b.total {
		return true
	}
	b.used.Add(-int64(n))
	return false
}

func (b *budget) give(n int) { b.used.Add(-int64(n)) }

// freeList keeps chunks of one size for reuse. Unlike sync.Pool it is bounded and outlives a garbage collection, so
// that a steady load allocates nothing.
type freeList struct {
	size int

	mu   sync.Mutex
	idle [][]byte
}

// get returns an empty chunk of the list's size.
func (l *freeList) get() []byte {
	l.mu.Lock()
	if n := len(l.idle); n > 0 {
		c := l.idle[n-1]
		l.idle[n-1] = nil
		l.idle = l.idle[:n-1]
		l.mu.Unlock()
		return c
	}
	l.mu.Unlock()
	return make([]byte, 0, l.size)
}

func (l *freeList) put(c []byte) {
	l.mu.Lock()
	if len(l.idle) < maxIdle/l.size {
		l.idle = append(l.idle, c[:0])
	}
	l.mu.Unlock()
}

// memory hands out chunks within the budget.
type memory struct {
	budget       budget
	small, large freeList
}

// get returns an empty chunk for a message that already has n of them; nil when the budget is used up. A large chunk
// that does not fit any more is no reason to refuse a small one.
func (m *memory) get(n int) []byte {
	if n >= smallFirst && m.budget.take(largeChunk) {
		return m.large.get()
	}
	if m.budget.take(smallChunk) {
		return m.small.get()
	}
	return nil
}

func (m *memory) put(c []byte) {
	m.budget.give(cap(c))
	if cap(c) == largeChunk {
		m.large.put(c)
		return
	}
	m.small.put(c)
}
