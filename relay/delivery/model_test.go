package delivery

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"mxbypass/mailbox"
	"mxbypass/relay/reply"
	"mxbypass/routing"
)

// world is a client that sends one message until it is told something final, and stores that fail as the dice say.
type world struct {
	*rapid.T
	stores map[string]*fakeStore
	ledger *Ledger
	path   string
	plan   map[string]string // by recipient: what happens in this attempt
	queue  *fakeQueue
	refuse bool // Options.RefuseFailed
}

// happen is what may become of one recipient in one attempt.
var happen = []string{"fine", "fine", "temporary", "final", "commit temporary", "commit final", "panic"}

func (w *world) deliverer() *Deliverer {
	stores := map[string]mailbox.Store{}
	for site, s := range w.stores {
		stores[site] = s
	}
	return New(Options{Stores: stores, Ledger: w.ledger, Queue: w.queue, Log: discard, RefuseFailed: w.refuse})
}

// TestNeverLostNeverTwice states the guarantee: whoever is reported as delivered has the message; when the client is
// done with a recipient, it was delivered or the client was told for good that it was not; and nobody has two copies,
// across partial failures, retries and restarts.
func TestNeverLostNeverTwice(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		f, err := os.CreateTemp(dir, "ledger")
		if err != nil {
			rt.Fatal(err)
		}
		f.Close()
		w := &world{T: rt, stores: map[string]*fakeStore{}, path: f.Name(), plan: map[string]string{},
			queue: &fakeQueue{}, refuse: rapid.Bool().Draw(rt, "refuse")}
		w.ledger = w.open()
		defer func() { w.ledger.Close() }()
		sites := rapid.IntRange(1, 3).Draw(rt, "sites")
		for i := range sites {
			w.stores[fmt.Sprint("site", i)] = w.store(rapid.Bool().Draw(rt, "certain"))
		}
		var to []routing.Target
		for i := range rapid.IntRange(1, 5).Draw(rt, "recipients") {
			site := fmt.Sprint("site", rapid.IntRange(0, sites-1).Draw(rt, "site"))
			box := recipient(site, fmt.Sprintf("u%d@exemple.org", i))
			to = append(to, routing.Target{Mailbox: &box})
		}
		for i := range rapid.IntRange(0, 2).Draw(rt, "elsewhere") {
			to = append(to, elsewhere(fmt.Sprintf("u%d@remote.example", i)))
		}
		if rapid.Bool().Draw(rt, "one twice") {
			to = append(to, to[0])
		}
		w.send(to, rapid.Bool().Draw(rt, "each"))
	})
}

func (w *world) open() *Ledger {
	l, err := OpenLedger(w.path, discard)
	if err != nil {
		w.Fatal(err)
	}
	return l
}

func (w *world) store(certain bool) *fakeStore {
	return &fakeStore{
		certain: certain,
		prepare: func(r mailbox.Recipient) error {
			switch w.plan[r.Delivered.String()] {
			case "temporary":
				return errTemporary
			case "final":
				return errFinal
			case "panic":
				panic("store")
			}
			return nil
		},
		commit: func(_ context.Context, r mailbox.Recipient) error {
			switch w.plan[r.Delivered.String()] {
			case "commit temporary":
				return errTemporary
			case "commit final":
				return errFinal
			}
			return nil
		},
	}
}

// send is the client: with one answer for all it sends to all again, with one for each to those who are left.
func (w *world) send(to []routing.Target, each bool) {
	left := to
	for attempt := 0; len(left) > 0 && attempt < 5; attempt++ {
		for _, r := range left {
			outcome := "fine" // in the end everything gets well
			if attempt < 4 {
				outcome = rapid.SampledFrom(happen).Draw(w.T, "outcome of "+nameOf(r))
			}
			w.plan[nameOf(r)] = outcome
		}
		w.queue.fail = nil
		if attempt < 4 && rapid.Bool().Draw(w.T, "the queue fails") {
			w.queue.fail = mailbox.ErrNoSpace
		}
		d := w.deliverer()
		outcomes := d.Deliver(context.Background(), message("the message"), left, each)
		if err := d.Close(context.Background()); err != nil {
			w.Fatal(err)
		}
		left = w.check(left, outcomes, each)
		switch rapid.SampledFrom([]string{"go on", "restart", "crash"}).Draw(w.T, "then") {
		case "restart":
			w.ledger.Close()
			w.ledger = w.open()
		case "crash": // the old one is closed only so that no descriptor is lost
			fresh := w.open()
			w.ledger.Close()
			w.ledger = fresh
		}
	}
	if len(left) > 0 {
		w.Fatalf("everything was fine and the client was still told to come again for %d", len(left))
	}
}

