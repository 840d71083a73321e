package wire

import (
	"sync"
	"sync/atomic"
)

const (
	smallBuffer = 4 << 10
	largeBuffer = 64 << 10

	// maxLarge bounds the large buffers in use, at 32 MiB: when that many messages arrive at the same moment, the next
	// ones are read in small pieces.
	maxLarge = 512
)

// Buffers are shared by the connections of a server. The zero value is ready for use.
type Buffers struct {
	small, large sync.Pool
	inUse        atomic.Int64 // large ones
}

// buffer holds octets b[r:w].
type buffer struct {
	b    []byte
	r, w int
}

func (b *buffer) bytes() []byte { return b.b[b.r:b.w] }
func (b *buffer) empty() bool   { return b.r == b.w }

// compact moves what is held to the front.
func (b *buffer) compact() {
	if b.r > 0 {
		b.w = copy(b.b, b.b[b.r:b.w])
		b.r = 0
	}
}

func (p *Buffers) getSmall() *buffer {
	if b, ok := p.small.Get().(*buffer); ok {
		return b
	}
	return &buffer{b: make([]byte, smallBuffer)}
}

// getLarge returns a small one when too many large ones are in use.
func (p *Buffers) getLarge() *buffer {
	if p.inUse.Add(1) > maxLarge {
		p.inUse.Add(-1)
		return p.getSmall()
	}
	if b, ok := p.large.Get().(*buffer); ok {
		return b
	}
	return &buffer{b: make([]byte, largeBuffer)}
}

func (p *Buffers) put(b *buffer) {
	b.r, b.w = 0, 0
	if len(b.b) == largeBuffer {
		p.inUse.Add(-1)
		p.large.Put(b)
		return
	}
	p.small.Put(b)
}
