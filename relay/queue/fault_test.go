package queue

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mxbypass/mailbox"
)

func entryOf(c *clock, id string, size int) Entry {
	return Entry{Message: messageOf(id, file(text(size))), Recipients: []Recipient{recipientOf(c, "mx:a.test", "x@a.test")}}
}

// inWriter runs a statement on the connection that writes, in a transaction of its own.
func inWriter(t *testing.T, q *Queue, statement string) {
	t.Helper()
	err := q.writer.do(t.Context(), 0, func(s *tx) error {
		_, err := s.exec(statement)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// When there is no room, what is too much is refused, and what fits, or takes away, goes on.
func TestFull(t *testing.T) {
	q, c := newQueue(t)
	had := put(t, q, messageOf("01A", memory{text(100 << 10)}), true, recipientOf(c, "mx:a.test", "x@a.test"))
	pages, err := q.readers.numbers(t.Context(), "PRAGMA page_count")
	if err != nil {
		t.Fatal(err)
	}
	inWriter(t, q, fmt.Sprintf("PRAGMA max_page_count = %d", pages[0][0]+4))
	before := rows(t, q)
	var all sync.WaitGroup
	for n := range 8 { // they are written together
		all.Go(func() {
			for _, size := range []int{200 << 10, 3 * atOnce} {
				if _, err := q.Put(t.Context(), entryOf(c, "01B", size), false); !errors.Is(err, mailbox.ErrNoSpace) {
					t.Error(n, err)
				}
			}
		})
	}
	all.Wait()
	if after := rows(t, q); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("%v, want %v", after, before)
	}
	small := put(t, q, messageOf("01C", memory{text(100)}), true, recipientOf(c, "mx:a.test", "x@a.test"))
	err = q.Finish(t.Context(), []Outcome{{Item: had[0], Kind: Gone}}, []Entry{entryOf(c, "01D", 3*atOnce)})
	if !errors.Is(err, mailbox.ErrNoSpace) {
		t.Error(err)
	}
	finish(t, q, Outcome{Item: had[0], Kind: Gone}, Outcome{Item: small[0], Kind: Gone})
	wantEmpty(t, q)
	inWriter(t, q, "PRAGMA max_page_count = 1000000")
	put(t, q, messageOf("01B", file(text(3*atOnce))), false, recipientOf(c, "mx:a.test", "x@a.test"))
}

// One job that fails takes none of its neighbours with it, nor what the writer remembers.
func TestNeighbours(t *testing.T) {
	q, c := newQueue(t)
	enough := errors.New("enough")
	started, proceed := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() { // the others wait together
		_ = q.writer.do(context.Background(), 0, func(*tx) error {
			close(started)
			<-proceed
			return nil
		})
	})
	<-started
	for n := range 20 {
		all.Go(func() {
			if n == 7 {
				err := q.writer.do(context.Background(), 0, func(s *tx) error {
					if _, err := s.place("mx:never.test", 1); err != nil {
						return err
					}
					return enough
				})
				if err != enough {
					t.Error(err)
				}
				return
			}
			e := entryOf(c, fmt.Sprint(n), 100)
			e.Recipients[0].Destination = fmt.Sprintf("mx:%d.test", n%3)
			if _, err := q.Put(context.Background(), e, n%2 == 0); err != nil {
				t.Error(err)
			}
		})
	}
	for len(q.writer.jobs) < 20 {
		select {
		case <-t.Context().Done():
			t.Fatal("they never waited")
		case <-time.After(time.Millisecond):
		}
	}
	close(proceed)
	all.Wait()
	if n := rows(t, q); n["message"] != 19 || n["destination"] != 3 || n["chunk"] != 19 {
		t.Error(n)
	}
}

// logFiles gives the descriptors of the write-ahead log that this process has.
func logFiles(t *testing.T, path string) (open []int) {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		var fd int
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && to == path+"-wal" {
			if _, err := fmt.Sscan(e.Name(), &fd); err != nil {
				t.Fatal(err)
			}
			open = append(open, fd)
		}
	}
	return open
}

