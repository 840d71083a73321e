package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"mxbypass/mailbox"
	"mxbypass/mailbox/inspect"
	"mxbypass/relay/delivery"
	"mxbypass/relay/dispatch"
	"mxbypass/relay/guard"
	"mxbypass/relay/inbound"
	"mxbypass/relay/maillog"
	"mxbypass/relay/queue"
	"mxbypass/relay/spool"
	"mxbypass/routing"
)

// Router decides about one recipient. It returns soon after the end of the context.
type Router interface {
	Route(ctx context.Context, p mailbox.Path, c routing.Client) routing.Route
}

// Endpoint is an address to listen on.
type Endpoint struct {
	Network string // "tcp" or "unix"
	Address string // host:port, or the path of the socket
}

// Parts are what one configuration gives. They are closed together: Close ends the router, its directory and the
// stores, and is called after the last transaction that uses them; nil when there is nothing to close.
type Parts struct {
	Hostname  string
	Listeners map[Endpoint]inbound.Service
	Limits    inbound.Limits
	Timeouts  inbound.Timeouts
	Router    Router
	Stores    map[string]mailbox.Store // by site
	Trusted   []netip.Prefix           // networks that may submit mail for elsewhere
	Trust     inbound.Trust
	Guard     guard.Options // of the counters over time, which outlive the configuration
	Outgoing  Outgoing
	Close     func() error
}

// Outgoing says how queued mail leaves.
type Outgoing struct {
	// Connect gives a connection to a server of a hop; see outbound.Client.
	Connect func(ctx context.Context, hop routing.Hop) (dispatch.Conn, error)
	// Rewrite gives the sender for mail that is redirected; nil: it stays.
	Rewrite    func(ctx context.Context, sender mailbox.Address) mailbox.Address
	Postmaster mailbox.Address // From of reports; null: postmaster at Hostname
	Schedule   dispatch.Schedule
	Limits     dispatch.Limits
	// DoubleBounces brings reports that cannot be delivered to the postmaster mailbox; else they are dropped.
	DoubleBounces bool
	// RefuseFailed: see delivery.Options.
	RefuseFailed bool
}

// Options of a relay; what a reload does not change. Log and StateDir are needed.
type Options struct {
	StateDir string // exists, and is ours: spool, ledger and queue are in it
	Log      *maillog.Log
	Memory   int64         // octets for the messages in flight; default 256 MiB
	Version  string        // for the log
	Late     time.Duration // how long a store may work on after the answer; default 5 minutes
}

// Relay is the running relay. Start, Reload and Shutdown are for one goroutine.
type Relay struct {
	options    Options
	log        *maillog.Log
	lock       *os.File
	ledger     *delivery.Ledger
	queue      *queue.Queue
	dispatcher *dispatch.Dispatcher
	guard      *guard.Guard
	failed     chan error

	front   *front
	sockets map[Endpoint]*socket

	mu      sync.Mutex
	current *snapshot

	ending   context.Context // of everything that is closed in the background
	end      context.CancelFunc
	drains   sync.WaitGroup // of fronts that were replaced
	closings sync.WaitGroup // of snapshots
}

// New opens what outlives configurations; [ErrLocked] when another relay has the state folder. [Relay.Shutdown] must be
// called to end the relay, whether it was started or not.
func New(ctx context.Context, o Options) (*Relay, error) {
	r := &Relay{options: o, log: o.Log, guard: guard.New(guard.Options{}), failed: make(chan error, 1),
		sockets: map[Endpoint]*socket{}}
	if err := r.open(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("relay: %w", err), r.closeState())
	}
	r.dispatcher = dispatch.New(dispatch.Options{Queue: r.queue, Log: o.Log, Acquire: r.environment})
	r.ending, r.end = context.WithCancel(context.Background())
	return r, nil
}

// QueuePath is where the queue of a relay is, below its state folder.
func QueuePath(stateDir string) string { return filepath.Join(stateDir, "queue", "queue.db") }

// What is in the state folder, beside the queue.
func lockPath(stateDir string) string   { return filepath.Join(stateDir, "lock") }
func ledgerPath(stateDir string) string { return filepath.Join(stateDir, "ledger") }
func spoolPath(stateDir string) string  { return filepath.Join(stateDir, "spool") }

