package lmtp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mxbypass/mailbox"
	"mxbypass/mailbox/smtpclient"
)

func TestReuse(t *testing.T) {
	s := newServer(t, smtpclient.LMTP, "PIPELINING")
	store := newStore(t, s, nil)
	for range 3 {
		mustDeliver(t, store, "a@d.test", "b@d.test")
	}
	if n := s.connections(); n != 1 {
		t.Errorf("%d connections for three messages", n)
	}
}

func TestAbort(t *testing.T) {
	for _, ext := range [][]string{nil, {"PIPELINING"}} {
		s := newServer(t, smtpclient.LMTP, ext...)
		store := newStore(t, s, nil)
		d, errs := store.Prepare(t.Context(), message(memory(text)), recipients("a@d.test"))
		if d == nil || d.Certain() {
			t.Fatalf("%v, %v", d, errs)
		}
		d.Abort()
		mustDeliver(t, store, "b@d.test")
		if log := s.log(); !slices.Contains(log, "RSET") || s.connections() != 1 {
			t.Errorf("%d connections, %q", s.connections(), log)
		}
		if m := s.taken(); len(m) != 1 || m[0].to[0] != "b@d.test" {
			t.Errorf("%q", m)
		}
	}
}

// TestStale: what a kept connection can have come to before it is used again. The message gets through, on a second one.
func TestStale(t *testing.T) {
	for name, c := range map[string]struct {
		stage string // of the second transaction on the first connection
		act   act
		abort bool // the first transaction is aborted
	}{
		"closed":               {stage: "MAIL", act: act{close: true}},
		"going down":           {stage: "MAIL", act: act{say: "421 4.3.2 too long\r\n", close: true}},
		"nonsense":             {stage: "MAIL", act: act{say: "\x00\r\n"}},
		"closed at RCPT":       {stage: "RCPT1", act: act{close: true}},
		"RSET closes":          {stage: "RSET", act: act{close: true}, abort: true},
		"RSET refused":         {stage: "RSET", act: act{say: "500 what\r\n"}, abort: true},
		"RSET is not answered": {stage: "RSET", act: act{hang: true}, abort: true},
	} {
		for _, ext := range [][]string{nil, {"PIPELINING"}} {
			t.Run(fmt.Sprintf("%s/pipelining %t", name, ext != nil), func(t *testing.T) {
				s := newServer(t, smtpclient.LMTP, ext...)
				store := newStore(t, s, func(o *Options) {
					if c.act.hang {
						o.Timeouts.Reset = 50 * time.Millisecond
					}
				})
				var armed atomic.Bool
				s.setScript(func(conn int, stage string) (act, bool) {
					return c.act, conn == 1 && stage == c.stage && armed.Load()
				})
				d, errs := store.Prepare(t.Context(), message(memory(text)), recipients("a@d.test"))
				if d == nil {
					t.Fatal(errs)
				}
				armed.Store(true)
				if c.abort {
					d.Abort()
				} else if errs := d.Commit(t.Context()); errs[0] != nil {
					t.Fatal(errs)
				}
				mustDeliver(t, store, "b@d.test")
				if n := s.connections(); n != 2 {
					t.Errorf("%d connections", n)
				}
			})
		}
	}
}

// TestStaleOnce: a new connection that fails as well is the end.
func TestStaleOnce(t *testing.T) {
	s := newServer(t, smtpclient.LMTP)
	store := newStore(t, s, nil)
	mustDeliver(t, store, "a@d.test")
	s.setScript(func(_ int, stage string) (act, bool) { return act{close: true}, stage == "MAIL" })
	errs := deliver(t.Context(), store, message(memory(text)), recipients("a@d.test"))
	if kind(errs[0]) != "unavailable" || s.connections() != 2 {
		t.Errorf("%v after %d connections", errs, s.connections())
	}
}

// TestSlowIsNotStale: a kept connection on which the envelope is not answered is not given up for another one.
func TestSlowIsNotStale(t *testing.T) {
	s := newServer(t, smtpclient.LMTP)
	store := newStore(t, s, func(o *Options) { o.Timeouts.Mail = 50 * time.Millisecond })
	var armed atomic.Bool
	s.setScript(func(_ int, stage string) (act, bool) { return act{hang: true}, stage == "MAIL" && armed.Load() })
	for deliver(t.Context(), store, message(memory(text)), recipients("a@d.test"))[0] != nil {
		t.Log("a busy machine: the time was over too early")
	}
	before := s.connections()
	armed.Store(true)
	errs := deliver(t.Context(), store, message(memory(text)), recipients("a@d.test"))
	if kind(errs[0]) != "unavailable" || s.connections() != before {
		t.Errorf("%v after %d connections", errs, s.connections())
	}
}

// TestRestart: the server was restarted since.
func TestRestart(t *testing.T) {
	s := newServer(t, smtpclient.SMTP, "PIPELINING")
	store := newStore(t, s, nil)
	mustDeliver(t, store, "a@d.test")
	s.closeAll()
	mustDeliver(t, store, "a@d.test")
	if n := s.connections(); n != 2 {
		t.Errorf("%d connections", n)
	}
}

