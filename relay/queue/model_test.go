package queue

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// model is what the queue is held against: the same in memory, without anything clever.
type model struct {
	*clock
	path     string
	q        *Queue
	a        *Admin
	items    map[Key]*modelItem
	contents map[int64][]byte
	until    map[string]time.Time
	ids      map[string]int64 // of destinations
	seen     []*Item          // whatever was given out, however old
	count    int
}

type modelItem struct {
	destination          string
	due, notice, expires time.Time
	state                int64
	lease                int64
	doubt                bool
	attempts             int
	last                 string
}

func (i *modelItem) waits() bool { return i.state == stateWaiting && i.lease == 0 }

func TestModel(t *testing.T) {
	dir, n := tempDir(t), 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		m := &model{clock: newClock(), path: filepath.Join(dir, fmt.Sprint(n, ".db")), items: map[Key]*modelItem{},
			contents: map[int64][]byte{}, until: map[string]time.Time{}, ids: map[string]int64{}}
		m.open(t)
		defer func() { m.close(t) }()
		t.Repeat(map[string]func(*rapid.T){
			"put": m.put, "put again": m.put, "lease": m.lease, "finish": m.finish, "finish again": m.finish,
			"postpone": m.postpone, "wait": m.wait, "change": m.change, "reopen": m.reopen, "read": m.read, "": m.check,
		})
	})
}

func (m *model) open(t *rapid.T) {
	var err error
	if m.q, err = Open(context.Background(), Options{Path: m.path, Log: quiet(), Now: m.Now}); err != nil {
		t.Fatal(err)
	}
	if m.a, err = OpenAdmin(context.Background(), m.path); err != nil {
		t.Fatal(err)
	}
	m.a.now = m.Now
}

func (m *model) close(t *rapid.T) {
	if err := m.a.Close(); err != nil {
		t.Error(err)
	}
	if err := m.q.Close(); err != nil {
		t.Error(err)
	}
}

var modelDestinations = []string{"mx:a.test", "mx:b.test", "store:cloud"}

func (m *model) put(t *rapid.T) {
	m.count++
	size := rapid.SampledFrom([]int{10, 10, 10, 10, 0, chunkSize + 1, atOnce + 1}).Draw(t, "size")
	lease := rapid.Bool().Draw(t, "lease")
	e := Entry{Message: messageOf(fmt.Sprint("M", m.count), file(text(max(size, 40))[:size]))}
	for range rapid.IntRange(1, 3).Draw(t, "recipients") {
		r := recipientOf(m, rapid.SampledFrom(modelDestinations).Draw(t, "destination"), "x@a.test")
		r.Due = r.Due.Add(time.Duration(rapid.IntRange(0, 2).Draw(t, "due")) * time.Minute)
		r.Expires = r.Due.Add(time.Duration(rapid.IntRange(1, 5).Draw(t, "expires")) * time.Minute)
		r.Notice = time.Time{}
		e.Recipients = append(e.Recipients, r)
	}
	items, err := m.q.Put(context.Background(), e, lease)
	if err != nil {
		t.Fatal(err)
	}
	for n, i := range items {
		if (i.Lease != 0) != lease {
			t.Fatalf("%+v", i)
		}
		r := e.Recipients[n]
		m.ids[r.Destination] = i.Fate.ID
		m.items[i.Key] = &modelItem{destination: r.Destination, due: r.Due, expires: r.Expires, lease: i.Lease,
			attempts: i.Attempts}
		m.contents[i.Row] = text(max(size, 40))[:size]
	}
	m.seen = append(m.seen, items...)
}

// some draws items that were given out at some time.
func (m *model) some(t *rapid.T) []*Item {
	if len(m.seen) == 0 {
		return nil
	}
	var all []*Item
	for range rapid.IntRange(1, 4).Draw(t, "items") {
		i := m.seen[len(m.seen)-1-rapid.IntRange(0, min(len(m.seen), 12)-1).Draw(t, "age")]
		all = append(all, i)
	}
	return all
}

func (m *model) lease(t *rapid.T) {
	asked, next := m.some(t), m.Now().Add(time.Minute)
	had, err := m.q.Lease(context.Background(), asked, next)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range asked {
		at := m.items[i.Key]
		if at == nil || !at.waits() {
			continue
		}
		if len(had) == 0 || had[0].Key != i.Key || had[0].Lease == 0 {
			t.Fatalf("could not lease %v", i.Key)
		}
		at.lease, at.due, at.doubt = had[0].Lease, next, false
		at.attempts++
		m.seen, had = append(m.seen, had[0]), had[1:]
	}
	if len(had) != 0 {
		t.Fatalf("leased %+v", had)
	}
}