// Check tells what would keep [New] and [Relay.Start] from using a state folder, but for another relay that does. It
// changes nothing, also while one runs; but it is not for the process in which it does.
func Check(ctx context.Context, stateDir string) error {
	if err := inspect.Folder(stateDir); err != nil {
		return err // and so would everything in it
	}
	return errors.Join(
		inspect.File(lockPath(stateDir)),
		inspect.File(ledgerPath(stateDir)),
		inspect.Folder(spoolPath(stateDir)),
		queue.Check(ctx, QueuePath(stateDir)),
	)
}

// open tells all that is in the way, once nobody else has the folder.
func (r *Relay) open(ctx context.Context) (err error) {
	dir := r.options.StateDir
	if r.lock, err = lock(dir); err != nil {
		return err
	}
	r.ledger, err = delivery.OpenLedger(ledgerPath(dir), r.log.Logger())
	path := QueuePath(dir)
	cause := os.MkdirAll(filepath.Dir(path), 0o700)
	if cause == nil {
		r.queue, cause = queue.Open(ctx, queue.Options{Path: path, Log: r.log.Logger()})
	}
	return errors.Join(err, cause)
}

// closeState closes what outlives configurations, as far as it was opened.
func (r *Relay) closeState() error {
	var errs []error
	if r.queue != nil {
		errs = append(errs, r.queue.Close())
	}
	if r.ledger != nil {
		errs = append(errs, r.ledger.Close())
	}
	if r.lock != nil {
		errs = append(errs, r.lock.Close())
	}
	return errors.Join(errs...)
}

// Start binds all listeners and serves them, or returns an error and has done nothing; p is still the caller's then.
func (r *Relay) Start(ctx context.Context, p Parts) error {
	if err := r.change(ctx, p); err != nil {
		return err
	}
	r.log.Started(r.options.Version, r.addresses())
	return nil
}

// Reload switches to p: new listeners are bound before, old ones are left after. When it returns an error everything is
// as it was, and p is still the caller's. The error is in the log.
func (r *Relay) Reload(ctx context.Context, p Parts) error {
	if err := r.change(ctx, p); err != nil {
		r.log.ReloadFailed(err)
		return err
	}
	r.log.Reloaded(r.addresses())
	return nil
}

// Failed gives the error of a listener that ended by itself: a relay that does not listen should not look alive.
func (r *Relay) Failed() <-chan error { return r.failed }

// Alive asks what everything hangs on, for a watchdog: an error means that the relay does not work, whatever it looks like.
func (r *Relay) Alive(ctx context.Context) error {
	_, release := r.acquire()
	release()
	_, _, err := r.queue.NextDue(ctx)
	return err
}

// Addresses tells where the relay listens, by what was asked for: a port of 0 has become a real one.
func (r *Relay) Addresses() map[Endpoint]string {
	bound := make(map[Endpoint]string, len(r.sockets))
	for e, s := range r.sockets {
		bound[e] = s.Addr().String()
	}
	return bound
}

// change does all that can fail first.
func (r *Relay) change(ctx context.Context, p Parts) error {
	if len(p.Listeners) == 0 {
		return errors.New("relay: no listeners")
	}
	added, err := r.bind(ctx, p.Listeners)
	next := r.front
	if next == nil || !next.suits(p) {
		var cause error
		if next, cause = r.newFront(p); err != nil && cause == nil {
			cause = next.spool.Close()
		}
		err = errors.Join(err, cause)
	}
	if err != nil {
		closeAll(added)
		return fmt.Errorf("relay: %w", err)
	}
	// From here on nothing fails.
	r.guard.Update(p.Guard)
	r.use(newSnapshot(p, delivery.New(delivery.Options{
		Stores: p.Stores, Ledger: r.ledger, Queue: r.dispatcher, Log: r.log.Logger(), Timeout: p.Timeouts.Answer,
		Late: r.options.Late, RefuseFailed: p.Outgoing.RefuseFailed,
	})))
	if r.front == nil {
		r.dispatcher.Start()
	}
	for e, s := range added {
		r.sockets[e] = s
	}
	if old := r.front; old != nil && old != next {
		old.leave(nil)
		r.drains.Go(func() { _ = old.server.Shutdown(r.ending) }) // an error only says that it was broken off
	}
	r.front = next
	next.leave(p.Listeners)
	for e, s := range r.sockets {
		if service, ok := p.Listeners[e]; ok {
			next.serve(e, s, service)
			continue
		}
		s.close()
		delete(r.sockets, e)
	}
	return nil
}

