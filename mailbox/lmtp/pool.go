package lmtp

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"mxbypass/mailbox"
	"mxbypass/mailbox/smtpclient"
)

var errClosed = fmt.Errorf("%w: the store is closed", mailbox.ErrUnavailable)

// pool keeps the connections of a store. A slot is the right to use one; who holds n slots uses at most n connections.
// A connection is put back before its slot is freed, so that used and unused ones together never exceed the slots.
type pool struct {
	dial  func(context.Context) (*smtpclient.Client, error)
	size  int
	limit time.Duration
	slots *semaphore.Weighted

	mu      sync.Mutex
	idle    []*idleClient // the last one was used last, and is used next
	closed  bool
	parting sync.WaitGroup // connections that are being closed by their timer
}

// idleClient belongs to who removes it from the pool's list: a delivery, its own timer, or close.
type idleClient struct {
	*smtpclient.Client
	timer *time.Timer
}

func newPool(size int, limit time.Duration, dial func(context.Context) (*smtpclient.Client, error)) *pool {
	return &pool{dial: dial, size: size, limit: limit, slots: semaphore.NewWeighted(int64(size))}
}

// reserve waits for n slots, all at once: holding some while waiting for others could wait for ever.
func (p *pool) reserve(ctx context.Context, n int) error {
	if err := p.slots.Acquire(ctx, int64(n)); err != nil {
		return fmt.Errorf("%w: waiting for a connection: %w", mailbox.ErrUnavailable, context.Cause(ctx))
	}
	return nil
}

// get gives a kept connection that seems to be alive, or a new one. The caller holds a slot.
func (p *pool) get(ctx context.Context) (c *smtpclient.Client, reused bool, err error) {
	for {
		c, err := p.takeIdle()
		if err != nil {
			return nil, false, err
		}
		if c == nil {
			c, err = p.dial(ctx)
			return c, false, err
		}
		if c.Alive() {
			return c, true, nil
		}
		c.Close()
	}
}

// takeIdle gives the connection that was used last; nil when there is none.
func (p *pool) takeIdle() (*smtpclient.Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errClosed
	}
	n := len(p.idle) - 1
	if n < 0 {
		return nil, nil
	}
	c := p.idle[n]
	p.idle[n] = nil
	p.idle = p.idle[:n]
	c.timer.Stop()
	return c.Client, nil
}

// put takes a connection back (nil: there is none) and frees its slot.
func (p *pool) put(c *smtpclient.Client) {
	defer p.slots.Release(1)
	if c == nil {
		return
	}
	if !c.Usable() {
		c.Close()
		return
	}
	if !p.keep(c) {
		c.Quit()
	}
}

func (p *pool) keep(c *smtpclient.Client) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	kept := &idleClient{Client: c}
	kept.timer = time.AfterFunc(p.limit, func() { p.expire(kept) })
	p.idle = append(p.idle, kept)
	return true
}

// expire closes a connection that was not used for too long.
func (p *pool) expire(c *idleClient) {
	p.mu.Lock()
	i := slices.Index(p.idle, c)
	if i < 0 { // somebody was faster
		p.mu.Unlock()
		return
	}
	p.idle = slices.Delete(p.idle, i, i+1)
	p.parting.Add(1)
	p.mu.Unlock()
	defer p.parting.Done()
	c.Quit()
}

// close ends the unused connections, and the used ones when they come back.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	for _, c := range idle {
		c.timer.Stop()
		p.parting.Go(c.Quit)
	}
	p.parting.Wait()
}
