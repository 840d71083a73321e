package queue

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"mxbypass/mailbox"
)

// meaning is an error with what it means to those who know nothing of SQLite.
type meaning struct{ kind, err error }

func (m meaning) Error() string        { return m.kind.Error() + ": " + m.err.Error() }
func (m meaning) Unwrap() error        { return m.err }
func (m meaning) Is(target error) bool { return target == m.kind }

// primary gives the primary code of an error of SQLite; 0: it is none.
func primary(err error) int {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return 0
	}
	return e.Code() & 0xff
}

// classify gives an error of SQLite its meaning. What it has no better word for is mailbox.ErrUnavailable. Other errors
// stay what they are, and so do those that have a meaning already.
func classify(err error) error {
	var m meaning
	if errors.As(err, &m) {
		return err
	}
	switch primary(err) {
	case 0:
		return err
	case sqlite3.SQLITE_FULL:
		return meaning{mailbox.ErrNoSpace, err}
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return meaning{ErrDamaged, err}
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM:
		return meaning{fs.ErrPermission, err}
	}
	return meaning{mailbox.ErrUnavailable, err}
}

// opening says why a database cannot be opened, and what is to be done.
func opening(path string, err error) error {
	var e *sqlite.Error
	errors.As(err, &e)
	switch {
	case e == nil:
	case e.Code() == sqlite3.SQLITE_READONLY_DIRECTORY, primary(err) == sqlite3.SQLITE_CANTOPEN:
		err = meaning{fs.ErrPermission, fmt.Errorf("SQLite makes files beside the database, and this user may not write to "+
			"the folder %s: change its owner or its mode", filepath.Dir(path))}
	case primary(err) == sqlite3.SQLITE_READONLY, primary(err) == sqlite3.SQLITE_PERM:
		err = meaning{fs.ErrPermission, fmt.Errorf("this user may not write to it, or to its -wal and -shm beside it: %w", err)}
	case primary(err) == sqlite3.SQLITE_NOTADB, primary(err) == sqlite3.SQLITE_CORRUPT:
		err = meaning{ErrDamaged, fmt.Errorf("this is no database, or its beginning is destroyed (%w): "+
			"put a backup in its place, or move it away with its -wal and -shm to begin with an empty queue", err)}
	default:
		err = classify(err)
	}
	return fmt.Errorf("queue %s: %w", path, err)
}