// bind opens the sockets that are not there yet: all of them or none.
func (r *Relay) bind(ctx context.Context, wanted map[Endpoint]inbound.Service) (map[Endpoint]*socket, error) {
	added := map[Endpoint]*socket{}
	var errs []error
	for e := range wanted {
		if r.sockets[e] != nil {
			continue
		}
		s, err := bind(ctx, e)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		added[e] = s
	}
	if len(errs) > 0 {
		closeAll(added)
		return nil, errors.Join(errs...)
	}
	return added, nil
}

func closeAll(sockets map[Endpoint]*socket) {
	for _, s := range sockets {
		s.close()
	}
}

// use makes next the snapshot of all transactions that begin from now on.
func (r *Relay) use(next *snapshot) {
	r.mu.Lock()
	old := r.current
	r.current = next
	r.mu.Unlock()
	if old == nil {
		return
	}
	old.release()
	r.closings.Go(func() { r.closeSnapshot(old) })
}

func (r *Relay) closeSnapshot(s *snapshot) {
	<-s.idle // sessions end with their server, and with them their transactions
	err := s.deliverer.Close(r.ending)
	if s.close != nil {
		err = errors.Join(err, s.close())
	}
	if err != nil {
		r.log.Logger().Error("closing the parts of a configuration", "error", err)
	}
}

// acquire is what the servers call at MAIL.
func (r *Relay) acquire() (inbound.Core, func()) {
	r.mu.Lock()
	s := r.current
	s.refs.Add(1)
	r.mu.Unlock()
	return s, s.release
}

// environment is what the dispatcher calls for each piece of its work.
func (r *Relay) environment() (*dispatch.Environment, func()) {
	r.mu.Lock()
	s := r.current
	s.refs.Add(1)
	r.mu.Unlock()
	return s.outgoing, s.release
}

func (r *Relay) newFront(p Parts) (*front, error) {
	sp, err := spool.New(spool.Options{
		Dir:         spoolPath(r.options.StateDir),
		MemoryTotal: r.options.Memory,
		MaxMessage:  cmp.Or(p.Limits.MessageSize, inbound.DefaultMessageSize),
	})
	if err != nil {
		return nil, err
	}
	server, err := inbound.NewServer(inbound.Options{
		Hostname: p.Hostname, Limits: p.Limits, Timeouts: p.Timeouts, Log: r.log, Spool: sp, Guard: r.guard,
		Acquire: r.acquire,
	})
	if err != nil {
		return nil, errors.Join(err, sp.Close())
	}
	return &front{
		hostname: p.Hostname, limits: p.Limits, timeouts: p.Timeouts,
		server: server, spool: sp, fail: r.fail, loans: map[Endpoint]serving{},
	}, nil
}

func (r *Relay) fail(err error) {
	select {
	case r.failed <- err:
	default: // one is enough
	}
}

// Shutdown drains: it accepts nothing any more, tells idle clients so, and lets transactions end until ctx does. The
// error is that of ctx when something had to be broken off. Nothing of the relay runs when it returns.
func (r *Relay) Shutdown(ctx context.Context) error {
	defer context.AfterFunc(ctx, r.end)()
	defer r.end()
	var err error
	if r.front != nil {
		r.front.last(r.sockets)
		r.front.leave(nil)
		err = r.front.server.Shutdown(ctx)
		r.drains.Wait()
		// What is late may still be queued, and the dispatcher still uses the snapshot.
		err = errors.Join(err, r.current.deliverer.Close(ctx), r.dispatcher.Shutdown(ctx))
		r.use(nil)
		r.closings.Wait()
		err = errors.Join(err, r.front.spool.Close())
	}
	closeAll(r.sockets)
	err = errors.Join(err, r.closeState())
	if r.front != nil { // a relay that never served has no end to tell: its error goes to the caller alone
		r.log.Stopped(err)
	}
	return err
}

// addresses is for the log.
func (r *Relay) addresses() []string {
	var bound []string
	for _, s := range r.sockets {
		bound = append(bound, s.Addr().String())
	}
	slices.Sort(bound)
	return bound
}
