package lookup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/miekg/dns"

	"mxbypass/routing/mx"
)

// What is kept how long, and how much of it.
const (
	defaultEntries = 100_000
	entryOctets    = 512             // what an entry is reckoned with; a longer one takes the room of several
	minTTL         = 5 * time.Second // so that a TTL of zero is not a lookup for each message
	maxTTL         = 24 * time.Hour
	maxNegativeTTL = 3 * time.Hour // RFC 2308 section 5
	failureTTL     = 5 * time.Second
)

// Options are what a [Client] is made of.
type Options struct {
	// Servers, see [mx.ParseServer]. Empty: those of the system.
	Servers []string
	// Timeout bounds a lookup over all servers, with its aliases and retries. Zero: 5 s.
	Timeout time.Duration
	// CacheEntries is how many answers of usual size are kept. Zero: 100,000.
	CacheEntries int
	// Trusted says that the servers validate (DNSSEC), and that nobody can come between us and them: what they call secure
	// is. Otherwise nothing is.
	Trusted bool
	// Now is the clock of what expires. Nil: time.Now.
	Now func() time.Time
}

// Client asks DNS, for whoever has a question: all of them know what one has learnt. It is safe for concurrent use.
type Client struct {
	dns   *mx.DNS
	now   func() time.Time
	cache *otter.Cache[question, *answer]

	mu      sync.Mutex
	running map[question]chan struct{} // closed when that lookup has ended
}

type question struct {
	name  string // folded, without the final dot
	qtype uint16
}

// answer is what is kept of a question. It is never changed.
type answer struct {
	said    mx.Answer[dns.RR]
	at      time.Time     // when it was said
	failure *net.DNSError // nil: there are records
	until   time.Time
	weight  uint32
}

// absent tells that there is no such name, with whatever records.
func (a *answer) absent() bool { return a.said.Outcome == mx.NXDomain }

// New makes a client. The error names every server that is wrong.
func New(o Options) (*Client, error) {
	asks, err := mx.NewDNS(mx.DNSOptions{Servers: o.Servers, Timeout: o.Timeout, Validating: o.Trusted})
	if err != nil {
		return nil, fmt.Errorf("lookup: %w", err)
	}
	cache, err := otter.New(&otter.Options[question, *answer]{
		MaximumWeight: uint64(cmp.Or(o.CacheEntries, defaultEntries)) * entryOctets,
		Weigher:       func(_ question, a *answer) uint32 { return a.weight },
		// Housekeeping on the calling goroutine: nothing is left running behind our back.
		Executor: func(work func()) { work() },
	})
	if err != nil {
		return nil, fmt.Errorf("lookup: %w", err)
	}
	c := &Client{dns: asks, now: o.Now, cache: cache, running: make(map[question]chan struct{})}
	if c.now == nil {
		c.now = time.Now
	}
	return c, nil
}

// ask gives what is kept, or asks, or waits for somebody else who asks.
func (c *Client) ask(ctx context.Context, name string, qtype uint16) *answer {
	q := question{strings.ToLower(strings.TrimSuffix(name, ".")), qtype}
	for {
		if a, ok := c.kept(q); ok {
			return a
		}
		if ctx.Err() != nil {
			return ended(ctx, name)
		}
		c.mu.Lock()
		others, busy := c.running[q]
		if !busy {
			c.running[q] = make(chan struct{})
		}
		c.mu.Unlock()
		if !busy {
			return c.run(ctx, q)
		}
		select {
		case <-others:
		case <-ctx.Done():
			return ended(ctx, name)
		}
	}
}

func (c *Client) kept(q question) (*answer, bool) {
	a, ok := c.cache.GetIfPresent(q)
	return a, ok && c.now().Before(a.until)
}

// run asks, keeps the answer, and wakes those who wait for it.
func (c *Client) run(ctx context.Context, q question) *answer {
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		close(c.running[q])
		delete(c.running, q)
	}()
	if a, ok := c.kept(q); ok { // a lookup has just ended
		return a
	}
	name, ok := presentation(q.name)
	if !ok {
		// Nothing that DNS could be asked for.
		return &answer{said: mx.Answer[dns.RR]{Outcome: mx.NXDomain}, failure: notFound(q.name)}
	}
	a := c.judge(q, c.dns.Ask(ctx, name, q.qtype))
	if ctx.Err() != nil && a.failure != nil && !a.failure.IsNotFound {
		return ended(ctx, q.name) // which says nothing about the name
	}
	c.cache.Set(q, a)
	return a
}

func (c *Client) judge(q question, said mx.Answer[dns.RR]) *answer {
	a := &answer{said: said, at: c.now(), weight: uint32(len(q.name)+len(said.Alias)) + entryOctets/4}
	ttl := said.TTL
	switch said.Outcome {
	case mx.Found:
		for _, rr := range said.Records {
			a.weight += 2 * uint32(dns.Len(rr))
		}
	case mx.NoData, mx.NXDomain:
		a.failure, ttl = notFound(q.name), min(ttl, maxNegativeTTL)
	default:
		a.failure, ttl = failed(q.name, said.Err), failureTTL
	}
	a.until = a.at.Add(min(max(ttl, minTTL), maxTTL))
	return a
}

func notFound(name string) *net.DNSError {
	return &net.DNSError{Err: "no such records", Name: name, IsNotFound: true}
}

func failed(name string, err error) *net.DNSError {
	return &net.DNSError{Err: err.Error(), UnwrapErr: err, Name: name, IsTemporary: true}
}

func ended(ctx context.Context, name string) *answer {
	f := failed(name, context.Cause(ctx))
	f.IsTimeout = errors.Is(ctx.Err(), context.DeadlineExceeded)
	return &answer{said: mx.Answer[dns.RR]{Err: f}, failure: f}
}
