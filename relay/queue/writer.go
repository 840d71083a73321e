package queue

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	sqlite3 "modernc.org/sqlite/lib"
)

const (
	// One commit takes at most so much of what waits together.
	maxTogether       = 256
	maxTogetherOctets = 8 << 20
	// maxWaiting bounds what waits for the writer; who comes later waits to be let in.
	maxWaiting = 256

	// lookEvery is how often the writer asks whether a command has changed something.
	lookEvery = 500 * time.Millisecond
)

// job is something to be written. run may be called twice: when a neighbour fails, everything is rolled back and done
// again, each alone.
type job struct {
	run   func(*tx) error
	size  int64
	taken atomic.Bool // by the writer, or by who waited and went away
	done  chan error
}

// writer commits what waits together. One goroutine does the work.
type writer struct {
	path    string
	log     *slog.Logger
	space   *space
	jobs    chan *job
	closing chan struct{}
	ended   chan struct{}
	changed chan struct{}

	// The goroutine's own:
	session *session // nil: it is opened when it is needed
	tx      tx
	seen    int64 // data_version of the session
	batch   []*job
	copier  *copier
	idle    int // looks since there was something to write
}

// tx is what a job writes with.
type tx struct {
	*session
	places  places
	numbers numbers
}

// do has a job done, and returns what became of it. When the context ends before it was begun, nothing is done.
func (w *writer) do(ctx context.Context, size int64, run func(*tx) error) error {
	j := &job{run: run, size: size, done: make(chan error, 1)}
	select {
	case w.jobs <- j:
	case <-ctx.Done():
		return ctx.Err()
	case <-w.ended:
		return ErrClosed
	}
	select {
	case err := <-j.done:
		return err
	case <-ctx.Done():
		if j.taken.CompareAndSwap(false, true) {
			return ctx.Err()
		}
	case <-w.ended:
	}
	// The writer has it, and what it says is what happened; or it has ended.
	select {
	case err := <-j.done:
		return err
	case <-w.ended:
	}
	select {
	case err := <-j.done:
		return err
	default:
		return ErrClosed
	}
}

// loop is the life of the writer.
func (w *writer) loop() {
	defer close(w.ended)
	defer w.disconnect()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-w.closing:
			return
		case j := <-w.jobs:
			w.idle = 0
			w.gather(j)
			w.write(w.batch)
		case <-w.copier.done:
			w.restartLog()
		case <-tick.C:
			w.look()
			w.tidy()
		}
	}
}

// gather takes what waits, up to the bounds, leaving out what nobody waits for any more.
func (w *writer) gather(j *job) {
	clear(w.batch)
	w.batch = w.batch[:0]
	for octets := int64(0); ; {
		if j.taken.CompareAndSwap(false, true) {
			w.batch = append(w.batch, j)
			octets += j.size
		}
		if len(w.batch) >= maxTogether || octets >= maxTogetherOctets {
			return
		}
		select {
		case j = <-w.jobs:
		default:
			return
		}
	}
}

// write writes jobs in one commit. When that fails because of one of them, each is done alone.
func (w *writer) write(batch []*job) {
	if len(batch) == 0 {
		return
	}
	err, single := w.commit(batch)
	for i, j := range batch {
		if err != nil && single && len(batch) > 1 {
			alone, _ := w.commit(batch[i : i+1])
			j.done <- alone
			continue
		}
		j.done <- err
	}
}

// commit does the jobs in one transaction. single tells that the error may be that of one job alone.
func (w *writer) commit(batch []*job) (err error, single bool) { //nolint:revive // the error is not the last word here
	if err := w.connect(); err != nil {
		return classify(err), false
	}
	s := w.session
	if _, err := s.exec("BEGIN IMMEDIATE"); err != nil {
		w.recover(err)
		return classify(err), false
	}
	for _, j := range batch {
		if err := j.run(&w.tx); err != nil {
			w.rollback(err)
			return classify(err), true
		}
	}
	if _, err := s.exec("COMMIT"); err != nil {
		w.rollback(err)
		return classify(err), primary(err) == sqlite3.SQLITE_FULL
	}
	w.tx.numbers.settle()
	w.copier.wrote(s.pagesWritten())
	w.space.log.Store(w.copier.pages * pageSize)
	return nil, false
}

// rollback undoes the transaction, and what was remembered of it.
func (w *writer) rollback(cause error) {
	_, _ = w.session.exec("ROLLBACK") // an error says that SQLite has rolled back already
	w.tx.places.forget()
	w.tx.numbers.undo()
	w.recover(cause)
}

// recover gives up the connection after an error of the disk: what SQLite or the kernel remembers of files that could not
// be written is not to be relied on.
func (w *writer) recover(err error) {
	switch primary(err) {
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_MISUSE, sqlite3.SQLITE_NOMEM:
		w.disconnect()
	}
}

func (w *writer) connect() error {
	if w.session != nil {
		return nil
	}
	s, err := openSession(context.Background(), writerDSN(w.path))
	if err != nil {
		return err
	}
	w.session, w.tx.session = s, s
	w.seen, _, err = s.integer(dataVersion)
	return err
}

func (w *writer) disconnect() {
	if w.session == nil {
		return
	}
	if err := w.session.close(); err != nil {
		w.log.Warn("closing the queue", "path", w.path, "error", err)
	}
	w.session, w.tx.session = nil, nil
}

const dataVersion = "PRAGMA data_version"

// look asks whether another process has written. The number changes for this connection only when others write.
func (w *writer) look() {
	if w.session == nil {
		return
	}
	version, ok, err := w.session.integer(dataVersion)
	if err != nil || !ok || version == w.seen {
		return
	}
	w.seen = version
	w.tx.places.forget()
	select {
	case w.changed <- struct{}{}:
	default:
	}
}
