package mtasts

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"mxbypass/mailbox"
)

const (
	// maxPolicies is how many policies are kept; beyond it that goes which was not used for the longest time.
	maxPolicies = 10_000
	// maxFailures bounds what is remembered of fetches that failed, and failedFor is for how long: mail does not wait for
	// the same server again and again (RFC 8461 section 3.3).
	maxFailures = 10_000
	failedFor   = 5 * time.Minute
	// maxFetches is how many fetches run at once, and maxRefreshes how many of them are not for mail that waits.
	maxFetches   = 50
	maxRefreshes = 10

	// refreshEvery is how often is looked for policies that get old: those older than refreshAfter, or than half their age.
	refreshEvery = time.Hour
	refreshAfter = 24 * time.Hour
	// forgetAfter is how long a policy is fetched again without having been used.
	forgetAfter = 30 * 24 * time.Hour
)

// Why the policy of a domain is not known. Mail goes on without one (RFC 8461 section 3.3), or under the one before.
var (
	ErrRecord  = errors.New("the MTA-STS record cannot be looked up")
	ErrFetch   = errors.New("the MTA-STS policy cannot be fetched")
	ErrInvalid = errors.New("the MTA-STS policy makes no sense")
)

// Options of a cache. Dir, TXT and Addr are needed.
type Options struct {
	// Dir is where policies are kept; it is made when it is not there. Nobody else writes to it.
	Dir string
	// TXT and Addr ask DNS; errors are *net.DNSError, and IsNotFound is the only "no". Their answers are cached by them.
	TXT  func(ctx context.Context, name string) ([]string, error)
	Addr func(ctx context.Context, name string) ([]netip.Addr, error)
	// Roots are whose certificates are believed; nil: those of the system.
	Roots *x509.CertPool
	// Port is that of the servers of policies; default 443. AllowLoopback lets them be on this machine. Both are for tests.
	Port          uint16
	AllowLoopback bool
	Log           *slog.Logger     // default: discards
	Now           func() time.Time // default: time.Now
}

// Cache knows the policies of domains. It is safe for concurrent use. [Cache.Close] ends it.
type Cache struct {
	o       Options
	fetcher *fetcher

	base    context.Context // of fetches, which outlive who asked first, and of the refresh
	stop    context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	kept    map[string]*entry
	failed  map[string]failure // by domain
	flights map[string]*flight // by domain: one fetch at a time
}

// entry is a policy with its dates.
type entry struct {
	policy  *Policy
	text    string
	fetched time.Time
	used    time.Time
}

func (e *entry) expires() time.Time { return e.fetched.Add(e.policy.MaxAge) }

type failure struct {
	id    string
	until time.Time
	err   error
}

type flight struct {
	done   chan struct{}
	policy *Policy
	err    error
}

// Open reads what is kept on disk, and begins to keep it fresh. What cannot be read there is removed, and said in the log.
func Open(o Options) (*Cache, error) {
	o.Port = cmp.Or(o.Port, defaultPort)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	c := &Cache{o: o, fetcher: newFetcher(o), kept: map[string]*entry{}, failed: map[string]failure{},
		flights: map[string]*flight{}}
	if err := c.load(); err != nil {
		return nil, fmt.Errorf("mta-sts: %w", err)
	}
	c.base, c.stop = context.WithCancel(context.Background())
	c.running.Go(c.refreshLoop)
	return c, nil
}

// Close ends the fetches under way and the refresh. Policies are on disk already.
func (c *Cache) Close() error {
	c.mu.Lock() // a fetch is either begun before, and waited for, or not at all
	c.stop()
	c.mu.Unlock()
	c.running.Wait()
	return nil
}

// Policy gives the policy of a domain that holds now; nil: it has none, or none is known. The error says what went wrong
// in finding out (ErrRecord, ErrFetch, ErrInvalid), and can stand beside a policy that was known before.
func (c *Cache) Policy(ctx context.Context, domain mailbox.DomainName) (*Policy, error) {
	name := domain.ASCII()
	texts, err := c.o.TXT(ctx, "_mta-sts."+name)
	old := c.known(name)
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return old, nil // what was promised holds to its end
	case err != nil:
		return old, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	id, there := parseRecord(texts)
	if !there || old != nil && old.ID == id {
		return old, nil
	}
	fresh, err := c.update(ctx, name, id)
	if err != nil {
		return old, err
	}
	return fresh, nil
}

// known gives what is kept and not too old.
func (c *Cache) known(name string) *Policy {
	now := c.o.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.kept[name]
	if e == nil || !now.Before(e.expires()) {
		return nil
	}
	e.used = now
	return e.policy
}

// update fetches the policy that a record announces, or waits for who does. It is not tried again just after a failure.
func (c *Cache) update(ctx context.Context, name, id string) (*Policy, error) {
	f, err := c.flight(name, id)
	if err != nil {
		return nil, err
	}
	select {
	case <-f.done:
		return f.policy, f.err
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrFetch, context.Cause(ctx))
	}
}

