package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"mxbypass/relay/outbound"
	"mxbypass/relay/queue"
	"mxbypass/routing"
)

// onDisk is a world with the queue on disk, in ordinary time.
type onDisk struct {
	*world
	path    string
	q       *queue.Queue
	arrived chan string // for each message that a server takes, the first recipient
}

func newOnDisk(t *testing.T) *onDisk {
	r := &onDisk{world: newWorld(t), path: filepath.Join(t.TempDir(), "queue.db"), arrived: make(chan string, 10_000)}
	r.env.Schedule.First, r.env.Schedule.Max = 50*time.Millisecond, 100*time.Millisecond
	r.send = func(_ context.Context, _ routing.Hop, m outbound.Mail) []outbound.Result {
		r.arrived <- m.To[0].Address.String()
		return make([]outbound.Result, len(m.To))
	}
	return r
}

func (r *onDisk) open() *queue.Queue {
	r.t.Helper()
	q, err := queue.Open(context.Background(), queue.Options{Path: r.path, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		r.t.Fatal(err)
	}
	return q
}

func (r *onDisk) begin() {
	r.t.Helper()
	r.q = r.open()
	r.runOn(r.q)
}

// end ends the dispatcher and the queue, and tells how much the next process would find.
func (r *onDisk) end(ctx context.Context) (left int) {
	r.t.Helper()
	if err := r.d.Shutdown(ctx); err != nil && !errors.Is(err, context.Canceled) {
		r.t.Error(err)
	}
	r.ended()
	if err := r.q.Close(); err != nil {
		r.t.Error(err)
	}
	q := r.open()
	defer q.Close()
	later := time.Now().Add(1000 * time.Hour)
	due, err := q.Destinations(context.Background(), later, 1000, func(int64) bool { return false })
	if err != nil {
		r.t.Fatal(err)
	}
	for _, at := range due {
		items, err := q.Ready(context.Background(), at.ID, later, 10_000)
		if err != nil {
			r.t.Fatal(err)
		}
		left += len(items)
	}
	return left
}

// TestOnDisk: the queue of the relay and its dispatcher, with servers that fail at first; everybody is served once.
func TestOnDisk(t *testing.T) {
	r := newOnDisk(t)
	var mu sync.Mutex
	late := map[string]bool{}
	take := r.send
	r.send = func(ctx context.Context, hop routing.Hop, m outbound.Mail) []outbound.Result {
		name := m.To[0].Address.String()
		mu.Lock()
		again := late[name]
		late[name] = true
		mu.Unlock()
		if !again && len(name)%2 == 0 {
			return failAll(m, refusal(outbound.ScopeMessage, 451, "greylisted"))
		}
		return take(ctx, hop, m)
	}
	r.begin()
	const n = 300
	var clients sync.WaitGroup
	for c := range 10 {
		clients.Go(func() {
			for i := range n / 10 {
				name := fmt.Sprintf("u%d@d%d.test", c*100+i, i%7)
				if err := r.d.Accept(context.Background(), message("me@local.test"), []Target{elsewhere(name, 0)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	clients.Wait()
	for range n {
		<-r.arrived
	}
	if left := r.end(context.Background()); left != 0 {
		t.Errorf("%d recipients are left", left)
	}
	for to, copies := range r.sent {
		if copies != 1 {
			t.Errorf("%d copies for %s", copies, to)
		}
	}
	if len(r.sent) != n {
		t.Errorf("%d recipients were served", len(r.sent))
	}
}

// TestOnDiskBrokenOff: what a process leaves behind, the next one sends.
func TestOnDiskBrokenOff(t *testing.T) {
	r := newOnDisk(t)
	take := r.send
	began := make(chan struct{}, 100)
	r.send = func(ctx context.Context, _ routing.Hop, m outbound.Mail) []outbound.Result {
		began <- struct{}{}
		<-ctx.Done()
		return failAll(m, unreachable())
	}
	r.begin()
	for i := range 20 {
		r.accept("me@local.test", elsewhere(fmt.Sprintf("u%d@remote.test", i), 0), inBox("cloud", "a@local.test", 0))
	}
	<-began
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if left := r.end(over); left < 20 {
		t.Errorf("%d recipients are left", left)
	}
	r.send = take
	r.begin()
	for range 20 {
		<-r.arrived
	}
	if left := r.end(context.Background()); left != 0 {
		t.Errorf("%d recipients are left", left)
	}
	for to, copies := range r.sent {
		if want := map[bool]int{true: 20, false: 1}[to == "a@local.test"]; copies != want {
			t.Errorf("%d copies for %s", copies, to)
		}
	}
}

// TestOnDiskOperator: a command that runs beside the relay is heard.
func TestOnDiskOperator(t *testing.T) {
	r := newOnDisk(t)
	r.env.Schedule.First, r.env.Schedule.Max = time.Hour, time.Hour
	var mu sync.Mutex
	down := true
	tried := make(chan struct{}, 100)
	r.connect = func(context.Context, routing.Hop) *outbound.Failure {
		mu.Lock()
		defer mu.Unlock()
		if down {
			tried <- struct{}{}
			return unreachable()
		}
		return nil
	}
	r.begin()
	r.accept("me@local.test", elsewhere("a@remote.test", 0))
	<-tried
	mu.Lock()
	down = false
	mu.Unlock()
	a, err := queue.OpenAdmin(context.Background(), r.path)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for served := false; !served; { // the failure may be written after our command
		if _, err := a.Retry(context.Background(), queue.Filter{}); err != nil {
			t.Fatal(err)
		}
		select {
		case <-r.arrived:
			served = true
		case <-time.After(time.Second):
		}
	}
	if left := r.end(context.Background()); left != 0 {
		t.Errorf("%d recipients are left", left)
	}
}
