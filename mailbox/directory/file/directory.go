package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mxbypass/mailbox"
	"mxbypass/mailbox/directory"
)

const (
	// checkEvery is how often the file is looked at.
	checkEvery = time.Second
	// maxSize bounds the file. It is far beyond what anybody writes by hand; sqlite is for more.
	maxSize = 64 << 20
)

// Options say which file.
type Options struct {
	Path  string
	Rules directory.Rules
	Log   *slog.Logger // of reloads; nil: slog.Default
}

// Directory is a directory in a file. Close ends the goroutine that looks at the file.
type Directory struct {
	o       Options
	current atomic.Pointer[contents]
	cancel  context.CancelFunc
	ended   chan struct{}

	mu   sync.Mutex
	seen os.FileInfo // of the text that was read last, good or bad; nil: it could not be read
	said string      // the last failure in the log
}

var _ directory.Reader = (*Directory)(nil)

// Open reads the file, and again whenever it changes. The error is Problems when something is wrong in it.
func Open(o Options) (*Directory, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	d := &Directory{o: o, ended: make(chan struct{})}
	if err := d.Reload(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	go d.watch(ctx)
	return d, nil
}

// Close ends the watching. The directory keeps answering.
func (d *Directory) Close() error {
	d.cancel()
	<-d.ended
	return nil
}

// Domain implements mailbox.Directory.
func (d *Directory) Domain(ctx context.Context, name mailbox.DomainName) (mailbox.Domain, error) {
	return d.current.Load().Domain(ctx, name)
}

// Entry implements mailbox.Directory.
func (d *Directory) Entry(ctx context.Context, a mailbox.Address) (mailbox.Entry, error) {
	return d.current.Load().Entry(ctx, a)
}

// Secret implements mailbox.Secrets.
func (d *Directory) Secret(ctx context.Context, a mailbox.Address) (string, error) {
	return d.current.Load().Secret(ctx, a)
}

// Reload reads the file now. With an error, what was read before stays.
func (d *Directory) Reload() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.load()
}

func (d *Directory) load() error {
	// The state of the file before it is read: a change while it is read is seen the next time.
	d.seen = nil
	f, err := os.Open(d.o.Path)
	if err != nil {
		return fmt.Errorf("directory: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("directory: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return fmt.Errorf("directory: %w", err)
	}
	d.seen = info
	if len(text) > maxSize {
		return fmt.Errorf("directory: %s is larger than %d MiB: use the driver sqlite", d.o.Path, maxSize>>20)
	}
	c, err := read(d.o.Path, text, d.o.Rules)
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o006 != 0 && len(c.secrets) > 0 {
		d.seen = nil // a mode that changes leaves the times alone
		return fmt.Errorf("directory: %s has passwords, and everybody may read or change it (mode %04o): chmod 640",
			d.o.Path, uint32(mode))
	}
	d.current.Store(c)
	return nil
}

func (d *Directory) watch(ctx context.Context) {
	defer close(d.ended)
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			d.check()
		}
	}
}

// check reads the file if it changed since it was last read, and says in the log what came of it.
func (d *Directory) check() {
	d.mu.Lock()
	defer d.mu.Unlock()
	info, err := os.Stat(d.o.Path)
	if err == nil && d.seen != nil && unchanged(info, d.seen) {
		return
	}
	if err = d.load(); err == nil {
		d.said = ""
		d.o.Log.Info("directory reloaded", "path", d.o.Path, "domains", len(d.current.Load().domains))
		return
	}
	if err.Error() == d.said { // a file that cannot be read is tried again, without a word
		return
	}
	d.said = err.Error()
	var problems Problems
	if !errors.As(err, &problems) {
		d.o.Log.Error("directory not reloaded, the one before is kept", "problem", err)
	}
	for _, p := range problems[:min(len(problems), 20)] {
		d.o.Log.Error("directory not reloaded, the one before is kept", "problem", p)
	}
}

func unchanged(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// Domains implements directory.Reader.
func (d *Directory) Domains(context.Context) iter.Seq2[mailbox.Domain, error] {
	c := d.current.Load()
	names := make([]mailbox.DomainName, 0, len(c.domains))
	for name := range c.domains {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b mailbox.DomainName) int { return strings.Compare(a.ASCII(), b.ASCII()) })
	return func(yield func(mailbox.Domain, error) bool) {
		for _, name := range names {
			if !yield(c.domains[name], nil) {
				return
			}
		}
	}
}

// Entries implements directory.Reader.
func (d *Directory) Entries(_ context.Context, domain mailbox.DomainName) iter.Seq2[mailbox.Entry, error] {
	c := d.current.Load()
	var keys []mailbox.Address
	for key := range c.entries {
		if domain.IsZero() || key.Domain == domain {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b mailbox.Address) int {
		if a.Domain != b.Domain {
			return strings.Compare(a.Domain.ASCII(), b.Domain.ASCII())
		}
		return strings.Compare(string(a.Local), string(b.Local))
	})
	return func(yield func(mailbox.Entry, error) bool) {
		for _, key := range keys {
			if !yield(c.entries[key], nil) {
				return
			}
		}
	}
}
