package dispatch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mxbypass/mailbox"
	"mxbypass/relay/outbound"
	"mxbypass/relay/queue"
	"mxbypass/routing"
)

var errDisk = errors.New("input/output error")

// TestNotQueued: without a commit nobody takes responsibility.
func TestNotQueued(t *testing.T) {
	bubble(t, func(w *world) {
		w.queue.broken = func(op string) error {
			if op == "put" {
				return mailbox.ErrNoSpace
			}
			return nil
		}
		w.run()
		m := message("me@local.test")
		if err := w.d.Accept(context.Background(), m, []Target{elsewhere("a@remote.test", 0)}); !errors.Is(err, mailbox.ErrNoSpace) {
			t.Errorf("Accept: %v", err)
		}
		if err := w.d.Accept(context.Background(), m, nil); err == nil {
			t.Error("a message for nobody was accepted")
		}
		if m.Content.(*retained).refs != 0 {
			t.Error("the content is kept")
		}
		w.stop()
		w.empty()
		w.copies(map[string]int{"a@remote.test": 0})
	})
}

// TestQueueFails: while the queue cannot do this or that, mail waits; nothing is sent twice, nothing is lost.
func TestQueueFails(t *testing.T) {
	for _, op := range []string{"destinations", "next due", "ready", "lease", "finish", "postpone", "overdue"} {
		t.Run(op, func(t *testing.T) {
			bubble(t, func(w *world) {
				calls := 0
				w.queue.broken = func(o string) error {
					if o == op && time.Since(w.start) < 10*time.Minute {
						calls++
						return errDisk
					}
					return nil
				}
				var dead atomic.Int64
				w.connect = func(_ context.Context, hop routing.Hop) *outbound.Failure {
					if hop.Domain.ASCII() == "dead.test" && time.Since(w.start) < time.Hour {
						dead.Add(1)
						return unreachable()
					}
					return nil
				}
				w.fill(20, "remote.test")
				w.fill(2, "dead.test")
				w.run()
				for i := range 20 {
					w.accept("me@local.test", elsewhere(fmt.Sprintf("fresh%d@remote.test", i), 0))
				}
				time.Sleep(6 * time.Hour)
				w.stop()
				w.empty()
				if calls == 0 && op != "overdue" {
					t.Error("nothing failed")
				}
				if calls > 1500 || dead.Load() > 30 {
					t.Errorf("%d calls that failed, %d tries of the dead destination", calls, dead.Load())
				}
				for to, n := range w.sent {
					if n != 1 {
						t.Errorf("%d copies for %s", n, to)
					}
				}
				if len(w.sent) != 42 {
					t.Errorf("%d recipients were served", len(w.sent))
				}
			})
		})
	}
}

// TestDownWhileAttemptsAreRecorded: what was leased ahead for a destination that goes down in this moment goes back.
func TestDownWhileAttemptsAreRecorded(t *testing.T) {
	bubble(t, func(w *world) {
		w.env.Limits.Initial, w.env.Limits.PerDestination = 1, 1
		w.fill(50, "remote.test")
		leases := 0
		w.queue.broken = func(op string) error {
			if op != "lease" {
				return nil
			}
			if leases++; leases == 3 {
				w.d.mu.Lock()
				at := w.d.active["mx:remote.test"]
				if len(at.stock) == 0 {
					t.Error("nothing is read ahead")
				}
				at.down, at.last = true, attemptOf(unreachable())
				w.d.mu.Unlock()
			}
			return nil
		}
		w.run()
		time.Sleep(time.Hour)
		w.stop()
		w.empty()
		if n := len(w.all()); n != 50 {
			t.Errorf("%d messages arrived", n)
		}
	})
}

// TestDamagedRow: an attempt that cannot be recorded because of damage keeps nobody else.
func TestDamagedRow(t *testing.T) {
	bubble(t, func(w *world) {
		w.fill(50, "remote.test")
		w.queue.bad = queue.Key{Row: 7}
		w.run()
		time.Sleep(time.Minute)
		w.stop()
		if n := len(w.all()); n != 49 {
			t.Errorf("%d messages arrived", n)
		}
	})
}

// TestDamagedContent: it is put aside, and stops nothing else.
func TestDamagedContent(t *testing.T) {
	bubble(t, func(w *world) {
		w.fill(3, "remote.test")
		w.queue.damaged[2] = true
		m := message("me@local.test")
		to := envelope{&w.env, m, time.Now(), 0}.recipients(context.Background(), []Target{inBox("cloud", "a@local.test", 0)})
		if _, err := w.queue.Put(context.Background(), queue.Entry{Message: m, Recipients: to}, false); err != nil {
			t.Fatal(err)
		}
		w.queue.damaged[4] = true
		w.run()
		time.Sleep(time.Minute)
		w.stop()
		if n := len(w.queue.aside); n != 2 || w.logged("quarantined") != 2 {
			t.Errorf("%d are aside, log:\n%s", n, w.logs.String())
		}
		w.copies(map[string]int{"u0@remote.test": 1, "u1@remote.test": 0, "u2@remote.test": 1, "a@local.test": 0})
		if n := len(w.reports("me@local.test")); n != 0 {
			t.Errorf("%d reports", n)
		}
	})
}