// TestUnaskedWhileIdle: a connection on which something came that nobody asked for is not used again.
func TestUnaskedWhileIdle(t *testing.T) {
	s := newServer(t, smtpclient.LMTP)
	s.setScript(func(conn int, stage string) (act, bool) {
		return act{say: "250 2.0.0 saved\r\n421 4.4.2 idle\r\n"}, stage == "end1" && conn == 1
	})
	store := newStore(t, s, nil)
	mustDeliver(t, store, "a@d.test")
	mustDeliver(t, store, "a@d.test")
	if n := s.connections(); n != 2 {
		t.Errorf("%d connections", n)
	}
}

func TestIdleLimit(t *testing.T) {
	s := newServer(t, smtpclient.LMTP)
	store := newStore(t, s, func(o *Options) { o.IdleLimit = time.Millisecond })
	d, errs := store.Prepare(t.Context(), message(memory(text)), recipients("a@d.test"))
	if d == nil {
		t.Fatal(errs)
	}
	d.Abort()
	<-s.quit
	mustDeliver(t, store, "a@d.test")
	<-s.quit
}

func TestWaitersHonourTheContext(t *testing.T) {
	s := newServer(t, smtpclient.LMTP)
	store := newStore(t, s, func(o *Options) { o.Connections = 1 })
	held, errs := store.Prepare(t.Context(), message(memory(text)), recipients("a@d.test"))
	if held == nil {
		t.Fatal(errs)
	}
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan []error)
	go func() { result <- deliver(ctx, store, message(memory(text)), recipients("b@d.test", "c@d.test")) }()
	cancel()
	for _, err := range <-result {
		if kind(err) != "unavailable" || !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	}
	go func() { result <- deliver(t.Context(), store, message(memory(text)), recipients("b@d.test")) }()
	if errs := held.Commit(t.Context()); errs[0] != nil {
		t.Error(errs)
	}
	if errs := <-result; errs[0] != nil {
		t.Error(errs)
	}
}

func TestBounded(t *testing.T) {
	s := newServer(t, smtpclient.LMTP, "PIPELINING")
	store := newStore(t, s, func(o *Options) { o.Connections = 3 })
	var wg sync.WaitGroup
	for range 60 {
		wg.Go(func() {
			if errs := deliver(t.Context(), store, message(memory(text)), recipients("a@d.test")); errs[0] != nil {
				t.Error(errs)
			}
		})
	}
	wg.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.most > 3 || len(s.messages) != 60 {
		t.Errorf("%d connections at a time, %d messages", s.most, len(s.messages))
	}
}

// TestManyRecipients: several transactions at a time, also for two messages that want all connections.
func TestManyRecipients(t *testing.T) {
	for _, c := range []struct{ n, connections, transactions int }{
		{100, 3, 1}, {120, 3, 2}, {250, 3, 3}, {1000, 2, 2}, {1001, 10, 10},
	} {
		s := newServer(t, smtpclient.LMTP, "PIPELINING")
		s.setScript(func(_ int, stage string) (act, bool) { return act{say: "550 5.1.1 no\r\n"}, stage == "RCPT7" })
		store := newStore(t, s, func(o *Options) { o.Connections = c.connections })
		addresses := make([]string, c.n)
		for i := range addresses {
			addresses[i] = fmt.Sprintf("user%d@d.test", i)
		}
		to := recipients(addresses...)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				refused := 0
				for _, err := range deliver(t.Context(), store, message(memory(text)), to) {
					if err != nil {
						refused++
					}
				}
				if refused != c.transactions {
					t.Errorf("%d recipients: %d refused in %d transactions", c.n, refused, c.transactions)
				}
			})
		}
		wg.Wait()
		if m := s.taken(); len(m) != 3*c.transactions {
			t.Errorf("%d recipients: %d transactions", c.n, len(m))
		}
	}
}

func TestClose(t *testing.T) {
	s := newServer(t, smtpclient.LMTP)
	store := newStore(t, s, nil)
	used, errs := store.Prepare(t.Context(), message(memory(text)), recipients("a@d.test"))
	if used == nil {
		t.Fatal(errs)
	}
	mustDeliver(t, store, "b@d.test")
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	<-s.quit // the unused one
	if errs := deliver(t.Context(), store, message(memory(text)), recipients("c@d.test")); kind(errs[0]) != "unavailable" {
		t.Error(errs)
	}
	if errs := used.Commit(t.Context()); errs[0] != nil {
		t.Error(errs)
	}
	<-s.quit
	if m := s.taken(); len(m) != 2 {
		t.Errorf("%q", m)
	}
}

func TestNoServer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := ln.Addr().String()
	_ = ln.Close()
	for _, address := range []string{closed, "unix:" + t.TempDir() + "/none"} {
		store, err := New(Options{Address: address, Protocol: smtpclient.SMTP, Hostname: mailbox.MustDomainName("h.test")})
		if err != nil {
			t.Fatal(err)
		}
		d, errs := store.Prepare(t.Context(), message(memory(text)), recipients("a@d.test"))
		if d != nil || kind(errs[0]) != "unavailable" || !strings.Contains(errs[0].Error(), address) {
			t.Errorf("%v, %v", d, errs)
		}
		_ = store.Close()
	}
}
