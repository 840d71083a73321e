package certs

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/google/renameio/v2"
)

// storage keeps account and certificates in a folder that is ours alone. Certmagic's own does as much, with locks that
// it must renew as long as they are held, and that a process which was killed leaves behind.
type storage struct {
	dir string

	mu    sync.Mutex
	locks map[string]*os.File
}

var _ certmagic.Storage = (*storage)(nil)

func (s *storage) file(key string) string {
	return filepath.Join(s.dir, filepath.FromSlash(path.Clean("/"+key)))
}

// Store implements certmagic.Storage: after a crash the file is the old one or the new one.
func (s *storage) Store(_ context.Context, key string, value []byte) error {
	name := s.file(key)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	return renameio.WriteFile(name, value, 0o600)
}

// Load implements certmagic.Storage.
func (s *storage) Load(_ context.Context, key string) ([]byte, error) {
	return os.ReadFile(s.file(key))
}

// Delete implements certmagic.Storage.
func (s *storage) Delete(_ context.Context, key string) error { return os.RemoveAll(s.file(key)) }

// Exists implements certmagic.Storage.
func (s *storage) Exists(_ context.Context, key string) bool {
	_, err := os.Stat(s.file(key))
	return err == nil
}

// List implements certmagic.Storage.
func (s *storage) List(ctx context.Context, prefix string, recursive bool) ([]string, error) {
	var keys []string
	root := s.file(prefix)
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err = errors.Join(err, ctx.Err()); err != nil || name == root {
			return err
		}
		keys = append(keys, path.Join(prefix, filepath.ToSlash(strings.TrimPrefix(name, root))))
		if d.IsDir() && !recursive {
			return filepath.SkipDir
		}
		return nil
	})
	return keys, err
}

// Stat implements certmagic.Storage.
func (s *storage) Stat(_ context.Context, key string) (certmagic.KeyInfo, error) {
	info, err := os.Stat(s.file(key))
	if err != nil {
		return certmagic.KeyInfo{}, err
	}
	return certmagic.KeyInfo{
		Key: key, Modified: info.ModTime(), Size: info.Size(), IsTerminal: !info.IsDir(),
	}, nil
}

// lockEvery is how often a lock that somebody has is tried again: the configuration before ours has it, and is ending.
const lockEvery = 250 * time.Millisecond

// Lock implements certmagic.Storage. The kernel has the lock, and gives it back when we are gone.
func (s *storage) Lock(ctx context.Context, name string) error {
	file := filepath.Join(s.dir, "locks", certmagic.StorageKeys.Safe(name))
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	every := time.NewTicker(lockEvery)
	defer every.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			break
		}
		if err != syscall.EWOULDBLOCK && err != syscall.EINTR {
			f.Close()
			return &fs.PathError{Op: "flock", Path: file, Err: err}
		}
		select {
		case <-ctx.Done():
			f.Close()
			return ctx.Err()
		case <-every.C:
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.locks == nil {
		s.locks = map[string]*os.File{}
	}
	s.locks[name] = f
	return nil
}

// Unlock implements certmagic.Storage.
func (s *storage) Unlock(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.locks[name]
	if f == nil {
		return fs.ErrNotExist
	}
	delete(s.locks, name)
	return f.Close()
}
