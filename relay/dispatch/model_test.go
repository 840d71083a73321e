package dispatch

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"mxbypass/relay/outbound"
	"mxbypass/relay/queue"
	"mxbypass/routing"
)

// TestNothingIsLost: whatever servers, disk and processes do, everybody who was accepted has the message in the end, or
// is reported on; and has it twice only where somebody was in doubt.
func TestNothingIsLost(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			bubble(t, func(w *world) { newModel(w, seed).check() })
		})
	}
}

// model is a world that misbehaves for two days.
type model struct {
	*world
	random  *rand.Rand // guarded by mu
	doubt   map[string]int
	refused map[string]bool // who was told so by a server
	killed  bool            // the process is dead: nothing is written any more
}

const badDays = 48 * time.Hour

func newModel(w *world, seed uint64) *model {
	m := &model{world: w, random: rand.New(rand.NewPCG(seed, 1)), doubt: map[string]int{}, refused: map[string]bool{}}
	w.env.Limits = Limits{Connections: 1 + m.random.IntN(12), PerDestination: 1 + m.random.IntN(6), Initial: 3, Recipients: 3}
	w.connect, w.send = m.answer, m.take
	w.queue.broken = func(op string) error {
		switch {
		case m.dead():
			return queue.ErrClosed
		case op != "put" && m.chance(2):
			return errDisk
		}
		return nil
	}
	return m
}

// chance is true for so many of a hundred, while the days are bad.
func (m *model) chance(percent int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Since(m.start) < badDays && m.random.IntN(100) < percent
}

func (m *model) dead() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.killed
}

func (m *model) kill(dead bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.killed = dead
}

// apart gives numbers by which events are apart, while time is faked.
func (m *model) upTo(n time.Duration) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Duration(m.random.Int64N(int64(n)))
}

func (m *model) answer(ctx context.Context, hop routing.Hop) *outbound.Failure {
	if hop.Domain.ASCII() == "sender.test" {
		return nil
	}
	_ = pause(ctx, m.upTo(time.Second))
	switch {
	case ctx.Err() != nil, m.chance(15):
		return unreachable()
	case m.chance(1):
		_ = pause(ctx, 5*time.Minute)
		return unreachable()
	}
	return nil
}

func (m *model) take(ctx context.Context, hop routing.Hop, mail outbound.Mail) []outbound.Result {
	results := make([]outbound.Result, len(mail.To))
	if hop.Domain.ASCII() == "sender.test" {
		return results
	}
	_ = pause(ctx, m.upTo(3*time.Second))
	switch {
	case ctx.Err() != nil, m.chance(10):
		return failAll(mail, unreachable())
	case m.chance(10):
		f := unreachable()
		f.InDoubt = true
		m.mu.Lock()
		for _, to := range mail.To {
			m.doubt[to.Address.String()]++
		}
		m.mu.Unlock()
		return failAll(mail, f)
	}
	for i, to := range mail.To {
		switch {
		case m.chance(20):
			results[i].Failure = refusal(outbound.ScopeRecipient, 450, "later")
		case m.chance(5):
			results[i].Failure = refusal(outbound.ScopeRecipient, 550, "never "+to.Address.String())
			m.mu.Lock()
			m.refused[to.Address.String()] = true
			m.mu.Unlock()
		}
	}
	return results
}

func (m *model) check() {
	accepted := map[string]bool{}
	kills := 0
	m.run()
	for n := 0; n < 150; n++ {
		time.Sleep(m.upTo(10 * time.Minute))
		var to []Target
		for i := range 1 + int(m.upTo(5)) {
			s := fmt.Sprintf("u%d-%d@d%d.test", n, i, m.upTo(4))
			to, accepted[s] = append(to, elsewhere(s, 0)), true
		}
		m.give(message("me@sender.test"), to...)
		switch {
		case m.chance(3): // kill -9, and a new process
			kills++
			m.kill(true)
			m.breakOff()
			m.kill(false)
			m.queue.crash()
			m.run()
		case m.chance(3): // an ordinary restart
			m.breakOff()
			m.queue.crash() // what could not be written
			m.run()
		}
	}
	time.Sleep(9 * 24 * time.Hour)
	m.stop()
	m.empty()
	var reported strings.Builder
	for _, r := range m.reports("me@sender.test") {
		reported.WriteString(r.text)
	}
	twice := 0
	for s := range accepted {
		n := m.sent[s]
		if n == 0 && (!m.refused[s] || !strings.Contains(reported.String(), "never "+s)) {
			m.t.Errorf("%s is lost", s)
		}
		if n > 1+m.doubt[s] {
			twice++
		}
	}
	if twice > 0 && kills == 0 || twice > kills*m.env.Limits.Connections*m.env.Limits.Recipients {
		m.t.Errorf("%d have it twice after %d kills", twice, kills)
	}
}

// breakOff ends a process in the middle of its work.
func (m *model) breakOff() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = m.d.Shutdown(ctx)
	time.Sleep(time.Second)
	m.ended()
}
