package inbound

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"

	"mxbypass/relay/inbound/wire"
	"mxbypass/relay/reply"
)

// Listen opens a listener for [Server.Serve], with TCP keepalive that finds dead clients without much traffic for
// living ones.
func Listen(ctx context.Context, network, address string) (net.Listener, error) {
	lc := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 2 * time.Minute, Interval: 30 * time.Second, Count: 4,
	}}
	return lc.Listen(ctx, network, address)
}

// listener hands accepted connections to go-smtp, within the limits, each behind its gate.
type listener struct {
	net.Listener
	server  *Server
	service Service
}

func newListener(l net.Listener, s *Server, service Service) *listener {
	if len(service.Proxies) > 0 {
		l = newProxied(l, service.Proxies, s.options.Log.Logger())
	}
	return &listener{l, s, service}
}

// Accept implements [net.Listener].
func (l *listener) Accept() (net.Conn, error) {
	for pause := time.Duration(0); ; {
		c, err := l.Listener.Accept()
		switch {
		case err == nil:
			pause = 0
			if w := l.admit(c); w != nil {
				return w, nil
			}
		case !passes(err):
			return nil, err
		default:
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			l.server.options.Log.Logger().Error("cannot accept connections", "listener", l.Addr().String(),
				"error", err, "pause", pause.String())
			if !l.server.sleep(pause) {
				return nil, net.ErrClosed
			}
		}
	}
}

// passes tells of errors of accept(2) that come from a lack of something, or from a client that was gone before it was
// accepted.
func passes(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// admit counts the connection and puts its gate before it, or turns it away.
func (l *listener) admit(c net.Conn) net.Conn {
	addr := remoteAddr(c)
	s := &session{server: l.server, service: l.service, client: addr, network: network(addr), port: remotePort(c)}
	if err := l.server.remember(s); err != nil {
		l.turnAway(c, reply.For(err))
		return nil
	}
	if err := s.arrive(); err != nil {
		l.server.forget(s)
		l.turnAway(c, reply.For(err))
		return nil
	}
	s.id = l.server.ids.Next()
	s.log = l.server.options.Log.Connected(s.id, c.RemoteAddr().String(), l.Addr().String())
	gate := wire.New(c, s, &l.server.wire, s.opening())
	l.server.attach(s, gate)
	return gate
}

// turnAway says why and closes. The send buffer of a new connection has room for it, so that this never waits.
func (l *listener) turnAway(c net.Conn, r reply.Reply) {
	l.server.options.Log.TurnedAway(c.RemoteAddr().String(), l.Addr().String(), r)
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = c.Write([]byte(r.String() + "\r\n")) // whether the client hears it makes no difference
	_ = c.Close()
}

// remoteAddr gives the client's address, zero when there is none.
func remoteAddr(c net.Conn) netip.Addr {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

func remotePort(c net.Conn) uint16 {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Port()
	}
	return 0
}

// network gives what counts as one client: an IPv4 address, or the /64 that every IPv6 host has to itself.
func network(a netip.Addr) netip.Addr {
	if !a.Is6() {
		return a
	}
	p, err := a.WithZone("").Prefix(64)
	if err != nil {
		return a
	}
	return p.Addr()
}
