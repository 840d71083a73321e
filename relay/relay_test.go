package relay

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"mxbypass/relay/inbound"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRelayDelivers(t *testing.T) {
	r, log := newRelay(t)
	store := new(box)
	p, closed := parts(store, smtpOn(port(1), port(2)))
	if err := r.Start(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	for n := range 2 {
		c := dial(t, r, port(n+1))
		c.mail("foobar@exemple.org", "Subject: hello")
		if text := c.expect(250); !strings.Contains(text, "delivered to foobar@exemple.org, id ") {
			t.Errorf("answer %q", text)
		}
		c.say(221, "QUIT")
	}
	if got := store.got(); len(got) != 2 || got[0] != "foobar@exemple.org: Subject: hello\r\n" {
		t.Errorf("in the store: %q", got)
	}
	shutdown(t, r)
	if n := closed.Load(); n != 1 {
		t.Errorf("parts closed %d times", n)
	}
	for _, event := range []string{"started", "connected", "routed", "received", "delivered", "disconnected", "stopped"} {
		if !strings.Contains(log.String(), "msg="+event) {
			t.Errorf("the log has no event %q", event)
		}
	}
}

func TestStartBindsAllOrNothing(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	used := Endpoint{"tcp", taken.Addr().String()}
	r, log := newRelay(t)
	p, closed := parts(new(box), smtpOn(port(2), used))
	err = r.Start(t.Context(), p)
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), used.Address) {
		t.Errorf("Start: %v", err)
	}
	if len(r.Addresses()) != 0 || closed.Load() != 0 {
		t.Errorf("after it: %v, parts closed %d times", r.Addresses(), closed.Load())
	}
	if err := r.Start(t.Context(), Parts{}); err == nil {
		t.Error("started without a listener")
	}
	shutdown(t, r)
	if err := r.log.Close(); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(log.String(), "stopped") {
		t.Errorf("what never ran has stopped:\n%s", log)
	}
}

func TestOneRelayPerStateFolder(t *testing.T) {
	r, _ := newRelay(t)
	if _, err := New(t.Context(), r.options); !errors.Is(err, ErrLocked) {
		t.Errorf("a second one: %v", err)
	}
	shutdown(t, r)
	again, err := New(t.Context(), r.options)
	if err != nil {
		t.Fatalf("after the first one: %v", err)
	}
	shutdown(t, again)
}

