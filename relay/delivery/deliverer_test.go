package delivery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"mxbypass/mailbox"
	"mxbypass/relay/reply"
)

func TestDeliverOutcomes(t *testing.T) {
	fail := func(err error) func(mailbox.Recipient) error {
		return func(mailbox.Recipient) error { return err }
	}
	failCommit := func(err error) func(context.Context, mailbox.Recipient) error {
		return func(context.Context, mailbox.Recipient) error { return err }
	}
	tests := []struct {
		name         string
		cloud, vps   *fakeStore // cloud is certain, vps is not
		each         bool
		errA, errB   error // results of a@cloud and b@vps
		inA, inB     int   // copies
		rememberedIn bool
	}{
		{"both", &fakeStore{}, &fakeStore{}, false, nil, nil, 1, 1, false},
		{"one refuses for now", &fakeStore{}, &fakeStore{prepare: fail(errTemporary)}, false,
			reply.ErrHeldBack, errTemporary, 0, 0, false},
		{"one refuses for now, each", &fakeStore{}, &fakeStore{prepare: fail(errTemporary)}, true,
			nil, errTemporary, 1, 0, false},
		{"one refuses for good", &fakeStore{}, &fakeStore{prepare: fail(errFinal)}, false, nil, errFinal, 1, 0, false},
		{"the certain one refuses for good", &fakeStore{prepare: fail(errFinal)}, &fakeStore{}, false,
			errFinal, nil, 0, 1, false},
		{"the uncertain one fails to commit", &fakeStore{}, &fakeStore{commit: failCommit(errTemporary)}, false,
			reply.ErrHeldBack, errTemporary, 0, 0, false},
		{"the uncertain one fails to commit, each", &fakeStore{}, &fakeStore{commit: failCommit(errTemporary)}, true,
			nil, errTemporary, 1, 0, false},
		{"the uncertain one refuses at commit", &fakeStore{}, &fakeStore{commit: failCommit(errFinal)}, false,
			nil, errFinal, 1, 0, false},
		{"the certain one fails all the same", &fakeStore{commit: failCommit(mailbox.ErrNoSpace)}, &fakeStore{}, false,
			mailbox.ErrNoSpace, nil, 0, 1, true},
		{"an error that nobody knows is temporary", &fakeStore{}, &fakeStore{prepare: fail(io.ErrUnexpectedEOF)}, false,
			reply.ErrHeldBack, io.ErrUnexpectedEOF, 0, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.cloud.certain = true
			d := newDeliverer(t, map[string]mailbox.Store{"cloud": tt.cloud, "vps": tt.vps})
			to := []mailbox.Recipient{recipient("cloud", "a@exemple.org"), recipient("vps", "b@vps.example")}
			errs := deliver(d, t.Context(), message("x"), to, tt.each)
			if !errors.Is(errs[0], tt.errA) || !errors.Is(errs[1], tt.errB) {
				t.Errorf("results %v", errs)
			}
			if a, b := tt.cloud.count("a@exemple.org"), tt.vps.count("b@vps.example"); a != tt.inA || b != tt.inB {
				t.Errorf("copies: a %d, b %d", a, b)
			}
			if remembered := d.ledger.size.Load() > 0; remembered != tt.rememberedIn {
				t.Errorf("remembered: %v", remembered)
			}
			if open := tt.cloud.open + tt.vps.open; open != 0 {
				t.Errorf("%d deliveries neither committed nor aborted", open)
			}
		})
	}
}

func TestDeliverOneCopyForTwoSpellings(t *testing.T) {
	s := &fakeStore{certain: true}
	d := newDeliverer(t, map[string]mailbox.Store{"cloud": s})
	a, b := recipient("cloud", "a@exemple.org"), recipient("cloud", "a@exemple.org")
	b.Original = "a%exemple.org@mx.host.test"
	tagged := b
	tagged.Tag, tagged.Delivered = "tag", address("a+tag@exemple.org")
	for i, err := range deliver(d, t.Context(), message("x"), []mailbox.Recipient{a, b, tagged}, false) {
		if err != nil {
			t.Errorf("recipient %d: %v", i, err)
		}
	}
	if n := s.count("a@exemple.org"); n != 1 {
		t.Errorf("%d copies", n)
	}
	if n := s.count("a+tag@exemple.org"); n != 1 {
		t.Errorf("%d copies with the tag", n)
	}
}

