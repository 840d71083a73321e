package delivery

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"mxbypass/mailbox"
	"mxbypass/routing"
)

// memoryContent is a message in memory that is never reused.
type memoryContent []byte

func (c memoryContent) Size() int64          { return int64(len(c)) }
func (c memoryContent) Buffers() [][]byte    { return [][]byte{c} }
func (c memoryContent) NewReader() io.Reader { return bytes.NewReader(c) }

func message(text string) *mailbox.Message {
	return &mailbox.Message{ID: "01TEST", Reverse: address("sender@remote.example"), Content: memoryContent(text)}
}

func address(s string) mailbox.Address {
	a, err := mailbox.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

func recipient(site, addr string) mailbox.Recipient {
	a := address(addr)
	return mailbox.Recipient{Mailbox: mailbox.Mailbox{Address: a, Site: site}, Original: addr, Delivered: a}
}

var (
	errTemporary = &mailbox.RemoteError{Code: 451, Text: "busy", Host: "store.test", Command: "RCPT"}
	errFinal     = &mailbox.RemoteError{Code: 550, Text: "gone", Host: "store.test", Command: "RCPT"}
)

// fakeStore fails as it is told, and counts copies.
type fakeStore struct {
	certain bool
	prepare func(r mailbox.Recipient) error // nil: fine
	commit  func(ctx context.Context, r mailbox.Recipient) error

	mu     sync.Mutex
	copies map[string]int
	open   int // deliveries neither committed nor aborted
	ended  int // ended more than once
}

func (s *fakeStore) Prepare(_ context.Context, _ *mailbox.Message, to []mailbox.Recipient) (mailbox.Delivery, []error) {
	errs := make([]error, len(to))
	d := &fakeDelivery{store: s, to: to, errs: errs}
	prepared := false
	for i, r := range to {
		if s.prepare != nil {
			errs[i] = s.prepare(r)
		}
		prepared = prepared || errs[i] == nil
	}
	if !prepared {
		return nil, errs
	}
	s.mu.Lock()
	s.open++
	s.mu.Unlock()
	return d, errs
}

type fakeDelivery struct {
	store *fakeStore
	to    []mailbox.Recipient
	errs  []error
	ended bool
}

func (d *fakeDelivery) Certain() bool { return d.store.certain }

func (d *fakeDelivery) end() {
	d.store.mu.Lock()
	defer d.store.mu.Unlock()
	d.store.open--
	if d.ended {
		d.store.ended++
	}
	d.ended = true
}

func (d *fakeDelivery) Abort() { d.end() }

func (d *fakeDelivery) Commit(ctx context.Context) []error {
	d.end()
	errs := make([]error, len(d.to))
	for i, r := range d.to {
		if errs[i] = d.errs[i]; errs[i] != nil {
			continue
		}
		if d.store.commit != nil {
			errs[i] = d.store.commit(ctx, r)
		}
		if errs[i] == nil {
			d.store.mu.Lock()
			if d.store.copies == nil {
				d.store.copies = map[string]int{}
			}
			d.store.copies[r.Delivered.String()]++
			d.store.mu.Unlock()
		}
	}
	return errs
}

func (s *fakeStore) count(addr string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.copies[addr]
}

var discard = slog.New(slog.DiscardHandler)

func newLedger(t testing.TB, path string) *Ledger {
	t.Helper()
	l, err := OpenLedger(path, discard)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// newDeliverer gives a deliverer with a ledger of its own; both end with the test.
func newDeliverer(t testing.TB, stores map[string]mailbox.Store) *Deliverer {
	t.Helper()
	l := newLedger(t, filepath.Join(t.TempDir(), "ledger"))
	d := New(Options{Stores: stores, Ledger: l, Log: discard, RefuseFailed: true, Timeout: time.Minute})
	t.Cleanup(func() {
		if err := errors.Join(d.Close(context.Background()), l.Close()); err != nil {
			t.Error(err)
		}
	})
	return d
}

// deliver is Deliver for mailboxes alone, with its errors.
func deliver(d *Deliverer, ctx context.Context, m *mailbox.Message, to []mailbox.Recipient, each bool) []error {
	var errs []error
	for _, o := range d.Deliver(ctx, m, targets(to), each) {
		errs = append(errs, o.Err)
	}
	return errs
}

func targets(to []mailbox.Recipient) []routing.Target {
	all := make([]routing.Target, len(to))
	for i := range to {
		all[i].Mailbox = &to[i]
	}
	return all
}

// elsewhere is an address that is not ours.
func elsewhere(addr string) routing.Target {
	a := address(addr)
	return routing.Target{Outbound: &routing.Outbound{To: a, Hop: routing.Hop{Kind: routing.HopMX, Domain: a.Domain}}}
}

// fakeQueue counts what it was given.
type fakeQueue struct {
	fail error // of Accept

	mu       sync.Mutex
	copies   map[string]int
	accepts  int
	reported []string
}

func (q *fakeQueue) Accept(_ context.Context, _ *mailbox.Message, to []routing.Target) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.fail != nil {
		return q.fail
	}
	q.accepts++
	for _, t := range to {
		if q.copies == nil {
			q.copies = map[string]int{}
		}
		if t.Outbound != nil {
			q.copies[t.Outbound.To.String()]++
		} else {
			q.copies[t.Mailbox.Delivered.String()]++
		}
	}
	return nil
}

func (q *fakeQueue) Delivered(_ context.Context, _ *mailbox.Message, to []mailbox.Recipient) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range to {
		q.reported = append(q.reported, r.Delivered.String())
	}
	return nil
}

func (q *fakeQueue) count(addr string) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.copies[addr]
}
