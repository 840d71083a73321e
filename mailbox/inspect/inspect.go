// Package inspect tells whether this process could use files and folders, without making or changing anything. Others
// open them afterwards: what was true here need not be then, but a mistake of the operator is found before anything
// has begun.
package inspect

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Folder wants a folder that this process may read and write, or an ancestor in which it can be made.
func Folder(path string) error {
	for dir := path; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if missing(err) && dir != "/" {
			if _, err := os.Lstat(dir); err == nil {
				return fmt.Errorf("%s is a link to nothing: remove it, or make what it leads to", dir)
			}
			continue
		}
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return fmt.Errorf("%s is not a folder", dir)
		}
		want := uint32(unix.W_OK | unix.X_OK)
		if dir == path {
			want |= unix.R_OK
		}
		if err := access(dir, want); err != nil {
			return forbidden(dir, "written to", err)
		}
		return nil
	}
}

// File wants a file that this process may read and write, or a place where it can be made, [Folder] and all.
func File(path string) error {
	info, err := os.Stat(path)
	switch {
	case missing(err):
		if _, err := os.Lstat(path); err == nil {
			return fmt.Errorf("%s is a link to nothing: remove it, or make what it leads to", path)
		}
		return Folder(filepath.Dir(path))
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a file", path)
	}
	if err := access(path, unix.R_OK|unix.W_OK); err != nil {
		return forbidden(path, "read and written", err)
	}
	return nil
}

// Entry wants a folder that is there and in which this process may make and remove path.
func Entry(path string) error {
	dir := filepath.Dir(path)
	info, err := os.Stat(dir)
	switch {
	case missing(err):
		return fmt.Errorf("there is no folder %s: make it", dir)
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a folder", dir)
	}
	if err := access(dir, unix.W_OK|unix.X_OK); err != nil {
		return forbidden(dir, "written to", err)
	}
	return nil
}

// missing tells that there is nothing, if only because something above it is no folder.
func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) }

func forbidden(path, what string, err error) error {
	return fmt.Errorf("%s cannot be %s by the user with the number %d: %w", path, what, os.Geteuid(), err)
}

// access asks for this process as it is, and not for who has started it.
func access(path string, mode uint32) error {
	return unix.Faccessat(unix.AT_FDCWD, path, mode, unix.AT_EACCESS)
}

// The files that SQLite keeps beside a database while somebody has it open, or when he has crashed.
const (
	walSuffix = "-wal"
	shmSuffix = "-shm"
)

// SQLite wants a database that is there, and that this process may read, with change also write, by way of the files that
// SQLite keeps beside it. The name for SQLite that it gives opens it for reading, and leaves nothing behind. While
// somebody else has the database open, what he does is seen.
//
// It is not for a process that has the database open itself: SQLite's locks are those of the process, and closing what
// was opened by this name gives them up.
func SQLite(path string, change bool) (name string, err error) {
	query := url.Values{"mode": {"ro"}, "immutable": {"1"}, "_pragma": {"busy_timeout(5000)", "query_only(1)"}}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is not a file", path)
	}
	if err := access(path, unix.R_OK); err != nil {
		return "", forbidden(path, "read", err)
	}
	if change {
		if err := File(path); err != nil {
			return "", err
		}
	}
	for _, suffix := range []string{walSuffix, shmSuffix} {
		if err := File(path + suffix); err != nil {
			return "", err
		}
	}
	if _, err := os.Stat(path + walSuffix); err == nil { // it holds what the database does not yet
		query.Del("immutable")
	}
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}).String(), nil
}
