package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"mxbypass/mailbox"
)

func put(t testing.TB, q *Queue, m *mailbox.Message, lease bool, to ...Recipient) []*Item {
	t.Helper()
	items, err := q.Put(t.Context(), Entry{Message: m, Recipients: to}, lease)
	if err != nil {
		t.Fatal(err)
	}
	return items
}

func ready(t testing.TB, q *Queue, destination int64, now time.Time) []*Item {
	t.Helper()
	items, err := q.Ready(t.Context(), destination, now, 100)
	if err != nil {
		t.Fatal(err)
	}
	return items
}

func finish(t testing.TB, q *Queue, outcomes ...Outcome) {
	t.Helper()
	if err := q.Finish(t.Context(), outcomes, nil); err != nil {
		t.Fatal(err)
	}
}

func destinations(t testing.TB, q *Queue, now time.Time) []Destination {
	t.Helper()
	found, err := q.Destinations(t.Context(), now, 100, func(int64) bool { return false })
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// rows counts the rows of every table.
func rows(t testing.TB, q *Queue) map[string]int64 {
	t.Helper()
	counts := map[string]int64{}
	for _, table := range []string{"message", "recipient", "chunk", "orphan", "destination"} {
		n, err := q.readers.numbers(context.Background(), "SELECT count(*) FROM "+table)
		if err != nil {
			t.Fatal(err)
		}
		counts[table] = n[0][0]
	}
	return counts
}

func wantEmpty(t testing.TB, q *Queue) {
	t.Helper()
	for table, n := range rows(t, q) {
		if n != 0 && table != "destination" {
			t.Errorf("%d rows are left in %s", n, table)
		}
	}
}

func wantContent(t testing.TB, q *Queue, h *Header, want []byte) {
	t.Helper()
	c := q.Content(h)
	if c.Size() != int64(len(want)) || c.Buffers() != nil {
		t.Errorf("a size of %d, want %d", c.Size(), len(want))
	}
	var direct bytes.Buffer
	if _, err := io.Copy(&direct, c.NewReader()); err != nil {
		t.Error(err)
	}
	read, err := io.ReadAll(struct{ io.Reader }{c.NewReader()})
	if err != nil || !bytes.Equal(read, want) || !bytes.Equal(direct.Bytes(), want) {
		t.Errorf("%d and %d octets read, want %d: %v", len(read), direct.Len(), len(want), err)
	}
}

// Everything that is put comes back as it was, also after a new start.
func TestPutAndReady(t *testing.T) {
	c := newClock()
	path := filepath.Join(tempDir(t), "queue.db")
	q := openAt(t, path, c)
	m := messageOf("01JBFULL", memory{text(10 << 10)})
	m.Reverse = address(`"odd sender"@one.test`)
	m.UTF8, m.Return, m.EnvelopeID = true, mailbox.ReturnHeaders, "env+2Did"
	away := recipientOf(c, "mx:two.test", "jürgen@two.test")
	away.Reverse = address("SRS0=x=y=one.test=sender@here.test")
	away.Mark = "Delivered-To: jürgen@two.test\r\n"
	away.Report = mailbox.Report{Notify: mailbox.NotifyDelay | mailbox.NotifySuccess, Original: "rfc822;x@y.test"}
	away.Original = "<@route:jürgen@two.test>"
	here := recipientOf(c, "mx:two.test", "box+tag@here.test")
	here.Mailbox, here.Tag, here.Purpose, here.Reverse = address("box@here.test"), "tag", "store", m.Reverse
	here.Notice = time.Time{}
	want := []Recipient{away, here}
	put(t, q, m, false, want...)
	c.add(time.Minute)
	for range 2 {
		found := destinations(t, q, c.Now())
		if len(found) != 1 || found[0].Name != "mx:two.test" {
			t.Fatalf("%+v", found)
		}
		items := ready(t, q, found[0].ID, c.Now())
		if len(items) != 2 {
			t.Fatalf("%d items", len(items))
		}
		for n, i := range items {
			if !reflect.DeepEqual(i.Recipient, want[n]) {
				t.Errorf("got  %+v\nwant %+v", i.Recipient, want[n])
			}
			if i.N != n || i.Lease != 0 || i.InDoubt || i.Attempts != 0 || i.Last != nil || i.Fate.Name != "mx:two.test" {
				t.Errorf("%+v", i)
			}
		}
		h := items[0].Message
		if h != items[1].Message || h.ID != m.ID || h.Reverse != m.Reverse || !h.UTF8 || h.UTF8Header || h.EightBit ||
			h.Return != m.Return || h.EnvelopeID != m.EnvelopeID || string(h.Trace) != string(m.Trace) {
			t.Errorf("%+v", h)
		}
		wantContent(t, q, h, text(10<<10))
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		q = openAt(t, path, c)
	}
}

func TestContents(t *testing.T) {
	q, c := newQueue(t)
	for _, size := range []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, atOnce, atOnce + 1, 3*atOnce + 17} {
		body := text(max(size, 40))[:size]
		split := memory{}
		for rest := body; len(rest) > 0; {
			n := min(len(rest), 16<<10+1)
			split, rest = append(split, rest[:n]), rest[n:]
		}
		for name, content := range map[string]mailbox.Content{"whole": memory{body}, "split": split, "file": file(body)} {
			t.Run(fmt.Sprint(size, name), func(t *testing.T) {
				items := put(t, q, messageOf("01JB", content), true, recipientOf(c, "mx:a.test", "x@a.test"))
				wantContent(t, q, items[0].Message, body)
				finish(t, q, Outcome{Item: items[0], Kind: Gone})
				wantEmpty(t, q)
				if _, err := io.ReadAll(q.Content(items[0].Message).NewReader()); size > 0 && !errors.Is(err, ErrNotFound) {
					t.Errorf("what is gone: %v", err)
				}
			})
		}
	}
}

