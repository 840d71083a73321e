package maildir

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mxbypass/mailbox"
)

var uniqueName = regexp.MustCompile(`^\d+\.M\d+P\d+Q\d+R[0-9a-f]{16}\.mx\.host\.test,S=(\d+),W=(\d+)$`)

func TestDeliver(t *testing.T) {
	for name, c := range map[string]mailbox.Content{
		"memory": body(3000), "file": inFile{body(3000)}, "empty": body(0), "empty file": inFile{body(0)},
		"large": body(1<<20 + 7), "large file": inFile{body(1<<20 + 7)},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			s, m, to := open(t, o, kernel{}), message(c), users(maxHeld+2)
			if errs := deliver(t, s, m, to...); errors.Join(errs...) != nil {
				t.Fatal(errs)
			}
			seen := 0
			for path, data := range files(t, root(o)) {
				seen++
				var n int
				if _, err := fmt.Sscanf(path, "exemple.org/user%d/Maildir/new/", &n); err != nil {
					t.Fatalf("%s: %v", path, err)
				}
				inner := m.Content
				if f, ok := inner.(inFile); ok {
					inner = f.inMemory
				}
				if want := string(m.TraceFor(to[n])) + string(inner.(inMemory)); data != want {
					t.Errorf("%s differs: %d octets, want %d", path, len(data), len(want))
				}
				size := uniqueName.FindStringSubmatch(filepath.Base(path))
				if size == nil || size[1] != fmt.Sprint(len(data)) || size[2] != size[1] {
					t.Errorf("the name %s, of %d octets", filepath.Base(path), len(data))
				}
			}
			if seen != len(to) {
				t.Errorf("%d files for %d recipients", seen, len(to))
			}
		})
	}
}

// wrongSize claims to be longer than it is.
type wrongSize struct{ inMemory }

func (c wrongSize) Size() int64 { return c.inMemory.Size() + 1 }

func TestContentOfAnotherSizeIsRefused(t *testing.T) {
	o := options(t)
	s := open(t, o, newSeam(nil))
	for _, c := range []mailbox.Content{wrongSize{body(100)}, struct{ wrongSize }{wrongSize{body(0)}}} {
		if errs := deliver(t, s, message(c), users(1)...); errs[0] == nil {
			t.Error("a message that is not whole was delivered")
		}
	}
	if got := files(t, root(o)); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}

func TestAbortLeavesNothing(t *testing.T) {
	o := options(t)
	s := open(t, o, newSeam(nil))
	d, errs := s.Prepare(t.Context(), message(body(100)), users(3))
	if d == nil || !d.Certain() || len(files(t, root(o))) != 3 {
		t.Fatalf("prepared: %v, %v", d, errs)
	}
	d.Abort()
	if got := files(t, root(o)); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}

// TestRefusedKeepTheirError: one bad recipient does not concern the others.
func TestRefusedKeepTheirError(t *testing.T) {
	to := users(2)
	to = append(to[:1:1], recipient(`"../../etc"@exemple.org`), to[1])
	errs := deliver(t, open(t, options(t), newSeam(nil)), message(body(10)), to...)
	if errs[0] != nil || !errors.Is(errs[1], errUnsafe) || errs[2] != nil {
		t.Errorf("got %v", errs)
	}
}

