package lmtp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mxbypass/mailbox"
	"mxbypass/mailbox/smtpclient"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory and stream are contents, as the relay keeps them in memory and in a file.
type memory []byte

func (c memory) Size() int64          { return int64(len(c)) }
func (c memory) NewReader() io.Reader { return bytes.NewReader(c) }
func (c memory) Buffers() [][]byte {
	half := len(c) / 2
	return [][]byte{c[:half], {}, c[half:]}
}

type stream struct {
	size int64
	open func() io.Reader
}

func (c stream) Size() int64          { return c.size }
func (c stream) NewReader() io.Reader { return c.open() }
func (c stream) Buffers() [][]byte    { return nil }

func fromFile(s string) stream {
	return stream{int64(len(s)), func() io.Reader { return strings.NewReader(s) }}
}

const text = "Subject: hello\r\n\r\n.dot\r\n..\r\nbye\r\n"

func message(content mailbox.Content) *mailbox.Message {
	return &mailbox.Message{ID: "01TEST", Reverse: address("sender@client.test"),
		Trace: []byte("Received: from client.test by mx.host.test; now\r\n"), Content: content}
}

func address(s string) mailbox.Address {
	a, err := mailbox.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

func recipients(addresses ...string) []mailbox.Recipient {
	var to []mailbox.Recipient
	for _, s := range addresses {
		a := address(s)
		to = append(to, mailbox.Recipient{Mailbox: mailbox.Mailbox{Address: a}, Original: s, Delivered: a})
	}
	return to
}

func newStore(t *testing.T, s *server, change func(*Options)) *Store {
	t.Helper()
	opts := Options{Address: s.address, Protocol: s.protocol, Hostname: mailbox.MustDomainName("mx.host.test")}
	if change != nil {
		change(&opts)
	}
	store, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// deliver prepares and commits.
func deliver(ctx context.Context, s *Store, m *mailbox.Message, to []mailbox.Recipient) []error {
	d, errs := s.Prepare(ctx, m, to)
	if d == nil {
		return errs
	}
	return d.Commit(ctx)
}

func mustDeliver(t *testing.T, s *Store, to ...string) {
	t.Helper()
	for i, err := range deliver(t.Context(), s, message(memory(text)), recipients(to...)) {
		if err != nil {
			t.Fatalf("%s: %v", to[i], err)
		}
	}
}

// kind sorts a result: what the relay can know of it.
func kind(err error) string {
	var remote *mailbox.RemoteError
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, mailbox.ErrInDoubt) && errors.Is(err, mailbox.ErrUnavailable):
		return "doubt"
	case errors.As(err, &remote):
		return "remote"
	case errors.Is(err, mailbox.ErrUnavailable):
		return "unavailable"
	}
	return "other: " + err.Error()
}

// replies sets the timeouts of all replies. A busy machine may let them end before their time: what is expected of
// a store that has them must hold then, too.
func replies(d time.Duration) smtpclient.Timeouts {
	return smtpclient.Timeouts{Greeting: d, Hello: d, Mail: d, Rcpt: d, DataStart: d, DataBlock: d, DataEnd: d, Reset: d}
}
