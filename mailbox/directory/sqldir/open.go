package sqldir

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite" of database/sql

	"mxbypass/mailbox/directory"
	"mxbypass/mailbox/inspect"
)

// Options say which database, and how.
type Options struct {
	Path         string
	Create       bool            // make it when it is missing; a relay does not: an empty one refuses all mail
	CacheEntries int             // at most so many domains, mailboxes and aliases are kept in memory
	Rules        directory.Rules // for what is made
	Log          *slog.Logger    // of the watcher; nil: slog.Default
}

// Directory is a directory in SQLite. Close ends it.
type Directory struct {
	o      Options
	cancel context.CancelFunc
	ended  chan struct{} // closed by the watcher

	db     atomic.Pointer[database]
	age    freshness
	caches caches

	writing sync.Mutex
	writer  *sql.DB // nil until the first change
}

var _ directory.Editor = (*Directory)(nil)

// Open opens the database and brings it to the newest schema. The error wraps fs.ErrNotExist when it is missing.
func Open(ctx context.Context, o Options) (*Directory, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	d := &Directory{o: o, ended: make(chan struct{})}
	if err := d.prepare(ctx); err != nil {
		return nil, fmt.Errorf("directory %s: %w", o.Path, errors.Join(d.classify(err), d.closeWriter()))
	}
	db, err := openDatabase(ctx, o.Path)
	if err != nil {
		return nil, fmt.Errorf("directory %s: %w", o.Path, errors.Join(d.classify(err), d.closeWriter()))
	}
	d.db.Store(db)
	d.age.started = time.Now()
	d.age.checked()
	watching, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	d.caches.init(d)
	go d.watch(watching)
	return d, nil
}

// Check tells what would keep [Open] from succeeding, and changes nothing, also while a relay runs. It is not for a process
// that has the directory open: see [inspect.SQLite].
func Check(ctx context.Context, path string) error {
	d := &Directory{o: Options{Path: path}}
	if err := d.inspect(ctx); err != nil {
		return fmt.Errorf("directory %s: %w", path, d.classify(err))
	}
	return nil
}

func (d *Directory) inspect(ctx context.Context) error {
	if info, err := os.Stat(d.o.Path); err == nil && info.IsDir() {
		return errFolder
	}
	name, err := inspect.SQLite(d.o.Path, false)
	if err != nil {
		return err
	}
	db, err := sql.Open("sqlite", name)
	if err != nil {
		return err
	}
	version, err := schemaVersion(ctx, db)
	switch {
	case err != nil:
	case version == 0:
		err = errEmpty
	case version < len(migrations): // which the relay brings to the newest
		err = inspect.File(d.o.Path)
	}
	return errors.Join(err, db.Close())
}

// What a database is not.
var (
	errFolder = errors.New("this is a folder")
	errEmpty  = errors.New("there is nothing in this database")
)

// prepare makes the database when that is wanted, and migrates it when it is old.
func (d *Directory) prepare(ctx context.Context) error {
	info, err := os.Stat(d.o.Path)
	switch {
	case err == nil && info.IsDir():
		return errFolder
	case errors.Is(err, fs.ErrNotExist) && d.o.Create:
		if err := create(d.o.Path); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	probe, err := sql.Open("sqlite", readerDSN(d.o.Path))
	if err != nil {
		return err
	}
	version, err := schemaVersion(ctx, probe)
	if err = errors.Join(err, probe.Close()); err != nil {
		return err
	}
	if version == 0 && !d.o.Create {
		return errEmpty
	}
	if version == len(migrations) {
		return nil
	}
	w, err := d.openWriter(ctx)
	if err != nil {
		return err
	}
	return migrate(ctx, w)
}

// create makes an empty file, for the owner of the folder that it is in: the superuser makes a database for the user that
// the relay runs as. SQLite gives the files beside it to whom it belongs.
func create(path string) error {
	folder, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil // somebody else was faster
	}
	if err != nil {
		return err
	}
	if owner, ok := folder.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 && owner.Uid != 0 {
		err = f.Chown(int(owner.Uid), int(owner.Gid))
	}
	return errors.Join(err, f.Close())
}