func TestReloadKeepsTheTransactionInItsParts(t *testing.T) {
	r, _ := newRelay(t)
	first, second := new(box), new(box)
	p, closed := parts(first, smtpOn(port(1)))
	if err := r.Start(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	c := dial(t, r, port(1))
	c.say(250, "EHLO client.example")
	c.say(250, "MAIL FROM:<a@client.example>")
	c.say(250, "RCPT TO:<foobar@exemple.org>")
	next, _ := parts(second, smtpOn(port(1)))
	if err := r.Reload(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	if closed.Load() != 0 {
		t.Error("the old parts were closed under a transaction")
	}
	c.say(354, "DATA")
	c.say(250, "one\r\n.")
	c.mail("foobar@exemple.org", "two") // the connection goes on, with the new parts
	c.expect(250)
	if a, b := first.got(), second.got(); len(a) != 1 || len(b) != 1 || !strings.Contains(b[0], "two") {
		t.Errorf("in the first %q, in the second %q", a, b)
	}
	r.closings.Wait() // ends when the old parts are closed
	if n := closed.Load(); n != 1 {
		t.Errorf("old parts closed %d times", n)
	}
	shutdown(t, r)
}

func TestReloadThatFailsChangesNothing(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	r, log := newRelay(t)
	defer shutdown(t, r)
	store := new(box)
	p, closed := parts(store, smtpOn(port(1)))
	if err := r.Start(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	bad, _ := parts(new(box), smtpOn(port(2), Endpoint{"tcp", taken.Addr().String()}))
	if err := r.Reload(t.Context(), bad); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("Reload: %v", err)
	}
	bad, _ = parts(new(box), smtpOn(port(1), port(3)))
	bad.Hostname = "not a name"
	if err := r.Reload(t.Context(), bad); err == nil {
		t.Error("a hostname that is none was accepted")
	}
	if len(r.Addresses()) != 1 || closed.Load() != 0 || !strings.Contains(log.String(), "reload failed") {
		t.Errorf("listeners %v, parts closed %d times", r.Addresses(), closed.Load())
	}
	c := dial(t, r, port(1))
	c.mail("foobar@exemple.org", "x")
	c.expect(250)
	if len(store.got()) != 1 {
		t.Error("the old parts are not in use any more")
	}
}

func TestReloadMovesListeners(t *testing.T) {
	r, _ := newRelay(t)
	defer shutdown(t, r)
	p, _ := parts(new(box), smtpOn(port(1), port(2)))
	if err := r.Start(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	left := r.Addresses()[port(2)]
	stays := r.Addresses()[port(1)]
	old := dial(t, r, port(2))
	next, _ := parts(new(box), map[Endpoint]inbound.Service{port(1): {Protocol: inbound.LMTP}, port(3): {Protocol: inbound.SMTP}})
	if err := r.Reload(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	if c, err := net.Dial("tcp", left); err == nil {
		c.Close()
		t.Error("the listener that was removed still answers")
	}
	old.mail("foobar@exemple.org", "x") // who was there already goes on
	old.expect(250)
	dial(t, r, port(3)).say(250, "EHLO client.example")
	if r.Addresses()[port(1)] != stays {
		t.Error("the listener that stays was bound again")
	}
	dial(t, r, port(1)).say(250, "LHLO client.example") // its protocol is another one now
}

func TestReloadWithOtherSettingsRefusesNobody(t *testing.T) {
	r, _ := newRelay(t)
	defer shutdown(t, r)
	store := new(box)
	p, _ := parts(store, smtpOn(port(1)))
	p.Limits.ConnectionsPerClient = 1000
	if err := r.Start(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	address := r.Addresses()[port(1)]
	idle := dial(t, r, port(1))
	stop := make(chan struct{})
	var wait sync.WaitGroup
	var connected atomic.Int32
	wait.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Errorf("refused: %v", err)
				return
			}
			d := textproto.NewConn(c)
			if _, _, err := d.ReadResponse(220); err != nil && !strings.HasPrefix(err.Error(), "421") {
				t.Errorf("greeting: %v", err)
			}
			d.Close()
			connected.Add(1)
		}
	})
	for i := range 10 {
		next, _ := parts(store, smtpOn(port(1)))
		next.Limits.ConnectionsPerClient = 1001 + i
		if err := r.Reload(t.Context(), next); err != nil {
			t.Error(err)
		}
		c := dial(t, r, port(1))
		c.mail("foobar@exemple.org", "x")
		c.expect(250)
		c.Close()
	}
	close(stop)
	wait.Wait()
	idle.expect(421) // of the first server, which has gone
	if n := len(store.got()); n != 10 {
		t.Errorf("%d messages", n)
	}
}

func TestShutdownLetsTransactionsEnd(t *testing.T) {
	r, _ := newRelay(t)
	store := &box{hold: make(chan struct{}), busy: make(chan struct{}, 1)}
	p, closed := parts(store, smtpOn(port(1)))
	if err := r.Start(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	c, idle := dial(t, r, port(1)), dial(t, r, port(1))
	c.mail("foobar@exemple.org", "x")
	<-store.busy
	at := r.sockets[port(1)].Addr()
	ended := make(chan error, 1)
	go func() { ended <- r.Shutdown(context.Background()) }()
	idle.expect(421)
	if late, err := net.Dial(at.Network(), at.String()); err == nil {
		t.Error("who comes too late is let in, and left hanging")
		late.Close()
	}
	close(store.hold)
	c.expect(250)
	if err := <-ended; err != nil || closed.Load() != 1 || len(store.got()) != 1 {
		t.Errorf("Shutdown: %v, closed %d times, %d messages", err, closed.Load(), len(store.got()))
	}
}

func TestShutdownBreaksOff(t *testing.T) {
	r, _ := newRelay(t)
	store := &box{hold: make(chan struct{}), busy: make(chan struct{}, 1)}
	p, closed := parts(store, smtpOn(port(1)))
	if err := r.Start(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	c := dial(t, r, port(1))
	c.mail("foobar@exemple.org", "x")
	<-store.busy
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Shutdown(over); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown: %v", err)
	}
	if _, _, err := c.ReadResponse(250); err == nil {
		t.Error("250 for a message that is nowhere")
	}
	if closed.Load() != 1 || len(store.got()) != 0 {
		t.Errorf("closed %d times, %d messages", closed.Load(), len(store.got()))
	}
}

func TestUnixSocketLeftBehind(t *testing.T) {
	dir, err := os.MkdirTemp("", "relay") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	e := Endpoint{"unix", filepath.Join(dir, "s")}
	dead, err := net.Listen("unix", e.Address)
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	r, _ := newRelay(t)
	defer shutdown(t, r)
	p, _ := parts(new(box), map[Endpoint]inbound.Service{e: {Protocol: inbound.LMTP}})
	if err := r.Start(t.Context(), p); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a socket that is in use was taken: %v", err)
	}
	dead.Close()
	if err := r.Start(t.Context(), p); err != nil {
		t.Fatalf("a socket that a crash left behind: %v", err)
	}
	dial(t, r, e).say(250, "LHLO client.example")
}

func TestFileIsNoSocketLeftBehind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := bind(t.Context(), Endpoint{"unix", path}); err == nil {
		t.Error("bound over a file")
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

func TestListenerThatDiesIsTold(t *testing.T) {
	r, _ := newRelay(t)
	defer shutdown(t, r)
	p, _ := parts(new(box), smtpOn(port(1)))
	if err := r.Start(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	want := errors.New("the network is gone")
	r.sockets[port(1)].accepted <- accepted{nil, want}
	if err := <-r.Failed(); !errors.Is(err, want) {
		t.Error(err)
	}
}

func TestTrusted(t *testing.T) {
	s := &snapshot{trusted: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}}
	for addr, want := range map[string]bool{
		"192.0.2.7": true, "::ffff:192.0.2.7": true, "192.0.3.7": false, "2001:db8::1": true, "fe80::1%eth0": false,
	} {
		if got := s.Trusted(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %v", addr, got)
		}
	}
	if s.Trusted(netip.Addr{}) {
		t.Error("no address is trusted")
	}
}
