package queue

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"modernc.org/sqlite"

	"mxbypass/mailbox/inspect"
)

// Open opens the queue. Only one process at a time runs one (the caller holds a lock); commands use [OpenAdmin] beside it.
// What an earlier process had in hand when it ended is freed, and in doubt.
func Open(ctx context.Context, o Options) (*Queue, error) {
	q := &Queue{path: o.Path, log: o.Log, now: o.Now, buffers: newBuffers(), unreadable: newUnreadable(),
		space: newSpace(filepath.Dir(o.Path))}
	if q.log == nil {
		q.log = slog.Default()
	}
	if q.now == nil {
		q.now = time.Now
	}
	// A commit needs its data on disk and the length of the file, not the time of the change.
	_, _ = sqlite.Fdatasync(true) // where there is no such call, the other one serves
	if err := create(ctx, o.Path); err != nil {
		return nil, opening(o.Path, err)
	}
	if err := q.open(ctx); err != nil {
		return nil, opening(o.Path, err)
	}
	if err := q.takeOver(ctx); err != nil {
		return nil, errors.Join(opening(o.Path, err), q.Close())
	}
	return q, nil
}

var errFolder = errors.New("this is a folder")

// Check tells what would keep [Open] from succeeding, and changes nothing, also while a relay runs. It is not for a
// process that has the queue open: see [inspect.SQLite].
func Check(ctx context.Context, path string) error {
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		err = errFolder
	case err == nil:
		err = checkVersion(ctx, path)
	default: // it can be made, or there is a reason why it cannot
		err = inspect.File(path)
	}
	if err != nil {
		return opening(path, err)
	}
	return nil
}

func checkVersion(ctx context.Context, path string) error {
	name, err := inspect.SQLite(path, true)
	if err != nil {
		return err
	}
	db, err := openPool(name, 1)
	if err != nil {
		return err
	}
	_, err = schemaVersion(ctx, db)
	return errors.Join(err, db.Close())
}

// create makes the database when it is missing or empty, and brings it to the newest version.
func create(ctx context.Context, path string) error {
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return errFolder
	case errors.Is(err, fs.ErrNotExist):
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Close(), syncFolder(filepath.Dir(path))); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	if err := reachable(path); err != nil {
		return err
	}
	probe, err := openPool(readerDSN(path), 1)
	if err != nil {
		return err
	}
	version, err := schemaVersion(ctx, probe)
	if err = errors.Join(err, probe.Close()); err != nil || version == len(migrations()) {
		return err
	}
	// The size of pages is settled with the first table, and before the journal becomes a write-ahead log.
	db, err := openPool(dsn(path, "busy_timeout(10000)", fmt.Sprintf("page_size(%d)", pageSize)), 1)
	if err != nil {
		return err
	}
	return errors.Join(migrate(ctx, db), db.Close())
}

// syncFolder makes the names in a folder durable: SQLite does that for its log, not for the database.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func openPool(name string, most int) (*sql.DB, error) {
	connector, err := sqlite.NewConnector(name)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(most)
	db.SetMaxIdleConns(most)
	return db, nil
}

// open starts the goroutines.
func (q *Queue) open(ctx context.Context) error {
	s, err := openSession(ctx, writerDSN(q.path))
	if err != nil {
		return err
	}
	epoch, next, err := s.begin()
	if err != nil {
		return errors.Join(err, s.close())
	}
	if q.readers, err = openReader(q.path, max(4, 2*runtime.GOMAXPROCS(0))); err != nil {
		return errors.Join(err, s.close())
	}
	q.ctx, q.cancel = context.WithCancel(context.Background())
	w := &writer{path: q.path, log: q.log, space: q.space, jobs: make(chan *job, maxWaiting), closing: make(chan struct{}),
		ended: make(chan struct{}), changed: make(chan struct{}, 1), session: s, copier: newCopier(q.path, q.log)}
	w.tx = tx{session: s, places: places{}, numbers: newNumbers(epoch, next)}
	w.seen, _, err = s.integer(dataVersion)
	q.writer = w
	q.goroutines.Go(w.loop)
	q.goroutines.Go(func() { w.copier.loop(w.ended) })
	return err
}

// begin takes the next epoch, whose leases are ours.
func (s *session) begin() (epoch, next int64, err error) {
	if _, err := s.exec("BEGIN IMMEDIATE"); err != nil {
		return 0, 0, err
	}
	_, err = s.exec("UPDATE queue_state SET epoch = epoch + 1")
	if err == nil {
		err = s.query("SELECT epoch, next_row FROM queue_state", func(row []driver.Value) error {
			var ok [2]bool
			epoch, ok[0] = row[0].(int64)
			next, ok[1] = row[1].(int64)
			if !ok[0] || !ok[1] {
				return fmt.Errorf("%w: its state is no number", ErrDamaged)
			}
			return nil
		})
	}
	if err == nil {
		_, err = s.exec("COMMIT")
	}
	return epoch, next, err
}

// Close ends the writer. What was acknowledged is on disk already.
func (q *Queue) Close() (err error) {
	q.close.Do(func() {
		q.cancel()
		close(q.writer.closing)
		q.goroutines.Wait()
		err = q.readers.close()
	})
	return err
}
