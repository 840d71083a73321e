package maildir

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxSweeps bounds how many folders wait to be swept; others have their turn when they are opened the next time.
const maxSweeps = 1024

// sweeper removes what crashes have left in tmp/, folder by folder as they are opened, in one goroutine.
type sweeper struct {
	sys    system
	cache  *cache
	age    time.Duration
	clock  func() time.Time
	log    *slog.Logger
	queue  chan *folder
	cancel context.CancelFunc
	ended  sync.WaitGroup
}

func newSweeper(sys system, c *cache, o Options) *sweeper {
	ctx, cancel := context.WithCancel(context.Background())
	w := &sweeper{
		sys: sys, cache: c, age: o.SweepAge, clock: o.Clock, log: o.Logger, cancel: cancel,
		queue: make(chan *folder, maxSweeps),
	}
	w.ended.Go(func() { w.run(ctx) })
	return w
}

// offer has a folder swept soon; the caller uses it.
func (w *sweeper) offer(f *folder) {
	w.cache.retain(f)
	select {
	case w.queue <- f:
	default:
		w.cache.release(f)
	}
}

// close ends the goroutine. Nothing is offered any more.
func (w *sweeper) close() {
	w.cancel()
	w.ended.Wait()
	for {
		select {
		case f := <-w.queue:
			w.cache.release(f)
		default:
			return
		}
	}
}

func (w *sweeper) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-w.queue:
			w.sweep(ctx, f)
			w.cache.release(f)
		}
	}
}

// sweep removes the regular files of tmp/ that were neither read nor written for the age. What cannot be looked at or
// removed stays: it is in nobody's way.
func (w *sweeper) sweep(ctx context.Context, f *folder) {
	names, err := w.sys.names(f.tmp)
	if err != nil {
		w.log.Warn("tmp cannot be swept", "maildir", f.key, "error", err)
		return
	}
	limit := w.clock().Add(-w.age)
	for _, name := range names {
		if ctx.Err() != nil {
			return
		}
		st, err := w.sys.stat(f.tmp, name)
		if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
			continue
		}
		if limit.Before(time.Unix(st.Atim.Unix())) || limit.Before(time.Unix(st.Mtim.Unix())) {
			continue
		}
		if err := w.sys.unlink(f.tmp, name); err != nil {
			w.log.Warn("a leftover cannot be removed", "maildir", f.key, "file", name, "error", err)
			continue
		}
		w.log.Info("leftover removed", "maildir", f.key, "file", name)
	}
}
