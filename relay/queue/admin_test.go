package queue

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

func admin(t testing.TB, q *Queue, c *clock) *Admin {
	t.Helper()
	a, err := OpenAdmin(t.Context(), q.path)
	if err != nil {
		t.Fatal(err)
	}
	a.now = c.Now
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func list(t testing.TB, a *Admin, f Filter) (all []Listed) {
	t.Helper()
	for l, err := range a.List(t.Context(), f) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
	return all
}

func names(all []Listed) string {
	var ids []string
	for _, l := range all {
		ids = append(ids, fmt.Sprintf("%s/%d", l.Message.ID, l.N))
	}
	return strings.Join(ids, " ")
}

// alter changes the database as nobody should.
func alter(t testing.TB, path string, statements ...string) {
	t.Helper()
	db, err := openPool(dsn(path, "busy_timeout(10000)"), 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatal(s, err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func someMail(t testing.TB, q *Queue, c *clock) {
	t.Helper()
	m := messageOf("01A", memory{text(1000)})
	m.Reverse = address("Anna@One.Test")
	a := put(t, q, m, true, recipientOf(c, "mx:two.test", "Max@two.test"), recipientOf(c, "mx:three.test", "x@three.test"))
	finish(t, q, Outcome{Item: a[0], Kind: Retry, Next: c.Now().Add(time.Hour),
		Attempt: &Attempt{Time: c.Now(), Host: "mx.two.test", Command: "RCPT", Code: 451, Enhanced: [3]int{4, 2, 2},
			Text: "Mailbox FULL\nor so"}})
	c.add(time.Hour)
	m = messageOf("01B", memory{text(200 << 10)})
	m.Reverse = address("")
	put(t, q, m, false, recipientOf(c, "mx:two.test", "y@sub.two.test"), recipientOf(c, "mx:two.test", "jürgen@two.test"))
	err := q.Postpone(t.Context(), a[1].Fate.ID, c.Now().Add(time.Hour), &Attempt{Time: c.Now(), Text: "no route to host"})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFilters(t *testing.T) {
	q, c := newQueue(t)
	someMail(t, q, c)
	a := admin(t, q, c)
	for _, tt := range []struct {
		filter Filter
		want   string
	}{
		{Filter{}, "01A/0 01A/1 01B/0 01B/1"},
		{Filter{IDs: []string{"01B", "01A", "none", "01B"}}, "01A/0 01A/1 01B/0 01B/1"},
		{Filter{IDs: []string{"01B"}}, "01B/0 01B/1"},
		{Filter{IDs: []string{"none"}}, ""},
		{Filter{Sender: "anna@one.test"}, "01A/0 01A/1"},
		{Filter{Sender: "<>"}, "01B/0 01B/1"},
		{Filter{Sender: "@ONE.test"}, "01A/0 01A/1 01B/0 01B/1"}, // of the recipients of 01B
		{Filter{Sender: "@ne.test"}, ""},
		{Filter{Recipient: "MAX@two.test"}, "01A/0"},
		{Filter{Recipient: "jürgen@two.test"}, "01B/1"},
		{Filter{Recipient: "@two.test"}, "01A/0 01B/1"},
		{Filter{Recipient: "%@two.test"}, ""},
		{Filter{Domain: "Two.Test"}, "01A/0 01B/1"},
		{Filter{Domain: "sub.two.test", Recipient: "@two.test"}, ""},
		{Filter{OlderThan: time.Minute}, "01A/0 01A/1"},
		{Filter{OlderThan: time.Minute, IDs: []string{"01B"}}, ""},
		{Filter{Reason: "box full"}, "01A/0"},
		{Filter{Reason: "mx.two.test answered RCPT with 451 4.2.2 mailbox full or so"}, "01A/0"},
		{Filter{Reason: "ROUTE"}, "01A/1"},
		{Filter{Reason: "%"}, ""},
		{Filter{State: Active}, "01A/1"},
		{Filter{State: Waiting}, "01A/0 01B/0 01B/1"},
		{Filter{State: Held}, ""},
		{Filter{Domain: "'; DROP TABLE message; --", Reason: "'"}, ""},
	} {
		if got := names(list(t, a, tt.filter)); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.filter, got, tt.want)
		}
	}
	for _, err := range a.List(t.Context(), Filter{State: "lost"}) {
		if err == nil || !strings.Contains(err.Error(), "unknown state") {
			t.Error(err)
		}
	}
	all := list(t, a, Filter{})
	if l := all[1]; l.State != Active || l.Destination.Failures != 1 || l.Destination.Last.Text != "no route to host" {
		t.Errorf("%+v", l)
	}
	if l := all[0]; l.State != Waiting || l.Last.Text != "Mailbox FULL\nor so" || l.Destination.Name != "mx:two.test" {
		t.Errorf("%+v", l)
	}
	for range a.List(t.Context(), Filter{}) {
		break
	}
}

func TestPages(t *testing.T) {
	q, c := newQueue(t)
	var to []Recipient
	for n := range 2*listPage + 1 {
		to = append(to, recipientOf(c, fmt.Sprint("mx:", n%30, ".test"), fmt.Sprintf("r%d@x.test", n)))
	}
	put(t, q, messageOf("01A", memory{text(10)}), false, to...)
	put(t, q, messageOf("01B", memory{text(10)}), false, to[:listPage]...)
	a := admin(t, q, c)
	all := list(t, a, Filter{})
	if len(all) != 3*listPage+1 {
		t.Errorf("%d items", len(all))
	}
	for n, l := range all {
		if want := (Key{1 + int64(n/len(to)), n % len(to)}); l.Key != want {
			t.Fatalf("%v, want %v", l.Key, want)
		}
	}
	s, err := a.Stats(t.Context())
	if err != nil || len(s.Destinations) != mostDestinations || s.Destinations[0].Recipients != 51 {
		t.Errorf("%+v %v", s, err)
	}
	if n, err := a.Remove(t.Context(), Filter{}); n != int64(len(all)) || err != nil {
		t.Error(n, err)
	}
	wantEmpty(t, q)
	destinations(t, q, c.Now())
	if n := rows(t, q)["destination"]; n != 0 {
		t.Errorf("%d destinations are left", n)
	}
}

func TestStats(t *testing.T) {
	q, c := newQueue(t)
	a := admin(t, q, c)
	s, err := a.Stats(t.Context())
	if err != nil || s.Messages != 0 || !s.Oldest.IsZero() || len(s.Destinations) != 0 {
		t.Errorf("%+v %v", s, err)
	}
	begun := c.Now()
	someMail(t, q, c)
	if n, err := a.Hold(t.Context(), Filter{Recipient: "y@sub.two.test"}); n != 1 || err != nil {
		t.Error(n, err)
	}
	if n, err := a.Hold(t.Context(), Filter{State: Active}); n != 1 || err != nil {
		t.Error(n, err)
	}
	s, err = a.Stats(t.Context())
	if err != nil || s.Messages != 2 || s.Octets != 1000+200<<10 || !s.Oldest.Equal(begun) {
		t.Errorf("%+v %v", s, err)
	}
	if got := fmt.Sprint(s.Recipients); got != "map[active:0 held:2 quarantined:0 waiting:2]" {
		t.Error(got)
	}
	if len(s.Destinations) != 2 || s.Destinations[0].Name != "mx:two.test" || s.Destinations[0].Recipients != 3 ||
		s.Destinations[1].Failures != 1 || s.Destinations[1].Reason != "no route to host" ||
		!s.Destinations[1].Oldest.Equal(begun) {
		t.Errorf("%+v", s.Destinations)
	}
}

func TestCat(t *testing.T) {
	q, c := newQueue(t)
	someMail(t, q, c)
	a := admin(t, q, c)
	var got bytes.Buffer
	if err := a.Cat(t.Context(), "01B", &got); err != nil {
		t.Fatal(err)
	}
	if want := "Received: from here by there\r\n" + string(text(200<<10)); got.String() != want {
		t.Errorf("%d octets, want %d", got.Len(), len(want))
	}
	if err := a.Cat(t.Context(), "none", &got); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

func TestChanges(t *testing.T) {
	q, c := newQueue(t)
	someMail(t, q, c)
	a := admin(t, q, c)
	active := list(t, a, Filter{State: Active})[0].Item
	active.Message = &Header{Row: active.Row, Size: 1000}
	for _, step := range []struct {
		what string
		do   func() (int64, error)
		n    int64
		due  int // destinations
	}{
		{"hold", func() (int64, error) { return a.Hold(t.Context(), Filter{}) }, 4, 0},
		{"hold again", func() (int64, error) { return a.Hold(t.Context(), Filter{}) }, 0, 0},
		{"retry what is held", func() (int64, error) { return a.Retry(t.Context(), Filter{}) }, 0, 0},
		{"release", func() (int64, error) { return a.Release(t.Context(), Filter{}) }, 4, 1},
		{"release again", func() (int64, error) { return a.Release(t.Context(), Filter{}) }, 0, 1},
		{"retry", func() (int64, error) { return a.Retry(t.Context(), Filter{}) }, 3, 1},
		{"the attempt ends", func() (int64, error) {
			finish(t, q, Outcome{Item: active, Kind: Retry, Next: c.Now().Add(time.Hour)})
			return 0, nil
		}, 0, 1},
		{"retry a destination that failed", func() (int64, error) {
			return a.Retry(t.Context(), Filter{Recipient: "@three.test"})
		}, 1, 2},
	} {
		if n, err := step.do(); n != step.n || err != nil {
			t.Errorf("%s: %d, want %d: %v", step.what, n, step.n, err)
		}
		if got := destinations(t, q, c.Now()); len(got) != step.due {
			t.Errorf("%s: %+v, want %d", step.what, got, step.due)
		}
	}
}

// What a command removes or holds while an attempt is under way is not brought back by its end.
func TestChangesUnderWay(t *testing.T) {
	q, c := newQueue(t)
	a := admin(t, q, c)
	report := []Entry{{Message: messageOf("01R", memory{text(10)}),
		Recipients: []Recipient{recipientOf(c, "store:x", "s@one.test")}}}
	for _, size := range []int{100, 2 * atOnce} {
		items := put(t, q, messageOf("01A", file(text(size))), true, recipientOf(c, "mx:two.test", "a@two.test"))
		if n, err := a.Remove(t.Context(), Filter{}); n != 1 || err != nil {
			t.Error(n, err)
		}
		wantEmpty(t, q)
		for _, kind := range []OutcomeKind{Gone, Retry, Aside} {
			if err := q.Finish(t.Context(), []Outcome{{Item: items[0], Kind: kind, Next: c.Now()}}, report); err != nil {
				t.Error(err)
			}
			wantEmpty(t, q)
		}
	}
	items := put(t, q, messageOf("01B", memory{text(100)}), true, recipientOf(c, "mx:two.test", "a@two.test"))
	if n, err := a.Hold(t.Context(), Filter{}); n != 1 || err != nil {
		t.Error(n, err)
	}
	finish(t, q, Outcome{Item: items[0], Kind: Retry, Next: c.Now()})
	if got := ready(t, q, items[0].Fate.ID, c.Now()); len(got) != 0 {
		t.Error("held, and ready", got)
	}
	if got := list(t, a, Filter{State: Held}); len(got) != 1 {
		t.Error(got)
	}
	if lost, err := q.Lease(t.Context(), items, c.Now()); err != nil || len(lost) != 0 {
		t.Error(lost, err)
	}
	if _, err := a.Release(t.Context(), Filter{}); err != nil {
		t.Error(err)
	}
	if got := ready(t, q, items[0].Fate.ID, c.Now()); len(got) != 1 {
		t.Error("released, and not ready", got)
	}
}

func TestChanged(t *testing.T) {
	q, c := newQueue(t)
	someMail(t, q, c)
	looked := func(*tx) error { q.writer.look(); return nil }
	if err := q.writer.do(t.Context(), 0, looked); err != nil {
		t.Fatal(err)
	}
	select {
	case <-q.Changed():
		t.Error("nobody else has changed anything")
	default:
	}
	a := admin(t, q, c)
	if _, err := a.Retry(t.Context(), Filter{}); err != nil {
		t.Fatal(err)
	}
	<-q.Changed()
}

func TestAdminWithoutRelay(t *testing.T) {
	q, c := newQueue(t)
	someMail(t, q, c)
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	a := admin(t, q, c)
	if n, err := a.Remove(t.Context(), Filter{IDs: []string{"01A"}}); n != 2 || err != nil {
		t.Error(n, err)
	}
	if got := names(list(t, a, Filter{})); got != "01B/0 01B/1" {
		t.Error(got)
	}
}

// Every way in which a queue cannot be opened is one line that says what to do.
func TestOpenFails(t *testing.T) {
	dir := tempDir(t)
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	newer := write("newer.db", "")
	alter(t, newer, "CREATE TABLE queue_state (version INTEGER)", "INSERT INTO queue_state VALUES (1000)")
	foreign := write("foreign.db", "")
	alter(t, foreign, "CREATE TABLE address_book (name TEXT)")
	text := write("text.db", strings.Repeat("this is no database\n", 100))
	empty := write("empty.db", "")
	cut := filepath.Join(dir, "cut.db")
	if err := openAt(t, cut, nil).Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(cut, 3*pageSize); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "missing.db")
	for _, tt := range []struct {
		path, relay, command string
		is                   error
	}{
		{newer, "use a newer mxbypass", "use a newer mxbypass", nil},
		{foreign, "move it away", "move it away", nil},
		{text, "put a backup in its place", "put a backup in its place", ErrDamaged},
		{cut, "put a backup in its place", "put a backup in its place", ErrDamaged},
		{dir, "folder", "directory", nil},
		{missing, "", "no such file", fs.ErrNotExist},
		{empty, "", "nothing in this database", nil},
		{filepath.Join(dir, "no", "queue.db"), "no such file", "no such file", fs.ErrNotExist},
	} {
		a, err := OpenAdmin(t.Context(), tt.path)
		if err == nil {
			a.Close()
		}
		wantLine(t, tt.path, err, tt.command, tt.is)
		q, err := Open(t.Context(), Options{Path: tt.path, Log: quiet()})
		if err == nil {
			q.Close()
		}
		if tt.relay != "" {
			wantLine(t, tt.path, err, tt.relay, tt.is)
		} else if err != nil {
			t.Error(tt.path, err)
		}
	}
}

func wantLine(t *testing.T, path string, err error, want string, is error) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
		t.Errorf("%s: %v, want %q in one line", filepath.Base(path), err, want)
	}
	if is != nil && !errors.Is(err, is) {
		t.Errorf("%s: %v, want %v", filepath.Base(path), err, is)
	}
}

func TestOpenWithoutPermission(t *testing.T) {
	dir := tempDir(t)
	path := filepath.Join(dir, "queue.db")
	if err := openAt(t, path, nil).Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	check := func(want string) {
		defer asNobody(t)()
		_, err := OpenAdmin(t.Context(), path)
		wantLine(t, path, err, want, fs.ErrPermission)
		_, err = Open(t.Context(), Options{Path: path, Log: quiet()})
		wantLine(t, path, err, want, fs.ErrPermission)
	}
	check("permission denied")
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	check("change its owner or its mode")
}

// asNobody takes from this thread what root may do with all files, until the function is called that it returns.
func asNobody(t *testing.T) func() {
	if os.Geteuid() != 0 {
		return func() {}
	}
	runtime.LockOSThread()
	if err := syscall.Setfsuid(65534); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := syscall.Setfsuid(0); err != nil {
			t.Fatal(err)
		}
		runtime.UnlockOSThread()
	}
}
