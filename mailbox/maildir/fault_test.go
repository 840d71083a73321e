package maildir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"mxbypass/mailbox"
)

// ways are the three kinds of file system that the store knows.
var ways = map[string]abilities{
	"ordered": {ordered: true, syncfs: true}, // ext4, xfs
	"syncfs":  {syncfs: true},                // btrfs
	"posix":   {},                            // anything else
}

// TestEveryFault makes every call of a delivery fail, one by one: no recipient has a nil result without the message,
// none with an error has it, nothing is left in tmp, no descriptor leaks, and the next delivery succeeds.
func TestEveryFault(t *testing.T) {
	committing := []string{"write", "startWriting", "waitWritten", "fsync", "syncfs", "rename", "close"}
	creating := append([]string{"open", "mkdir", "fstat", "chmod", "abilities"}, committing...)
	for way, can := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			// How many calls there are is found by running until none is left to fail.
			total := 0
			for _, op := range creating {
				for n := 0; faultOnce(t, way, can, 1, false, op, n, unix.EIO); n++ {
					total++
				}
			}
			if total < 20 {
				t.Errorf("only %d faults were injected", total)
			}
			// A group large enough for syncfs, into mailboxes that exist.
			for _, op := range committing {
				faultOnce(t, way, can, few+3, true, op, 0, unix.EIO)
			}
		})
	}
}

// faultOnce tells whether there was an nth call.
func faultOnce(t *testing.T, way string, can abilities, many int, exist bool, op string, n int, fault error) bool {
	t.Helper()
	what := fmt.Sprintf("%s, %d recipients, %s number %d", way, many, op, n)
	o := options(t)
	o.FileMode, o.DirMode = 0o660, 0o770 // so that chmod is called
	sys := newSeam(nil)
	sys.can = &can
	s := open(t, o, sys)
	to := users(many)
	before := 0
	if exist {
		before = 1
		if errs := deliver(t, s, message(body(10)), to...); errors.Join(errs...) != nil {
			t.Fatal(errs)
		}
	}
	sys.mu.Lock()
	clear(sys.calls)
	sys.hook = failNth(op, n, fault)
	sys.mu.Unlock()
	errs := deliver(t, s, message(body(3000)), to...)
	sys.mu.Lock()
	reached := sys.calls[op] > n
	sys.mu.Unlock()
	for i, err := range errs {
		got := in(t, root(o), fmt.Sprintf("exemple.org/user%d/Maildir/new", i))
		switch {
		case err == nil && len(got) != before+1:
			t.Fatalf("%s: nil, and %d messages in new", what, len(got))
		case err != nil && len(got) != before:
			t.Fatalf("%s: %v, and the message is in new", what, err)
		case err != nil && !errors.Is(err, fault):
			t.Fatalf("%s: %v does not say why", what, err)
		}
		if left := in(t, root(o), fmt.Sprintf("exemple.org/user%d/Maildir/tmp", i)); len(left) != 0 {
			t.Fatalf("%s: %d files in tmp", what, len(left))
		}
	}
	decisive := slices.Contains([]string{"write", "startWriting", "waitWritten", "fsync", "syncfs", "rename"}, op)
	if failed := slices.ContainsFunc(errs, func(err error) bool { return err != nil }); reached && decisive && !failed {
		t.Fatalf("%s: nobody was told", what)
	}
	sys.set(nil)
	if errs := deliver(t, s, message(body(10)), to...); errors.Join(errs...) != nil {
		t.Fatalf("%s: the next delivery: %v", what, errors.Join(errs...))
	}
	s.Close()
	if sys.opened != sys.closed-1 { // the root is not opened through the seam
		t.Fatalf("%s: %d opened, %d closed", what, sys.opened, sys.closed-1)
	}
	return reached
}

// TestFaultAndNoWayBack: when a message can neither be kept nor be taken back, the client is still told.
func TestFaultAndNoWayBack(t *testing.T) {
	for way, can := range ways {
		sys := newSeam(nil)
		sys.can = &can
		s := open(t, options(t), sys)
		to := users(1)
		if errs := deliver(t, s, message(body(10)), to...); errs[0] != nil {
			t.Fatal(errs)
		}
		var renamed atomic.Bool // the sweeper calls as well
		sys.set(func(op, name string) error {
			if op == "rename" {
				renamed.Store(true)
			}
			if op == "unlink" || renamed.Load() && (op == "fsync" || op == "syncfs") {
				return unix.EIO
			}
			return nil
		})
		if errs := deliver(t, s, message(body(10)), to...); !errors.Is(errs[0], unix.EIO) {
			t.Errorf("%s: %v", way, errs[0])
		}
	}
}

func TestErrorsHaveTheirMeaning(t *testing.T) {
	for fault, want := range map[error]error{unix.ENOSPC: mailbox.ErrNoSpace, unix.EDQUOT: mailbox.ErrOverQuota} {
		for _, op := range []string{"open", "mkdir", "write", "startWriting", "rename", "fsync"} {
			sys := newSeam(failNth(op, 0, fault))
			sys.can = &abilities{ordered: true, syncfs: true}
			errs := deliver(t, open(t, options(t), sys), message(body(10)), users(1)...)
			if !errors.Is(errs[0], want) || !errors.Is(errs[0], fault) {
				t.Errorf("%s fails with %v: %v", op, fault, errs[0])
			}
		}
	}
	if err := refuse(unix.EIO); errors.Is(err, mailbox.ErrNoSpace) || errors.Is(err, mailbox.ErrOverQuota) {
		t.Error("EIO is no lack of space")
	}
}

