package dispatch

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"mxbypass/mailbox"
	"mxbypass/relay/maillog"
	"mxbypass/relay/outbound"
	"mxbypass/relay/queue"
	"mxbypass/routing"
)

// sinkConn takes everything at once.
type sinkConn struct{ taken func(n int) }

func (sinkConn) Host() string { return "sink.test[192.0.2.1]" }
func (sinkConn) TLS() string  { return "" }
func (sinkConn) Usable() bool { return true }
func (sinkConn) Release()     {}

func (c sinkConn) Send(_ context.Context, m outbound.Mail) []outbound.Result {
	c.taken(len(m.To))
	return make([]outbound.Result, len(m.To))
}

// BenchmarkAcceptAndSend is 50 sessions that queue messages of 10 KiB, which a server takes without delay.
func BenchmarkAcceptAndSend(b *testing.B) {
	for _, destinations := range []int{1, 20} {
		b.Run(fmt.Sprint(destinations, " destinations"), func(b *testing.B) { benchmark(b, destinations) })
	}
}

func benchmark(b *testing.B, destinations int) {
	q, err := queue.Open(context.Background(), queue.Options{Path: filepath.Join(b.TempDir(), "queue.db"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer q.Close()
	log, err := maillog.New(discard{}, maillog.Text, slog.LevelInfo)
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	var sent atomic.Int64
	done := make(chan struct{})
	want := int64(b.N)
	conn := sinkConn{func(n int) {
		if sent.Add(int64(n)) == want {
			close(done)
		}
	}}
	env := &Environment{Hostname: mailbox.MustDomainName("mx.host.test"), Schedule: schedule,
		Connect: func(context.Context, routing.Hop) (Conn, error) { return conn, nil },
		Limits:  Limits{Connections: 500, PerDestination: 20, Initial: 5, Recipients: 100}}
	d := newDispatcher(q, log, func() (*Environment, func()) { return env, func() {} })
	d.Start()
	body := make([]byte, 10<<10)
	for i := range body {
		body[i] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n"[i%64]
	}
	b.ResetTimer()
	b.ReportAllocs()
	var next atomic.Int64
	var sessions sync.WaitGroup
	for range 50 {
		sessions.Go(func() {
			for i := next.Add(1); i <= want; i = next.Add(1) {
				m := message("me@local.test")
				m.Content = &retained{text: body}
				to := elsewhere(fmt.Sprintf("u@d%d.test", i%int64(destinations)), 0)
				if err := d.Accept(context.Background(), m, []Target{to}); err != nil {
					b.Error(err)
				}
			}
		})
	}
	sessions.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "accepted/s")
	<-done
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "sent/s")
	b.StopTimer()
	if err := d.Shutdown(context.Background()); err != nil {
		b.Error(err)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
