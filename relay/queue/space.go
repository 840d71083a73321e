package queue

import (
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"mxbypass/mailbox"
)

const (
	// reserve is what new messages leave free on the file system, or an eighth of it where it is small: on a full disk
	// what leaves the queue could not be written, and so nothing could leave.
	reserve = 32 << 20
	// perMessage is about what a message takes beside its content, in octets.
	perMessage = 16 << 10
	// copies is how often a content is written: to the log, and from there to the database.
	copies = 2
)

// space lets messages in while there is room.
type space struct {
	folder  string
	pending atomic.Int64 // octets of messages that were let in, and are not written yet
	log     atomic.Int64 // octets in the write-ahead log, which the database has to take in, too
	statfs  func(path string, st *unix.Statfs_t) error
}

func newSpace(folder string) *space { return &space{folder: folder, statfs: unix.Statfs} }

// enter lets a message of so many octets in; leave is called when it is written. The error wraps mailbox.ErrNoSpace.
func (s *space) enter(octets int64) (leave func(), err error) {
	free, keep, err := s.ask()
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", mailbox.ErrUnavailable, s.folder, err)
	}
	octets *= copies
	if pending := s.pending.Add(octets); free-pending-s.log.Load() < keep {
		s.pending.Add(-octets)
		return nil, fmt.Errorf("%w: %d octets free in %s, and %d are kept for what leaves the queue", mailbox.ErrNoSpace, free,
			s.folder, keep)
	}
	return func() { s.pending.Add(-octets) }, nil
}

// ask tells the octets that are free, and those that new messages leave free.
func (s *space) ask() (free, keep int64, err error) {
	var st unix.Statfs_t
	if err := s.statfs(s.folder, &st); err != nil {
		return 0, 0, err
	}
	size := int64(st.Bsize)
	return int64(min(st.Bavail, 1<<40)) * size, min(reserve, int64(min(st.Blocks, 1<<40))*size/8), nil
}

// room tells the octets that are free, and whether that is so little that the queue should use less.
func (s *space) room() (free int64, short bool) {
	free, keep, err := s.ask()
	return free, err == nil && free-s.log.Load() < 4*keep
}
