package inbound

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/pires/go-proxyproto"
)

const (
	// proxyPatience is how long a proxy may take to say for whom it connects: it has its header ready.
	proxyPatience = 5 * time.Second
	// maxIntroductions bounds the connections whose header is still to come.
	maxIntroductions = 1000
)

// proxied is a listener behind proxies that say in a header (PROXY protocol, version 1 or 2) for whom they connect. Whoever
// else connects is a client like any, and a header from there is no command.
type proxied struct {
	net.Listener
	proxies []netip.Prefix
	log     *slog.Logger

	ready   chan net.Conn
	ended   chan struct{} // no more is accepted
	err     error         // why; to be read after ended
	closing chan struct{}
	once    sync.Once
	running sync.WaitGroup
}

func newProxied(l net.Listener, proxies []netip.Prefix, log *slog.Logger) *proxied {
	p := &proxied{Listener: l, proxies: proxies, log: log, ready: make(chan net.Conn), ended: make(chan struct{}),
		closing: make(chan struct{})}
	p.running.Go(p.accept)
	return p
}

// Accept implements [net.Listener].
func (p *proxied) Accept() (net.Conn, error) {
	select {
	case c := <-p.ready:
		return c, nil
	case <-p.ended:
		return nil, p.err
	}
}

// Close implements [net.Listener]. Nothing of the listener runs when it returns.
func (p *proxied) Close() error {
	p.once.Do(func() { close(p.closing) })
	err := p.Listener.Close()
	p.running.Wait()
	return err
}

// accept takes connections until the listener below ends. A proxy that is silent does not keep others waiting.
func (p *proxied) accept() {
	defer close(p.ended)
	introductions := make(chan struct{}, maxIntroductions)
	for {
		c, err := p.Listener.Accept()
		if err != nil && passes(err) {
			select {
			case <-time.After(100 * time.Millisecond): // until there is what is lacking
				continue
			case <-p.closing:
			}
		}
		if err != nil {
			p.err = err
			return
		}
		if !p.isProxy(c) {
			p.hand(c)
			continue
		}
		select {
		case introductions <- struct{}{}:
		case <-p.closing:
			_ = c.Close()
			continue
		}
		p.running.Go(func() {
			defer func() { <-introductions }()
			p.introduce(c)
		})
	}
}

func (p *proxied) isProxy(c net.Conn) bool {
	addr := remoteAddr(c)
	for _, n := range p.proxies {
		if n.Contains(addr) {
			return true
		}
	}
	return false
}

// introduce reads the header of a proxy. One that has none, or a wrong one, is not served: the client would have the
// proxy's name.
func (p *proxied) introduce(c net.Conn) {
	conn := proxyproto.NewConn(c, proxyproto.WithPolicy(proxyproto.REQUIRE), proxyproto.SetReadHeaderTimeout(proxyPatience))
	done := make(chan struct{})
	p.running.Go(func() { // the end of the listener does not wait for the proxy
		select {
		case <-p.closing:
			_ = c.SetReadDeadline(time.Unix(1, 0))
		case <-done:
		}
	})
	header := conn.ProxyHeader()
	close(done)
	switch {
	case header == nil:
		_, err := conn.Read(nil)
		p.refuse(conn, err)
	case header.TransportProtocol.IsDatagram():
		p.refuse(conn, errors.New("mail does not come in datagrams"))
	default:
		p.hand(&introduced{conn, ahead(conn)})
	}
}

// refuse closes the connection of a proxy that does not say for whom it connects, and tells the operator, who has set up
// one of the two otherwise than the other.
func (p *proxied) refuse(conn *proxyproto.Conn, err error) {
	select {
	case <-p.closing: // it had no time to say
	default:
		p.log.Warn("a proxy does not say for whom it connects", "proxy", conn.Raw().RemoteAddr().String(),
			"listener", p.Addr().String(), "error", fmt.Sprint(err))
	}
	_ = conn.Close()
}

// ahead takes what came together with a header, which a look at the socket would not find any more.
func ahead(conn *proxyproto.Conn) []byte {
	_ = conn.SetReadDeadline(time.Unix(1, 0)) // what is not there yet is not waited for
	b := make([]byte, 512)
	n, _ := conn.Read(b) // an error comes with the next read as well
	_ = conn.SetReadDeadline(time.Time{})
	return b[:n:n]
}

func (p *proxied) hand(c net.Conn) {
	select {
	case p.ready <- c:
	case <-p.closing:
		_ = c.Close()
	}
}

// introduced is a connection whose client is known by a header.
type introduced struct {
	*proxyproto.Conn
	ahead []byte // what the client has said already
}

// Read implements [net.Conn].
func (c *introduced) Read(p []byte) (int, error) {
	if len(c.ahead) > 0 {
		n := copy(p, c.ahead)
		c.ahead = c.ahead[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// Ahead tells whether the client has said something already that can be read without a look at the socket.
func (c *introduced) Ahead() bool { return len(c.ahead) > 0 }

// SyscallConn implements [syscall.Conn].
func (c *introduced) SyscallConn() (syscall.RawConn, error) {
	if below, ok := c.Raw().(syscall.Conn); ok {
		return below.SyscallConn()
	}
	return nil, errors.New("it is not of the system")
}

// CloseWrite ends our side of the connection.
func (c *introduced) CloseWrite() error {
	if below, ok := c.Raw().(interface{ CloseWrite() error }); ok {
		return below.CloseWrite()
	}
	return errors.New("no half of it can be closed")
}