// database is one open file.
type database struct {
	info   os.FileInfo
	pool   *sql.DB
	watch  *sql.Conn // of its own: PRAGMA data_version tells what others did since this connection asked
	seen   int64     // data_version; the watcher's alone
	domain *sql.Stmt
	entry  *sql.Stmt
	secret *sql.Stmt
}

func openDatabase(ctx context.Context, path string) (*database, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	pool, err := sql.Open("sqlite", readerDSN(path))
	if err != nil {
		return nil, err
	}
	readers := max(2, runtime.GOMAXPROCS(0)) + 1 // and the watcher
	pool.SetMaxOpenConns(readers)
	pool.SetMaxIdleConns(readers)
	db := &database{info: info, pool: pool}
	if err := db.prepare(ctx); err != nil {
		return nil, errors.Join(err, db.close())
	}
	return db, nil
}

func (db *database) prepare(ctx context.Context) (err error) {
	if _, err = schemaVersion(ctx, db.pool); err != nil {
		return err
	}
	if db.domain, err = db.pool.PrepareContext(ctx, selectDomain+" WHERE name = ?"); err != nil {
		return err
	}
	if db.entry, err = db.pool.PrepareContext(ctx, selectEntry+oneEntryOnly); err != nil {
		return err
	}
	if db.secret, err = db.pool.PrepareContext(ctx, selectSecret); err != nil {
		return err
	}
	if db.watch, err = db.pool.Conn(ctx); err != nil {
		return err
	}
	db.seen, err = db.version(ctx)
	return err
}

func (db *database) version(ctx context.Context) (v int64, err error) {
	err = db.watch.QueryRowContext(ctx, "PRAGMA data_version").Scan(&v)
	return v, err
}

func (db *database) close() error {
	var errs []error
	for _, s := range []*sql.Stmt{db.domain, db.entry, db.secret} {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	if db.watch != nil {
		errs = append(errs, db.watch.Close())
	}
	return errors.Join(append(errs, db.pool.Close())...)
}

// Close ends the watcher and closes the database. Nothing else may be in progress.
func (d *Directory) Close() error {
	d.cancel()
	<-d.ended
	d.caches.wait()
	return errors.Join(d.closeWriter(), d.db.Load().close())
}

func (d *Directory) closeWriter() error {
	d.writing.Lock()
	defer d.writing.Unlock()
	if d.writer == nil {
		return nil
	}
	err := d.writer.Close()
	d.writer = nil
	return err
}

// openWriter returns the one connection that writes.
func (d *Directory) openWriter(ctx context.Context) (*sql.DB, error) {
	d.writing.Lock()
	defer d.writing.Unlock()
	if d.writer != nil {
		return d.writer, nil
	}
	w, err := sql.Open("sqlite", writerDSN(d.o.Path))
	if err != nil {
		return nil, err
	}
	w.SetMaxOpenConns(1)
	if err := w.PingContext(ctx); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	d.writer = w
	return w, nil
}

// readerDSN: SQLite itself refuses to write by these connections. They open the file for writing all the same, because a
// reader of a database in WAL mode writes to the index beside it.
func readerDSN(path string) string {
	return dsn(path, "busy_timeout(2000)", "query_only(1)")
}

// writerDSN: a commit that returned is on disk; every transaction takes the lock when it begins, so that what it read is
// still true when it writes.
func writerDSN(path string) string {
	return dsn(path, "busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)",
		"cache_size(-65536)") + "&_txlock=immediate"
}

func dsn(path string, pragmas ...string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	q := url.Values{"mode": {"rw"}, "_pragma": pragmas} // rw: never make one
	return (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String()
}