// TestDamagedContentOfAReport: who failed, and cannot be reported on because the message is damaged, is put aside.
func TestDamagedContentOfAReport(t *testing.T) {
	bubble(t, func(w *world) {
		w.connect = func(context.Context, routing.Hop) *outbound.Failure {
			f := unreachable()
			f.Permanent = true
			return f
		}
		w.fill(2, "remote.test")
		w.queue.damaged[1] = true
		w.run()
		time.Sleep(time.Minute)
		w.stop()
		if n := len(w.queue.aside); n != 1 || len(w.reports("me@local.test")) != 1 {
			t.Errorf("%d are aside, log:\n%s", n, w.logs.String())
		}
	})
}

// TestStores: what a store's error means for its mail.
func TestStores(t *testing.T) {
	remote := func(code int, command string) error {
		return &mailbox.RemoteError{Code: code, Text: "words", Host: "lmtp.test", Command: command}
	}
	tests := []struct {
		name      string
		err       error
		fails     bool // for good
		destinate bool // the store as a whole
	}{
		{"gone", mailbox.ErrNoMailbox, true, false},
		{"full for now", mailbox.ErrOverQuota, false, false},
		{"full for good", overQuota{}, true, false},
		{"refused", remote(550, "RCPT"), true, false},
		{"deferred", remote(451, "end of data"), false, false},
		{"unavailable", fmt.Errorf("dial: %w", mailbox.ErrUnavailable), false, true},
		{"no space", mailbox.ErrNoSpace, false, true},
		{"does not greet", remote(554, "connect"), false, true},
		{"unknown", errDisk, false, false},
		{"in doubt", fmt.Errorf("%w: reset", mailbox.ErrInDoubt), false, false},
		{"SMTPUTF8", mailbox.ErrNoUTF8, true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(w *world) {
				w.box = func(_ string, r mailbox.Recipient) error {
					if r.Delivered.Local == "bad" && time.Since(w.start) < 2*time.Hour {
						return tt.err
					}
					return nil
				}
				w.run()
				w.accept("me@sender.test", inBox("cloud", "bad@local.test", 0))
				time.Sleep(time.Hour)
				n := len(w.reports("me@sender.test"))
				if failed := n == 1; failed != tt.fails {
					t.Errorf("%d reports", n)
				}
				w.queue.mu.Lock()
				at := w.queue.places["store:cloud"]
				down := at != nil && at.Failures > 0
				w.queue.mu.Unlock()
				if down != tt.destinate {
					t.Errorf("the store is down: %v", down)
				}
				time.Sleep(8 * time.Hour)
				w.stop()
				w.empty()
				if !tt.fails {
					w.copies(map[string]int{"bad@local.test": 1})
				}
				if !errors.As(tt.err, new(*mailbox.RemoteError)) && !strings.Contains(w.logs.String(), fmt.Sprintf("%q", tt.err.Error())) &&
					!strings.Contains(w.logs.String(), "error="+tt.err.Error()) {
					t.Errorf("the log does not tell why:\n%s", w.logs.String())
				}
				if doubt := strings.Contains(w.logs.String(), "doubt=true"); doubt != errors.Is(tt.err, mailbox.ErrInDoubt) {
					t.Errorf("doubt: %v", doubt)
				}
			})
		})
	}
}

type overQuota struct{}

func (overQuota) Error() string   { return "full" }
func (overQuota) Temporary() bool { return false }
func (overQuota) Is(e error) bool { return e == mailbox.ErrOverQuota }

// TestNoStore: mail for a site that is not configured any more waits for it.
func TestNoStore(t *testing.T) {
	bubble(t, func(w *world) {
		w.run()
		w.accept("me@sender.test", inBox("gone", "a@local.test", 0))
		time.Sleep(time.Minute)
		if n, leased := w.queue.left(); n != 1 || leased != 0 {
			t.Errorf("%d items, %d leased", n, leased)
		}
		w.stop()
	})
}

