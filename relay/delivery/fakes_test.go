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
	d := New(Options{Stores: stores, Ledger: l, Log: discard, Timeout: time.Minute})
	t.Cleanup(func() {
		if err := errors.Join(d.Close(context.Background()), l.Close()); err != nil {
			t.Error(err)
		}
	})
	return d
}
