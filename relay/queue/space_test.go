package queue

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"mxbypass/mailbox"
)

// New messages leave room for what leaves the queue, counting those that are on their way in.
func TestSpace(t *testing.T) {
	const block = 4096
	free := uint64(0)
	s := newSpace("/")
	s.statfs = func(_ string, st *unix.Statfs_t) error {
		*st = unix.Statfs_t{Bsize: block, Blocks: 1 << 30 / block, Bavail: free / block}
		return nil
	}
	for _, c := range []struct {
		free   uint64
		octets int64
		ok     bool
	}{{reserve, 1, false}, {reserve + 2*1000*block, 1000 * block, true}, {reserve + 2*1000*block, 1001 * block, false}, {0, 0, false}} {
		free = c.free
		leave, err := s.enter(c.octets)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, mailbox.ErrNoSpace) {
			t.Errorf("%+v: %v", c, err)
		}
		if err == nil {
			if _, err := s.enter(c.octets); err == nil {
				t.Errorf("%+v: a second one was let in beside the first", c)
			}
			leave()
		}
	}
	if n := s.pending.Load(); n != 0 {
		t.Errorf("%d octets are pending in the end", n)
	}
	s.statfs = func(string, *unix.Statfs_t) error { return unix.EIO }
	if _, err := s.enter(1); !errors.Is(err, unix.EIO) {
		t.Errorf("a file system that does not answer: %v", err)
	}
}

// A database that a surge has made large becomes small again when there is little room; what is queued stays.
func TestTidy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	q := openAt(t, path, nil)
	var gone []Outcome
	for n := range 21 {
		m := messageOf(fmt.Sprintf("01JB%022d", n), memory{text(1 << 20)})
		items, err := q.Put(t.Context(), Entry{m, []Recipient{recipientOf(wallClock{}, "mx:a.test", "a@a.test")}}, true)
		if err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			gone = append(gone, Outcome{Item: items[0], Kind: Gone})
		}
	}
	if err := errors.Join(q.Finish(t.Context(), gone, nil), q.Close()); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	s := newSpace(filepath.Dir(path))
	s.statfs = func(_ string, st *unix.Statfs_t) error {
		*st = unix.Statfs_t{Bsize: 4096, Blocks: 1 << 30 / 4096, Bavail: 4 << 20 / 4096}
		return nil
	}
	w := &writer{path: path, log: slog.New(slog.DiscardHandler), space: s, copier: newCopier(path, nil)}
	if err := w.connect(); err != nil {
		t.Fatal(err)
	}
	w.tidy()
	w.disconnect()
	after, err := os.Stat(path)
	if err != nil || after.Size() > before.Size()/4 {
		t.Errorf("%d octets, before %d, %v", after.Size(), before.Size(), err)
	}
	a, err := OpenAdmin(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	var out strings.Builder
	if err := a.Cat(t.Context(), fmt.Sprintf("01JB%022d", 0), &out); err != nil || out.Len() < 1<<20 {
		t.Errorf("%d octets of the message that is queued, %v", out.Len(), err)
	}
}
