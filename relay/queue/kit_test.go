package queue

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mxbypass/mailbox"
)

// Under the race detector SQLite is forty times slower: a hundred checks would take minutes, so that these few are the
// default here.
func TestMain(m *testing.M) {
	flag.Parse()
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "rapid.checks" })
	if !asked {
		if err := flag.Set("rapid.checks", "15"); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

// clock is a time that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.UnixMicro(1_800_000_000_000_000)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func openAt(t testing.TB, path string, c *clock) *Queue {
	t.Helper()
	o := Options{Path: path, Log: quiet()}
	if c != nil {
		o.Now = c.Now
	}
	q, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
	return q
}

// tempDir is a folder in memory where there is one: few of the tests prove anything about the disk.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "mxbypass-queue")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func newQueue(t testing.TB) (*Queue, *clock) {
	t.Helper()
	c := newClock()
	return openAt(t, filepath.Join(tempDir(t), "queue.db"), c), c
}

// memory is a content in memory, in pieces; file is one that has to be read.
type memory [][]byte

func (m memory) Size() (n int64) {
	for _, p := range m {
		n += int64(len(p))
	}
	return n
}
func (m memory) Buffers() [][]byte    { return m }
func (m memory) NewReader() io.Reader { return bytes.NewReader(bytes.Join(m, nil)) }

type file []byte

func (f file) Size() int64          { return int64(len(f)) }
func (f file) Buffers() [][]byte    { return nil }
func (f file) NewReader() io.Reader { return bytes.NewReader(f) }

func text(n int) []byte {
	b := []byte("Subject: a test\r\n\r\n")
	for i := 0; len(b) < n; i++ {
		b = fmt.Appendf(b, "line %d of what is to be delivered, with some more words\r\n", i)
	}
	return b[:n]
}

func address(s string) mailbox.Address {
	p, err := mailbox.ParseReversePath(s, true)
	if err != nil {
		panic(err)
	}
	return p.Address
}

func messageOf(id string, c mailbox.Content) *mailbox.Message {
	return &mailbox.Message{ID: id, Reverse: address("sender@one.test"),
		Trace: []byte("Received: from here by there\r\n"), Content: c}
}

func recipientOf(c interface{ Now() time.Time }, destination, to string) Recipient {
	now := c.Now()
	return Recipient{Destination: destination, To: address(to), Purpose: "submitted", Reverse: address("sender@one.test"),
		Original: to, Due: now, Notice: now.Add(4 * time.Hour), Expires: now.Add(120 * time.Hour)}
}

type wallClock struct{}

func (wallClock) Now() time.Time { return time.Now() }
