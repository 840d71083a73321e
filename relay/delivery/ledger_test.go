package delivery

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func testKey(n int) key {
	k := key{size: int64(n)}
	copy(k.envelope[:], fmt.Sprintf("%016d", n))
	copy(k.content[:], fmt.Sprintf("%032d", n))
	return k
}

// clock is a time that only the test moves.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func TestLedgerForgetsWithTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	c := &clock{time.Unix(1_700_000_000, 0)}
	l, err := openLedger(path, discard, osFiles{}, c.now)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.add([]key{testKey(1)}); err != nil {
		t.Fatal(err)
	}
	c.t = c.t.Add(keepFor - time.Hour)
	if err := l.add([]key{testKey(2)}); err != nil {
		t.Fatal(err)
	}
	if a, b := l.find(testKey(1)), l.find(testKey(2)); a != delivered || b != delivered {
		t.Errorf("before the time: %v %v", a, b)
	}
	c.t = c.t.Add(2 * time.Hour)
	if a, b := l.find(testKey(1)), l.find(testKey(2)); a != absent || b != delivered {
		t.Errorf("after the time: %v %v", a, b)
	}
	l.Close()
	if l, err = openLedger(path, discard, osFiles{}, c.now); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, b := l.find(testKey(1)), l.find(testKey(2)); a != absent || b != delivered || l.size.Load() != 1 {
		t.Errorf("opened again: %v %v, %d entries", a, b, l.size.Load())
	}
}

func TestLedgerIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	l := newLedger(t, path)
	keys := make([]key, maxEntries+10)
	for i := range keys {
		keys[i] = testKey(i)
	}
	if err := l.add(keys); err != nil {
		t.Fatal(err)
	}
	if n := l.size.Load(); n != maxEntries || len(l.hints) != maxEntries {
		t.Errorf("%d entries, %d hints", n, len(l.hints))
	}
	if old, young := l.find(testKey(0)), l.find(testKey(maxEntries+9)); old != absent || young != delivered {
		t.Errorf("the oldest is %v, the youngest %v", old, young)
	}
	l.Close()
	l = newLedger(t, path)
	defer l.Close()
	if n := l.size.Load(); n != maxEntries {
		t.Errorf("opened again: %d entries", n)
	}
}

func TestLedgerFileStaysSmall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	l := newLedger(t, path)
	l.file.fs = noSync{l.file.fs}
	if err := l.compact(); err != nil {
		t.Fatal(err)
	}
	for i := range 5 * compactBeyond {
		if err := l.add([]key{testKey(i)}); err != nil {
			t.Fatal(err)
		}
		l.forget([]key{testKey(i)})
	}
	if l.file.lines > 2*compactBeyond || len(l.order) > 2*compactBeyond {
		t.Errorf("%d lines, %d in order, with nothing alive", l.file.lines, len(l.order))
	}
	l.Close()
}

// noSync is for tests that write much; durability is looked at elsewhere.
type noSync struct{ files }

func (n noSync) create(path string) (syncer, error) {
	f, err := n.files.create(path)
	return noSyncFile{f}, err
}

func (noSync) syncDir(string) error { return nil }

type noSyncFile struct{ syncer }

func (noSyncFile) Sync() error { return nil }

func TestDamagedLinesArePutAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	now := time.Now()
	good := func(n int) string { return string(appendLine(nil, testKey(n), now)) }
	flipped := strings.Replace(good(3), "0", "1", 1)
	long := strings.Repeat("x", 3*maxLedgerLine) + "\n"
	torn := good(4)[:40]
	text := good(1) + flipped + "\n" + "rubbish \x00\n" + long + good(2) + torn
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	l := newLedger(t, path)
	defer l.Close()
	if a, b := l.find(testKey(1)), l.find(testKey(2)); a != delivered || b != delivered || l.size.Load() != 2 {
		t.Errorf("good lines: %v %v, %d entries", a, b, l.size.Load())
	}
	aside, err := os.ReadFile(path + ".damaged")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{flipped, "rubbish \x00\n", long, torn} {
		if !bytes.Contains(aside, []byte(part)) {
			t.Errorf("%.40q is not put aside", part)
		}
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != good(1)+good(2) {
		t.Errorf("the file is %q, %v", text, err)
	}
}

func TestLedgerThatCannotBeRead(t *testing.T) {
	if _, err := OpenLedger(t.TempDir(), discard); err == nil {
		t.Error("a folder is no ledger")
	}
}

// faulty fails one operation, counted from when it was armed, and all others of the kind after it while it is armed.
type faulty struct {
	files
	left int // operations until the failure; negative: never
	err  error
}

func (f *faulty) step() error {
	if f.left < 0 {
		return nil
	}
	if f.left == 0 {
		return f.err
	}
	f.left--
	return nil
}

func (f *faulty) create(path string) (syncer, error) {
	if err := f.step(); err != nil {
		return nil, err
	}
	s, err := f.files.create(path)
	return &faultyFile{s, f}, err
}

func (f *faulty) rename(from, to string) error {
	if err := f.step(); err != nil {
		return err
	}
	return f.files.rename(from, to)
}

func (f *faulty) syncDir(dir string) error {
	if err := f.step(); err != nil {
		return err
	}
	return f.files.syncDir(dir)
}

type faultyFile struct {
	syncer
	f *faulty
}

