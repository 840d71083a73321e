package wire

import (
	"crypto/tls"
	"errors"
	"os"
	"syscall"
	"time"

	"mxbypass/relay/reply"
)

// Opening is what has to be done before the greeting is sent.
type Opening struct {
	// TLS is for a client that speaks TLS from the first octet (RFC 8314); nil: it does not.
	TLS *tls.Config
	// Silence: a client that speaks before it was greeted is refused (RFC 5321 section 3.1 has the server speak first). It is
	// waited for so long, or only looked at when Delay is 0.
	Silence bool
	Delay   time.Duration
}

// open does what comes before the first command. It tells whether there is a conversation at all.
func (c *Conn) open() bool {
	if c.opened {
		return true
	}
	c.opened = true
	o := c.opening
	c.opening = Opening{} // the configuration may be replaced
	if o.TLS != nil {
		if err := c.encrypt(o.TLS); err != nil {
			c.fall(err)
			return false
		}
		return true
	}
	if o.Silence && c.talksEarly(o.Delay) {
		if c.out != nil {
			c.cfg.Buffers.put(c.out) // the greeting
			c.out = nil
		}
		_ = c.refuse(&refusal{rep: reply.For(reply.ErrEarlyTalker), err: reply.ErrEarlyTalker, end: true})
		c.ended = true
		return false
	}
	return true
}

// fall ends the connection without a word: nobody could read it.
func (c *Conn) fall(err error) {
	c.peer.Insecure(err)
	c.ended, c.mute = true, true
	if c.out != nil {
		c.cfg.Buffers.put(c.out)
		c.out = nil
	}
}

// talksEarly waits for octets that should not come yet. What comes is lost; the connection is at its end then.
func (c *Conn) talksEarly(delay time.Duration) bool {
	if delay <= 0 {
		return c.waiting()
	}
	b := c.cfg.Buffers.getSmall()
	defer c.cfg.Buffers.put(b)
	until := time.Now().Add(delay)
	for {
		c.until = until
		_ = c.Conn.SetReadDeadline(until) // the error of a closed connection comes from Read as well
		if c.state.Load() != running {
			return false // the next read says so
		}
		n, err := c.Conn.Read(b.b)
		if n > 0 {
			return true
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || !time.Now().Before(until) {
			return false
		}
	}
}

// waiting tells whether there are octets to read, without waiting for them or taking them.
func (c *Conn) waiting() bool {
	if a, ok := c.Conn.(interface{ Ahead() bool }); ok && a.Ahead() {
		return true
	}
	socket, ok := c.Conn.(syscall.Conn)
	if !ok { // not of the system: nothing can be known
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return false
	}
	n := 0
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, _ = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	return err == nil && n > 0
}
