package dispatch

import (
	"context"
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

// fill puts n messages into the queue as an earlier process left them.
func (w *world) fill(n int, domain string) {
	for i := range n {
		m := message("me@local.test")
		e := envelope{&w.env, m, time.Now(), 0}
		to := []Target{elsewhere(fmt.Sprintf("u%d@%s", i, domain), 0)}
		if _, err := w.queue.Put(context.Background(), queue.Entry{Message: m, Recipients: e.recipients(context.Background(), to)}, false); err != nil {
			w.t.Fatal(err)
		}
	}
}

// TestDeadDestination: however much mail waits for it, a dead host is tried by few connections at first and then by one at
// a time, further and further apart, and none of its mail is touched; when it answers, everything goes.
func TestDeadDestination(t *testing.T) {
	const n = 2000
	bubble(t, func(w *world) {
		back := 10 * time.Hour
		w.env.Schedule.Notice = 0
		w.connect = func(context.Context, routing.Hop) *outbound.Failure {
			if time.Since(w.start) < back {
				return unreachable()
			}
			return nil
		}
		w.fill(n, "remote.test")
		w.run()
		time.Sleep(time.Minute)
		for range 20 { // fresh mail does not ask for it
			w.accept("me@local.test", elsewhere("fresh@remote.test", 0))
		}
		time.Sleep(back - 2*time.Minute)
		synctest.Wait()
		tries := w.tries("mx:remote.test")
		tries = tries[w.env.Limits.Initial-1:] // those of the beginning
		leases, postpones, finishes := w.queue.counts()
		if len(tries) < 5 || len(tries) > 9 || leases != 0 || postpones != len(tries) || finishes != 0 {
			t.Errorf("tries at %v, %d leases, %d postponed, %d finished", tries, leases, postpones, finishes)
		}
		time.Sleep(5 * time.Hour)
		synctest.Wait()
		w.stop()
		w.empty()
		if w.sent["fresh@remote.test"] != 20 || len(w.all()) != n+20 {
			t.Errorf("%d messages arrived", len(w.all()))
		}
		first, last := w.mails[0].at, w.mails[len(w.all())-1].at
		if last-first > 5*time.Second {
			t.Errorf("from the first to the last: %v", last-first)
		}
		if leases, _, _ := w.queue.counts(); leases != n+20 || w.logged("destination up") != 1 || w.logged("destination down") != len(tries) {
			t.Errorf("%d leases, log:\n%.3000s", leases, w.logs.String())
		}
		// How many of those that may work do at a time is the scheduler's choice.
		if most := w.most["mx:remote.test"]; most > 20 || most <= w.env.Limits.Initial {
			t.Errorf("%d connections at most", most)
		}
	})
}

// TestFreshMailFindsDeadDestination: what was leased goes back, and waits for the destination.
func TestFreshMailFindsDeadDestination(t *testing.T) {
	bubble(t, func(w *world) {
		w.connect = func(ctx context.Context, _ routing.Hop) *outbound.Failure {
			if time.Since(w.start) < 8*time.Minute {
				_ = pause(ctx, 30*time.Second)
				return unreachable()
			}
			return nil
		}
		w.run()
		for i := range 30 {
			w.accept("me@local.test", elsewhere(fmt.Sprintf("u%d@remote.test", i), 0))
		}
		time.Sleep(time.Minute)
		if _, leased := w.queue.left(); leased != 0 {
			t.Errorf("%d items are still leased", leased)
		}
		if n := len(w.tries("mx:remote.test")); n > w.env.Limits.Initial {
			t.Errorf("%d connections", n)
		}
		time.Sleep(30 * time.Minute)
		w.stop()
		w.empty()
		if len(w.all()) != 30 {
			t.Errorf("%d messages arrived", len(w.all()))
		}
	})
}

// TestHangingDestinationStarvesNobody: neither one that hangs nor many of them keep others waiting.
func TestHangingDestinationStarvesNobody(t *testing.T) {
	for _, hanging := range []int{1, 30} {
		t.Run(fmt.Sprint(hanging), func(t *testing.T) {
			bubble(t, func(w *world) {
				w.env.Limits = Limits{Connections: 40, PerDestination: 20, Initial: 5, Recipients: 100}
				w.connect = func(ctx context.Context, hop routing.Hop) *outbound.Failure {
					if strings.HasPrefix(hop.Domain.ASCII(), "hang") {
						_ = pause(ctx, 5*time.Minute)
						return unreachable()
					}
					return nil
				}
				for i := range hanging {
					w.fill(500/hanging, fmt.Sprintf("hang%d.test", i))
				}
				w.run()
				time.Sleep(time.Second)
				for range 50 {
					w.accept("me@local.test", elsewhere("a@good.test", 0))
					w.accept("me@local.test", elsewhere("b@fine.test", 0))
				}
				time.Sleep(time.Second)
				w.copies(map[string]int{"a@good.test": 50, "b@fine.test": 50})
				w.d.breakSending()
				w.stop()
				if w.most[""] > 40 {
					t.Errorf("%d connections", w.most[""])
				}
			})
		})
	}
}

// TestBusyDestinationsTakeTurns: with fewer connections than work, everybody moves.
func TestBusyDestinationsTakeTurns(t *testing.T) {
	bubble(t, func(w *world) {
		w.env.Limits = Limits{Connections: 4, PerDestination: 20, Initial: 5, Recipients: 100}
		w.send = func(ctx context.Context, _ routing.Hop, m outbound.Mail) []outbound.Result {
			_ = pause(ctx, time.Second)
			return make([]outbound.Result, len(m.To))
		}
		w.fill(300, "busy.test")
		w.run()
		time.Sleep(10 * time.Second)
		w.fill(20, "second.test")
		w.fill(20, "third.test")
		w.d.rouse()
		time.Sleep(40 * time.Second)
		count := map[string]int{}
		for _, m := range w.all() {
			_, domain, _ := strings.Cut(m.to, "@")
			count[domain]++
		}
		if count["second.test"] < 20 || count["third.test"] < 20 || count["busy.test"] < 80 {
			t.Errorf("%v", count)
		}
		time.Sleep(time.Minute)
		w.stop()
		w.empty()
		if w.most[""] > 4 {
			t.Errorf("%d connections", w.most[""])
		}
	})
}

// TestConcurrency: it begins with a few connections, grows while it goes well, and never beyond the limit.
func TestConcurrency(t *testing.T) {
	bubble(t, func(w *world) {
		w.send = func(ctx context.Context, _ routing.Hop, m outbound.Mail) []outbound.Result {
			_ = pause(ctx, 10*time.Second)
			return make([]outbound.Result, len(m.To))
		}
		w.fill(1000, "remote.test")
		w.run()
		time.Sleep(5 * time.Second)
		if n := w.opened("mx:remote.test"); n != 5 {
			t.Errorf("%d connections at the beginning", n)
		}
		time.Sleep(20 * time.Second)
		if n := w.opened("mx:remote.test"); n <= 5 || n >= 20 {
			t.Errorf("%d connections soon after", n)
		}
		time.Sleep(4 * time.Minute)
		if n := w.opened("mx:remote.test"); n != 20 {
			t.Errorf("%d connections later", n)
		}
		time.Sleep(20 * time.Minute)
		w.stop()
		w.empty()
		if n := w.most["mx:remote.test"]; n != 20 {
			t.Errorf("%d connections at most", n)
		}
		// A connection carries a bounded number of messages.
		if n := len(w.tries("mx:remote.test")); n < 10 || n > 120 {
			t.Errorf("%d connections for 1000 messages", n)
		}
	})
}

func TestFeedback(t *testing.T) {
	l := Limits{Connections: 100, PerDestination: 20, Initial: 5, Recipients: 100}
	t.Run("never answered", func(t *testing.T) {
		if d := newDestination("mx:a.test", 1, 0, l); !d.failed() || d.limit(l, 0) != 0 || d.failures != 1 {
			t.Error("one failure is not enough")
		}
	})
	t.Run("answered", func(t *testing.T) {
		d := newDestination("mx:a.test", 1, 0, l)
		d.succeeded(l)
		n := 1
		for ; !d.failed(); n++ {
			if w := d.limit(l, 0); w != max(5-n, 1) {
				t.Errorf("a window of %d after %d failures", w, n)
			}
		}
		if n < 2 || n > 5 {
			t.Errorf("down after %d failures", n)
		}
		if d.failed() {
			t.Error("down twice")
		}
		if !d.succeeded(l) || d.limit(l, 0) != 5 || d.failures != 0 {
			t.Errorf("up again: %+v", d)
		}
	})
	t.Run("now and then", func(t *testing.T) {
		d := newDestination("mx:a.test", 1, 0, l)
		for range 1000 {
			d.succeeded(l)
			if d.failed() {
				t.Fatal("down")
			}
		}
	})
	t.Run("asked again", func(t *testing.T) {
		if d := newDestination("mx:a.test", 1, 3, l); d.limit(l, 0) != 1 {
			t.Errorf("%d workers ask", d.limit(l, 0))
		}
	})
	t.Run("scarce", func(t *testing.T) {
		if d := newDestination("mx:a.test", 1, 0, l); d.limit(l, 50) != 1 || d.limit(l, 49) != 5 {
			t.Error("no care for those that may hang")
		}
	})
}

// TestManyDestinations: what is in memory stays bounded.
func TestManyDestinations(t *testing.T) {
	bubble(t, func(w *world) {
		w.env.Limits = Limits{Connections: 3, PerDestination: 2, Initial: 1, Recipients: 100}
		w.send = func(ctx context.Context, _ routing.Hop, m outbound.Mail) []outbound.Result {
			_ = pause(ctx, 100*time.Millisecond)
			return make([]outbound.Result, len(m.To))
		}
		for i := range 200 {
			w.fill(1, fmt.Sprintf("d%d.test", i))
		}
		w.run()
		most := 0
		for range 300 {
			time.Sleep(100 * time.Millisecond)
			w.d.mu.Lock()
			most = max(most, len(w.d.active))
			w.d.mu.Unlock()
		}
		w.stop()
		w.empty()
		if most > 6 || len(w.all()) != 200 || w.most[""] > 3 {
			t.Errorf("%d destinations in memory, %d messages, %d connections", most, len(w.all()), w.most[""])
		}
	})
}

// TestHopelessDestination: a domain that does not exist fails all of its mail, and is asked again after a while.
func TestHopelessDestination(t *testing.T) {
	bubble(t, func(w *world) {
		var exists atomic.Bool
		w.connect = func(context.Context, routing.Hop) *outbound.Failure {
			if exists.Load() {
				return nil
			}
			return &outbound.Failure{Scope: outbound.ScopeDestination, Permanent: true, Command: "DNS", Enhanced: [3]int{5, 1, 2},
				Text: "the domain does not exist"}
		}
		w.fill(50, "gone.test")
		w.run()
		w.accept("me@local.test", elsewhere("fresh@gone.test", 0))
		time.Sleep(time.Second)
		w.accept("me@local.test", elsewhere("soon@gone.test", 0))
		time.Sleep(time.Second)
		if n, m := len(w.tries("mx:gone.test")), len(w.reports("me@local.test")); n > 5 || m != 52 {
			t.Errorf("%d lookups, %d reports", n, m)
		}
		for _, s := range []string{"Status: 5.1.2", "omain does not exist"} {
			if !strings.Contains(w.reports("me@local.test")[0].text, s) {
				t.Errorf("no %q:\n%s", s, w.reports("me@local.test")[0].text)
			}
		}
		exists.Store(true)
		time.Sleep(10 * time.Minute)
		w.accept("me@local.test", elsewhere("later@gone.test", 0))
		time.Sleep(time.Second)
		w.stop()
		w.empty()
		w.copies(map[string]int{"later@gone.test": 1})
		if w.queue.postpones != 0 {
			t.Errorf("%d times postponed", w.queue.postpones)
		}
	})
}

// TestConnectionLost: a destination that hangs up on everybody goes down; one message that makes it hang up does not
// keep the others.
func TestConnectionLost(t *testing.T) {
	bubble(t, func(w *world) {
		w.send = func(_ context.Context, _ routing.Hop, m outbound.Mail) []outbound.Result {
			if m.To[0].Address.Local == "poison" || time.Since(w.start) < time.Minute {
				return failAll(m, unreachable())
			}
			return make([]outbound.Result, len(m.To))
		}
		w.run()
		w.accept("me@local.test", elsewhere("poison@remote.test", mailbox.NotifyNever))
		for i := range 30 {
			w.accept("me@local.test", elsewhere(fmt.Sprintf("u%d@remote.test", i), 0))
		}
		time.Sleep(time.Hour)
		if n, _ := w.queue.left(); n != 1 || len(w.all()) != 30 {
			t.Errorf("%d items are left, %d arrived", n, len(w.all()))
		}
		time.Sleep(6 * 24 * time.Hour)
		w.stop()
		w.empty()
		for key, n := range w.queue.touched {
			if n > 60 {
				t.Errorf("%v was tried %d times", key, n)
			}
		}
	})
}

// TestPoisonIsBehind: what may have brought a destination down is tried after what came meanwhile.
func TestPoisonIsBehind(t *testing.T) {
	bubble(t, func(w *world) {
		var order []string
		w.send = func(_ context.Context, _ routing.Hop, m outbound.Mail) []outbound.Result {
			w.mu.Lock()
			order = append(order, string(m.To[0].Address.Local))
			w.mu.Unlock()
			if m.To[0].Address.Local == "poison" {
				return failAll(m, refusal(outbound.ScopeDestination, 421, "go away"))
			}
			return make([]outbound.Result, len(m.To))
		}
		w.run()
		w.accept("me@local.test", elsewhere("poison@remote.test", mailbox.NotifyNever))
		time.Sleep(time.Second)
		for _, name := range []string{"a", "b", "c"} {
			w.accept("me@local.test", elsewhere(name+"@remote.test", 0))
		}
		time.Sleep(schedule.First * 2)
		w.stop()
		if got := strings.Join(order, " "); !strings.HasPrefix(got, "poison a ") || len(w.all()) != 3 {
			t.Errorf("%d arrived; tried: %s", len(w.all()), got)
		}
	})
}

// TestOperatorRetries: a command that wants a destination to be tried now is heard.
func TestOperatorRetries(t *testing.T) {
	bubble(t, func(w *world) {
		var up atomic.Bool
		w.connect = func(context.Context, routing.Hop) *outbound.Failure {
			if up.Load() {
				return nil
			}
			return unreachable()
		}
		w.fill(3, "remote.test")
		w.run()
		time.Sleep(2 * time.Minute)
		up.Store(true)
		w.queue.mu.Lock()
		w.queue.places["mx:remote.test"].Due = time.Now()
		w.queue.mu.Unlock()
		w.queue.changed <- struct{}{}
		time.Sleep(time.Second)
		w.stop()
		w.empty()
	})
}