// A disk that does not take the log: nothing is acknowledged, nothing that was acknowledged is lost, and when the disk
// works again so does the queue.
func TestDiskFaults(t *testing.T) {
	for _, tt := range []struct {
		name  string
		flags int
	}{
		{"write", os.O_RDONLY},
		{"sync", os.O_RDWR}, // takes everything, and cannot be synced
	} {
		t.Run(tt.name, func(t *testing.T) {
			q, c := newQueue(t)
			q.readers.db.SetMaxIdleConns(0) // the writer alone has the log open
			items := put(t, q, messageOf("01A", memory{text(100)}), true, recipientOf(c, "mx:a.test", "x@a.test"))
			files := logFiles(t, q.path)
			if len(files) != 1 {
				t.Fatal(files)
			}
			bad, err := os.OpenFile("/dev/null", tt.flags, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer bad.Close()
			if err := unix.Dup2(int(bad.Fd()), files[0]); err != nil {
				t.Fatal(err)
			}
			if _, err := q.Put(t.Context(), entryOf(c, "01B", 100), true); !errors.Is(err, mailbox.ErrUnavailable) {
				t.Error(err)
			}
			put(t, q, messageOf("01C", memory{text(100)}), true, recipientOf(c, "mx:a.test", "x@a.test"))
			a := admin(t, q, c)
			if got := names(list(t, a, Filter{})); got != "01A/0 01C/0" {
				t.Error(got)
			}
			finish(t, q, Outcome{Item: items[0], Kind: Gone})
			if got := names(list(t, a, Filter{})); got != "01C/0" {
				t.Error(got)
			}
		})
	}
}

// Somebody who keeps the database locked makes others wait, and does no harm.
func TestLocked(t *testing.T) {
	q, c := newQueue(t)
	other, err := openSession(t.Context(), adminDSN(q.path))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.exec("BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, err := q.Put(context.Background(), entryOf(c, "01A", 100), false)
		done <- err
	}()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := q.Put(ctx, entryOf(c, "01B", 100), false); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := other.exec("COMMIT"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := other.close(); err != nil {
		t.Error(err)
	}
	if n := rows(t, q)["message"]; n != 1 {
		t.Errorf("%d messages", n)
	}
}

// The log is copied into the database while it is written, and begins anew: it does not grow without end. A reader that
// needs it makes it longer, for as long as it reads.
func TestLogStaysShort(t *testing.T) {
	q, c := newQueue(t)
	const length = (512 << 10) / pageSize
	err := q.writer.do(t.Context(), 0, func(*tx) error {
		q.writer.copier.length, q.writer.copier.from = length, length
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	size := func() int64 {
		info, err := os.Stat(q.path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	write := func(messages int) {
		for n := range messages {
			items := put(t, q, messageOf(fmt.Sprint(n), file(text(256<<10))), true, recipientOf(c, "mx:a.test", "x@a.test"))
			finish(t, q, Outcome{Item: items[0], Kind: Gone})
			for asked := true; asked; { // whatever is under way is waited for: nothing depends on the speed of the disk
				err := q.writer.do(t.Context(), 0, func(*tx) error {
					asked = q.writer.copier.asked
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	write(20)
	short := size()
	if short > 2<<20 {
		t.Errorf("the log has %d octets", short)
	}
	reading, err := q.readers.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reading.ExecContext(t.Context(), "SELECT count(*) FROM message"); err != nil {
		t.Fatal(err)
	}
	write(8)
	long := size()
	if err := reading.Rollback(); err != nil {
		t.Fatal(err)
	}
	write(30)
	if end := size(); long <= short || end > long+512<<10 {
		t.Errorf("the log had %d octets, with a reader %d, and has %d after it", short, long, end)
	}
}

func TestOrphans(t *testing.T) {
	c := newClock()
	path := filepath.Join(tempDir(t), "queue.db")
	q := openAt(t, path, c)
	p := &parcel{q: q, source: newSource(q.buffers, file(text(10*atOnce)))}
	for range 9 { // as a process that ends before the last slice
		if _, err := p.source.slice(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := q.writer.do(t.Context(), 0, p.early); err != nil {
			t.Fatal(err)
		}
		p.written += int64(len(p.source.pieces))
	}
	p.source.release()
	if n := rows(t, q); n["orphan"] != 1 || n["chunk"] != 9*16 || n["message"] != 0 {
		t.Error(n)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q = openAt(t, path, c)
	wantEmpty(t, q)
	next := put(t, q, messageOf("01A", memory{text(10)}), false, recipientOf(c, "mx:a.test", "x@a.test"))
	if next[0].Row <= p.header.Row {
		t.Error("a number is used again")
	}
}
