package sqldir

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/singleflight"

	"mxbypass/mailbox"
)

const (
	// maxStale bounds the age of what the cache answers, if somebody changed it in between.
	maxStale = 500 * time.Millisecond
	// checkEvery is how often the watcher asks whether anybody changed something.
	checkEvery = maxStale / 2
	// loadTimeout bounds a question to the database. It goes on when who asked goes away, because others may wait for it.
	loadTimeout = 5 * time.Second
)

// freshness tells whether the cache may be used: it counts the changes, and remembers when somebody last looked.
type freshness struct {
	changes atomic.Uint64
	looked  atomic.Int64 // since started
	started time.Time
}

func (f *freshness) changed() { f.changes.Add(1) }

func (f *freshness) checked() { f.looked.Store(int64(time.Since(f.started))) }

// now returns the number of changes, and whether it is young enough to believe.
func (f *freshness) now() (changes uint64, fresh bool) {
	return f.changes.Load(), int64(time.Since(f.started))-f.looked.Load() < int64(maxStale)
}

// Stats count what the cache did since the directory was opened.
type Stats struct {
	Hits, Misses uint64 // misses are questions to the database, also about what does not exist
	Entries      int    // domains, mailboxes and aliases in the cache, about
}

// Stats returns the counts.
func (d *Directory) Stats() Stats {
	c := &d.caches
	return Stats{
		Hits:    c.domains.hits.Load() + c.entries.hits.Load(),
		Misses:  c.domains.misses.Load() + c.entries.misses.Load(),
		Entries: c.domains.items.EstimatedSize() + c.entries.items.EstimatedSize(),
	}
}

type caches struct {
	domains cached[mailbox.DomainName, mailbox.Domain]
	entries cached[mailbox.Address, mailbox.Entry]
}

// init shares the room: there are fewer domains than mailboxes, and each of them is asked for more often.
func (c *caches) init(d *Directory) {
	n := max(d.o.CacheEntries, 4)
	c.domains.init(&d.age, n/4, d.loadDomain, mailbox.DomainName.ASCII)
	c.entries.init(&d.age, n-n/4, d.loadEntry, mailbox.Address.Wire)
}

func (c *caches) wait() {
	c.domains.loads.Wait()
	c.entries.loads.Wait()
}

// cached answers from memory what it knows to exist, and asks once for many who want to know the same.
type cached[K comparable, V any] struct {
	age          *freshness
	items        *otter.Cache[K, held[V]]
	flights      singleflight.Group
	loads        sync.WaitGroup
	load         func(context.Context, K) (V, error)
	name         func(K) string
	hits, misses atomic.Uint64
}

// held is an answer, with the number of changes before it was asked for.
type held[V any] struct {
	value   V
	changes uint64
}

func (c *cached[K, V]) init(age *freshness, n int, load func(context.Context, K) (V, error),
	name func(K) string) {
	c.age, c.load, c.name = age, load, name
	c.items = otter.Must(&otter.Options[K, held[V]]{
		MaximumSize: n,
		Executor:    func(maintain func()) { maintain() }, // no goroutines that nobody owns
	})
}

func (c *cached[K, V]) get(ctx context.Context, key K) (V, error) {
	changes, fresh := c.age.now()
	if fresh {
		if h, ok := c.items.GetIfPresent(key); ok && h.changes == changes {
			c.hits.Add(1)
			return h.value, nil
		}
	}
	c.misses.Add(1)
	h, shared, err := c.ask(ctx, key)
	if shared && (isNo(err) || err == nil && h.changes != changes) {
		// Whoever asked first may have looked before what we are asked for was made, or was changed as we know. A "no" is
		// worth a look of our own, and so is what is old.
		return c.load(ctx, key)
	}
	return h.value, err
}

func isNo(err error) bool {
	return errors.Is(err, mailbox.ErrNoMailbox) || errors.Is(err, mailbox.ErrNoDomain)
}

func (c *cached[K, V]) ask(ctx context.Context, key K) (h held[V], shared bool, err error) {
	c.loads.Add(1)
	answer := c.flights.DoChan(c.name(key), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadTimeout)
		defer cancel()
		changes, _ := c.age.now() // before the question: a change in between makes the answer old
		value, err := c.load(ctx, key)
		h := held[V]{value, changes}
		if err == nil {
			c.items.Set(key, h)
		}
		return h, err
	})
	select {
	case <-ctx.Done():
		go func() {
			<-answer // comes within loadTimeout
			c.loads.Done()
		}()
		return h, false, unavailable(context.Cause(ctx))
	case r := <-answer:
		c.loads.Done()
		return r.Val.(held[V]), r.Shared, r.Err
	}
}
