package lmtp

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/semaphore"

	"mxbypass/mailbox"
	"mxbypass/mailbox/smtpclient"
)

// pool keeps the connections of a store. A slot is the right to use one; who holds n slots uses at most n connections.
// A connection is put back before its slot is freed, so that used and unused ones together never exceed the slots.
type pool struct {
	dial  func(context.Context) (*smtpclient.Client, error)
	size  int
	slots *semaphore.Weighted
	kept  *smtpclient.Pool[struct{}] // all lead to the same server
}

func newPool(size int, limit time.Duration, dial func(context.Context) (*smtpclient.Client, error)) *pool {
	return &pool{dial: dial, size: size, slots: semaphore.NewWeighted(int64(size)),
		kept: smtpclient.NewPool[struct{}](limit, size)}
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
	return p.kept.Get(ctx, struct{}{}, p.dial)
}

// put takes a connection back (nil: there is none) and frees its slot.
func (p *pool) put(c *smtpclient.Client) {
	defer p.slots.Release(1)
	if c != nil {
		p.kept.Put(struct{}{}, c)
	}
}
