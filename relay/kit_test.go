package relay

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/textproto"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mxbypass/mailbox"
	"mxbypass/relay/dispatch"
	"mxbypass/relay/inbound"
	"mxbypass/relay/maillog"
	"mxbypass/relay/outbound"
	"mxbypass/routing"
)

// everybody is a router that knows every mailbox, at one site.
type everybody struct{ site string }

func (e everybody) Route(_ context.Context, p mailbox.Path, _ routing.Client) routing.Route {
	return routing.Route{Action: routing.Deliver, Path: p, Recipients: []mailbox.Recipient{{
		Mailbox:   mailbox.Mailbox{Address: p.Address, Site: e.site},
		Original:  p.Written,
		Delivered: p.Address,
	}}}
}

// box is a store in memory.
type box struct {
	hold chan struct{} // not nil: Commit waits for it
	busy chan struct{} // told when Commit begins, if hold is set

	mu   sync.Mutex
	mail []string
}

func (b *box) Prepare(_ context.Context, m *mailbox.Message, to []mailbox.Recipient) (mailbox.Delivery, []error) {
	return &boxed{b, m, to}, make([]error, len(to))
}

type boxed struct {
	box *box
	m   *mailbox.Message
	to  []mailbox.Recipient
}

func (d *boxed) Certain() bool { return true }
func (d *boxed) Abort()        {}

func (d *boxed) Commit(ctx context.Context) []error {
	errs := make([]error, len(d.to))
	if d.box.hold != nil {
		d.box.busy <- struct{}{}
		select {
		case <-d.box.hold:
		case <-ctx.Done():
			for i := range errs {
				errs[i] = ctx.Err()
			}
			return errs
		}
	}
	text, err := io.ReadAll(d.m.Content.NewReader())
	for i, r := range d.to {
		if errs[i] = err; err == nil {
			d.box.mu.Lock()
			d.box.mail = append(d.box.mail, r.Delivered.String()+": "+string(text))
			d.box.mu.Unlock()
		}
	}
	return errs
}

func (b *box) got() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.mail)
}

// parts gives a configuration with one site, and a counter of how often it was closed.
func parts(store mailbox.Store, listeners map[Endpoint]inbound.Service) (Parts, *atomic.Int32) {
	closed := new(atomic.Int32)
	return Parts{
		Hostname:  "mx.host.test",
		Listeners: listeners,
		Router:    everybody{"cloud"},
		Stores:    map[string]mailbox.Store{"cloud": store},
		Outgoing:  nowhere(),
		Close:     func() error { closed.Add(1); return nil },
	}, closed
}

// nowhere is an outside world that cannot be reached.
func nowhere() Outgoing {
	return Outgoing{
		Connect: func(context.Context, routing.Hop) (dispatch.Conn, error) {
			return nil, &outbound.Failure{Scope: outbound.ScopeDestination, Enhanced: [3]int{4, 4, 1}, Text: "nowhere"}
		},
		Schedule: dispatch.Schedule{First: time.Minute, Max: time.Hour, Lifetime: 24 * time.Hour,
			ReportLifetime: 24 * time.Hour},
		Limits: dispatch.Limits{Connections: 10, PerDestination: 2, Initial: 1, Recipients: 100},
	}
}

// port is a loopback address with a port of the system's choice; n makes several of them different.
func port(n int) Endpoint { return Endpoint{"tcp", fmt.Sprintf("127.0.0.%d:0", n)} }

func smtpOn(ends ...Endpoint) map[Endpoint]inbound.Service {
	m := map[Endpoint]inbound.Service{}
	for _, e := range ends {
		m[e] = inbound.Service{Protocol: inbound.SMTP}
	}
	return m
}

func newRelay(t *testing.T) (*Relay, *lockedBuffer) {
	t.Helper()
	var out lockedBuffer
	log, err := maillog.New(&out, maillog.Text, slog.LevelDebug)
	if err != nil {
		t.Fatal(err)
	}
	r, err := New(t.Context(), Options{StateDir: t.TempDir(), Log: log, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		log.Close()
		if t.Failed() {
			t.Log(out.String())
		}
	})
	return r, &out
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func shutdown(t *testing.T, r *Relay) {
	t.Helper()
	if err := r.Shutdown(context.Background()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// client is a dialogue.
type client struct {
	t *testing.T
	*textproto.Conn
}

func dial(t *testing.T, r *Relay, e Endpoint) *client {
	t.Helper()
	c, err := net.Dial(e.Network, r.Addresses()[e])
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	d := &client{t, textproto.NewConn(c)}
	t.Cleanup(func() { d.Close() })
	d.expect(220)
	return d
}

func (c *client) expect(code int) string {
	c.t.Helper()
	_, text, err := c.ReadResponse(code)
	if err != nil {
		c.t.Fatalf("instead of %d: %v", code, err)
	}
	return text
}

func (c *client) say(code int, line string) string {
	c.t.Helper()
	if err := c.PrintfLine("%s", line); err != nil {
		c.t.Fatal(err)
	}
	return c.expect(code)
}

// mail sends a message up to the final dot, whose answer is left to be read.
func (c *client) mail(to, text string) {
	c.t.Helper()
	c.say(250, "EHLO client.example")
	c.say(250, "MAIL FROM:<a@client.example>")
	c.say(250, "RCPT TO:<"+to+">")
	c.say(354, "DATA")
	if err := c.PrintfLine("%s\r\n.", text); err != nil {
		c.t.Fatal(err)
	}
}