// TestFullDisk fills a real file system, where the process may mount one; elsewhere TestErrorsHaveTheirMeaning stands
// for it.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		return
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, 0) })
	s := open(t, Options{Path: dir + "/{domain}/{user}", Hostname: "h"}, kernel{})
	delivered, to := 0, users(1)
	for {
		errs := deliver(t, s, message(inFile{body(50 << 10)}), to...)
		if errs[0] != nil {
			if !errors.Is(errs[0], mailbox.ErrNoSpace) {
				t.Fatal(errs[0])
			}
			break
		}
		if delivered++; delivered > 10 {
			t.Fatal("the disk is never full")
		}
	}
	if got := len(in(t, dir, "exemple.org/user0/new")); got != delivered || delivered == 0 {
		t.Errorf("%d acknowledged, %d in new", delivered, got)
	}
	if left := in(t, dir, "exemple.org/user0/tmp"); len(left) != 0 {
		t.Errorf("%d files in tmp", len(left))
	}
	s.Close()
}

// TestOrder holds every copy against the order on which durability rests.
func TestOrder(t *testing.T) {
	for way, can := range ways {
		for _, many := range []int{1, 3, few + 3, maxHeld + 3, 67} {
			for _, size := range []int{100, maxLeaderWait + 1} {
				sys := newSeam(nil)
				sys.can = &can
				s := open(t, options(t), sys)
				to := users(many)
				if errs := deliver(t, s, message(body(10)), to...); errors.Join(errs...) != nil {
					t.Fatal(errs)
				}
				sys.mu.Lock()
				sys.events = nil
				sys.mu.Unlock()
				if errs := deliver(t, s, message(body(size)), to...); errors.Join(errs...) != nil {
					t.Fatal(errs)
				}
				if err := checkOrder(sys.events, many, can); err != nil {
					t.Errorf("%s, %d recipients, %d octets: %v", way, many, size, err)
				}
			}
		}
	}
}

// checkOrder wants, for every file: written, flushed, renamed, and its folder or the whole file system synced after
// it. On an ordered file system the folder of the very last rename stands for all.
func checkOrder(events []event, files int, can abilities) error {
	last := func(op, name string) int {
		for i, e := range slices.Backward(events) {
			if e.op == op && (name == "" || e.name == name) {
				return i
			}
		}
		return -1
	}
	renames, synced := 0, 0
	for i, e := range events {
		if e.op == "fsync" && e.name == "new" || e.op == "syncfs" && e.name == "." && i > last("rename", "") {
			synced++
		}
		if e.op != "rename" {
			continue
		}
		renames++
		flushed := last("fsync", e.name)
		if can.ordered || flushed < 0 {
			flushed = last("waitWritten", e.name)
		}
		if wrote := last("write", e.name); wrote < 0 || flushed < wrote || i < flushed {
			return fmt.Errorf("%s: written at %d, flushed at %d, renamed at %d", e.name, wrote, flushed, i)
		}
		if last("fsync", "new") < i && last("syncfs", "") < i {
			return fmt.Errorf("%s: nothing is synced after the rename", e.name)
		}
	}
	renamed := last("rename", "")
	if can.ordered {
		if sync := last("fsync", "new"); renames != files || sync < renamed || events[sync].fd != events[renamed].fd {
			return fmt.Errorf("%d files, %d renames, the last at %d, its folder synced at %d", files, renames, renamed, sync)
		}
		return nil
	}
	if whole := last("syncfs", ""); renames != files || synced < files && whole < renamed {
		return fmt.Errorf("%d files, %d renames, %d syncs, syncfs at %d: %v", files, renames, synced, whole, events)
	}
	return nil
}

// TestNoLinkOut: nobody who can write to a Maildir leads deliveries out of it.
func TestNoLinkOut(t *testing.T) {
	for _, link := range []string{"exemple.org", "exemple.org/user0", "exemple.org/user0/Maildir",
		"exemple.org/user0/Maildir/tmp", "exemple.org/user0/Maildir/new", "exemple.org/user0/Maildir/cur"} {
		o, outside := options(t), t.TempDir()
		path := filepath.Join(root(o), link)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(outside, path); err != nil {
			t.Fatal(err)
		}
		errs := deliver(t, open(t, o, newSeam(nil)), message(body(10)), users(1)...)
		if errs[0] == nil || !strings.Contains(errs[0].Error(), "maildir") {
			t.Errorf("%s is a link, and the result is %v", link, errs[0])
		}
		if entries, err := os.ReadDir(outside); err != nil || len(entries) != 0 {
			t.Errorf("%s is a link, and outside there is %v (%v)", link, entries, err)
		}
	}
}

// TestFoldersOfOthers: a folder that somebody else has just made, or has left behind when he died, is durable before the
// first message in it is.
func TestFoldersOfOthers(t *testing.T) {
	for way, can := range ways {
		o := options(t)
		for _, name := range []string{"cur", "new", "tmp"} {
			if err := os.MkdirAll(filepath.Join(root(o), "exemple.org/user0/Maildir", name), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		sys := newSeam(nil)
		sys.can = &can
		if errs := deliver(t, open(t, o, sys), message(body(10)), users(1)...); errs[0] != nil {
			t.Fatal(errs)
		}
		synced := map[string]bool{}
		for _, e := range sys.events {
			if e.op == "rename" {
				break
			}
			if e.op == "fsync" {
				synced[e.name] = true
			}
		}
		// The root, which is not opened through the seam, has no name.
		for _, name := range []string{"", "exemple.org", "user0", "Maildir"} {
			if synced[name] == can.ordered {
				t.Errorf("%s: folder %q synced: %v", way, name, synced[name])
			}
		}
	}
}