func (w *faultyFile) Write(p []byte) (int, error) {
	if err := w.f.step(); err != nil {
		n, _ := w.syncer.Write(p[:len(p)/2]) // torn
		return n, err
	}
	return w.syncer.Write(p)
}

func (w *faultyFile) Sync() error {
	if err := w.f.step(); err != nil {
		return err
	}
	return w.syncer.Sync()
}

// TestLedgerFaults fails every operation on the file in turn: what add acknowledged is there after a restart, what it
// did not acknowledge is still known in memory, and the ledger heals when the disk does.
func TestLedgerFaults(t *testing.T) {
	for _, fault := range []error{syscall.EIO, syscall.ENOSPC} {
		for step := range 8 {
			for _, brokenBefore := range []bool{false, true} {
				t.Run(fmt.Sprint(fault, " at ", step, " ", brokenBefore), func(t *testing.T) {
					path := filepath.Join(t.TempDir(), "ledger")
					fs := &faulty{files: osFiles{}, left: -1, err: fault}
					l, err := openLedger(path, discard, fs, time.Now)
					if err != nil {
						t.Fatal(err)
					}
					defer func() { l.Close() }()
					var acknowledged []key
					add := func(n int) {
						if err := l.add([]key{testKey(n)}); err == nil {
							acknowledged = append(acknowledged, testKey(n))
						} else if !errors.Is(err, fault) {
							t.Errorf("the cause is lost: %v", err)
						}
						if l.find(testKey(n)) != delivered {
							t.Errorf("%d is not known", n)
						}
					}
					add(1)
					if brokenBefore {
						fs.left = 0
						add(2)
					}
					fs.left = step
					add(3)
					add(4)
					reopened := newLedger(t, copyOf(t, path))
					for _, k := range acknowledged {
						if reopened.find(k) != delivered {
							t.Errorf("%d was acknowledged and is gone", k.size)
						}
					}
					reopened.Close()
					fs.left = -1
					add(5)
					if n := len(acknowledged); n == 0 || acknowledged[n-1] != testKey(5) {
						t.Error("the ledger does not heal")
					}
					l.Close()
					l = newLedger(t, path)
					for n := range 5 {
						if k := testKey(n + 1); (n != 1 || brokenBefore) && l.find(k) != delivered {
							t.Errorf("%d is not in the healed file", k.size)
						}
					}
				})
			}
		}
	}
}

// copyOf is what a crash would leave at path.
func copyOf(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "ledger")
	if err := os.WriteFile(to, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return to
}

func TestLedgerStartsOnAFullDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	fs := &faulty{files: osFiles{}, left: 0, err: syscall.ENOSPC}
	l, err := openLedger(path, discard, fs, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.forget([]key{testKey(1)})
	if err := l.add([]key{testKey(1)}); !errors.Is(err, syscall.ENOSPC) || l.find(testKey(1)) != delivered {
		t.Errorf("add: %v", err)
	}
	l.forget([]key{testKey(1)})
	if l.find(testKey(1)) != absent {
		t.Error("not forgotten")
	}
}

type brokenContent struct{ memoryContent }

func (brokenContent) NewReader() io.Reader { return io.LimitReader(neverEnds{}, 3) }

type neverEnds struct{}

func (neverEnds) Read(p []byte) (int, error) { return len(p), nil }

func TestContentThatCannotBeReadIsNotHashed(t *testing.T) {
	if _, err := hashContent(brokenContent{memoryContent("four")}); err == nil {
		t.Error("three octets of four were taken for the message")
	}
}

func TestHintsDiffer(t *testing.T) {
	m := message("x")
	r := recipient("cloud", "a@exemple.org")
	seen := map[hint]string{hintOf(m, r): "the first"}
	for name, change := range map[string]func(){
		"tag":     func() { r.Tag = "t" },
		"site":    func() { r.Mailbox.Site = "vps" },
		"mailbox": func() { r.Mailbox.Address = address("b@exemple.org") },
		"reverse": func() { m.Reverse = address("other@remote.example") },
		"size":    func() { m.Content = memoryContent("xx") },
	} {
		change()
		h := hintOf(m, r)
		if other, ok := seen[h]; ok {
			t.Errorf("%s gives the same as %s", name, other)
		}
		seen[h] = name
	}
}

// FuzzLedgerFile: no file stops the start, what is read is written so that it reads the same, and nothing is made up.
func FuzzLedgerFile(f *testing.F) {
	line := string(appendLine(nil, testKey(7), time.Now()))
	f.Add([]byte(line))
	f.Add([]byte(line + line[:50]))
	f.Add([]byte("v1 0 \n\n\x00"))
	f.Add([]byte(strings.Replace(line, "v1", "v2", 1)))
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "ledger")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		first, err := openLedger(path, discard, noSync{osFiles{}}, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		first.Close()
		second, err := openLedger(path, discard, noSync{osFiles{}}, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		defer second.Close()
		if len(first.entries) != len(second.entries) || len(first.entries) > bytes.Count(text, []byte("v1 ")) {
			t.Errorf("%d entries, then %d", len(first.entries), len(second.entries))
		}
		for k := range first.entries {
			if !second.knows(k.hint()) || second.find(k) != delivered {
				t.Errorf("an entry is lost")
			}
		}
	})
}