// TestBugOfAServer: a panic, or results for others, is a temporary failure.
func TestBugOfAServer(t *testing.T) {
	bubble(t, func(w *world) {
		tries := 0
		w.send = func(_ context.Context, _ routing.Hop, m outbound.Mail) []outbound.Result {
			switch tries++; tries {
			case 1:
				panic("a bug")
			case 2:
				return nil
			}
			return make([]outbound.Result, len(m.To))
		}
		w.run()
		w.accept("me@local.test", elsewhere("a@remote.test", 0))
		time.Sleep(time.Hour)
		w.stop()
		w.empty()
		w.copies(map[string]int{"a@remote.test": 1})
		for _, s := range []string{`error="panic in a delivery: a bug"`, `error="0 results for 1 recipients"`} {
			if !strings.Contains(w.logs.String(), s) {
				t.Errorf("no %s:\n%s", s, w.logs.String())
			}
		}
	})
}

// TestCrash: what was under way is tried again, and the doubt is logged.
func TestCrash(t *testing.T) {
	bubble(t, func(w *world) {
		w.fill(3, "remote.test")
		items, _ := w.queue.Ready(context.Background(), 1, time.Now(), 2)
		if _, err := w.queue.Lease(context.Background(), items, time.Now()); err != nil {
			t.Fatal(err)
		}
		w.queue.crash()
		w.run()
		time.Sleep(time.Second)
		w.stop()
		w.empty()
		if n := w.logged("in doubt"); n != 2 || len(w.all()) != 3 {
			t.Errorf("%d in doubt, %d arrived", n, len(w.all()))
		}
	})
}

// TestShutdown: what is under way ends, what is not begun goes back, and later mail is queued all the same.
func TestShutdown(t *testing.T) {
	bubble(t, func(w *world) {
		w.send = func(ctx context.Context, _ routing.Hop, m outbound.Mail) []outbound.Result {
			if !pause(ctx, time.Minute) {
				return failAll(m, &outbound.Failure{Scope: outbound.ScopeDestination, Enhanced: [3]int{4, 4, 2}, Text: "canceled", Err: ctx.Err()})
			}
			return make([]outbound.Result, len(m.To))
		}
		w.run()
		for i := range 50 {
			w.accept("me@local.test", elsewhere(fmt.Sprintf("u%d@remote.test", i), 0))
		}
		synctest.Wait()
		w.stop()
		if n, leased := w.queue.left(); n != 45 || leased != 0 || len(w.all()) != 5 {
			t.Errorf("%d items, %d leased, %d sent", n, leased, len(w.all()))
		}
		w.accept("me@local.test", elsewhere("late@remote.test", 0))
		if n, leased := w.queue.left(); n != 46 || leased != 0 {
			t.Errorf("%d items, %d leased", n, leased)
		}
		w.run()
		synctest.Wait()
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := w.d.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v", err)
		}
		w.ended()
		if n, leased := w.queue.left(); n != 46 || leased != 0 {
			t.Errorf("%d items, %d leased", n, leased)
		}
		for _, at := range w.queue.places {
			if at.Failures > 0 {
				t.Error("our end was taken for a failure of the destination")
			}
		}
	})
}

// TestShutdownWhileTheQueueFails: it ends all the same, and says so.
func TestShutdownWhileTheQueueFails(t *testing.T) {
	bubble(t, func(w *world) {
		w.queue.broken = func(op string) error {
			if op == "finish" {
				return errDisk
			}
			return nil
		}
		w.run()
		w.accept("me@local.test", elsewhere("a@remote.test", 0))
		time.Sleep(time.Minute)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := w.d.Shutdown(ctx); err == nil {
			t.Error("no error")
		}
		synctest.Wait()
		w.ended()
		w.queue.mend()
		w.queue.crash()
		w.run()
		time.Sleep(time.Minute)
		w.stop()
		w.empty()
		w.copies(map[string]int{"a@remote.test": 2}) // once more than needed, never less
	})
}

// TestBudget: contents are kept up to a bound, and read from the queue beyond it.
func TestBudget(t *testing.T) {
	bubble(t, func(w *world) {
		gate := make(chan struct{})
		w.send = func(_ context.Context, _ routing.Hop, m outbound.Mail) []outbound.Result {
			<-gate
			return make([]outbound.Result, len(m.To))
		}
		w.run()
		for i := range 5 {
			m := message("me@local.test")
			m.Content = &big{retained: retained{text: text("Subject: big\r\n\r\n")}}
			w.give(m, elsewhere(fmt.Sprintf("u%d@d%d.test", i, i), 0))
		}
		synctest.Wait()
		w.d.held.mu.Lock()
		if w.d.held.octets != 60<<20 || w.d.held.messages != 3 {
			t.Errorf("%d octets of %d messages", w.d.held.octets, w.d.held.messages)
		}
		w.d.held.mu.Unlock()
		close(gate)
		time.Sleep(time.Second)
		w.stop()
		w.empty()
	})
}

// big is a content that says it were long.
type big struct{ retained }

func (*big) Size() int64 { return 20 << 20 }
