package relay

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"mxbypass/mailbox"
	"mxbypass/relay/inbound"
	"mxbypass/relay/msgauth/arc"
)

// stamp vouches for what it is shown, or fails.
type stamp struct{ err error }

func (s stamp) Sign(context.Context, mailbox.Content) ([]byte, error) {
	return []byte("DKIM-Signature: us\r\n"), s.err
}

func (s stamp) Seal(context.Context, mailbox.Content, []byte, arc.Chain) ([]byte, error) {
	return nil, s.err
}

// words is content in memory.
type words string

func (w words) Size() int64          { return int64(len(w)) }
func (w words) Buffers() [][]byte    { return [][]byte{[]byte(w)} }
func (w words) NewReader() io.Reader { return strings.NewReader(string(w)) }

// TestSubmit: mail of our own is signed and queued while the relay runs, and refused otherwise.
func TestSubmit(t *testing.T) {
	r, _ := newRelay(t)
	to := mailbox.Address{Local: "u", Domain: mailbox.MustDomainName("d.test")}
	submit := func() error {
		return r.Submit(t.Context(), &mailbox.Message{Content: words("Subject: x\r\n\r\n")}, to)
	}
	if submit() == nil {
		t.Error("it does not run yet")
	}
	store := &box{hold: make(chan struct{}), busy: make(chan struct{}, 1)}
	p, _ := parts(store, smtpOn(port(1)))
	broken := errors.New("no key can be read")
	p.Trust = inbound.Trust{Signer: stamp{broken}}
	if err := r.Start(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if err := submit(); !errors.Is(err, broken) {
		t.Error(err)
	}
	p.Trust.Signer = stamp{}
	if err := r.Reload(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if err := submit(); err != nil {
		t.Error(err)
	}
	<-store.busy
	close(store.hold)
	if err := r.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if got := strings.Join(store.got(), "\n"); got != "u@d.test: Subject: x\r\n\r\n" {
		t.Errorf("%q", got)
	}
	if submit() == nil {
		t.Error("it does not run any more")
	}
}
