package sqldir

import (
	"errors"
	"fmt"
	"io/fs"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"mxbypass/mailbox"
	"mxbypass/mailbox/directory"
)

// classify gives an error of SQLite or of the file system its meaning. What it has no better word for is
// mailbox.ErrUnavailable.
func classify(err error) error {
	var e *sqlite.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w", directory.ErrReadOnly, err)
	case !errors.As(err, &e):
		return err
	}
	switch e.Code() & 0xff { // the primary code
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM:
		return fmt.Errorf("%w: %w", directory.ErrReadOnly, err)
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("%w: %w", mailbox.ErrNoSpace, err)
	}
	return fmt.Errorf("%w: %w", mailbox.ErrUnavailable, err)
}

// unavailable is for the questions of the relay: whatever went wrong, it is temporary.
func unavailable(err error) error {
	return fmt.Errorf("directory: %w: %w", mailbox.ErrUnavailable, err)
}
