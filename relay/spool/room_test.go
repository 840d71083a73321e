package spool

import (
	"errors"
	"io"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mxbypass/mailbox"
)

// A file on which every write finds the disk full, as the kernel says it.
func fullDisk() (file, error) { return os.OpenFile("/dev/full", os.O_RDWR, 0) }

func TestNoRoomForAFile(t *testing.T) {
	tests := []struct {
		name   string
		open   func() (file, error)
		statfs func(string, *unix.Statfs_t) error
		want   error
	}{
		{"disk full", fullDisk, nil, mailbox.ErrNoSpace},
		{"no descriptor", func() (file, error) { return nil, syscall.EMFILE }, nil, ErrBusy},
		{"quota", func() (file, error) { return nil, syscall.EDQUOT }, nil, mailbox.ErrNoSpace},
		{"nearly full", nil, func(_ string, st *unix.Statfs_t) error {
			*st = unix.Statfs_t{Bsize: 4096, Bavail: 10, Files: 100, Ffree: 100}
			return nil
		}, mailbox.ErrNoSpace},
		{"no answer", nil, func(string, *unix.Statfs_t) error { return syscall.EIO }, ErrBusy},
	}
	for _, tt := range tests {
		for _, where := range []string{"message too long for memory", "memory used up", "no memory at all", "later"} {
			t.Run(tt.name+", "+where, func(t *testing.T) {
				o := Options{MaxMessage: 1 << 20}
				switch where {
				case "message too long for memory", "later":
					o.MemoryPerMessage = 1 << 10
				case "memory used up":
					o.MemoryTotal = smallChunk
				case "no memory at all":
					o.MemoryTotal = 1
				}
				s := newSpool(t, o)
				w := s.NewWriter()
				defer w.Release()
				if where == "later" { // the first octets still find room
					if _, err := w.Write(text(1 << 9)); err != nil {
						t.Fatal(err)
					}
				}
				if tt.open != nil {
					s.openFile = tt.open
				}
				if tt.statfs != nil {
					s.statfs = tt.statfs
				}
				s.room.Store(nil)
				if _, err := w.Write(text(200 << 10)); !errors.Is(err, tt.want) {
					t.Errorf("Write: %v", err)
				}
				if _, err := w.Seal(); !errors.Is(err, tt.want) {
					t.Errorf("Seal: %v", err)
				}
			})
		}
	}
}

// TestFullOnLastFlush: what waits in the buffer may fail as late as Seal.
func TestFullOnLastFlush(t *testing.T) {
	s := newSpool(t, Options{MemoryPerMessage: 1 << 10})
	w := s.NewWriter()
	defer w.Release()
	for range 2 { // the second write makes the file, and stays in the buffer
		if _, err := w.Write(text(1 << 10)); err != nil {
			t.Fatal(err)
		}
	}
	w.file.Close()
	full, err := fullDisk()
	if err != nil {
		t.Fatal(err)
	}
	w.file = full
	if _, err := w.Seal(); !errors.Is(err, mailbox.ErrNoSpace) {
		t.Errorf("Seal: %v", err)
	}
}

func TestRoom(t *testing.T) {
	s := newSpool(t, Options{MaxMessage: 1 << 20})
	var answer unix.Statfs_t
	asked := 0
	s.statfs = func(_ string, st *unix.Statfs_t) error {
		asked++
		*st = answer
		return nil
	}
	tests := []struct {
		name string
		st   unix.Statfs_t
		want error
	}{
		{"plenty", unix.Statfs_t{Bsize: 4096, Bavail: 1 << 40, Files: 1000, Ffree: 500}, nil},
		{"exactly two messages", unix.Statfs_t{Bsize: 4096, Bavail: 512, Files: 1000, Ffree: 500}, nil},
		{"one block less", unix.Statfs_t{Bsize: 4096, Bavail: 511, Files: 1000, Ffree: 500}, mailbox.ErrNoSpace},
		{"exactly 1 % of the inodes", unix.Statfs_t{Bsize: 4096, Bavail: 1 << 20, Files: 1000, Ffree: 10}, nil},
		{"less", unix.Statfs_t{Bsize: 4096, Bavail: 1 << 20, Files: 1000, Ffree: 9}, mailbox.ErrNoSpace},
		{"inodes are not counted", unix.Statfs_t{Bsize: 4096, Bavail: 1 << 20}, nil},
	}
	for _, tt := range tests {
		answer = tt.st
		for _, before := range []*roomAnswer{nil, {at: time.Now().Add(-2 * roomFor), err: io.EOF}} { // none, too old
			s.room.Store(before)
			if err := s.Room(0); !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Errorf("%s: %v", tt.name, err)
			}
		}
	}
	asked = 0
	s.room.Store(&roomAnswer{at: time.Now().Add(time.Hour), err: io.EOF}) // fresh, however slow this machine is
	if err := s.Room(0); !errors.Is(err, io.EOF) || asked > 0 {
		t.Errorf("the fresh answer was not used: %v", err)
	}
	s.room.Store(&roomAnswer{at: time.Now().Add(-time.Hour), err: io.EOF})
	s.roomLock.Lock() // somebody asks already
	if err := s.Room(0); !errors.Is(err, io.EOF) || asked > 0 {
		t.Errorf("did not go on with the old answer: %v", err)
	}
	s.roomLock.Unlock()
}
