package queue

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"golang.org/x/sync/semaphore"
)

func TestReports(t *testing.T) {
	q, c := newQueue(t)
	sender := []Recipient{recipientOf(c, "store:cloud", "s@one.test")}
	report := Entry{Message: messageOf("01JR", memory{text(3000)}), Recipients: sender}
	long := Entry{Message: messageOf("01JL", file(text(2*atOnce))), Recipients: sender}
	items := put(t, q, messageOf("01JB", memory{text(100)}), true, recipientOf(c, "mx:a.test", "x@a.test"))
	for range 2 { // the second time nothing is ours any more, and nobody is told twice
		if err := q.Finish(t.Context(), []Outcome{{Item: items[0], Kind: Gone}}, []Entry{report, long}); err != nil {
			t.Fatal(err)
		}
		if n := rows(t, q); n["message"] != 2 || n["recipient"] != 2 || n["orphan"] != 0 || n["chunk"] != 1+2*16 {
			t.Error(n)
		}
	}
	if err := q.Finish(t.Context(), nil, []Entry{report}); err != nil {
		t.Fatal(err)
	}
	if n := rows(t, q); n["message"] != 3 {
		t.Error(n)
	}
	if err := q.Finish(t.Context(), []Outcome{{Item: &Item{Message: items[0].Message, Lease: 1}}}, nil); err == nil {
		t.Error("an outcome of no kind")
	}
}

// Reports that are queued together share what room there is with each other: none waits for one of its own kind.
func TestManyReports(t *testing.T) {
	q, c := newQueue(t)
	q.buffers.room = semaphore.NewWeighted(2 * atOnce)
	items := put(t, q, messageOf("01JB", memory{text(100)}), true, recipientOf(c, "mx:a.test", "x@a.test"))
	var reports []Entry
	for n := range 5 {
		reports = append(reports, Entry{Message: messageOf(fmt.Sprint("01JR", n), file(text(atOnce-n))),
			Recipients: []Recipient{recipientOf(c, "store:cloud", "s@one.test")}})
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := q.Finish(ctx, []Outcome{{Item: items[0], Kind: Gone}}, reports); err != nil {
		t.Fatal(err)
	}
	for i, item := range ready(t, q, destinations(t, q, c.Now())[0].ID, c.Now()) {
		if got, err := io.ReadAll(q.Content(item.Message).NewReader()); err != nil || !bytes.Equal(got, text(atOnce-i)) {
			t.Errorf("%s: %d octets, %v", item.Message.ID, len(got), err)
		}
	}
	if n := rows(t, q); n["message"] != 5 || n["orphan"] != 0 || n["chunk"] != 5*16 {
		t.Error(n)
	}
	if err := q.Finish(ctx, []Outcome{{Item: items[0], Kind: Gone}}, reports); err != nil { // it is not ours any more
		t.Fatal(err)
	}
	if n := rows(t, q); n["message"] != 5 || n["orphan"] != 0 || n["chunk"] != 5*16 {
		t.Error("what was written early is left:", n)
	}
}
