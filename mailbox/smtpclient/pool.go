package smtpclient

import (
	"container/list"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"mxbypass/mailbox"
)

// ErrPoolClosed: no connection is given any more.
var ErrPoolClosed = fmt.Errorf("%w: connections are not opened any more", mailbox.ErrUnavailable)

// Pool keeps connections that are not in use, for a while, by whom they lead to: K is all that makes two connections
// interchangeable (the server, how it is spoken to, from where). How many are in use is its users' business. It is safe
// for concurrent use.
type Pool[K comparable] struct {
	limit time.Duration
	size  int

	mu      sync.Mutex
	byKey   map[K][]*list.Element // of order; the last one was used last, and is used next
	order   *list.List            // of *kept; the one in front has been kept for the longest time
	closed  bool
	parting sync.WaitGroup // connections that are being closed by their timer, or for another one
}

// kept belongs to who removes it from the pool's order: a user, its own timer, one that takes its place, or Close.
type kept[K comparable] struct {
	key    K
	client *Client
	timer  *time.Timer
}

// NewPool makes a pool that keeps each connection for limit, and at most size of them in all (positive): for another one
// the oldest has to go. [Pool.Close] ends it.
func NewPool[K comparable](limit time.Duration, size int) *Pool[K] {
	return &Pool[K]{limit: limit, size: size, byKey: map[K][]*list.Element{}, order: list.New()}
}

// Get gives a kept connection that seems to be alive ([Client.Alive]), or a new one from dial, whose error it passes on.
// A reused one can still turn out to be dead; its user may then dial another one, which is put into the same pool. After
// Close the error is [ErrPoolClosed].
func (p *Pool[K]) Get(ctx context.Context, key K, dial func(context.Context) (*Client, error)) (c *Client, reused bool,
	err error) {
	for {
		c, err := p.take(key)
		if err != nil {
			return nil, false, err
		}
		if c == nil {
			c, err = dial(ctx)
			return c, false, err
		}
		if c.Alive() {
			return c, true, nil
		}
		c.Close()
	}
}

// take gives the connection that was used last; nil when there is none.
func (p *Pool[K]) take(key K) (*Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrPoolClosed
	}
	same := p.byKey[key]
	if len(same) == 0 {
		return nil, nil
	}
	return p.remove(same[len(same)-1]).client, nil
}

// remove takes a connection out of the pool. The caller holds the lock, and closes the connection or uses it.
func (p *Pool[K]) remove(e *list.Element) *kept[K] {
	k := p.order.Remove(e).(*kept[K])
	k.timer.Stop()
	same := p.byKey[k.key]
	i := slices.Index(same, e)
	if same = slices.Delete(same, i, i+1); len(same) > 0 {
		p.byKey[k.key] = same
	} else {
		delete(p.byKey, k.key)
	}
	return k
}

// Put takes a connection back, whatever has become of it: it is kept when it is usable, and closed otherwise.
func (p *Pool[K]) Put(key K, c *Client) {
	if !c.Usable() {
		c.Close()
		return
	}
	if !p.keep(key, c) {
		c.Quit()
	}
}

func (p *Pool[K]) keep(key K, c *Client) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	if p.order.Len() >= p.size {
		p.parting.Go(p.remove(p.order.Front()).client.Quit)
	}
	k := &kept[K]{key: key, client: c}
	e := p.order.PushBack(k)
	k.timer = time.AfterFunc(p.limit, func() { p.expire(e) })
	p.byKey[key] = append(p.byKey[key], e)
	return true
}

// expire closes a connection that was not used for too long.
func (p *Pool[K]) expire(e *list.Element) {
	p.mu.Lock()
	k := e.Value.(*kept[K])
	if !slices.Contains(p.byKey[k.key], e) { // somebody was faster
		p.mu.Unlock()
		return
	}
	p.remove(e)
	p.parting.Add(1)
	p.mu.Unlock()
	defer p.parting.Done()
	k.client.Quit()
}

// Close ends the connections that are kept, and those in use when they are put back. It waits until they are closed.
func (p *Pool[K]) Close() {
	p.mu.Lock()
	p.closed = true
	for e := p.order.Front(); e != nil; e = p.order.Front() {
		p.parting.Go(p.remove(e).client.Quit)
	}
	p.mu.Unlock()
	p.parting.Wait()
}
