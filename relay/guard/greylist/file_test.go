package greylist

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// filled is a greylist that has something of everything, and its file.
func filled(t *testing.T) (*kit, []byte) {
	t.Helper()
	k := open(t, nil)
	for n := range 5 {
		k.want(t, v4(n), alice, bob, 5*time.Minute)
	}
	k.pass(5 * time.Minute)
	for n := range 3 {
		k.want(t, v4(n), alice, bob, 0)
	}
	if err := k.save(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(k.o.Path)
	if err != nil {
		t.Fatal(err)
	}
	return k, text
}

// killed opens the file anew, as after kill -9: what was not saved is lost.
func (k *kit) killed(t *testing.T) {
	t.Helper()
	k.mu.Lock()
	k.changed = false
	k.mu.Unlock()
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	k.reopen(t)
}

func TestSurvives(t *testing.T) {
	k, _ := filled(t)
	k.want(t, here, alice, bob, 5*time.Minute) // this one not: it was never written
	left := k.o.Path + ".123" + temporary
	if err := os.WriteFile(left, []byte(magic), 0o600); err != nil {
		t.Fatal(err)
	}
	k.killed(t)
	for n := range 3 {
		k.want(t, v4(n), alice, bob, 0)
	}
	k.want(t, v4(3), alice, bob, 0)
	if k.waiting.get(tripleOf(networkOf(here), alice, bob)) != nil {
		t.Error("what was not written is there")
	}
	if n := k.networks.get(networkOf(v4(1))); n == nil || n.count != 1 {
		t.Error(n)
	}
	if _, err := os.Stat(left); err == nil {
		t.Error("what a crash has left is still there")
	}
	// The end of the process is no crash.
	k.want(t, here, alice, bob, 5*time.Minute)
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	k.reopen(t)
	k.pass(5 * time.Minute)
	k.want(t, here, alice, bob, 0)
	if k.log.Len() > 0 {
		t.Error(k.log.String())
	}
}

// Whatever octet changes, wherever the file ends: it is moved aside, and said.
func TestDamaged(t *testing.T) {
	k, good := filled(t)
	damage := func(name string, text []byte) {
		k.log.Reset()
		k.mu.Lock()
		k.changed = false
		k.mu.Unlock()
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(k.o.Path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		k.reopen(t)
		if aside, err := os.ReadFile(k.o.Path + ".damaged"); err != nil || !bytes.Equal(aside, text) {
			t.Errorf("%s: not moved aside: %v", name, err)
		}
		if !strings.Contains(k.log.String(), "damaged and was moved aside") {
			t.Errorf("%s: not said: %s", name, k.log.String())
		}
		for _, m := range []*memory{k.waiting, k.passed, k.networks} {
			if m.len() != 0 {
				t.Errorf("%s: %d records", name, m.len())
			}
		}
		if err := os.Remove(k.o.Path + ".damaged"); err != nil {
			t.Fatal(err)
		}
	}
	for i := 0; i < len(good); i += 7 {
		damage("cut", good[:i])
		changed := bytes.Clone(good)
		changed[i] ^= 0x40
		damage("changed", changed)
	}
	damage("longer", append(bytes.Clone(good), 0))
	damage("another file", []byte("SQLite format 3\x00"))
}

// With fewer entries than before the youngest stay.
func TestFewerEntries(t *testing.T) {
	k := open(t, nil)
	for n := range 50 {
		k.want(t, v4(n), alice, bob, 5*time.Minute)
	}
	k.o.Entries = 10
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	k.reopen(t)
	k.pass(5 * time.Minute)
	if k.waiting.len() != 10 {
		t.Error(k.waiting.len())
	}
	k.want(t, v4(49), alice, bob, 0)
	k.want(t, v4(39), alice, bob, 5*time.Minute)
}

// What is of no use any more is not written.
func TestPurge(t *testing.T) {
	k, good := filled(t)
	k.pass(40 * 24 * time.Hour)
	k.want(t, here, alice, bob, 5*time.Minute)
	if err := k.save(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(k.o.Path)
	if err != nil || len(text) >= len(good) || k.waiting.len() != 1 || k.passed.len() != 0 || k.networks.len() != 0 {
		t.Error(len(text), err, k.waiting.len(), k.passed.len(), k.networks.len())
	}
}

// A folder that cannot be written to loses nothing that is in memory, and is tried again.
func TestCannotBeWritten(t *testing.T) {
	k, _ := filled(t)
	dir := filepath.Dir(k.o.Path)
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	k.want(t, here, alice, bob, 5*time.Minute)
	if err := k.save(); err == nil {
		t.Fatal("saved, but where?")
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	if err := k.save(); err != nil {
		t.Fatal(err)
	}
	k.killed(t)
	k.pass(5 * time.Minute)
	k.want(t, here, alice, bob, 0)
	if files, err := filepath.Glob(k.o.Path + "*"); err != nil || len(files) != 1 {
		t.Error(files, err)
	}
}

func TestCannotBeRead(t *testing.T) {
	k := open(t, nil)
	k.o.Path = filepath.Join(t.TempDir(), "folder")
	if err := os.Mkdir(k.o.Path, 0o700); err != nil {
		t.Fatal(err)
	}
	if l, err := Open(k.o); err == nil || l != nil {
		t.Error(l, err)
	}
	if l, err := Open(Options{}); err == nil || l != nil {
		t.Error(l, err)
	}
}

// Whatever the file holds: it is read as what it says, or is damaged; and what is read can be written and read again.
func FuzzFile(f *testing.F) {
	f.Add([]byte(magic))
	f.Add([]byte(nil))
	l := &List{o: Options{Entries: 4}}
	l.forget()
	l.waiting.add(record{key: key{1}, network: key{2}, at: 3})
	l.networks.add(record{key: key{2}, at: 3, since: 3, count: 1})
	f.Add(l.encode()[len(magic):])
	f.Fuzz(func(t *testing.T, body []byte) {
		l := &List{o: Options{Entries: 4}}
		l.forget()
		if err := l.decode(bytes.NewReader(withSum(append([]byte(magic), body...)))); err != nil {
			return
		}
		again := &List{o: l.o}
		again.forget()
		text := l.encode()
		if err := again.decode(bytes.NewReader(withSum(text))); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again.encode(), text) || l.waiting.len() > 4 || l.passed.len() > 4 || l.networks.len() > 4 {
			t.Error("another list")
		}
	})
}
