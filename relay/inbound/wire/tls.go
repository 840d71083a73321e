package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"time"

	"mxbypass/relay/reply"
)

// errInjected: plain octets came behind STARTTLS. Whoever sits between the client and us would have them taken for what
// the client says under TLS (CVE-2011-0411).
var errInjected = errors.New("octets behind STARTTLS")

var (
	answerReady    = reply.Reply{Code: 220, Enhanced: [3]int{2, 0, 0}, Text: "ready to start TLS"}
	answerInjected = syntax(554, 1, "nothing may follow STARTTLS before the handshake, closing the connection")
)

// startTLS answers STARTTLS (RFC 3207). The error ends the connection.
func (c *Conn) startTLS() error {
	if c.pending != nil {
		return c.refuse(&refusal{rep: answerInjected, err: errInjected, end: true})
	}
	config := c.peer.TLS()
	c.say(answerReady)
	if c.flush() != nil {
		return errLost
	}
	if err := c.encrypt(config); err != nil {
		c.fall(err)
		return errLost
	}
	return nil
}

// encrypt does the handshake.
func (c *Conn) encrypt(config *tls.Config) error {
	conn := tls.Server(c.Conn, config)
	until := time.Now().Add(c.cfg.Handshake)
	c.until, c.outUntil = until, until
	_ = c.SetDeadline(until) // the error of a closed connection comes from the handshake as well
	if c.state.Load() != running {
		return reply.ErrShutdown
	}
	// The deadline bounds it, and Drain, Abort and Kill end it. It has a goroutine of its own because it needs a large stack,
	// which a connection would keep for as long as it idles.
	done := make(chan error)
	go func() { done <- conn.HandshakeContext(context.Background()) }()
	if err := <-done; err != nil {
		return err
	}
	c.secure = conn
	c.peer.Secured(conn.ConnectionState())
	return nil
}