func (m *model) finish(t *rapid.T) {
	var outcomes []Outcome
	for _, i := range m.some(t) {
		o := Outcome{Item: i, Kind: rapid.SampledFrom([]OutcomeKind{Gone, Gone, Retry, Aside}).Draw(t, "kind"),
			Next: m.Now().Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "next")) * time.Minute)}
		if o.Kind != Gone && rapid.Bool().Draw(t, "failure") {
			o.Attempt = &Attempt{Time: m.Now(), Text: fmt.Sprint("failure ", len(m.seen))}
		}
		outcomes = append(outcomes, o)
		at := m.items[i.Key]
		if at == nil || at.lease != i.Lease || i.Lease == 0 {
			continue
		}
		if o.Attempt != nil {
			at.last = o.Attempt.Text
		}
		switch at.lease, at.doubt = 0, false; o.Kind {
		case Gone:
			m.remove(i.Key)
		case Retry:
			at.due, at.notice = o.Next, o.Notice
		case Aside:
			at.state = stateQuarantined
		}
	}
	if err := m.q.Finish(context.Background(), outcomes, nil); err != nil {
		t.Fatal(err)
	}
}

func (m *model) remove(k Key) {
	delete(m.items, k)
	for other := range m.items {
		if other.Row == k.Row {
			return
		}
	}
	delete(m.contents, k.Row)
}

func (m *model) postpone(t *rapid.T) {
	name := rapid.SampledFrom(modelDestinations).Draw(t, "destination")
	some := false
	for _, i := range m.items {
		some = some || i.destination == name
	}
	if !some {
		return // it may be gone, and a new one has a new fate
	}
	var a *Attempt
	until := time.Time{}
	if rapid.Bool().Draw(t, "failed") {
		a, until = &Attempt{Time: m.Now(), Text: "down"}, m.Now().Add(2*time.Minute)
	}
	if err := m.q.Postpone(context.Background(), m.ids[name], until, a); err != nil {
		t.Fatal(err)
	}
	m.until[name] = until
}

func (m *model) wait(t *rapid.T) {
	m.add(time.Duration(rapid.SampledFrom([]int{1, 2, 3, 90}).Draw(t, "minutes")) * time.Minute)
}

