package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"mxbypass/mailbox"
)

// maxWriters bounds the files that are written at once, and with them the threads that a stuck disk can hold.
const maxWriters = 128

// Store is a [mailbox.Store] of Maildirs.
type Store struct {
	options  Options
	sys      system
	template template
	opener   *opener
	namer    *namer
	folders  *cache
	commits  *commits
	sweeper  *sweeper
	slots    chan struct{} // taken by who writes a file
	buffers  sync.Pool     // of *[copyBuffer]byte

	mu     sync.Mutex
	closed bool
	work   sync.WaitGroup // every goroutine of a delivery, and every delivery that is prepared
}

var _ mailbox.Store = (*Store)(nil)

// New opens the root of the Maildirs, and makes it when it is missing. The store must be closed.
func New(o Options) (*Store, error) { return newStore(o, kernel{}, maxOpenFolders) }

func newStore(o Options, sys system, maxOpen int) (*Store, error) {
	if err := Check(o); err != nil {
		return nil, fmt.Errorf("maildir: %w", err)
	}
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	t, err := parseTemplate(o.Path, o.Single)
	if err != nil {
		return nil, fmt.Errorf("maildir: %w", err)
	}
	if err := makeRoot(t.root); err != nil {
		return nil, fmt.Errorf("maildir: the root: %w", err)
	}
	root, err := unix.Open(t.root, openFolder|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("maildir: the root %s: %w", t.root, err)
	}
	s := &Store{
		options: o, sys: sys, template: t, namer: newNamer(o.Hostname, o.Clock), slots: make(chan struct{}, maxWriters),
		opener: &opener{
			sys: sys, root: root, owner: o.Owner, dirMode: uint32(o.DirMode.Perm()), fileMode: uint32(o.FileMode.Perm()),
		},
	}
	s.buffers.New = func() any { return new([copyBuffer]byte) }
	s.commits = newCommits(sys, o.Sync, o.Logger)
	s.folders = newCache(s.opener, maxOpen, s.join)
	s.commits.cache = s.folders
	s.sweeper = newSweeper(sys, s.folders, o)
	return s, nil
}

// makeRoot makes the folder above all Maildirs, and what is missing above it. Whatever the umask, those who read their mail
// come through: the Maildirs below it have the modes that were asked for.
func makeRoot(path string) error {
	if _, err := os.Stat(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeRoot(filepath.Dir(path)); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(path, 0o755); err != nil {
		return err
	}
	above, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(above.Sync(), above.Close())
}

// join connects a newly opened folder with the committer of its file system and has its leftovers swept.
func (s *Store) join(f *folder) (err error) {
	if f.commits, err = s.commits.of(f); err != nil {
		return err
	}
	if !f.commits.ordered {
		if err := s.opener.keepPath(f); err != nil {
			return fmt.Errorf("maildir: %s: %w", f.key, err)
		}
	}
	s.sweeper.offer(f)
	return nil
}

// Close waits for what is being delivered, and ends. Later deliveries are refused with [mailbox.ErrUnavailable].
// Every Delivery must have been committed or aborted.
func (s *Store) Close() error {
	s.mu.Lock()
	again := s.closed
	s.closed = true
	s.mu.Unlock()
	if again {
		return nil
	}
	s.work.Wait()
	s.commits.wait()
	s.sweeper.close()
	s.folders.close()
	s.commits.close()
	s.opener.shut(s.opener.root)
	return nil
}

// begin counts in work that Close waits for.
func (s *Store) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.work.Add(1)
	return true
}

// Prepare implements [mailbox.Store]: it writes the message into tmp/ for every recipient, side by side. What a full
// disk or quota has to say is said here.
func (s *Store) Prepare(ctx context.Context, m *mailbox.Message, to []mailbox.Recipient) (mailbox.Delivery, []error) {
	errs := make([]error, len(to))
	if !s.begin() {
		for i := range errs {
			errs[i] = fmt.Errorf("maildir: closed: %w", mailbox.ErrUnavailable)
		}
		return nil, errs
	}
	copies := s.writeAll(ctx, m, to, errs)
	prepared := 0
	for _, c := range copies {
		if c != nil {
			prepared++
		}
	}
	if prepared == 0 {
		s.work.Done()
		return nil, errs
	}
	return &delivery{store: s, copies: copies, errs: errs}, errs
}

// writeAll gives the copy of every recipient whose error stays nil. When the context ends there are none: who is
// still writing cleans up when it can.
func (s *Store) writeAll(ctx context.Context, m *mailbox.Message, to []mailbox.Recipient, errs []error) []*fileCopy {
	copies := make([]*fileCopy, len(to))
	results := make(chan written, len(to)) // never blocks a writer
	started := 0
	for i, r := range to {
		select {
		case s.slots <- struct{}{}:
		case <-ctx.Done():
			errs[i] = context.Cause(ctx)
			continue
		}
		started++
		s.work.Add(1)
		go func() {
			defer s.work.Done()
			c, err := s.write(m, r, len(to) > maxHeld)
			<-s.slots
			results <- written{i, c, err}
		}()
	}
	for done := 0; done < started; done++ {
		select {
		case w := <-results:
			copies[w.index], errs[w.index] = w.copy, w.err
		case <-ctx.Done():
			s.work.Go(func() { s.discard(results, started-done) })
			for i, c := range copies {
				if c != nil {
					s.remove(c)
				}
				if copies[i] = nil; errs[i] == nil {
					errs[i] = context.Cause(ctx)
				}
			}
			return copies
		}
	}
	return copies
}

// written is what a writer hands over.
type written struct {
	index int
	copy  *fileCopy
	err   error
}

// discard removes the copies that came too late.
func (s *Store) discard(late <-chan written, n int) {
	for range n {
		if w := <-late; w.copy != nil {
			s.remove(w.copy)
		}
	}
}

// remove takes a copy back that was not renamed.
func (s *Store) remove(c *fileCopy) {
	if err := c.remove(s.sys); err != nil {
		s.options.Logger.Warn("a file is left in tmp", "maildir", c.folder.key, "file", c.name, "error", err)
	}
	s.folders.release(c.folder)
}

// refuse gives an error its meaning for the floors above.
func refuse(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("%w: %w", mailbox.ErrOverQuota, err)
	case errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("%w: %w", mailbox.ErrNoSpace, err)
	}
	return err
}

// alarm says what an operator has to look at: the device did not keep what it was given.
func alarm(log *slog.Logger, what string, f *folder, err error) {
	log.Error("the file system failed to keep a message; look at the disk", "step", what, "maildir", f.key, "error", err)
}
