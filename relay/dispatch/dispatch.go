package dispatch

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"mxbypass/mailbox"
	"mxbypass/relay/dsn"
	"mxbypass/relay/ids"
	"mxbypass/relay/maillog"
	"mxbypass/relay/outbound"
	"mxbypass/relay/queue"
	"mxbypass/routing"
)

// Schedule says when is tried again, and when enough is enough.
type Schedule struct {
	First          time.Duration // after the first failure; then twice as long each time, with jitter
	Max            time.Duration // never longer than this
	Lifetime       time.Duration // given up after it
	ReportLifetime time.Duration // the same for what has a null sender
	Notice         time.Duration // when the sender is told that it takes long; zero: never
}

// Limits bound what is under way.
type Limits struct {
	Connections    int // in all
	PerDestination int // at most; it starts at Initial
	Initial        int
	Recipients     int // of one transaction
}

// Conn is a connection to a server; *outbound.Conn is one.
type Conn interface {
	Host() string
	TLS() string
	Send(ctx context.Context, m outbound.Mail) []outbound.Result
	Usable() bool
	Release()
}

// Environment is what is worked with under one configuration.
type Environment struct {
	Hostname      mailbox.DomainName
	Postmaster    mailbox.Address // From of reports; null: postmaster at Hostname
	Connect       func(ctx context.Context, hop routing.Hop) (Conn, error)
	Stores        map[string]mailbox.Store // by site
	Route         func(ctx context.Context, p mailbox.Path, c routing.Client) routing.Route
	Rewrite       func(ctx context.Context, sender mailbox.Address) mailbox.Address // SRS for what is redirected; nil: none
	Schedule      Schedule
	Limits        Limits
	DoubleBounces bool // what cannot be delivered and has a null sender goes to the postmaster mailbox, else it is dropped
}

// Options of a dispatcher. All are needed.
type Options struct {
	Queue *queue.Queue
	Log   *maillog.Log
	// Acquire gives the environment to use now; release is called once, when the piece of work is done.
	Acquire func() (env *Environment, release func())
}

// Target is where a message is to go later: elsewhere, or to a store that could not take it now.
type Target = routing.Target

// backlog is what the dispatcher uses of a queue.
type backlog interface {
	Put(ctx context.Context, e queue.Entry, lease bool) ([]*queue.Item, error)
	Destinations(ctx context.Context, now time.Time, limit int, skip func(id int64) bool) ([]queue.Destination, error)
	NextDue(ctx context.Context) (time.Time, bool, error)
	Ready(ctx context.Context, destination int64, now time.Time, limit int) ([]*queue.Item, error)
	Lease(ctx context.Context, items []*queue.Item, next time.Time) ([]*queue.Item, error)
	Finish(ctx context.Context, outcomes []queue.Outcome, reports []queue.Entry) error
	Postpone(ctx context.Context, destination int64, next time.Time, failure *queue.Attempt) error
	Overdue(ctx context.Context, now time.Time, limit int) ([]*queue.Item, error)
	Content(h *queue.Header) mailbox.Content
	Changed() <-chan struct{}
}

// breakOff is how long Shutdown waits for what was broken off to notice it, and to write what became of it.
const breakOff = 2 * time.Second

// Dispatcher works on one queue. It is safe for concurrent use.
type Dispatcher struct {
	queue   backlog
	log     *maillog.Log
	acquire func() (*Environment, func())
	compose func(dsn.Notification) (*mailbox.Message, error)
	ids     *ids.Source
	held    budget // of contents that are kept in memory for fresh mail

	sending      context.Context // of what is given to servers and stores
	breakSending context.CancelFunc
	writing      context.Context // of what is written to the queue: it outlives sending, to say what became of it
	breakWriting context.CancelFunc
	stopping     context.Context // of what looks for work
	stop         context.CancelFunc
	troubled     atomic.Bool    // the queue has failed since the loop looked
	wake         chan struct{}  // there may be something to do
	running      sync.WaitGroup // the loops and the workers

	mu      sync.Mutex
	open    bool // between Start and Shutdown
	limits  Limits
	active  map[string]*destination
	turn    []*destination // those that wait for a worker, in the order in which they get one
	workers int
	fates   fates
}

// New makes a dispatcher; Start begins the work, Shutdown ends it.
func New(o Options) *Dispatcher { return newDispatcher(o.Queue, o.Log, o.Acquire) }

func newDispatcher(q backlog, log *maillog.Log, acquire func() (*Environment, func())) *Dispatcher {
	d := &Dispatcher{
		queue: q, log: log, acquire: acquire, compose: dsn.Compose, ids: ids.New(),
		wake:   make(chan struct{}, 1),
		active: map[string]*destination{}, fates: fates{},
	}
	d.stopping, d.stop = context.WithCancel(context.Background())
	d.sending, d.breakSending = context.WithCancel(context.Background())
	d.writing, d.breakWriting = context.WithCancel(context.Background())
	return d
}

// Start begins. It is called once.
func (d *Dispatcher) Start() {
	_, release := d.environment()
	release()
	d.mu.Lock()
	d.open = true
	d.mu.Unlock()
	d.running.Go(d.loop)
	d.running.Go(d.sweepLoop)
}

// Shutdown begins nothing any more, lets what is under way end until ctx does, and breaks off the rest. It is called
// once, after Start, and the queue is closed after it. What is accepted later is queued, and waits for the next start.
func (d *Dispatcher) Shutdown(ctx context.Context) error {
	defer d.breakSending()
	defer d.breakWriting()
	d.mu.Lock()
	d.open = false
	unbegun := d.takeFresh()
	d.mu.Unlock()
	d.stop()
	d.running.Go(func() { d.giveBack(unbegun, stopped()) })
	done := make(chan struct{})
	go func() {
		d.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	d.mu.Lock()
	n := d.workers
	d.mu.Unlock()
	d.breakSending()
	select {
	case <-done:
	case <-time.After(breakOff): // the queue cannot be written, or somebody does not honour the end of a context
	}
	return fmt.Errorf("%d deliveries from the queue broken off: %w", n, context.Cause(ctx))
}

// environment gives what to work with now, and takes its limits over.
func (d *Dispatcher) environment() (*Environment, func()) {
	env, release := d.acquire()
	d.mu.Lock()
	d.limits = env.Limits.sane()
	d.mu.Unlock()
	return env, release
}

// sane gives limits under which work goes on.
func (l Limits) sane() Limits {
	l.Connections = max(l.Connections, 1)
	l.PerDestination = max(l.PerDestination, 1)
	l.Initial = min(max(l.Initial, 1), l.PerDestination)
	l.Recipients = max(l.Recipients, 1)
	return l
}

// rouse has the loop look at the queue.
func (d *Dispatcher) rouse() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// pause waits, and tells whether the wait came to its end before ctx did.
func pause(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
