package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"mxbypass/mailbox"
)

// Errors of the spool, beside [mailbox.ErrNoSpace].
var (
	// ErrBusy: the memory is used up and no file can be opened or written; temporary.
	ErrBusy = errors.New("too many messages in flight")
	// ErrTooBig: the message is longer than Options.MaxMessage. Final.
	ErrTooBig = errors.New("message too big")
)

// errClosed: the writer was released, or its content was already handed over. Only a mistake of ours leads here.
var errClosed = errors.New("spool: writer already closed")

// Options of a spool. The zero value of a size means its default.
type Options struct {
	Dir              string // for temporary files; made with mode 0700 when it is missing
	MemoryPerMessage int64  // octets of one message kept in memory, beyond it a file; default 1 MiB
	MemoryTotal      int64  // octets of memory for all messages in flight; default 256 MiB
	MaxMessage       int64  // longest message in octets; default: no limit
}

const (
	defaultPerMessage = 1 << 20
	defaultTotal      = 256 << 20

	// roomFor is how long an answer of the file system about its free space is used.
	roomFor = time.Second

	filePrefix = "message-"
)

// Spool hands out writers for incoming messages. It is safe for concurrent use.
type Spool struct {
	dir        string
	perMessage int64
	maxMessage int64
	memory     memory
	writers    atomic.Int64

	// What the tests replace to make the machine fail.
	openFile func() (file, error)
	statfs   func(path string, st *unix.Statfs_t) error

	room     atomic.Pointer[roomAnswer]
	roomLock sync.Mutex // held by the one who asks the file system
}

type roomAnswer struct {
	at  time.Time
	err error
}

// New makes the folder of o and empties it of what a crash between creating and unlinking a file may have left there.
// One process at a time uses a folder.
func New(o Options) (*Spool, error) {
	if o.Dir == "" {
		return nil, errors.New("spool: no folder given")
	}
	if o.MemoryPerMessage <= 0 {
		o.MemoryPerMessage = defaultPerMessage
	}
	if o.MemoryTotal <= 0 {
		o.MemoryTotal = defaultTotal
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	s := &Spool{dir: o.Dir, perMessage: o.MemoryPerMessage, maxMessage: o.MaxMessage, statfs: unix.Statfs}
	s.memory.budget.total = o.MemoryTotal
	s.memory.small.size, s.memory.large.size = smallChunk, largeChunk
	s.openFile = s.openTemporary
	if err := s.sweep(); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	f, err := s.openFile() // a folder that cannot be written to is found now, not with the first large message
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	return s, f.Close()
}

// Close tells whether every writer was released. Nothing else needs to be ended.
func (s *Spool) Close() error {
	if n := s.writers.Load(); n != 0 {
		return fmt.Errorf("spool: %d messages still in flight", n)
	}
	return nil
}

// NewWriter starts a message. It takes no memory yet and never blocks. The caller calls [Writer.Release] in the end.
func (s *Spool) NewWriter() *Writer {
	s.writers.Add(1)
	return &Writer{spool: s}
}

// Room tells, before a message of size octets is accepted (0: not announced), whether there will be room for it: at
// least two messages of the greatest size and 1 % of the inodes must be free in the file system of the spool. The error
// wraps [ErrTooBig], [mailbox.ErrNoSpace] or, when the file system does not answer, [ErrBusy].
func (s *Spool) Room(size int64) error {
	if s.maxMessage > 0 && size > s.maxMessage {
		return fmt.Errorf("%w: %d octets announced", ErrTooBig, size)
	}
	last := s.room.Load()
	if last != nil && time.Since(last.at) < roomFor {
		return last.err
	}
	// One asks, the others go on with the old answer: a file system that hangs must not hang every session.
	if !s.roomLock.TryLock() {
		if last != nil {
			return last.err
		}
		s.roomLock.Lock()
	}
	defer s.roomLock.Unlock()
	if last = s.room.Load(); last != nil && time.Since(last.at) < roomFor {
		return last.err
	}
	answer := &roomAnswer{at: time.Now(), err: s.askRoom()}
	s.room.Store(answer)
	return answer.err
}

func (s *Spool) askRoom() error {
	var st unix.Statfs_t
	if err := s.statfs(s.dir, &st); err != nil {
		return fmt.Errorf("%w: %w", ErrBusy, err)
	}
	free := int64(min(st.Bavail, 1<<40)) * int64(st.Bsize)
	if free < 2*s.maxMessage {
		return fmt.Errorf("%w: %d octets free in %s", mailbox.ErrNoSpace, free, s.dir)
	}
	// Some file systems make inodes as they need them, and count none.
	if st.Files > 0 && st.Ffree < st.Files/100 {
		return fmt.Errorf("%w: %d of %d inodes free in %s", mailbox.ErrNoSpace, st.Ffree, st.Files, s.dir)
	}
	return nil
}

// openTemporary opens a file that has no name any more when it is returned.
func (s *Spool) openTemporary() (file, error) {
	f, err := os.CreateTemp(s.dir, filePrefix)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (s *Spool) sweep() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type().IsRegular() && strings.HasPrefix(e.Name(), filePrefix) {
			if err := os.Remove(filepath.Join(s.dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// fileError names a failure of the temporary file: no room, or busy for whatever other reason.
func fileError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: temporary file: %w", mailbox.ErrNoSpace, err)
	}
	return fmt.Errorf("%w: temporary file: %w", ErrBusy, err)
}
