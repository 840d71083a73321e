package queue

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Rows that are not what was written are put aside with the reason, and the others go their way.
func TestDamagedRows(t *testing.T) {
	for _, tt := range []struct{ statement, reason string }{
		{"UPDATE recipient SET address = 'no address' WHERE message = 2", "the recipient is no address"},
		{"UPDATE recipient SET address = x'00ff' WHERE message = 2", "the recipient is no text"},
		{"UPDATE recipient SET mailbox = '@@' WHERE message = 2", "the mailbox is no address"},
		{"UPDATE recipient SET reverse = 'a@b@c' WHERE message = 2", "the sender is no address"},
		{"UPDATE recipient SET notify = 4711 WHERE message = 2", "NOTIFY is 4711"},
		{"UPDATE recipient SET attempts = 'many' WHERE message = 2", "the attempts is no number"},
		{"UPDATE recipient SET expires = 'later' WHERE message = 2", "the expiry is no number"},
		{"DELETE FROM message WHERE id = 2", "the row of the message is missing"},
		{"UPDATE message SET reverse = 'x y' WHERE id = 2", "its sender is no address"},
		{"UPDATE message SET size = -1 WHERE id = 2", "the size is -1"},
		{"UPDATE message SET received = 'text' WHERE id = 2", "Received is missing"},
	} {
		q, c := newQueue(t)
		var at int64
		for n := range 3 {
			at = put(t, q, messageOf(fmt.Sprint(n), memory{text(100)}), false, recipientOf(c, "mx:a.test", "x@a.test"))[0].Fate.ID
		}
		alter(t, q.path, tt.statement)
		items, err := q.Overdue(t.Context(), c.Now().Add(1000*time.Hour), 2) // the damaged one does not count
		if tt.statement[0] == 'U' && strings.Contains(tt.statement, "message = 2") {
			items, err = q.Ready(t.Context(), at, c.Now(), 100)
		}
		if err != nil || len(items) == 0 || items[0].Message.ID != "0" || items[len(items)-1].Row == 2 {
			t.Errorf("%s: %v %v", tt.statement, items, err)
		}
		a := admin(t, q, c)
		aside := list(t, a, Filter{State: Quarantined})
		if len(aside) != 1 || aside[0].Row != 2 || aside[0].Last == nil || !strings.Contains(aside[0].Last.Text, tt.reason) {
			t.Errorf("%s: %+v", tt.statement, aside)
		}
		if s, err := a.Stats(t.Context()); err != nil || s.Recipients[Quarantined] != 1 || s.Recipients[Waiting] != 2 {
			t.Errorf("%s: %+v %v", tt.statement, s, err)
		}
		if got := ready(t, q, at, c.Now()); len(got) != 2 {
			t.Errorf("%s: %v", tt.statement, got)
		}
		if n, err := a.Release(t.Context(), Filter{State: Quarantined}); n != 1 || err != nil {
			t.Error(n, err)
		}
		if got := ready(t, q, at, c.Now()); len(got) != 2 { // it is damaged still
			t.Errorf("%s: %v", tt.statement, got)
		}
		if n, err := a.Remove(t.Context(), Filter{State: Quarantined}); n != 1 || err != nil {
			t.Error(n, err)
		}
		if n := rows(t, q); n["message"] != 2 || n["chunk"] != 2 || n["recipient"] != 2 {
			t.Errorf("%s: %v", tt.statement, n)
		}
	}
}

func TestDamagedContents(t *testing.T) {
	for _, statement := range []string{
		"UPDATE chunk SET crc = crc + 1 WHERE id & 1048575 = 1",
		"UPDATE chunk SET crc = 'none' WHERE id & 1048575 = 1",
		"UPDATE chunk SET data = zeroblob(65536) WHERE id & 1048575 = 1",
		"UPDATE chunk SET data = substr(data, 1, 1000) WHERE id & 1048575 = 1",
		"UPDATE chunk SET data = 'text' WHERE id & 1048575 = 1",
		"DELETE FROM chunk WHERE id & 1048575 = 2",
		"UPDATE chunk SET id = id + 100 WHERE id & 1048575 = 1",
		"DELETE FROM chunk",
	} {
		q, c := newQueue(t)
		h := put(t, q, messageOf("01A", memory{text(200 << 10)}), false, recipientOf(c, "mx:a.test", "x@a.test"))[0].Message
		alter(t, q.path, statement)
		got, err := io.ReadAll(q.Content(h).NewReader())
		if !errors.Is(err, ErrDamaged) || !bytes.HasPrefix(text(200<<10), got) {
			t.Errorf("%s: %v after %d octets", statement, err, len(got))
		}
		a := admin(t, q, c)
		if err := a.Cat(t.Context(), "01A", io.Discard); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", statement, err)
		}
	}
}