func TestDeliverWithoutStore(t *testing.T) {
	d := newDeliverer(t, nil)
	errs := deliver(d, t.Context(), message("x"), []mailbox.Recipient{recipient("nowhere", "a@exemple.org")}, false)
	if !errors.Is(errs[0], mailbox.ErrUnavailable) {
		t.Error(errs[0])
	}
}

// brokenStore breaks the contract in every way.
type brokenStore struct {
	delivery mailbox.Delivery
	errs     []error
	panics   bool
}

func (s brokenStore) Prepare(context.Context, *mailbox.Message, []mailbox.Recipient) (mailbox.Delivery, []error) {
	if s.panics {
		panic("in Prepare")
	}
	return s.delivery, s.errs
}

type brokenDelivery struct {
	errs            []error
	panics, certain bool
}

func (d brokenDelivery) Commit(context.Context) []error {
	if d.panics {
		panic("in Commit")
	}
	return d.errs
}
func (d brokenDelivery) Abort() { panic("in Abort") }
func (d brokenDelivery) Certain() bool {
	if d.panics {
		panic("in Certain")
	}
	return d.certain
}

func TestBrokenStoreIsATemporaryError(t *testing.T) {
	for name, s := range map[string]brokenStore{
		"panic in Prepare":      {panics: true},
		"no result":             {delivery: brokenDelivery{}},
		"neither":               {errs: []error{nil}},
		"no result of Commit":   {errs: []error{nil}, delivery: brokenDelivery{certain: true}},
		"panic in Commit":       {errs: []error{nil}, delivery: brokenDelivery{panics: true}},
		"too many of Commit":    {errs: []error{nil}, delivery: brokenDelivery{errs: make([]error, 2)}},
		"too many from Prepare": {errs: make([]error, 2), delivery: brokenDelivery{}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDeliverer(t, map[string]mailbox.Store{"cloud": s})
			to := []mailbox.Recipient{recipient("cloud", "a@exemple.org")}
			if err := deliver(d, t.Context(), message("x"), to, false)[0]; !temporary(err) {
				t.Errorf("result %v", err)
			}
		})
	}
}

// slowStore commits when it is let.
func slowStore(certain bool) (s *fakeStore, began, proceed chan struct{}) {
	began, proceed = make(chan struct{}, 8), make(chan struct{})
	s = &fakeStore{certain: certain}
	s.commit = func(ctx context.Context, _ mailbox.Recipient) error {
		began <- struct{}{}
		select {
		case <-proceed:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return s, began, proceed
}

func TestLateSuccessIsRemembered(t *testing.T) {
	for _, each := range []bool{false, true} {
		t.Run(fmt.Sprint("each ", each), func(t *testing.T) {
			slow, began, proceed := slowStore(false)
			maildir := &fakeStore{certain: true}
			d := newDeliverer(t, map[string]mailbox.Store{"slow": slow, "cloud": maildir})
			to := []mailbox.Recipient{recipient("slow", "a@exemple.org"), recipient("cloud", "b@exemple.org")}
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-began
				cancel() // the client's time is over in the middle of the commit
			}()
			errs := deliver(d, ctx, message("x"), to, each)
			if !errors.Is(errs[0], context.Canceled) || !errors.Is(errs[1], context.Canceled) {
				t.Fatalf("results %v", errs)
			}
			if errs = deliver(d, t.Context(), message("x"), to[:1], each); !errors.Is(errs[0], errUnderway) {
				t.Fatalf("while the store is at it: %v", errs)
			}
			if errs = deliver(d, t.Context(), message("another"), to[1:], each); errs[0] != nil {
				t.Fatalf("another message meanwhile: %v", errs)
			}
			close(proceed)
			d.running.Wait()
			if errs = deliver(d, t.Context(), message("x"), to, each); errs[0] != nil || errs[1] != nil {
				t.Fatalf("the client came again: %v", errs)
			}
			if a, b := slow.count("a@exemple.org"), maildir.count("b@exemple.org"); a != 1 || b != 2 {
				t.Errorf("copies: %d and %d", a, b)
			}
			if n := d.ledger.size.Load(); n != 0 {
				t.Errorf("the ledger keeps %d entries for nobody", n)
			}
			// What is sent once more on purpose arrives once more.
			if errs = deliver(d, t.Context(), message("x"), to, each); errs[0] != nil || slow.count("a@exemple.org") != 2 {
				t.Errorf("sent again: %v, %d copies", errs, slow.count("a@exemple.org"))
			}
		})
	}
}

func TestCloseBreaksOffWhatIsLate(t *testing.T) {
	slow, began, _ := slowStore(true)
	l := newLedger(t, filepath.Join(t.TempDir(), "ledger"))
	defer l.Close()
	d := New(Options{Stores: map[string]mailbox.Store{"slow": slow}, Ledger: l, Log: discard, RefuseFailed: true})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-began
		cancel()
	}()
	to := []mailbox.Recipient{recipient("slow", "a@exemple.org")}
	if errs := deliver(d, ctx, message("x"), to, false); !errors.Is(errs[0], context.Canceled) {
		t.Fatal(errs)
	}
	over, stop := context.WithCancel(t.Context())
	stop()
	if err := d.Close(over); !errors.Is(err, context.Canceled) {
		t.Errorf("Close: %v", err)
	}
	if n := l.size.Load(); n != 0 {
		t.Errorf("%d holds are left", n)
	}
}