// liar is a content that is not as long as it says.
type liar struct {
	file
	says int64
}

func (l liar) Size() int64 { return l.says }

type failing struct{ file }

func (f failing) NewReader() io.Reader {
	return io.MultiReader(f.file.NewReader(), errorReader{ErrDamaged})
}

type errorReader struct{ error }

func (e errorReader) Read([]byte) (int, error) { return 0, e.error }

func TestContentsThatFail(t *testing.T) {
	q, c := newQueue(t)
	for _, size := range []int{1000, 3 * atOnce} {
		for name, content := range map[string]mailbox.Content{
			"too short": liar{file(text(size)), int64(size) + 1},
			"too long":  liar{file(text(size)), int64(size) - 1},
			"endless":   liar{file(text(size)), maxContent + 1},
			"damaged":   failing{file(text(size))},
		} {
			e := Entry{Message: messageOf("01JB", content), Recipients: []Recipient{recipientOf(c, "mx:a.test", "x@a.test")}}
			if _, err := q.Put(t.Context(), e, false); err == nil || errors.Is(err, ErrDamaged) != (name == "damaged") {
				t.Errorf("%d, %s: %v", size, name, err)
			}
			items := put(t, q, messageOf("01JC", memory{text(100)}), true, recipientOf(c, "mx:a.test", "x@a.test"))
			err := q.Finish(t.Context(), []Outcome{{Item: items[0], Kind: Gone}}, []Entry{e})
			if err == nil || errors.Is(err, ErrDamaged) != (name == "damaged") {
				t.Errorf("%d, %s: %v", size, name, err)
			}
			finish(t, q, Outcome{Item: items[0], Kind: Gone}) // it was not finished before
			wantEmpty(t, q)
		}
	}
	if _, err := q.Put(t.Context(), Entry{Message: messageOf("01JB", memory{text(10)})}, false); err == nil {
		t.Error("a message for nobody")
	}
}

