package dispatch

import (
	"sync"
	"sync/atomic"

	"mxbypass/mailbox"
)

// The bounds of the contents that are kept in memory for mail that was just queued. What does not fit is read from the
// queue again.
const (
	maxHeldOctets   = 64 << 20
	maxHeldMessages = 2000
)

// budget counts the contents that are kept.
type budget struct {
	mu       sync.Mutex
	octets   int64
	messages int
}

// take asks for room for one content.
func (b *budget) take(octets int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.messages >= maxHeldMessages || b.octets+octets > maxHeldOctets {
		return false
	}
	b.messages++
	b.octets += octets
	return true
}

func (b *budget) give(octets int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.messages--
	b.octets -= octets
}

// holding is a message that was just queued, and its content for as long as somebody needs it.
type holding struct {
	content mailbox.Content // nil: it cannot be kept, and is read from the queue
	free    func()
	users   atomic.Int64
}

// hold takes the room for a message, and keeps its content if it can be kept; nil: there is no room. Whoever asked for
// it is its first user.
func (b *budget) hold(c mailbox.Content) *holding {
	size := c.Size()
	if !b.take(size) {
		return nil
	}
	h := &holding{free: func() { b.give(size) }}
	h.users.Store(1)
	if r, ok := c.(interface{ Retain() (release func()) }); ok {
		h.content = c
		release := r.Retain()
		h.free = func() {
			release()
			b.give(size)
		}
	}
	return h
}

func (h *holding) use() { h.users.Add(1) }

func (h *holding) release() {
	if h.users.Add(-1) == 0 {
		h.free()
	}
}
