package smtpclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"mxbypass/mailbox"
)

// TLSMode says how a connection is encrypted.
type TLSMode uint8

// The modes.
const (
	TLSNever    TLSMode = iota
	TLSIfThere          // STARTTLS where it is announced (RFC 3207); when that fails the error is ErrTLS
	TLSRequired         // STARTTLS, or the error is ErrTLS
	TLSImplicit         // from the first octet (RFC 8314), or the error is ErrTLS
)

// TLS describes the encryption for the log, such as "TLSv1.3"; empty: there is none.
func (c *Client) TLS() string {
	conn, ok := c.conn.(*tls.Conn)
	if !ok {
		return ""
	}
	return strings.Replace(tls.VersionName(conn.ConnectionState().Version), " ", "v", 1)
}

// KeepsTLS tells whether the connection is encrypted and the server promises the same for where the mail goes next
// (RFC 8689 section 2).
func (c *Client) KeepsTLS() bool { return c.TLS() != "" && c.Announces("REQUIRETLS") }

// startTLS encrypts the connection as the mode wants it. What the server announced before is forgotten, as somebody
// between us could have said it; for the same reason nothing may have come already behind its answer (RFC 3207 sections
// 4.2 and 6; CVE-2011-0411 is the same on the other side).
func (c *Client) startTLS(ctx context.Context, hello string) error {
	if c.opts.TLS == TLSNever || c.opts.TLS == TLSImplicit {
		return nil
	}
	if !c.Announces("STARTTLS") {
		if c.opts.TLS == TLSIfThere {
			return nil
		}
		return c.noTLS(fmt.Errorf("%s: %w", c.opts.Host, ErrNoStartTLS))
	}
	if err := c.say(ctx, "STARTTLS", []byte("STARTTLS\r\n"), c.opts.Timeouts.TLS); err != nil {
		return c.noTLS(err)
	}
	if _, err := c.expect(ctx, "STARTTLS", c.opts.Timeouts.TLS); err != nil {
		return c.noTLS(err)
	}
	if c.r.Buffered() > 0 {
		return c.noTLS(c.unasked(ctx, "STARTTLS"))
	}
	if err := c.handshake(ctx); err != nil {
		return err
	}
	err := c.hello(ctx, hello)
	if err != nil && !isRefusal(err) {
		return c.noTLS(err) // with TLS 1.3 this is when the server's alert about the handshake comes
	}
	return err
}

// handshake starts TLS on the connection.
func (c *Client) handshake(ctx context.Context) error {
	conn := tls.Client(c.socket, c.opts.Config)
	_ = c.socket.SetDeadline(time.Now().Add(c.opts.Timeouts.TLS)) // fails on a closed connection only, as writing will
	if err := conn.HandshakeContext(ctx); err != nil {
		return c.noTLS(c.lost(ctx, "TLS handshake", printable{err}))
	}
	c.conn, c.ext, c.maxSize = conn, nil, 0
	c.r.Reset(conn)
	return nil
}

// noTLS makes the error of a connection that should be encrypted and is not.
func (c *Client) noTLS(err error) error {
	if errors.Is(err, mailbox.ErrUnavailable) {
		return fmt.Errorf("%w: %w", ErrTLS, err)
	}
	return fmt.Errorf("%w: %w: %w", mailbox.ErrUnavailable, ErrTLS, err)
}

// printable is an error with words of the server, such as the names in its certificate.
type printable struct{ error }

// Error implements error, safely printable.
func (p printable) Error() string { return mailbox.Printable(p.error.Error()) }

// Unwrap gives the error as it is.
func (p printable) Unwrap() error { return p.error }

// socket is the connection below TLS. It can be read without waiting: what was sent behind the handshake (session
// tickets, RFC 8446 section 4.6.1) must go through the TLS layer before it is known that there was nothing else.
type socket struct {
	net.Conn
	now bool // a read gives what has come, or syscall.EAGAIN
}

// Read implements io.Reader.
func (s *socket) Read(p []byte) (int, error) {
	if !s.now {
		return s.Conn.Read(p)
	}
	sc, ok := s.Conn.(syscall.Conn)
	if !ok { // not of the system: nothing can be known
		return 0, syscall.EAGAIN
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0, err
	}
	n, cause := 0, error(nil)
	err = raw.Read(func(fd uintptr) bool {
		n, cause = syscall.Read(int(fd), p)
		return true
	})
	switch {
	case err != nil:
		return 0, err
	case errors.Is(cause, syscall.EINTR):
		return 0, syscall.EAGAIN
	case cause != nil:
		return 0, cause
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}