func TestSurvey(t *testing.T) {
	for _, tt := range []struct {
		name, text       string
		header, eightBit bool
	}{
		{"empty", "", false, false},
		{"plain", "Subject: x\r\n\r\nbody\r\n", false, false},
		{"body", "Subject: x\r\n\r\nbödy\r\n", false, true},
		{"header", "Subject: ü\r\n\r\nbody\r\n", true, true},
		{"header without a body", "Subject: ü", true, true},
		{"no header", "\r\nbödy\r\n", false, true},
		{"folded", "Subject: x\r\n ü\r\n\r\n", true, true},
		{"binary", "Subject: x\r\n\r\n" + strings.Repeat("x", 100) + "\xff", false, true},
	} {
		for size := 1; size < 40; size++ {
			var s survey
			for rest := []byte(tt.text); len(rest) > 0; {
				n := min(size, len(rest))
				s.add(rest[:n])
				rest = rest[n:]
			}
			if s.utf8Header != tt.header || s.eightBit != tt.eightBit || s.size != int64(len(tt.text)) {
				t.Errorf("%s, in pieces of %d: %+v", tt.name, size, s)
			}
		}
	}
}

func TestLeases(t *testing.T) {
	q, c := newQueue(t)
	items := put(t, q, messageOf("01JB", memory{text(100)}), false,
		recipientOf(c, "mx:a.test", "x@a.test"), recipientOf(c, "mx:a.test", "y@a.test"))
	had, err := q.Lease(t.Context(), items, c.Now().Add(time.Hour))
	if err != nil || len(had) != 2 || had[0].Attempts != 1 || had[0].Lease == 0 || items[0].Lease != 0 {
		t.Fatal(had, err)
	}
	if again, err := q.Lease(t.Context(), items, c.Now()); err != nil || len(again) != 0 {
		t.Error("leased twice", again, err)
	}
	at := had[0].Fate.ID
	if got := ready(t, q, at, c.Now().Add(2*time.Hour)); len(got) != 0 {
		t.Error("leased items are ready", got)
	}
	// The second is tried again; what somebody does with an old token touches nothing.
	failed := &Attempt{Time: c.Now(), Host: "mx.a.test", Command: "RCPT", Code: 451, Enhanced: [3]int{4, 7, 1},
		Text: "later\x00\xff"}
	next := c.Now().Add(5 * time.Minute)
	retry := Outcome{Item: had[1], Kind: Retry, Attempt: failed, Next: next, Notice: had[1].Notice}
	finish(t, q, Outcome{Item: had[0], Kind: Gone}, retry)
	finish(t, q, Outcome{Item: had[1], Kind: Gone}, Outcome{Item: had[0], Kind: Aside})
	if got := ready(t, q, at, c.Now()); len(got) != 0 {
		t.Error("too early", got)
	}
	if due, ok, err := q.NextDue(t.Context()); err != nil || !ok || due.After(next) {
		t.Error(due, ok, err)
	}
	destinations(t, q, c.Now()) // nothing is due: its time is brought in line
	if due, ok, err := q.NextDue(t.Context()); err != nil || !ok || !due.Equal(next) {
		t.Error(due, ok, err)
	}
	got := ready(t, q, at, next)
	if len(got) != 1 || got[0].N != 1 || got[0].Attempts != 1 || got[0].InDoubt {
		t.Fatal(got)
	}
	failed.Text = "later��"
	if !reflect.DeepEqual(got[0].Last, failed) {
		t.Errorf("%+v", got[0].Last)
	}
	had, err = q.Lease(t.Context(), got, next)
	if err != nil || len(had) != 1 || had[0].Attempts != 2 {
		t.Fatal(had, err)
	}
	finish(t, q, Outcome{Item: had[0], Kind: Gone})
	wantEmpty(t, q)
	if found := destinations(t, q, next); len(found) != 0 || rows(t, q)["destination"] != 0 {
		t.Error("a destination without mail", found)
	}
	if _, ok, err := q.NextDue(t.Context()); ok || err != nil {
		t.Error("something is due", err)
	}
}