func TestLateStoreIsGivenUp(t *testing.T) {
	slow, began, _ := slowStore(true)
	l := newLedger(t, filepath.Join(t.TempDir(), "ledger"))
	defer l.Close()
	d := New(Options{Stores: map[string]mailbox.Store{"slow": slow}, Ledger: l, Log: discard, RefuseFailed: true, Late: time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-began
		cancel()
	}()
	deliver(d, ctx, message("x"), []mailbox.Recipient{recipient("slow", "a@exemple.org")}, false)
	if err := d.Close(context.Background()); err != nil { // ends only because the store was given up
		t.Error(err)
	}
}

func TestStuckStoresAreNotAsked(t *testing.T) {
	d := newDeliverer(t, nil)
	d.lates.Store(maxLate)
	errs := deliver(d, t.Context(), message("x"), []mailbox.Recipient{recipient("cloud", "a@exemple.org")}, false)
	if !errors.Is(errs[0], errStuck) {
		t.Error(errs)
	}
}

// retained is a content that knows whether it may be read.
type retained struct {
	memoryContent
	mu   sync.Mutex
	refs int
}

func (c *retained) Retain() func() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refs++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.refs--
	}
}

func TestContentIsRetainedWhileAStoreIsLate(t *testing.T) {
	slow, began, proceed := slowStore(false)
	d := newDeliverer(t, map[string]mailbox.Store{"slow": slow})
	c := &retained{memoryContent: memoryContent("x")}
	m := message("")
	m.Content = c
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-began
		cancel()
	}()
	deliver(d, ctx, m, []mailbox.Recipient{recipient("slow", "a@exemple.org")}, false)
	c.mu.Lock()
	if c.refs != 1 {
		t.Errorf("%d references while the store is late", c.refs)
	}
	c.mu.Unlock()
	close(proceed)
	d.running.Wait()
	if c.refs != 0 {
		t.Errorf("%d references at the end", c.refs)
	}
}

func BenchmarkDeliverOneRecipient(b *testing.B) {
	d := newDeliverer(b, map[string]mailbox.Store{"cloud": nullStore{}})
	m := message(string(make([]byte, 10<<10)))
	to := []mailbox.Recipient{recipient("cloud", "a@exemple.org")}
	b.ReportAllocs()
	for b.Loop() {
		if err := deliver(d, context.Background(), m, to, false)[0]; err != nil {
			b.Fatal(err)
		}
	}
}

type nullStore struct{}

func (nullStore) Prepare(_ context.Context, _ *mailbox.Message, to []mailbox.Recipient) (mailbox.Delivery, []error) {
	return nullDelivery(len(to)), make([]error, len(to))
}

type nullDelivery int

func (n nullDelivery) Commit(context.Context) []error { return make([]error, n) }
func (nullDelivery) Abort()                           {}
func (nullDelivery) Certain() bool                    { return true }
