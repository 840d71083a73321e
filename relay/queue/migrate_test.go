package queue

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestMigrate: a queue of an older mxbypass goes on, with all that waits in it and why.
func TestMigrate(t *testing.T) {
	path := filepath.Join(tempDir(t), "queue.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	alter(t, path, schema1, "UPDATE queue_state SET version = 1, next_row = 2",
		`INSERT INTO destination VALUES (7, 'mx:two.test', 1, 0, 1, 5, 'mx.two.test[192.0.2.1]', 'connect', 0, 4004001, 'no route')`,
		`INSERT INTO message VALUES (1, '01OLD', 1, 'sender@one.test', 4, 2, NULL, NULL, X'')`,
		`INSERT INTO chunk VALUES (1048576, 0, X'0D0A')`,
		`INSERT INTO recipient VALUES (1, 0, 7, 0, 0, 0, 3, 1, 0, 9000000000000000, 9000000000000000, 0, 'a@two.test', 'submitted', NULL,
			NULL, NULL, NULL, NULL, NULL, 6, 'mx.two.test[192.0.2.1]', 'RCPT', 450, 4002001, 'later')`)
	if _, err := OpenAdmin(t.Context(), path); err == nil {
		t.Error("a command reads what it does not know")
	}
	c := newClock()
	q := openAt(t, path, c)
	items := ready(t, q, 7, c.Now())
	if len(items) != 1 {
		t.Fatalf("%d items", len(items))
	}
	i := items[0]
	if i.Message.ID != "01OLD" || i.Message.RequireTLS || !i.Message.EightBit || i.Attempts != 3 || i.Last.Text != "later" || i.Last.TLS != "" ||
		i.Fate.Last.Text != "no route" || i.Fate.Last.TLS != "" {
		t.Errorf("%+v, %+v, %+v, %+v", i, i.Message, i.Last, i.Fate.Last)
	}
}

// What a message needs of TLS is kept, and so is what an attempt had of it.
func TestTLS(t *testing.T) {
	q, c := newQueue(t)
	m := messageOf("01A", memory{text(100)})
	m.RequireTLS = true
	put(t, q, m, false, recipientOf(c, "mx:two.test;requiretls", "a@two.test"))
	put(t, q, messageOf("01B", memory{text(100)}), false, recipientOf(c, "mx:two.test", "b@two.test"))
	a := &Attempt{Time: c.Now(), Enhanced: [3]int{4, 7, 5}, Text: "no TLS", TLS: "TLSv1.3, verified by DANE"}
	at := destinations(t, q, c.Now())
	if len(at) != 2 {
		t.Fatalf("%v", at)
	}
	for _, d := range at {
		items, err := q.Lease(t.Context(), ready(t, q, d.ID, c.Now()), c.Now().Add(time.Hour))
		if err != nil || len(items) != 1 {
			t.Fatal(items, err)
		}
		if i := items[0]; i.Message.RequireTLS != (i.Message.ID == "01A") {
			t.Errorf("%s: %v", i.Message.ID, i.Message.RequireTLS)
		}
		finish(t, q, Outcome{Item: items[0], Kind: Retry, Attempt: a, Next: c.Now()})
		if err := q.Postpone(t.Context(), d.ID, c.Now(), a); err != nil {
			t.Fatal(err)
		}
		i := ready(t, q, d.ID, c.Now())[0]
		if i.Last.TLS != a.TLS || i.Fate.Last.TLS != a.TLS {
			t.Errorf("%+v, %+v", i.Last, i.Fate.Last)
		}
		if err := q.Postpone(t.Context(), d.ID, c.Now(), nil); err != nil {
			t.Fatal(err)
		}
		if i := ready(t, q, d.ID, c.Now())[0]; i.Fate.Last != nil {
			t.Errorf("%+v", i.Fate.Last)
		}
	}
	for l, err := range admin(t, q, c).List(t.Context(), Filter{IDs: []string{"01A"}}) {
		if err != nil || !l.Message.RequireTLS || l.Last.TLS != a.TLS || l.Recipient.Destination != "mx:two.test;requiretls" {
			t.Errorf("%+v, %v", l, err)
		}
	}
}
