package spool

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/iotest"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newSpool(t testing.TB, o Options) *Spool {
	t.Helper()
	if o.Dir == "" {
		o.Dir = filepath.Join(t.TempDir(), "spool")
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if n := s.memory.budget.used.Load(); n != 0 {
			t.Errorf("%d octets of memory are still reserved", n)
		}
		if names, err := os.ReadDir(o.Dir); err != nil || len(names) > 0 {
			t.Errorf("left in the folder: %v, %v", names, err)
		}
	})
	return s
}

func text(n int) []byte {
	p := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n)})
	_, _ = r.Read(p) // never fails
	return p
}

// TestContentIsWhatWasWritten: whatever the pieces and the bounds, all ways of reading give what was written.
func TestContentIsWhatWasWritten(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		s, err := New(Options{
			Dir:              dir,
			MemoryPerMessage: rapid.Int64Range(1, 600<<10).Draw(rt, "per message"),
			MemoryTotal:      rapid.Int64Range(1, 600<<10).Draw(rt, "total"),
		})
		if err != nil {
			rt.Fatal(err)
		}
		all := text(rapid.IntRange(0, 700<<10).Draw(rt, "size"))
		w := s.NewWriter()
		for rest := all; len(rest) > 0; {
			n := min(len(rest), rapid.IntRange(1, 200<<10).Draw(rt, "piece"))
			if k, err := w.Write(rest[:n]); k != n || err != nil {
				rt.Fatalf("Write: %d, %v", k, err)
			}
			rest = rest[n:]
			if used := s.memory.budget.used.Load(); used > s.memory.budget.total {
				rt.Fatalf("%d octets reserved of %d", used, s.memory.budget.total)
			}
		}
		c, err := w.Seal()
		if err != nil {
			rt.Fatal(err)
		}
		if c.Size() != int64(len(all)) {
			rt.Fatalf("Size is %d", c.Size())
		}
		if got, err := io.ReadAll(c.NewReader()); err != nil || !bytes.Equal(got, all) {
			rt.Fatalf("NewReader: %d octets, %v", len(got), err)
		}
		if b := c.Buffers(); b != nil && !bytes.Equal(bytes.Join(b, nil), all) {
			rt.Fatal("Buffers differ")
		}
		var copied bytes.Buffer
		if _, err := io.Copy(&copied, c.NewReader()); err != nil || !bytes.Equal(copied.Bytes(), all) {
			rt.Fatalf("Copy: %d octets, %v", copied.Len(), err)
		}
		w.Release()
		w.Release()
		if err := s.Close(); err != nil || s.memory.budget.used.Load() != 0 {
			rt.Fatalf("after Release: %v, %d octets reserved", err, s.memory.budget.used.Load())
		}
	})
}

func TestSmallMessageCostsOneSmallChunk(t *testing.T) {
	s := newSpool(t, Options{})
	w := s.NewWriter()
	defer w.Release()
	if n := s.memory.budget.used.Load(); n != 0 {
		t.Errorf("an empty writer holds %d octets", n)
	}
	if _, err := w.Write(text(10 << 10)); err != nil {
		t.Fatal(err)
	}
	c, err := w.Seal()
	if err != nil {
		t.Fatal(err)
	}
	if n := s.memory.budget.used.Load(); n != smallChunk || len(c.Buffers()) != 1 {
		t.Errorf("%d octets in %d buffers", n, len(c.Buffers()))
	}
	if err := iotest.TestReader(c.NewReader(), c.Buffers()[0]); err != nil {
		t.Error(err)
	}
}

func TestBeyondTheMemoryOfAMessageIsAFile(t *testing.T) {
	s := newSpool(t, Options{MemoryPerMessage: 100 << 10})
	w := s.NewWriter()
	defer w.Release()
	want := text(100<<10 + 1)
	if _, err := w.Write(want); err != nil {
		t.Fatal(err)
	}
	c, err := w.Seal()
	if err != nil {
		t.Fatal(err)
	}
	if c.Buffers() != nil || s.memory.budget.used.Load() != 0 {
		t.Errorf("not in a file: %d buffers, %d octets of memory", len(c.Buffers()), s.memory.budget.used.Load())
	}
	if names, err := os.ReadDir(s.dir); err != nil || len(names) != 0 {
		t.Errorf("the file has a name: %v, %v", names, err)
	}
	if err := iotest.TestReader(c.NewReader(), want); err != nil {
		t.Error(err)
	}
}

