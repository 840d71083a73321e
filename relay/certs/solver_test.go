package certs

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
	"go.uber.org/zap"
)

// pipes is a listener whose clients are in this process.
type pipes struct {
	clients chan net.Conn
	closed  chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.clients:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	select {
	case <-p.closed:
	default:
		close(p.closed)
	}
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// Who comes to a door and says nothing is sent away, and the door is shut while he stands there.
func TestSilentAskers(t *testing.T) {
	challenge := acme.Challenge{
		Identifier: acme.Identifier{Type: "dns", Value: "mx.host.test"}, Token: "token", KeyAuthorization: "token.key",
	}
	for name, solver := range map[string]func(func(context.Context) (net.Listener, error)) acmez.Solver{
		"http": func(l func(context.Context) (net.Listener, error)) acmez.Solver { return newHTTPSolver(l) },
		"alpn": func(l func(context.Context) (net.Listener, error)) acmez.Solver { return newALPNSolver(l) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPipes()
				s := solver(func(context.Context) (net.Listener, error) { return p, nil })
				if err := s.Present(t.Context(), challenge); err != nil {
					t.Fatal(err)
				}
				a, b := net.Pipe()
				p.clients <- a
				start := time.Now()
				if _, err := b.Read(make([]byte, 1)); err != io.EOF {
					t.Error(err)
				}
				if waited := time.Since(start); waited > 2*askTime {
					t.Errorf("sent away after %v", waited)
				}
				c, d := net.Pipe()
				p.clients <- c
				synctest.Wait()
				start = time.Now()
				if err := errors.Join(s.CleanUp(t.Context(), challenge), s.CleanUp(t.Context(), challenge)); err != nil {
					t.Error(err)
				}
				if waited := time.Since(start); waited > 0 {
					t.Errorf("shut after %v", waited)
				}
				_ = errors.Join(b.Close(), d.Close())
			})
		})
	}
}

// An address that the configuration before ours still has is waited for, and one that cannot be had at all is not.
func TestDoorTaken(t *testing.T) {
	address, listen := listening(t)
	other, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := newHTTPSolver(func(ctx context.Context) (net.Listener, error) {
		l, err := listen(ctx)
		if err != nil && other != nil {
			_ = other.Close() // it ends now
			other = nil
		}
		return l, err
	})
	challenge := acme.Challenge{Token: "token"}
	if err := s.Present(t.Context(), challenge); err != nil {
		t.Error(err)
	}
	_ = s.CleanUp(t.Context(), challenge)
	s = newHTTPSolver(func(context.Context) (net.Listener, error) { return nil, errors.New("no right to") })
	if err := s.Present(t.Context(), challenge); err == nil || len(s.shown) > 0 {
		t.Error(err, s.shown)
	}
	_ = s.CleanUp(t.Context(), challenge)
}

// What certmagic and acmez say is for those who look into it.
func TestLog(t *testing.T) {
	for _, level := range []slog.Level{slog.LevelInfo, slog.LevelDebug} {
		l := new(logged)
		log := slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: level}))
		zap.New(&core{log: log}).Named("x").With(zap.String("name", "mx\nx")).Error("trouble", zap.Error(errors.New("oh")))
		slog.New(quiet{log.Handler()}).With("a", 1).WithGroup("g").Error("more", "b", 2)
		want := 0
		if level == slog.LevelDebug {
			want = 2
		}
		got := l.String()
		if strings.Count(got, "\n") != want || strings.Count(got, "level=DEBUG") != want ||
			want > 0 && (!strings.Contains(got, `name="mx\nx"`) || !strings.Contains(got, "error=oh") || !strings.Contains(got, "a=1 g.b=2")) {
			t.Errorf("%v: %s", level, got)
		}
	}
}
