package mx

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"

	"mxbypass/mailbox"
)

// What is kept how long, unless the options say otherwise.
const (
	defaultEntries = 100_000
	defaultLookups = 1_000
	minTTL         = 10 * time.Second // so that a TTL of zero is not a lookup for each recipient
	maxTTL         = 24 * time.Hour
	maxNegativeTTL = 3 * time.Hour // RFC 2308 section 5
	failureTTL     = 10 * time.Second
)

var (
	errClosed = errors.New("the MX cache is closed")
	errBusy   = errors.New("too many DNS lookups at once")
)

// CacheOptions are what a [Cache] is made of. Resolver is needed; everything else has a default.
type CacheOptions struct {
	Resolver  Resolver
	Providers Providers
	Own       Own
	// Timeout bounds the whole lookup of one domain, addresses of hosts included. Zero: 5 s.
	Timeout time.Duration
	// Entries is how many domains are kept. Zero: 100,000.
	Entries int
	// Stale is how long past its TTL an answer is used while DNS fails. Zero: not at all.
	Stale time.Duration
	// FailureTTL is how long a failure is kept, so that a dead DNS costs little. Zero: 10 s.
	FailureTTL time.Duration
	// Lookups is how many lookups run at the same time; beyond them the state is unknown. Zero: 1,000.
	Lookups int
	// Now is the clock of everything that expires. Nil: time.Now.
	Now func() time.Time
}

// Cache tells MX states. Each domain is asked for once, however many wait, and the lookup outlives those who give up
// waiting. It is safe for concurrent use.
type Cache struct {
	look       classifier
	timeout    time.Duration
	stale      time.Duration
	failureTTL time.Duration
	lookups    int
	now        func() time.Time
	entries    *otter.Cache[mailbox.DomainName, *entry]

	root context.Context // of all lookups
	stop context.CancelFunc
	wait sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	running map[mailbox.DomainName]*lookup
}

// entry is what is kept of a domain. It is never changed.
type entry struct {
	state State
	until time.Time // used without asking
	stale time.Time // used when nobody answers
}

// lookup is a running lookup; state is set when done is closed.
type lookup struct {
	done  chan struct{}
	state State
}

// NewCache makes a cache. [Cache.Close] ends it.
func NewCache(o CacheOptions) (*Cache, error) {
	if o.Resolver == nil {
		return nil, errors.New("MX cache: no resolver")
	}
	entries, err := otter.New(&otter.Options[mailbox.DomainName, *entry]{
		MaximumSize: cmp.Or(o.Entries, defaultEntries),
		// Housekeeping on the calling goroutine: nothing is left running behind our back.
		Executor: func(work func()) { work() },
	})
	if err != nil {
		return nil, fmt.Errorf("MX cache: %w", err)
	}
	c := &Cache{
		look:       classifier{o.Resolver, o.Providers, o.Own},
		timeout:    cmp.Or(o.Timeout, defaultTimeout),
		stale:      o.Stale,
		failureTTL: cmp.Or(o.FailureTTL, failureTTL),
		lookups:    cmp.Or(o.Lookups, defaultLookups),
		now:        o.Now,
		entries:    entries,
		running:    make(map[mailbox.DomainName]*lookup),
	}
	if c.now == nil {
		c.now = time.Now
	}
	c.root, c.stop = context.WithCancel(context.Background())
	return c, nil
}

// Close ends the running lookups and waits for them, as long as the context allows. Afterwards only what is kept is told.
func (c *Cache) Close(ctx context.Context) error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.stop()
	ended := make(chan struct{})
	go func() { c.wait.Wait(); close(ended) }()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("closing the MX cache: %w", context.Cause(ctx))
	}
}

// State tells the MX state of a domain. When the context ends before DNS has answered, the state is the last one known
// (stale), or unknown. Its hosts are shared: they are for reading only.
func (c *Cache) State(ctx context.Context, domain mailbox.DomainName) State {
	e := c.kept(domain)
	if e != nil && c.now().Before(e.until) {
		return e.state
	}
	l, state := c.join(domain)
	if l == nil {
		return state
	}
	select {
	case <-l.done:
		return l.state
	case <-ctx.Done():
		return c.without(domain, context.Cause(ctx)).state
	}
}

func (c *Cache) kept(domain mailbox.DomainName) *entry {
	e, _ := c.entries.GetIfPresent(domain)
	return e
}

// join finds the running lookup of a domain or starts one. Without a lookup, the state is the answer.
func (c *Cache) join(domain mailbox.DomainName) (*lookup, State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.running[domain]; l != nil {
		return l, State{}
	}
	if e := c.kept(domain); e != nil && c.now().Before(e.until) { // a lookup has just ended
		return nil, e.state
	}
	switch {
	case c.closed:
		return nil, c.without(domain, errClosed).state
	case len(c.running) >= c.lookups:
		return nil, c.without(domain, errBusy).state
	}
	l := &lookup{done: make(chan struct{})}
	c.running[domain] = l
	c.wait.Go(func() { c.run(domain, l) })
	return l, State{}
}

// run looks a domain up, keeps the result and wakes those who wait.
func (c *Cache) run(domain mailbox.DomainName, l *lookup) {
	ctx, cancel := context.WithTimeout(c.root, c.timeout)
	defer cancel()
	state, ttl := c.look.look(ctx, domain)
	var e *entry
	if state.Kind == Unknown {
		e = c.without(domain, state.Err)
	} else {
		if state.Kind == None {
			ttl = min(ttl, maxNegativeTTL)
		}
		until := c.now().Add(min(max(ttl, minTTL), maxTTL))
		e = &entry{state: state, until: until, stale: until.Add(c.stale)}
	}
	l.state = e.state

	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed { // an answer that was cut off says nothing about the domain
		c.entries.Set(domain, e)
	}
	delete(c.running, domain)
	close(l.done)
}

// without makes the entry of a domain that DNS has not told: the last known state for as long as that may be used,
// otherwise unknown. It holds for a moment only.
func (c *Cache) without(domain mailbox.DomainName, err error) *entry {
	now := c.now()
	until := now.Add(c.failureTTL)
	if old := c.kept(domain); old != nil && now.Before(old.stale) {
		state := old.state
		state.Stale, state.Err = true, err
		if old.stale.Before(until) {
			until = old.stale
		}
		return &entry{state: state, until: until, stale: old.stale}
	}
	return &entry{state: State{Domain: domain, Kind: Unknown, Err: err}, until: until}
}