// A destination that failed is not due before its time, whatever comes meanwhile; when it works again its mail says when.
func TestPostpone(t *testing.T) {
	q, c := newQueue(t)
	now := c.Now()
	items := put(t, q, messageOf("01JA", memory{text(100)}), true, recipientOf(c, "mx:a.test", "x@a.test"))
	put(t, q, messageOf("01JB", memory{text(100)}), false, recipientOf(c, "mx:b.test", "x@b.test"))
	at := items[0].Fate.ID
	next := now.Add(10 * time.Minute)
	gone := &Attempt{Time: now, Host: "mx.a.test", Command: "connect", Enhanced: [3]int{4, 4, 1}, Text: "no route to host"}
	for n := range 2 {
		if err := q.Postpone(t.Context(), at, next, gone); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			finish(t, q, Outcome{Item: items[0], Kind: Retry, Next: now})
		}
		put(t, q, messageOf("01JC", memory{text(100)}), false, recipientOf(c, "mx:a.test", "y@a.test"))
	}
	if found := destinations(t, q, now); len(found) != 1 || found[0].Name != "mx:b.test" {
		t.Errorf("%+v", found)
	}
	found := destinations(t, q, next)
	if len(found) != 2 || found[1].Failures != 2 || !reflect.DeepEqual(found[1].Last, gone) || !found[1].Due.Equal(next) {
		t.Errorf("%+v", found)
	}
	if got := ready(t, q, at, next); len(got) != 3 || got[0].Fate.Failures != 2 || got[2].Fate != got[0].Fate {
		t.Errorf("%+v", got)
	}
	if err := q.Postpone(t.Context(), at, time.Time{}, nil); err != nil {
		t.Fatal(err)
	}
	found, err := q.Destinations(t.Context(), now, 100, func(id int64) bool { return id != at })
	if err != nil || len(found) != 1 || found[0].Failures != 0 || found[0].Last != nil || !found[0].Due.Equal(now) {
		t.Errorf("%+v %v", found, err)
	}
	if found, err := q.Destinations(t.Context(), now, 1, func(int64) bool { return false }); err != nil || len(found) != 1 {
		t.Errorf("%+v %v", found, err)
	}
	if err := q.Postpone(t.Context(), 4711, next, gone); err != nil {
		t.Error("a destination that is gone", err)
	}
}

func TestOverdue(t *testing.T) {
	q, c := newQueue(t)
	now := c.Now()
	items := put(t, q, messageOf("01JA", memory{text(100)}), false, recipientOf(c, "mx:a.test", "x@a.test"))
	overdue := func(at time.Time) []*Item {
		got, err := q.Overdue(t.Context(), at, 10)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := overdue(now); len(got) != 0 {
		t.Error(got)
	}
	notice := now.Add(4 * time.Hour)
	if got := overdue(notice); len(got) != 1 {
		t.Error(got)
	}
	had, err := q.Lease(t.Context(), items, now)
	if err != nil {
		t.Fatal(err)
	}
	if got := overdue(notice); len(got) != 0 {
		t.Error("leased", got)
	}
	finish(t, q, Outcome{Item: had[0], Kind: Retry, Next: notice})
	if got := overdue(notice); len(got) != 0 {
		t.Error("told already", got)
	}
	if got := overdue(items[0].Expires); len(got) != 1 || !got[0].Notice.IsZero() || !got[0].Expires.Equal(items[0].Expires) {
		t.Error(got)
	}
}

func TestTogether(t *testing.T) {
	q, c := newQueue(t)
	var at int64
	for n := range 3 {
		first, second := recipientOf(c, "mx:a.test", "x@a.test"), recipientOf(c, "mx:a.test", "y@a.test")
		first.Due, second.Due = first.Due.Add(time.Duration(n)*time.Second), second.Due.Add(time.Duration(10+n)*time.Second)
		at = put(t, q, messageOf(fmt.Sprint(n), memory{text(10)}), false, first, second)[0].Fate.ID
	}
	var got []string
	for _, i := range ready(t, q, at, c.Now().Add(time.Hour)) {
		got = append(got, i.Message.ID+i.To.Wire()[:1])
	}
	if want := "[0x 0y 1x 1y 2x 2y]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
}

func TestClosed(t *testing.T) {
	q, c := newQueue(t)
	items := put(t, q, messageOf("01JA", memory{text(100)}), true, recipientOf(c, "mx:a.test", "x@a.test"))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := q.Lease(ended, items, c.Now()); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := q.Put(t.Context(), Entry{Message: messageOf("01JB", memory{text(10)}),
		Recipients: []Recipient{recipientOf(c, "mx:a.test", "x@a.test")}}, false)
	if !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := q.Finish(t.Context(), nil, nil); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := io.ReadAll(q.Content(items[0].Message).NewReader()); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}