func TestModesAndOwner(t *testing.T) {
	o := options(t)
	o.FileMode, o.DirMode = 0o640, 0o750
	o.Owner = &Owner{os.Geteuid(), os.Getegid()}
	if os.Geteuid() == 0 {
		o.Owner = &Owner{12345, 12346}
	}
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	r := recipient("user0+lists@exemple.org")
	o.TagFolders = true
	if errs := deliver(t, open(t, o, newSeam(nil)), message(body(10)), r); errs[0] != nil {
		t.Fatal(errs)
	}
	err := filepath.WalkDir(filepath.Join(root(o), "exemple.org"), func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		want := uint32(o.FileMode)
		if e.IsDir() {
			want = uint32(o.DirMode)
		}
		if st.Mode&0o777 != want || int(st.Uid) != o.Owner.UID || int(st.Gid) != o.Owner.GID {
			t.Errorf("%s: %#o %d:%d", path, st.Mode&0o777, st.Uid, st.Gid)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestTagFolders(t *testing.T) {
	for _, c := range []struct {
		on        bool
		tag, want string
	}{
		{true, "lists", ".lists/new"}, {true, "été & Müll", ".&AOk-t&AOk- &- M&APw-ll/new"}, {true, "a.b", "new"},
		{true, "~root", "new"}, {true, "inbox", "new"}, {true, "", "new"}, {true, "a/b", "new"}, {true, "*", "new"},
		{true, strings.Repeat("é", 60), "new"}, {false, "lists", "new"},
	} {
		o := options(t)
		o.TagFolders = c.on
		r := recipient("user0@exemple.org")
		r.Tag = mailbox.LocalPart(c.tag)
		if errs := deliver(t, open(t, o, newSeam(nil)), message(body(10)), r, users(2)[1]); errors.Join(errs...) != nil {
			t.Fatal(errs)
		}
		if got := in(t, root(o), "exemple.org/user0/Maildir/"+c.want); len(got) != 1 {
			t.Errorf("tag %q: not in %s: %v", c.tag, c.want, files(t, root(o)))
		}
		_, err := os.Stat(filepath.Join(root(o), "exemple.org/user0/Maildir", filepath.Dir(c.want), "maildirfolder"))
		if (err == nil) != (c.want != "new") {
			t.Errorf("tag %q: maildirfolder: %v", c.tag, err)
		}
	}
}

func TestTagFoldersAreBounded(t *testing.T) {
	o := options(t)
	o.TagFolders = true
	s, to := open(t, o, newSeam(nil)), users(1)
	for i := range maxTagFolders + 5 {
		to[0].Tag = mailbox.LocalPart(fmt.Sprintf("tag%d", i))
		if errs := deliver(t, s, message(body(10)), to...); errs[0] != nil {
			t.Fatal(errs)
		}
	}
	to[0].Tag = "tag0" // exists
	if errs := deliver(t, s, message(body(10)), to...); errs[0] != nil {
		t.Fatal(errs)
	}
	inbox, first := in(t, root(o), "exemple.org/user0/Maildir/new"), in(t, root(o), "exemple.org/user0/Maildir/.tag0/new")
	if len(inbox) != 5 || len(first) != 2 {
		t.Errorf("%d in the INBOX, %d in the first", len(inbox), len(first))
	}
}

// TestFoldersThatMove: a Maildir that is removed, replaced or damaged while it is open.
func TestFoldersThatMove(t *testing.T) {
	for name, change := range map[string]func(box string) error{
		"removed":     os.RemoveAll,
		"moved":       func(box string) error { return os.Rename(box, box+".old") },
		"no tmp":      func(box string) error { return os.RemoveAll(box + "/tmp") },
		"no new":      func(box string) error { return os.RemoveAll(box + "/new") },
		"user moved":  func(box string) error { return os.Rename(filepath.Dir(box), filepath.Dir(box)+".old") },
		"new renamed": func(box string) error { return os.Rename(box+"/new", box+"/cur/x") },
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			s, to := open(t, o, newSeam(nil)), users(1)
			if errs := deliver(t, s, message(body(10)), to...); errs[0] != nil {
				t.Fatal(errs)
			}
			box := filepath.Join(root(o), "exemple.org/user0/Maildir")
			for _, path := range []string{box + "/new"} {
				entries, err := os.ReadDir(path)
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range entries {
					if err := os.Remove(filepath.Join(path, e.Name())); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := change(box); err != nil {
				t.Fatal(err)
			}
			if errs := deliver(t, s, message(body(20)), to...); errs[0] != nil {
				t.Fatal(errs)
			}
			if got := in(t, root(o), "exemple.org/user0/Maildir/new"); len(got) != 1 {
				t.Errorf("it is not where readers look: %v", files(t, root(o)))
			}
		})
	}
}

// TestManyWriters: all messages arrive, each once, through a cache much smaller than the mailboxes, and every
// descriptor is closed in the end.
func TestManyWriters(t *testing.T) {
	const writers, each = 50, 20
	o, sys := options(t), newSeam(nil)
	s, err := newStore(o, sys, 3)
	if err != nil {
		t.Fatal(err)
	}
	to := users(12)
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for i := range each {
				m := message(inMemory(fmt.Sprintf("%d/%d\r\n", w, i)))
				if errs := deliver(t, s, m, to[(w+i)%len(to)], to[(w+i+1)%len(to)]); errors.Join(errs...) != nil {
					t.Error(errs)
				}
			}
		})
	}
	group.Wait()
	s.folders.mu.Lock()
	open := len(s.folders.folders)
	s.folders.mu.Unlock()
	if open > len(to) {
		t.Errorf("%d folders are open", open)
	}
	s.Close()
	if got := files(t, root(o)); len(got) != writers*each*2 {
		t.Errorf("%d files", len(got))
	}
	if sys.opened != sys.closed-1 {
		t.Errorf("%d opened, %d closed", sys.opened, sys.closed-1)
	}
}