// check holds one attempt against the guarantee and returns for whom the client comes again.
func (w *world) check(to []routing.Target, outcomes []reply.Outcome, each bool) (again []routing.Target) {
	results := make([]reply.Result, len(to))
	for i, r := range to {
		name, err := nameOf(r), outcomes[i].Err
		n := w.queue.count(name)
		if outcomes[i].Queued && n == 0 {
			w.Fatalf("%s is not in the queue", name)
		}
		if r.Mailbox != nil {
			n += w.stores[r.Mailbox.Mailbox.Site].count(name)
		}
		switch {
		case err == nil && n == 0:
			w.Fatalf("%s is lost", name)
		case n > 1:
			w.Fatalf("%s has %d copies", name, n)
		case err != nil && n > 0:
			w.Fatalf("%s has the message and is reported with %v", name, err)
		}
		results[i].Err = err
		if temporary(err) {
			again = append(again, r)
		}
	}
	for site, s := range w.stores {
		if s.open != 0 || s.ended != 0 {
			w.Fatalf("%s: %d deliveries not ended, %d ended twice", site, s.open, s.ended)
		}
	}
	if each {
		return again
	}
	answer := reply.Final("01TEST", results)
	if answer.Temporary() != (len(again) > 0) {
		w.Fatalf("the client is told %v, %d failed for now", answer, len(again))
	}
	if answer.Temporary() {
		return to
	}
	return nil
}

func nameOf(t routing.Target) string {
	if t.Outbound != nil {
		return t.Outbound.To.String()
	}
	return t.Mailbox.Delivered.String()
}

func TestRestartKeepsTheLedger(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	failing := &fakeStore{certain: true, commit: func(context.Context, mailbox.Recipient) error {
		return mailbox.ErrNoSpace
	}}
	good := &fakeStore{}
	to := []mailbox.Recipient{recipient("good", "a@exemple.org"), recipient("failing", "b@exemple.org")}
	for attempt := range 3 {
		l := newLedger(t, path)
		d := New(Options{Stores: map[string]mailbox.Store{"good": good, "failing": failing}, Ledger: l, Log: discard, RefuseFailed: true})
		if attempt == 2 {
			failing.commit = nil
		}
		errs := deliver(d, t.Context(), message("x"), to, false)
		if errs[0] != nil || (errs[1] == nil) != (attempt == 2) {
			t.Fatalf("attempt %d: %v", attempt, errs)
		}
		if err := d.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := good.count("a@exemple.org"), failing.count("b@exemple.org"); a != 1 || b != 1 {
		t.Errorf("copies: %d and %d", a, b)
	}
}

// TestManyClientsAtOnce: the ledger and the deliverer are shared; nobody's failure is another one's copy.
func TestManyClientsAtOnce(t *testing.T) {
	var tries sync.Map
	failTwice := func(_ context.Context, r mailbox.Recipient) error {
		n, _ := tries.LoadOrStore(r.Delivered.String(), new(atomic.Int32))
		if n.(*atomic.Int32).Add(1) <= 2 {
			return errTemporary
		}
		return nil
	}
	good, bad := &fakeStore{}, &fakeStore{commit: failTwice}
	d := newDeliverer(t, map[string]mailbox.Store{"good": good, "bad": bad})
	var wait sync.WaitGroup
	for i := range 16 {
		wait.Go(func() {
			a, b := fmt.Sprintf("a%d@exemple.org", i), fmt.Sprintf("b%d@exemple.org", i)
			to := []mailbox.Recipient{recipient("good", a), recipient("bad", b)}
			for attempt := range 3 {
				errs := deliver(d, t.Context(), message("the same for all"), to, false)
				if errs[0] != nil || (errs[1] == nil) != (attempt == 2) {
					t.Errorf("client %d, attempt %d: %v", i, attempt, errs)
				}
			}
			if x, y := good.count(a), bad.count(b); x != 1 || y != 1 {
				t.Errorf("client %d: copies %d and %d", i, x, y)
			}
		})
	}
	wait.Wait()
	if n := d.ledger.size.Load(); n != 0 {
		t.Errorf("%d entries are left", n)
	}
}
