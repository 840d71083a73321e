package mx

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"mxbypass/mailbox"
)

// fakeClock is a clock that only the test moves.
type fakeClock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *fakeClock { return &fakeClock{now: time.Unix(1_000_000_000, 0)} }

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newCache(t testing.TB, o CacheOptions) *Cache {
	t.Helper()
	c, err := NewCache(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return c
}

var errDNS = errors.New("DNS is dead")

// How long each kind of answer is kept, and what is told afterwards.
func TestExpiry(t *testing.T) {
	for _, c := range []struct {
		title  string
		answer Answer[MX]
		want   Kind
		kept   time.Duration
	}{
		{"records", hosts(5*time.Minute, "mx.d.example"), External, 5 * time.Minute},
		{"a TTL of zero", hosts(0, "mx.d.example"), External, minTTL},
		{"a TTL of weeks", hosts(1000*time.Hour, "mx.d.example"), External, maxTTL},
		{"null MX", hosts(time.Hour, "."), Null, time.Hour},
		{"no data", Answer[MX]{Outcome: NoData, TTL: 20 * time.Minute}, None, 20 * time.Minute},
		{"no such domain", Answer[MX]{Outcome: NXDomain, TTL: 24 * time.Hour}, None, maxNegativeTTL},
		{"no SOA", Answer[MX]{Outcome: NoData}, None, minTTL},
		{"a failure", Answer[MX]{Err: errDNS}, Unknown, failureTTL},
	} {
		t.Run(c.title, func(t *testing.T) {
			clock, fake := newClock(), newFake()
			fake.set("d.example", c.answer)
			cache := newCache(t, CacheOptions{Resolver: fake, Now: clock.Now})
			ask := func(asked int) {
				t.Helper()
				s := cache.State(t.Context(), name("d.example"))
				if s.Kind != c.want || s.Domain != name("d.example") || s.Stale || (s.Err != nil) != (c.want == Unknown) {
					t.Errorf("%+v", s)
				}
				if n := fake.count("d.example"); n != asked {
					t.Errorf("DNS was asked %d times, want %d", n, asked)
				}
			}
			ask(1)
			ask(1)
			clock.advance(c.kept - 1)
			ask(1)
			clock.advance(1)
			ask(2)
		})
	}
}

// While DNS fails, what was known is told, marked, and for a bounded time; DNS is not asked each time.
func TestStale(t *testing.T) {
	clock, fake := newClock(), newFake()
	cache := newCache(t, CacheOptions{Resolver: fake, Now: clock.Now, Stale: time.Hour})
	state := func(want Kind, stale bool, asked int) {
		t.Helper()
		s := cache.State(t.Context(), name("d.example"))
		if s.Kind != want || s.Stale != stale || stale && !errors.Is(s.Err, errDNS) {
			t.Errorf("%+v", s)
		}
		if n := fake.count("d.example"); n != asked {
			t.Errorf("asked %d times, want %d", n, asked)
		}
	}
	fake.set("d.example", hosts(time.Minute, "mx.d.example"))
	state(External, false, 1)
	fake.set("d.example", Answer[MX]{Err: errDNS})
	clock.advance(time.Minute)
	state(External, true, 2)
	clock.advance(failureTTL - 1)
	state(External, true, 2)
	clock.advance(1)
	state(External, true, 3)
	clock.advance(time.Hour - failureTTL - 1)
	state(External, true, 4)
	clock.advance(1) // an hour past its TTL
	state(Unknown, false, 5)
	fake.set("d.example", hosts(time.Minute, "."))
	clock.advance(failureTTL)
	state(Null, false, 6)
}

// One query for many who wait.
func TestOneLookupForMany(t *testing.T) {
	fake := newFake()
	fake.set("d.example", hosts(time.Hour, "mx.d.example"))
	release, asked := make(chan struct{}), make(chan struct{})
	var once sync.Once
	fake.hold = func(context.Context) { once.Do(func() { close(asked) }); <-release }
	cache := newCache(t, CacheOptions{Resolver: fake})

	const many = 100
	var ready, waiting sync.WaitGroup
	ready.Add(many)
	for range many {
		waiting.Go(func() {
			ready.Done()
			if s := cache.State(t.Context(), name("d.example")); s.Kind != External {
				t.Errorf("%+v", s)
			}
		})
	}
	ready.Wait()
	<-asked
	close(release)
	waiting.Wait()
	if n := fake.count("d.example"); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// A waiter that gives up is told at once that nothing is known, or what was known; the lookup goes on for the others.
func TestLookupOutlivesWaiter(t *testing.T) {
	fake, clock := newFake(), newClock()
	fake.set("d.example", hosts(time.Minute, "mx.d.example"))
	release, asked := make(chan struct{}), make(chan struct{})
	fake.hold = func(context.Context) { asked <- struct{}{}; <-release }
	cache := newCache(t, CacheOptions{Resolver: fake, Now: clock.Now, Stale: time.Hour})

	giveUp := func(want Kind, stale bool) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		told := make(chan State)
		go func() { told <- cache.State(ctx, name("d.example")) }()
		<-asked
		cancel()
		if s := <-told; s.Kind != want || s.Stale != stale || !errors.Is(s.Err, context.Canceled) {
			t.Errorf("%+v", s)
		}
		release <- struct{}{}
		if s := cache.State(t.Context(), name("d.example")); s.Kind != External || s.Stale {
			t.Errorf("%+v", s)
		}
	}
	giveUp(Unknown, false)
	clock.advance(time.Minute)
	giveUp(External, true)
	if n := fake.count("d.example"); n != 2 {
		t.Errorf("asked %d times", n)
	}
}

// A lookup ends by its own deadline, when nobody else ends it.
func TestLookupDeadline(t *testing.T) {
	fake := newFake()
	fake.hold = func(ctx context.Context) { <-ctx.Done() }
	cache := newCache(t, CacheOptions{Resolver: fake, Timeout: time.Millisecond})
	if s := cache.State(context.Background(), name("d.example")); s.Kind != Unknown ||
		!errors.Is(s.Err, context.DeadlineExceeded) {
		t.Errorf("%+v", s)
	}
}

// The number of lookups at a time is bounded: beyond it the state is unknown, and nothing is kept of that.
func TestTooManyLookups(t *testing.T) {
	fake := newFake()
	release, asked := make(chan struct{}), make(chan struct{})
	fake.hold = func(context.Context) { asked <- struct{}{}; <-release }
	cache := newCache(t, CacheOptions{Resolver: fake, Lookups: 1})
	first := make(chan State)
	go func() { first <- cache.State(t.Context(), name("one.example")) }()
	<-asked
	if s := cache.State(t.Context(), name("two.example")); s.Kind != Unknown || !errors.Is(s.Err, errBusy) {
		t.Errorf("%+v", s)
	}
	close(release)
	if s := <-first; s.Kind != None {
		t.Errorf("%+v", s)
	}
	go func() { <-asked }()
	if s := cache.State(t.Context(), name("two.example")); s.Kind != None {
		t.Errorf("%+v", s)
	}
}

// Close ends what runs and waits for it, within its context. Afterwards the cache still tells what it knows.
func TestClose(t *testing.T) {
	fake := newFake()
	fake.set("known.example", hosts(time.Hour, "mx.d.example"))
	cache := newCache(t, CacheOptions{Resolver: fake})
	if s := cache.State(t.Context(), name("known.example")); s.Kind != External {
		t.Errorf("%+v", s)
	}
	asked, stubborn := make(chan struct{}), make(chan struct{})
	fake.mu.Lock()
	fake.hold = func(ctx context.Context) { close(asked); <-ctx.Done(); <-stubborn }
	fake.mu.Unlock()
	told := make(chan State)
	go func() { told <- cache.State(context.Background(), name("d.example")) }()
	<-asked
	short, cancel := context.WithCancel(t.Context())
	cancel()
	if err := cache.Close(short); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	close(stubborn)
	if err := cache.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if s := <-told; s.Kind != Unknown || !errors.Is(s.Err, context.Canceled) {
		t.Errorf("%+v", s)
	}
	if s := cache.State(t.Context(), name("d.example")); s.Kind != Unknown || !errors.Is(s.Err, errClosed) {
		t.Errorf("%+v", s)
	}
	if s := cache.State(t.Context(), name("known.example")); s.Kind != External {
		t.Errorf("%+v", s)
	}
}

func TestBoundedCache(t *testing.T) {
	fake := newFake()
	cache := newCache(t, CacheOptions{Resolver: fake, Entries: 100})
	for i := range 5_000 {
		cache.State(t.Context(), name(fmt.Sprintf("d%d.example", i)))
	}
	cache.entries.CleanUp()
	if n := cache.entries.EstimatedSize(); n > 100 {
		t.Errorf("%d entries are kept", n)
	}
}

func TestNoMXAtLiterals(t *testing.T) {
	fake := newFake()
	cache := newCache(t, CacheOptions{Resolver: fake})
	path, err := mailbox.ParsePath("u@[192.0.2.1]", false)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []mailbox.DomainName{path.Address.Domain, {}} {
		if s := cache.State(t.Context(), d); s.Kind != None {
			t.Errorf("%q: %+v", d, s)
		}
	}
	if len(fake.asked) != 0 {
		t.Errorf("asked for %v", fake.asked)
	}
}

func TestCacheNeedsResolver(t *testing.T) {
	if _, err := NewCache(CacheOptions{}); err == nil {
		t.Error("no error")
	}
}

// An answer from the cache must cost next to nothing.
func BenchmarkStateCached(b *testing.B) {
	fake := newFake()
	fake.set("d.example", hosts(time.Hour, "mx.d.example"))
	cache := newCache(b, CacheOptions{Resolver: fake})
	d := name("d.example")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if cache.State(context.Background(), d).Kind != External {
				b.Error("not external")
			}
		}
	})
}
