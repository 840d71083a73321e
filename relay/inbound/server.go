package inbound

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/emersion/go-smtp"

	"mxbypass/relay/ids"
	"mxbypass/relay/inbound/wire"
	"mxbypass/relay/reply"
)

// abortGrace is how long an aborted session has for its last words, before its socket is closed under it.
const abortGrace = 2 * time.Second

// Server receives mail on any number of listeners, which share its limits.
type Server struct {
	options Options
	wire    wire.Config
	body    wire.BodyLimits
	buffers wire.Buffers
	ids     *ids.Source

	draining chan struct{}   // closed by Shutdown
	base     context.Context // of all routes and deliveries; ends when transactions are aborted
	abort    context.CancelFunc

	mu        sync.Mutex
	stopping  bool
	listeners []net.Listener
	sessions  map[*session]struct{}
	clients   map[netip.Addr]int
	serving   sync.WaitGroup // calls of Serve
	servers   []*smtp.Server
}

// NewServer makes a server. [Server.Shutdown] must be called to end it.
func NewServer(o Options) (*Server, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	o.Limits.setDefaults()
	o.Timeouts.setDefaults()
	s := &Server{
		options:  o,
		ids:      ids.New(),
		draining: make(chan struct{}),
		sessions: make(map[*session]struct{}),
		clients:  make(map[netip.Addr]int),
	}
	s.base, s.abort = context.WithCancel(context.Background())
	l, t := &s.options.Limits, &s.options.Timeouts
	s.body = wire.BodyLimits{Size: l.MessageSize, Header: l.Header, Line: l.Line, Received: l.Received}
	s.wire = wire.Config{
		MaxSize:     l.MessageSize,
		CommandLine: 2048,
		ErrorsSlow:  l.ErrorsSlow,
		ErrorsClose: l.ErrorsClose,
		ErrorDelay:  t.ErrorDelay,
		DataStart:   t.DataStart,
		DataBlock:   t.DataBlock,
		DataTotal:   t.DataTotal,
		Write:       t.Write,
		Handshake:   t.Handshake,
		Buffers:     &s.buffers,
		Draining:    s.draining,
	}
	return s, nil
}

// Serve accepts connections of l until [Server.Shutdown], and then returns nil. It takes l over, and closes it.
func (s *Server) Serve(l net.Listener, service Service) error {
	front := smtp.NewServer(smtp.BackendFunc(newSession))
	front.Domain = s.options.Hostname
	front.LMTP = service.Protocol == LMTP
	front.MaxMessageBytes = s.options.Limits.MessageSize
	front.MaxRecipients = s.options.Limits.Recipients
	front.MaxLineLength = 0 // the gate has judged every line before
	front.EnableSMTPUTF8 = true
	front.EnableDSN = true
	front.ErrorLog = errorLog{s.options.Log.Logger()}

	s.mu.Lock()
	if s.stopping {
		s.mu.Unlock()
		return l.Close()
	}
	s.listeners = append(s.listeners, l)
	s.servers = append(s.servers, front)
	s.serving.Add(1)
	s.mu.Unlock()
	defer s.serving.Done()

	err := front.Serve(newListener(l, s, service))
	select {
	case <-s.draining:
		return nil
	default:
		return err
	}
}

func newSession(c *smtp.Conn) (smtp.Session, error) {
	gate, ok := c.Conn().(*wire.Conn)
	if !ok {
		return nil, errors.New("not our connection")
	}
	return gate.Peer().(*session), nil
}

// remember counts a new connection, or tells which limit it is beyond.
func (s *Server) remember(c *session) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.stopping:
		return reply.ErrShutdown
	case len(s.sessions) >= s.options.Limits.Connections:
		return reply.ErrTooManyConnections
	case c.network.IsValid() && s.clients[c.network] >= s.options.Limits.ConnectionsPerClient:
		return reply.ErrTooManyFromClient
	}
	s.sessions[c] = struct{}{}
	if c.network.IsValid() {
		s.clients[c.network]++
	}
	return nil
}

// attach gives a session its gate, from when on Shutdown can reach it.
func (s *Server) attach(c *session, gate *wire.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.wire = gate
	if s.stopping {
		gate.Drain()
	}
}

// forget is the end of a connection.
func (s *Server) forget(c *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, c)
	if !c.network.IsValid() {
		return
	}
	if s.clients[c.network]--; s.clients[c.network] <= 0 {
		delete(s.clients, c.network)
	}
}

// Connections tells how many there are.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// patience is how long an idle client may stay: the usual time while at most three quarters of the connections are in
// use, falling to the short one when all are.
func (s *Server) patience() time.Duration {
	t := &s.options.Timeouts
	limit := s.options.Limits.Connections
	used := s.Connections()
	calm := limit * 3 / 4
	if used <= calm || t.CommandBusy >= t.Command {
		return t.Command
	}
	left := float64(limit-used) / float64(limit-calm)
	return t.CommandBusy + time.Duration(left*float64(t.Command-t.CommandBusy))
}

// sleep tells whether the server still runs after d.
func (s *Server) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.draining:
		return false
	}
}

// Shutdown ends the server: it accepts nothing any more, tells idle clients 421, lets transactions in progress come
// to their end until ctx ends, and aborts those that are left. When it returns no goroutine of the server is left.
// The error is that of ctx when transactions had to be aborted.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.serving.Wait() // now every session is known to its go-smtp server
		for _, front := range s.servers {
			_ = front.Shutdown(context.Background()) // waits for its sessions
		}
	}()
	select {
	case <-done:
		s.abort()
		return nil
	case <-ctx.Done():
	}
	s.abort()
	s.each((*wire.Conn).Abort)
	t := time.NewTimer(abortGrace)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
		s.each((*wire.Conn).Kill)
		<-done
	}
	return ctx.Err()
}

// stop closes the listeners and asks all sessions to end.
func (s *Server) stop() {
	s.mu.Lock()
	if !s.stopping {
		s.stopping = true
		close(s.draining)
	}
	for _, l := range s.listeners {
		_ = l.Close() // Serve returns, whatever the error
	}
	s.mu.Unlock()
	s.each((*wire.Conn).Drain)
}

// each does something to every connection.
func (s *Server) each(do func(*wire.Conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.sessions {
		if c.wire != nil {
			do(c.wire)
		}
	}
}
