package queue

import (
	"errors"
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