func TestTooBig(t *testing.T) {
	s := newSpool(t, Options{MaxMessage: 100})
	w := s.NewWriter()
	defer w.Release()
	if _, err := w.Write(text(100)); err != nil {
		t.Errorf("exactly the limit: %v", err)
	}
	for range 2 { // the first error stays
		if n, err := w.Write(text(1)); n != 0 || !errors.Is(err, ErrTooBig) {
			t.Errorf("one more: %d, %v", n, err)
		}
	}
	if _, err := w.Seal(); !errors.Is(err, ErrTooBig) {
		t.Errorf("Seal: %v", err)
	}
	if err := s.Room(101); !errors.Is(err, ErrTooBig) {
		t.Errorf("announced: %v", err)
	}
}

func TestWriterOutOfTurn(t *testing.T) {
	s := newSpool(t, Options{})
	w := s.NewWriter()
	if _, err := w.Seal(); err != nil {
		t.Errorf("an empty message: %v", err)
	}
	if _, err := w.Write([]byte("x")); !errors.Is(err, errClosed) {
		t.Errorf("Write after Seal: %v", err)
	}
	w.Release()
	v := s.NewWriter()
	if err := s.Close(); err == nil {
		t.Error("Close does not miss the writer")
	}
	v.Release()
	if _, err := v.Write([]byte("x")); !errors.Is(err, errClosed) {
		t.Errorf("Write after Release: %v", err)
	}
	if _, err := v.Seal(); !errors.Is(err, errClosed) {
		t.Errorf("Seal after Release: %v", err)
	}
}

func TestRetainOutlivesRelease(t *testing.T) {
	for name, o := range map[string]Options{"memory": {}, "file": {MemoryPerMessage: 1}} {
		t.Run(name, func(t *testing.T) {
			s := newSpool(t, o)
			w := s.NewWriter()
			want := text(50 << 10)
			if _, err := w.Write(want); err != nil {
				t.Fatal(err)
			}
			c, err := w.Seal()
			if err != nil {
				t.Fatal(err)
			}
			release := c.(Content).Retain()
			w.Release()
			if got, err := io.ReadAll(c.NewReader()); err != nil || !bytes.Equal(got, want) {
				t.Errorf("after Release: %v", err)
			}
			if s.Close() == nil {
				t.Error("Close does not miss the content")
			}
			release()
			release() // does no harm
		})
	}
}

func TestNewSweepsAndRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{filePrefix + "123", "other"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := New(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 1 || names[0].Name() != "other" {
		t.Errorf("after New: %v, %v", names, err)
	}
	if _, err := New(Options{}); err == nil {
		t.Error("no folder is accepted")
	}
	if _, err := New(Options{Dir: filepath.Join(dir, "other")}); err == nil {
		t.Error("a file is accepted as the folder")
	}
}

// TestManyWriters shares a small budget among many: nobody gets a wrong octet, the bound holds, all of it comes back.
func TestManyWriters(t *testing.T) {
	s := newSpool(t, Options{MemoryTotal: 256 << 10, MemoryPerMessage: 64 << 10})
	var wait sync.WaitGroup
	for i := range 16 {
		wait.Go(func() {
			for j := range 20 {
				want := text(1 + i*5000 + j*3000)
				w := s.NewWriter()
				for rest := want; len(rest) > 0; {
					n := min(len(rest), 7000)
					if _, err := w.Write(rest[:n]); err != nil {
						t.Error(err)
					}
					rest = rest[n:]
				}
				if used := s.memory.budget.used.Load(); used > s.memory.budget.total+16*largeChunk {
					t.Errorf("%d octets reserved", used)
				}
				c, err := w.Seal()
				if err != nil {
					t.Error(err)
				} else if got, err := io.ReadAll(c.NewReader()); err != nil || !bytes.Equal(got, want) {
					t.Errorf("read %d of %d octets, %v", len(got), len(want), err)
				}
				w.Release()
			}
		})
	}
	wait.Wait()
}

// TestReleaseUnderWrite: a connection that is closed under a transfer.
func TestReleaseUnderWrite(t *testing.T) {
	s := newSpool(t, Options{MemoryPerMessage: 64 << 10})
	for range 50 {
		w := s.NewWriter()
		var wait sync.WaitGroup
		wait.Go(func() {
			for {
				if _, err := w.Write(text(9000)); err != nil {
					if !errors.Is(err, errClosed) {
						t.Error(err)
					}
					return
				}
			}
		})
		w.Release()
		wait.Wait()
	}
}

func BenchmarkSpool10KiB(b *testing.B) {
	s := newSpool(b, Options{})
	p := text(10 << 10)
	b.ReportAllocs()
	for b.Loop() {
		w := s.NewWriter()
		if _, err := w.Write(p[:4096]); err != nil {
			b.Fatal(err)
		}
		if _, err := w.Write(p[4096:]); err != nil {
			b.Fatal(err)
		}
		c, err := w.Seal()
		if err != nil || c.Size() != int64(len(p)) {
			b.Fatal(err)
		}
		w.Release()
	}
}
