package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"

	"mxbypass/relay/inbound"
	"mxbypass/relay/inherited"
)

// socket is a bound address. It outlives the servers that accept from it one after the other, so that a reload refuses
// no connection: [socket.lend] gives a listener whose Close leaves the socket open.
type socket struct {
	net.Listener
	accepted chan accepted
	done     chan struct{} // closed by close
	ended    chan struct{} // closed when nothing is accepted any more
	once     sync.Once
}

// NetworkSystemd is the network of an [Endpoint] whose address is the name of a socket that systemd has opened.
const NetworkSystemd = "systemd"

// accepted is a result of Accept.
type accepted struct {
	conn net.Conn
	err  error
}

func bind(ctx context.Context, e Endpoint) (*socket, error) {
	listen := inbound.Listen
	if e.Network == NetworkSystemd {
		listen = func(_ context.Context, _, name string) (net.Listener, error) { return inherited.Listen(name) }
	}
	l, err := listen(ctx, e.Network, e.Address)
	if e.Network == "unix" && errors.Is(err, syscall.EADDRINUSE) && abandoned(ctx, e.Address) {
		if err = os.Remove(e.Address); err == nil {
			l, err = inbound.Listen(ctx, e.Network, e.Address)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("listener %s: %w", e.Address, err)
	}
	s := &socket{Listener: l, accepted: make(chan accepted), done: make(chan struct{}), ended: make(chan struct{})}
	go s.run()
	return s, nil
}

// abandoned tells whether path is a unix socket at which nobody listens: a process that was killed leaves it behind.
func abandoned(ctx context.Context, path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&os.ModeSocket == 0 {
		return false
	}
	c, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		_ = c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// run accepts for whoever has borrowed the socket, until it is closed. A connection that comes between two borrowers waits
// for the next.
func (s *socket) run() {
	defer close(s.ended)
	for {
		c, err := s.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		select {
		case s.accepted <- accepted{c, err}:
		case <-s.done:
			if c != nil {
				_ = c.Close()
			}
			return
		}
	}
}

func (s *socket) close() {
	s.once.Do(func() {
		close(s.done)
		_ = s.Listener.Close() // what it could say changes nothing
	})
	<-s.ended
}

// lend gives a listener on the socket. At most one of them is open at a time.
func (s *socket) lend() *loan { return &loan{socket: s, returned: make(chan struct{})} }

type loan struct {
	socket   *socket
	returned chan struct{}
	once     sync.Once
}

// Accept implements [net.Listener].
func (l *loan) Accept() (net.Conn, error) {
	select { // a loan that is over takes nothing, also when there is something
	case <-l.returned:
		return nil, net.ErrClosed
	default:
	}
	select {
	case a := <-l.socket.accepted:
		return a.conn, a.err
	case <-l.returned:
		return nil, net.ErrClosed
	case <-l.socket.done:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener]: it gives the socket back.
func (l *loan) Close() error {
	l.once.Do(func() { close(l.returned) })
	return nil
}

// Addr implements [net.Listener].
func (l *loan) Addr() net.Addr { return l.socket.Addr() }
