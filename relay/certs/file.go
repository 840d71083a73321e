package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"
)

const (
	// lookEvery is how often files are looked at: only their dates and sizes are, unless those have changed.
	lookEvery = 10 * time.Second
	// maxFile bounds a file: a chain of certificates has a few KiB.
	maxFile = 1 << 20
	// Ending is when a certificate that nobody has renewed is worth a warning, which comes once a day.
	Ending = 7 * 24 * time.Hour
)

// FileError tells of a certificate in files that cannot be used.
type FileError struct {
	Pair int  // its place in [Options.Files]
	Key  bool // it is the file of the key; else that of the certificate
	Path string
	Err  error
}

// Error implements error.
func (e *FileError) Error() string { return fmt.Sprintf("%q: %v", e.Path, e.Err) }

// Unwrap gives what is wrong with the file.
func (e *FileError) Unwrap() error { return e.Err }

// file is a certificate in files.
type file struct {
	pair   Pair
	cert   *tls.Certificate // the last one that could be used
	seen   [2]fs.FileInfo   // as they were when last read; nil: could not be
	warned time.Time
}

// read takes what is in the files now; on an error it keeps what it had.
func (f *file) read() *FileError {
	f.seen = f.look()
	cert, err := contents(f.pair.Cert, false)
	if err != nil {
		return &FileError{Path: f.pair.Cert, Err: err}
	}
	key, err := contents(f.pair.Key, true)
	if err != nil {
		return &FileError{Key: true, Path: f.pair.Key, Err: err}
	}
	c, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return &FileError{Path: f.pair.Cert, Err: err}
	}
	if err := usable(c.Leaf); err != nil {
		return &FileError{Path: f.pair.Cert, Err: err}
	}
	f.cert, f.warned = &c, time.Time{}
	return nil
}

// usable tells of certificates that no client of mail could take. One that has run out is taken: most servers do not
// look, and the warning is in the log.
func usable(c *x509.Certificate) error {
	switch {
	case c.IsCA && len(c.DNSNames) == 0:
		return errors.New("it is that of an authority, want that of a server first")
	case len(c.DNSNames) == 0 && len(c.IPAddresses) == 0:
		return errors.New("it names no server (subjectAltName)")
	}
	return nil
}

// contents reads a file. A key that everybody can read is none.
func contents(path string, secret bool) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, plain(err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, plain(err)
	case !info.Mode().IsRegular():
		return nil, errors.New("cannot be read: not a file")
	case secret && info.Mode().Perm()&0o007 != 0:
		return nil, fmt.Errorf("everybody may read or change it (mode %04o): chmod 600", uint32(info.Mode().Perm()))
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, plain(err)
	}
	if len(text) > maxFile {
		return nil, errors.New("cannot be read: longer than 1MiB")
	}
	return text, nil
}

// plain leaves out the name of the file: it is said where the error is.
func plain(err error) error {
	var e *fs.PathError
	if errors.As(err, &e) {
		err = e.Err
	}
	return fmt.Errorf("cannot be read: %w", err)
}

// look gives what tells a file from the one that was there before, whatever replaced it: a link, a rename, a copy.
func (f *file) look() (now [2]fs.FileInfo) {
	for i, path := range []string{f.pair.Cert, f.pair.Key} {
		if info, err := os.Stat(path); err == nil {
			now[i] = info
		}
	}
	return now
}

// changed tells whether the files are other ones than those that were read.
func (f *file) changed() bool {
	for i, now := range f.look() {
		then := f.seen[i]
		if (now == nil) != (then == nil) {
			return true
		}
		if now != nil && (!os.SameFile(now, then) || !now.ModTime().Equal(then.ModTime()) || now.Size() != then.Size()) {
			return true
		}
	}
	return false
}

// warn tells of a certificate that runs out.
func (f *file) warn(log *slog.Logger) {
	left := time.Until(f.cert.Leaf.NotAfter)
	if left > Ending || time.Since(f.warned) < 24*time.Hour {
		return
	}
	f.warned = time.Now()
	text := "a certificate runs out, and nobody has renewed it"
	if left <= 0 {
		text = "a certificate has run out: clients that look at it will not send"
	}
	log.Warn(text, "cert", f.pair.Cert, "until", f.cert.Leaf.NotAfter)
}

// watch looks at the files until ctx ends.
func (m *Manager) watch(ctx context.Context) {
	every := time.NewTicker(lookEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
			m.Look()
		}
	}
}

// Look takes what has changed in the files, at once. It is done every few seconds as well.
func (m *Manager) Look() {
	m.mu.Lock()
	defer m.mu.Unlock()
	fresh := false
	for _, f := range m.files {
		if f.changed() {
			if err := f.read(); err != nil {
				// Whoever renews writes two files, one after the other: the next look may find both.
				m.options.Log.Error("a certificate has changed and cannot be used; the one before is kept", "error", err)
			} else {
				m.options.Log.Info("certificate read again", "cert", f.pair.Cert, "until", f.cert.Leaf.NotAfter)
				fresh = true
			}
		}
		f.warn(m.options.Log)
	}
	if fresh {
		m.arrange()
	}
}
