package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
	"golang.org/x/net/netutil"
)

const (
	// askers is how many may ask for a proof at once: an authority asks from a handful of places.
	askers = 32
	// askTime is for a whole question.
	askTime = 10 * time.Second
	// doorPatience is how long it is waited for an address that the configuration before ours still has.
	doorPatience = 15 * time.Second
)

// door is a listener that is open while there is something to show.
type door struct {
	listen func(context.Context) (net.Listener, error)
	serve  func(context.Context, net.Listener) // until the context ends

	mu    sync.Mutex
	users int
	shut  func()
}

func (d *door) open(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.users > 0 {
		d.users++
		return nil
	}
	l, err := d.patiently(ctx)
	if err != nil {
		return err
	}
	serving, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.serve(serving, netutil.LimitListener(l, askers))
	}()
	d.users = 1
	d.shut = func() {
		stop()
		_ = l.Close() // serve has closed it, or it has ended before
		<-done
	}
	return nil
}

// patiently listens, and waits for an address that is in use.
func (d *door) patiently(ctx context.Context) (net.Listener, error) {
	ctx, cancel := context.WithTimeout(ctx, doorPatience)
	defer cancel()
	for {
		l, err := d.listen(ctx)
		if !errors.Is(err, syscall.EADDRINUSE) {
			return l, err
		}
		timer := time.NewTimer(time.Second)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, err
		case <-timer.C:
		}
	}
}

func (d *door) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.users == 0 {
		return
	}
	if d.users--; d.users == 0 {
		d.shut()
	}
}

// proofs are what is shown at a door, by where it is asked for.
type proofs[T any] struct {
	door
	shownMu sync.Mutex
	shown   map[string]T
}

func (p *proofs[T]) present(ctx context.Context, where string, proof T) error {
	p.shownMu.Lock()
	p.shown[where] = proof
	p.shownMu.Unlock()
	err := p.open(ctx)
	if err != nil {
		p.forget(where)
	}
	return err
}

func (p *proofs[T]) forget(where string) (there bool) {
	p.shownMu.Lock()
	defer p.shownMu.Unlock()
	_, there = p.shown[where]
	delete(p.shown, where)
	return there
}

func (p *proofs[T]) find(where string) (proof T, ok bool) {
	p.shownMu.Lock()
	defer p.shownMu.Unlock()
	proof, ok = p.shown[where]
	return proof, ok
}

// cleanUp closes the door for a proof that was presented: a solver is told to clean up also when it could not.
func (p *proofs[T]) cleanUp(where string) {
	if p.forget(where) {
		p.close()
	}
}

// httpSolver shows proofs by HTTP (RFC 8555 section 8.3).
type httpSolver struct{ proofs[string] }

var _ acmez.Solver = (*httpSolver)(nil)

func newHTTPSolver(listen func(context.Context) (net.Listener, error)) *httpSolver {
	s := &httpSolver{proofs[string]{shown: map[string]string{}}}
	s.listen, s.serve = listen, s.answer
	return s
}

// Present implements acmez.Solver.
func (s *httpSolver) Present(ctx context.Context, c acme.Challenge) error {
	return s.present(ctx, c.HTTP01ResourcePath(), c.KeyAuthorization)
}

// CleanUp implements acmez.Solver.
func (s *httpSolver) CleanUp(_ context.Context, c acme.Challenge) error {
	s.cleanUp(c.HTTP01ResourcePath())
	return nil
}

// ServeHTTP shows a proof; there is nothing else to see. The host that was asked for does not matter: a proxy may have
// changed it, and whoever asks for the name of somebody else does so for an account that is not ours.
func (s *httpSolver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	proof, ok := s.find(r.URL.Path)
	if !ok || r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = w.Write([]byte(proof)) // an authority that is gone asks again
}

func (s *httpSolver) answer(ctx context.Context, l net.Listener) {
	server := &http.Server{
		Handler:        s,
		ReadTimeout:    askTime,
		WriteTimeout:   askTime,
		MaxHeaderBytes: 8 << 10,
		ErrorLog:       slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
	server.SetKeepAlivesEnabled(false)
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	_ = server.Serve(l) // it ends with ctx; should it end before, the authority finds nobody, and says so
}

// alpnSolver shows proofs in a handshake (RFC 8737).
type alpnSolver struct{ proofs[*tls.Certificate] }

var _ acmez.Solver = (*alpnSolver)(nil)

func newALPNSolver(listen func(context.Context) (net.Listener, error)) *alpnSolver {
	s := &alpnSolver{proofs[*tls.Certificate]{shown: map[string]*tls.Certificate{}}}
	s.listen, s.serve = listen, s.answer
	return s
}

// Present implements acmez.Solver.
func (s *alpnSolver) Present(ctx context.Context, c acme.Challenge) error {
	cert, err := acmez.TLSALPN01ChallengeCert(c)
	if err != nil {
		return err
	}
	return s.present(ctx, strings.ToLower(c.Identifier.Value), cert)
}

// CleanUp implements acmez.Solver.
func (s *alpnSolver) CleanUp(_ context.Context, c acme.Challenge) error {
	s.cleanUp(strings.ToLower(c.Identifier.Value))
	return nil
}

func (s *alpnSolver) answer(ctx context.Context, l net.Listener) {
	config := &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{acmez.ACMETLS1Protocol},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if c, ok := s.find(strings.ToLower(hello.ServerName)); ok && len(hello.SupportedProtos) == 1 &&
				hello.SupportedProtos[0] == acmez.ACMETLS1Protocol {
				return c, nil
			}
			return nil, errNoCertificate
		},
	}
	var open sync.WaitGroup
	defer open.Wait()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	for {
		conn, err := l.Accept()
		if err != nil {
			return // closed; of anything else the authority says that it finds nobody
		}
		open.Go(func() {
			defer conn.Close()
			ctx, cancel := context.WithTimeout(ctx, askTime)
			defer cancel()
			_ = tls.Server(conn, config).HandshakeContext(ctx) // the authority says what it thinks of it
		})
	}
}