func (c *Cache) flight(name, id string) (*flight, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if failed, ok := c.failed[name]; ok && failed.id == id && c.o.Now().Before(failed.until) {
		return nil, failed.err
	}
	if f := c.flights[name]; f != nil {
		return f, nil
	}
	if c.base.Err() != nil || len(c.flights) >= maxFetches {
		return nil, fmt.Errorf("%w: too many at once, or the relay is stopping", ErrFetch)
	}
	f := &flight{done: make(chan struct{})}
	c.flights[name] = f
	c.running.Go(func() {
		ctx, cancel := context.WithTimeout(c.base, fetchTime)
		defer cancel()
		p, err := c.fetch(ctx, name, id)
		c.mu.Lock()
		defer c.mu.Unlock()
		f.policy, f.err = p, err
		delete(c.flights, name)
		if err != nil && c.base.Err() == nil {
			makeRoom(c.failed, maxFailures, func(old failure) bool { return !c.o.Now().Before(old.until) })
			c.failed[name] = failure{id, c.o.Now().Add(failedFor), err}
		}
		close(f.done)
	})
	return f, nil
}

// fetch gets a policy and keeps it.
func (c *Cache) fetch(ctx context.Context, name, id string) (*Policy, error) {
	text, err := c.fetcher.fetch(ctx, name)
	if err != nil {
		err = fmt.Errorf("%w: %s", ErrFetch, mailbox.Printable(err.Error()))
		c.o.Log.Warn("no MTA-STS policy", "domain", name, "error", err)
		return nil, err
	}
	p, err := parse(text)
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrInvalid, err)
		c.o.Log.Warn("no MTA-STS policy", "domain", name, "error", err)
		return nil, err
	}
	p.Domain, p.ID = name, id
	now := c.o.Now()
	e := &entry{policy: p, text: text, fetched: now, used: now}
	c.mu.Lock()
	if old := c.kept[name]; old != nil {
		e.used = old.used
	}
	dropped := c.evict(name)
	c.kept[name] = e
	r := record{Domain: name, ID: id, Fetched: now, Used: e.used, Text: text}
	delete(c.failed, name)
	c.mu.Unlock()
	for _, d := range dropped {
		c.remove(d)
	}
	c.save(r)
	c.o.Log.Info("MTA-STS policy", "domain", name, "mode", string(p.Mode), "id", id, "until", e.expires())
	return p, nil
}

// evict makes room for one more: what is too old goes, then what was not used for the longest time. It runs under mu.
func (c *Cache) evict(name string) (dropped []string) {
	if c.kept[name] != nil || len(c.kept) < maxPolicies {
		return nil
	}
	now, oldest := c.o.Now(), ""
	for d, e := range c.kept {
		if !now.Before(e.expires()) {
			delete(c.kept, d)
			dropped = append(dropped, d)
		} else if oldest == "" || e.used.Before(c.kept[oldest].used) {
			oldest = d
		}
	}
	if len(c.kept) >= maxPolicies {
		delete(c.kept, oldest)
		dropped = append(dropped, oldest)
	}
	return dropped
}

// makeRoom keeps a map below its bound: first what is over goes, then anything.
func makeRoom[V any](m map[string]V, bound int, over func(V) bool) {
	if len(m) < bound {
		return
	}
	for k, v := range m {
		if over(v) {
			delete(m, k)
		}
	}
	for k := range m {
		if len(m) < bound*9/10 {
			return
		}
		delete(m, k)
	}
}

func (c *Cache) refreshLoop() {
	ticker := time.NewTicker(refreshEvery)
	defer ticker.Stop()
	for {
		select {
		case <-c.base.Done():
			return
		case <-ticker.C:
			c.refresh(c.base)
		}
	}
}

// refresh fetches policies again that get old, and forgets those that are too old.
func (c *Cache) refresh(ctx context.Context) {
	type old struct {
		domain  string
		expires time.Time
	}
	now := c.o.Now()
	var due []old
	var over []string
	c.mu.Lock()
	for d, e := range c.kept {
		age := now.Sub(e.fetched)
		switch {
		case !now.Before(e.expires()):
			delete(c.kept, d)
			over = append(over, d)
		case now.Sub(e.used) < forgetAfter && (age >= refreshAfter || age >= e.policy.MaxAge/2):
			due = append(due, old{d, e.expires()})
		}
	}
	c.mu.Unlock()
	for _, d := range over {
		c.remove(d)
	}
	slices.SortFunc(due, func(a, b old) int { return a.expires.Compare(b.expires) })
	var several errgroup.Group // a few slow servers keep nobody else from being asked in time
	several.SetLimit(maxRefreshes)
	for _, d := range due {
		several.Go(func() error {
			texts, err := c.o.TXT(ctx, "_mta-sts."+d.domain)
			if err != nil || ctx.Err() != nil {
				return nil //nolint:nilerr // the next round tries again
			}
			if id, there := parseRecord(texts); there {
				_, _ = c.update(ctx, d.domain, id) // a failure is in the log
			}
			return nil
		})
	}
	_ = several.Wait() // none of them gives an error
}