// overwrite destroys the pages of a database in which a text is found, or only the text, and returns how many.
func overwrite(t *testing.T, path, found string, page bool) (n int) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(content); at += pageSize {
		p := content[at : at+pageSize]
		i := bytes.Index(p, []byte(found))
		if i < 0 {
			continue
		}
		if n++; page {
			for i := range p {
				p[i] = 0xa5
			}
		} else {
			p[i] ^= 1
		}
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return n
}

// What the disk has made of the file: an octet of a content, a page of recipients, a page of messages.
func TestDamagedFile(t *testing.T) {
	const messages = 300
	for _, tt := range []struct {
		name, text string
		page       bool
	}{
		{"content", "Subject: number 150 of", false},
		{"recipients", "recipient150@a.test", true},
		{"messages", "sender150@one.test", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newClock()
			path := filepath.Join(tempDir(t), "queue.db")
			q := openAt(t, path, c)
			for n := range messages {
				m := messageOf(fmt.Sprintf("M%d", n), memory{fmt.Appendf(nil, "Subject: number %d of\r\n\r\n", n)})
				m.Reverse = address(fmt.Sprintf("sender%d@one.test", n))
				m.Trace = bytes.Repeat([]byte("Trace: from here by there\r\n"), 20)
				put(t, q, m, n == 149, recipientOf(c, "mx:a.test", fmt.Sprintf("recipient%d@a.test", n)))
			}
			if err := q.Close(); err != nil {
				t.Fatal(err)
			}
			if overwrite(t, path, tt.text, tt.page) == 0 { // a page that was split has it twice
				t.Fatal("not found")
			}
			q = openAt(t, path, c)
			good, bad := map[int64]bool{}, 0
			found := destinations(t, q, c.Now())
			if len(found) != 1 {
				t.Fatal(found)
			}
			for {
				items := ready(t, q, found[0].ID, c.Now())
				if len(items) == 0 {
					break
				}
				items, err := q.Lease(t.Context(), items, c.Now())
				if err != nil {
					t.Fatal(err)
				}
				var outcomes []Outcome
				for _, i := range items {
					o := Outcome{Item: i, Kind: Gone}
					if _, err := io.ReadAll(q.Content(i.Message).NewReader()); errors.Is(err, ErrDamaged) {
						bad++
						o = Outcome{Item: i, Kind: Aside, Attempt: &Attempt{Time: c.Now(), Text: err.Error()}}
					} else if err != nil {
						t.Error(err)
					}
					good[i.Row] = true
					outcomes = append(outcomes, o)
				}
				finish(t, q, outcomes...)
			}
			if len(good) < messages-150 || len(good) == messages && bad != 1 {
				t.Errorf("%d of %d, and %d with damaged contents", len(good), messages, bad)
			}
			put(t, q, messageOf("more", memory{text(100)}), true, recipientOf(c, "mx:a.test", "x@a.test"))
			wantShown(t, admin(t, q, c), 1+messages-len(good)+bad, bad)
		})
	}
}

// wantShown: the commands show what is damaged, too, whether its row can be read or not.
func wantShown(t *testing.T, a *Admin, want, contents int) {
	t.Helper()
	all := list(t, a, Filter{})
	damaged := list(t, a, Filter{State: Quarantined})
	if len(all) < want || len(damaged) != len(all)-1 || contents > 0 && len(all) != want { // neighbours may be put aside too
		t.Errorf("%d shown, %d of them damaged, want %d", len(all), len(damaged), want)
	}
	for _, l := range damaged {
		if l.Last == nil || !strings.Contains(l.Last.Text, "damaged") {
			t.Errorf("%+v", l)
		}
	}
	if found := list(t, a, Filter{Recipient: "x@a.test"}); len(found) != 1 || found[0].Message.ID != "more" {
		t.Errorf("%+v", found)
	}
	s, err := a.Stats(t.Context())
	if contents > 0 && (err != nil || s.Recipients[Quarantined] != 1 || s.Recipients[Active] != 1) {
		t.Errorf("%+v %v", s, err)
	}
}