func (m *model) change(t *rapid.T) {
	f := Filter{}
	if m.count > 0 && rapid.Bool().Draw(t, "one") {
		f.IDs = []string{fmt.Sprint("M", rapid.IntRange(1, m.count).Draw(t, "message"))}
	}
	listed := map[Key]bool{}
	for l, err := range m.a.List(context.Background(), f) {
		if err != nil {
			t.Fatal(err)
		}
		listed[l.Key] = true
	}
	what := rapid.SampledFrom([]string{"retry", "hold", "release", "release", "remove"}).Draw(t, "what")
	want := int64(0)
	for k := range listed {
		at := m.items[k]
		switch {
		case what == "retry" && at.waits():
			at.due, m.until[at.destination] = earlier(at.due, m.Now()), time.Time{}
		case what == "hold" && at.state == stateWaiting:
			at.state = stateHeld
		case what == "release" && at.state != stateWaiting:
			at.state = stateWaiting
		case what == "remove":
			m.remove(k)
		default:
			continue
		}
		want++
	}
	do := map[string]func(context.Context, Filter) (int64, error){
		"retry": m.a.Retry, "hold": m.a.Hold, "release": m.a.Release, "remove": m.a.Remove}[what]
	if n, err := do(context.Background(), f); n != want || err != nil {
		t.Fatalf("%s: %d, want %d: %v", what, n, want, err)
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func (m *model) reopen(t *rapid.T) {
	m.close(t)
	m.open(t)
	for _, i := range m.items {
		if i.lease != 0 {
			i.lease, i.doubt = 0, true
		}
	}
}

// check compares one of the views of the queue.
func (m *model) check(t *rapid.T) {
	views := []func(*rapid.T){m.checkList, m.checkDue, m.checkOverdue, m.checkStats}
	views[rapid.IntRange(0, len(views)-1).Draw(t, "view")](t)
}

func (m *model) checkList(t *rapid.T) {
	listed := 0
	for l, err := range m.a.List(context.Background(), Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		listed++
		at := m.items[l.Key]
		if at == nil {
			t.Fatalf("%v is still there", l.Key)
		}
		last := ""
		if l.Last != nil {
			last = l.Last.Text
		}
		got := modelItem{l.Item.Destination, l.Due, l.Notice, l.Expires, at.state, l.Lease, l.InDoubt, l.Attempts, last}
		if fmt.Sprint(got) != fmt.Sprint(*at) {
			t.Fatalf("%v: %+v, want %+v", l.Key, got, *at)
		}
	}
	if listed != len(m.items) {
		t.Fatalf("%d items, want %d", listed, len(m.items))
	}
}

func (m *model) checkOverdue(t *rapid.T) {
	overdue, err := m.q.Overdue(context.Background(), m.Now(), 1000)
	if err != nil {
		t.Fatal(err)
	}
	m.checkItems(t, overdue, func(i *modelItem) bool { return !i.expires.After(m.Now()) })
}

func (m *model) checkStats(t *rapid.T) {
	s, err := m.a.Stats(context.Background())
	if err != nil || s.Messages != int64(len(m.contents)) {
		t.Fatalf("%+v %v", s, err)
	}
	total := int64(0)
	for _, n := range s.Recipients {
		total += n
	}
	if total != int64(len(m.items)) {
		t.Fatalf("%+v, want %d", s.Recipients, len(m.items))
	}
}

func (m *model) checkDue(t *rapid.T) {
	ctx, now := context.Background(), m.Now()
	var earliest time.Time
	due := map[string]bool{}
	for _, i := range m.items {
		if !i.waits() {
			continue
		}
		at := i.due
		if until := m.until[i.destination]; until.After(at) {
			at = until
		}
		if earliest.IsZero() || at.Before(earliest) {
			earliest = at
		}
		if !at.After(now) {
			due[i.destination] = true
		}
	}
	found, err := m.q.Destinations(ctx, now, 1000, func(int64) bool { return false })
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, d := range found {
		got[d.Name] = true
	}
	if !maps.Equal(got, due) {
		t.Fatalf("due: %v, want %v", got, due)
	}
	next, some, err := m.q.NextDue(ctx)
	if err != nil || !earliest.IsZero() && (!some || next.After(earliest) && next.After(now)) {
		t.Fatalf("next: %v %v, want %v: %v", next, some, earliest, err)
	}
	if len(due) == 0 && some && !next.After(now) {
		t.Fatalf("next: %v, which is over", next)
	}
	for name, id := range m.ids {
		items, err := m.q.Ready(ctx, id, now, 1000)
		if err != nil {
			t.Fatal(err)
		}
		m.checkItems(t, items, func(i *modelItem) bool { return i.destination == name && !i.due.After(now) })
		m.seen = append(m.seen, items...)
	}
}

func (m *model) checkItems(t *rapid.T, items []*Item, want func(*modelItem) bool) {
	got := map[Key]bool{}
	for _, i := range items {
		got[i.Key] = true
	}
	for k, i := range m.items {
		if got[k] != (i.waits() && want(i)) {
			t.Fatalf("%v: given %v, %+v", k, got[k], i)
		}
		delete(got, k)
	}
	if len(got) > 0 {
		t.Fatalf("given: %v", got)
	}
}

func (m *model) read(t *rapid.T) {
	chunks := int64(0)
	for _, body := range m.contents {
		chunks += int64(len(body)+chunkSize-1) / chunkSize
	}
	n, err := m.q.readers.numbers(context.Background(), "SELECT (SELECT count(*) FROM chunk), (SELECT count(*) FROM orphan)")
	if err != nil || n[0] != [3]int64{chunks, 0, 0} {
		t.Fatalf("%v chunks, want %d: %v", n, chunks, err)
	}
	rows := slices.Sorted(maps.Keys(m.contents))
	if len(rows) == 0 {
		return
	}
	row := rows[rapid.IntRange(0, len(rows)-1).Draw(t, "read")]
	body := m.contents[row]
	got, err := io.ReadAll(m.q.Content(&Header{Row: row, Size: int64(len(body))}).NewReader())
	if err != nil || !bytes.Equal(got, body) {
		t.Fatalf("content of %d: %d octets, want %d: %v", row, len(got), len(body), err)
	}
}