func TestCloseRefuses(t *testing.T) {
	s := open(t, options(t), newSeam(nil))
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	d, errs := s.Prepare(t.Context(), message(body(10)), users(2))
	if d != nil || !errors.Is(errs[0], mailbox.ErrUnavailable) || !errors.Is(errs[1], mailbox.ErrUnavailable) {
		t.Errorf("%v, %v", d, errs)
	}
}

// TestStuckDisk: the context ends the wait in both phases, and what comes late is taken back or is complete.
func TestStuckDisk(t *testing.T) {
	for _, op := range []string{"write", "open", "rename", "fsync"} {
		t.Run(op, func(t *testing.T) {
			o, sys := options(t), newSeam(nil)
			sys.can = &abilities{ordered: true, syncfs: true}
			s, to := open(t, o, sys), users(1)
			if errs := deliver(t, s, message(body(10)), to...); errs[0] != nil {
				t.Fatal(errs)
			}
			stuck, free := make(chan struct{}), make(chan struct{})
			var once sync.Once
			sys.set(func(o, name string) error {
				if o == op && name != "cur" {
					once.Do(func() { close(stuck) })
					<-free
				}
				return nil
			})
			gone := errors.New("the client is gone")
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() {
				<-stuck
				cancel(gone)
			}()
			d, errs := s.Prepare(ctx, message(body(20)), to)
			if d != nil {
				// The leader is stuck with the first; the second has not begun and can be withdrawn.
				errs = d.Commit(ctx)
				d2, errs2 := s.Prepare(t.Context(), message(body(30)), to)
				if d2 == nil {
					t.Fatal(errs2)
				}
				if errs2 = d2.Commit(ctx); !errors.Is(errs2[0], gone) {
					t.Errorf("second: %v", errs2)
				}
			}
			if !errors.Is(errs[0], gone) {
				t.Errorf("got %v", errs)
			}
			sys.set(nil)
			close(free)
			s.Close()
			if left := in(t, root(o), "exemple.org/user0/Maildir/tmp"); len(left) != 0 {
				t.Errorf("%d files in tmp", len(left))
			}
			for _, data := range in(t, root(o), "exemple.org/user0/Maildir/new") {
				if strings.HasSuffix(data, string(body(30))) {
					t.Error("the withdrawn message arrived")
				}
			}
		})
	}
}

// logged is a handler that hands over the messages of a log.
type logged chan string

func (l logged) Enabled(context.Context, slog.Level) bool { return true }
func (l logged) Handle(_ context.Context, r slog.Record) error {
	l <- r.Message
	return nil
}
func (l logged) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l logged) WithGroup(string) slog.Handler      { return l }

func TestSweep(t *testing.T) {
	o := options(t)
	log := make(logged, 10)
	o.Logger = slog.New(log)
	tmp := filepath.Join(root(o), "exemple.org/user0/Maildir/tmp")
	old, young := time.Now().Add(-37*time.Hour), time.Now().Add(-35*time.Hour)
	for name, when := range map[string][2]time.Time{"old": {old, old}, "read": {young, old}, "written": {old, young}} {
		if err := errors.Join(os.MkdirAll(tmp, 0o700), os.WriteFile(filepath.Join(tmp, name), nil, 0o600),
			os.Chtimes(filepath.Join(tmp, name), when[0], when[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Mkdir(tmp+"/folder", 0o700), os.Chtimes(tmp+"/folder", old, old)); err != nil {
		t.Fatal(err)
	}
	s := open(t, o, newSeam(nil))
	if errs := deliver(t, s, message(body(10)), users(1)...); errs[0] != nil {
		t.Fatal(errs)
	}
	if got := <-log; got != "leftover removed" {
		t.Errorf("logged: %s", got)
	}
	s.Close()
	entries, err := os.ReadDir(tmp)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if got := strings.Join(names, " "); got != "folder read written" {
		t.Errorf("left: %s", got)
	}
}
