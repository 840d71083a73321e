package sqldir

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"mxbypass/mailbox"
	"mxbypass/mailbox/directory"
)

// meaning is an error with what it means to those who know nothing of SQLite.
type meaning struct{ kind, err error }

func (m meaning) Error() string        { return m.kind.Error() + ": " + m.err.Error() }
func (m meaning) Unwrap() error        { return m.err }
func (m meaning) Is(target error) bool { return target == m.kind }

// classify gives an error of SQLite or of the file system its meaning. What it has no better word for is
// mailbox.ErrUnavailable.
func (d *Directory) classify(err error) error {
	var e *sqlite.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrPermission):
		return meaning{directory.ErrReadOnly, err}
	case !errors.As(err, &e):
		return err
	}
	if e.Code() == sqlite3.SQLITE_READONLY_DIRECTORY {
		return meaning{directory.ErrReadOnly, fmt.Errorf("SQLite makes files beside the database, and this user may not "+
			"write to the folder %s: change its owner or its mode", filepath.Dir(d.o.Path))}
	}
	switch e.Code() & 0xff { // the primary code
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM:
		return meaning{directory.ErrReadOnly, fmt.Errorf("this user may not write to %s, or to its -wal and -shm beside it: %w",
			d.o.Path, err)}
	case sqlite3.SQLITE_FULL:
		return meaning{mailbox.ErrNoSpace, err}
	}
	return meaning{mailbox.ErrUnavailable, err}
}

// unavailable is for the questions of the relay: whatever went wrong, it is temporary.
func unavailable(err error) error { return meaning{mailbox.ErrUnavailable, err} }
