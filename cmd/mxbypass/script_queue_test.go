package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"mxbypass/mailbox"
	"mxbypass/relay/queue"
)

// scriptQueue makes a queue as relays leave it:
//
//	A1  12 KiB of alice@exemple.org, two hours old, to bob (told to wait), carol and, sent on, dave@elsewhere.example
//	B2  a report, to a destination that is down; the one before was ended while it was tried
//	C3  whose recipient's server says what is bad for terminals
//	D4  that is being tried now
//	E5  that is damaged
func scriptQueue(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "queue FILE")
	m := queueMaker{ts: ts, path: ts.MkAbs(args[0]), now: time.Now().Add(-2*time.Hour - 5*time.Minute - 30*time.Second)}
	done := m.open()
	bob := m.to("mx:remote.example", "bob@remote.example")
	bob.Report = mailbox.Report{Notify: mailbox.NotifyFailure | mailbox.NotifyDelay, Original: "rfc822;bob@remote.example"}
	bob.Original = `"bob"@Remote.Example`
	dave := m.to("smarthost", "dave@elsewhere.example")
	dave.Purpose, dave.Reverse = "redirected", m.address("SRS0=x=y=exemple.org=alice@srs.host.test")
	dave.Mark = "Delivered-To: bob@remote.example\r\n"
	items := m.put("A1", "alice@exemple.org", 12<<10, bob, m.to("mx:remote.example", "carol@remote.example"), dave)
	m.failed(items[0], queue.Attempt{Host: "mx1.remote.example[192.0.2.1]", Command: "RCPT", Code: 451,
		Enhanced: [3]int{4, 7, 1}, Text: "Greylisted,\ncome back later"})
	m.waits(items[1:]...)
	down := m.put("B2", "", 100, m.to("store:vps42", "eve@vps.example"))
	done()

	m.now = time.Now().Add(-10 * time.Minute)
	done = m.open() // B2 was not finished
	fred := m.to("mx:hostile.example", "fred@hostile.example")
	items = m.put("C3", `"o k"@exemple.org`, 3000, fred)
	m.failed(items[0], queue.Attempt{Host: "mx.\x1b[31m[192.0.2.9]", Command: "end of data", Code: 550,
		Enhanced: [3]int{5, 0, 0}, Text: "go\u009baway \u202e" + string(bytes.Repeat([]byte("x"), 300))})
	items = m.put("E5", "alice@exemple.org", 10, m.to("mx:remote.example", "gina@remote.example"))
	m.finish(queue.Outcome{Item: items[0], Kind: queue.Aside, Attempt: &queue.Attempt{Time: m.now,
		Enhanced: [3]int{4, 3, 0}, Text: "damaged: chunk 0"}})
	ts.Check(m.queue.Postpone(context.Background(), down[0].Fate.ID, time.Now().Add(time.Hour), &queue.Attempt{Time: m.now,
		Host: "vps.example[192.0.2.42]", Command: "connect", Enhanced: [3]int{4, 4, 1}, Text: "connection refused"}))
	m.put("D4", "alice@exemple.org", 2<<20, m.to("mx:busy.example", "hugo@busy.example"))
	done()
}

// queueMaker makes a queue of a test.
type queueMaker struct {
	ts    *testscript.TestScript
	path  string
	now   time.Time
	queue *queue.Queue
}

// open opens the queue, and gives what ends it.
func (m *queueMaker) open() (done func()) {
	m.ts.Check(os.MkdirAll(filepath.Dir(m.path), 0o700))
	var err error
	m.queue, err = queue.Open(context.Background(), queue.Options{Path: m.path, Log: slog.New(slog.DiscardHandler),
		Now: func() time.Time { return m.now }})
	m.ts.Check(err)
	return func() { m.ts.Check(m.queue.Close()) }
}

func (m *queueMaker) address(s string) mailbox.Address {
	p, err := mailbox.ParseReversePath(s, true)
	m.ts.Check(err)
	return p.Address
}

func (m *queueMaker) to(destination, to string) queue.Recipient {
	return queue.Recipient{Destination: destination, To: m.address(to), Purpose: "submitted", Original: to, Due: m.now,
		Notice: m.now.Add(4 * time.Hour), Expires: m.now.Add(120 * time.Hour)}
}

// put queues a message that is being tried.
func (m *queueMaker) put(id, sender string, size int, to ...queue.Recipient) []*queue.Item {
	reverse := m.address(sender)
	for i := range to {
		if to[i].Reverse.IsNull() {
			to[i].Reverse = reverse
		}
	}
	content := append([]byte("Subject: "+id+"\r\n\r\n"), bytes.Repeat([]byte("x"), size)...)
	items, err := m.queue.Put(context.Background(), queue.Entry{Message: &mailbox.Message{
		ID: id, Reverse: reverse, Trace: []byte("Received: by mx.host.test; id " + id + "\r\n"),
		Content: queuedText(content), Return: mailbox.ReturnHeaders, EnvelopeID: "e+2B" + id,
	}, Recipients: to}, true)
	m.ts.Check(err)
	return items
}

// failed is an attempt that failed now; the next one comes in an hour.
func (m *queueMaker) failed(i *queue.Item, a queue.Attempt) {
	a.Time = m.now
	m.finish(queue.Outcome{Item: i, Kind: queue.Retry, Attempt: &a, Next: time.Now().Add(time.Hour), Notice: i.Notice})
}

// waits has items wait for an hour.
func (m *queueMaker) waits(items ...*queue.Item) {
	for _, i := range items {
		m.finish(queue.Outcome{Item: i, Kind: queue.Retry, Next: time.Now().Add(time.Hour), Notice: i.Notice})
	}
}

func (m *queueMaker) finish(o queue.Outcome) {
	m.ts.Check(m.queue.Finish(context.Background(), []queue.Outcome{o}, nil))
}

// queuedText is a content in memory.
type queuedText []byte

func (t queuedText) Size() int64          { return int64(len(t)) }
func (t queuedText) Buffers() [][]byte    { return [][]byte{t} }
func (t queuedText) NewReader() io.Reader { return bytes.NewReader(t) }

// scriptSQL changes a database behind the back of its owner.
func scriptSQL(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 2, "sql FILE STATEMENT")
	db, err := sql.Open("sqlite", ts.MkAbs(args[0]))
	ts.Check(err)
	_, err = db.ExecContext(context.Background(), args[1])
	ts.Check(errors.Join(err, db.Close()))
}
