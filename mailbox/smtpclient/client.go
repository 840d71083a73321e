package smtpclient

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"mxbypass/mailbox"
)

// Protocol is what is spoken.
type Protocol string

// The protocols.
const (
	SMTP Protocol = "smtp"
	LMTP Protocol = "lmtp"
)

// Timeouts say how long each step may take, as RFC 5321 section 4.5.3.2 has them. A context can end a step earlier.
type Timeouts struct {
	Connect   time.Duration
	Greeting  time.Duration
	Hello     time.Duration // EHLO, LHLO, HELO
	Mail      time.Duration
	Rcpt      time.Duration // each recipient
	DataStart time.Duration // from DATA to its answer
	DataBlock time.Duration // each write of up to 64 KiB: rolls with progress
	DataEnd   time.Duration // from the final dot to each answer
	TLS       time.Duration // STARTTLS and the handshake
	Reset     time.Duration // RSET, from when the connection is used again
}

// DefaultTimeouts are those of RFC 5321, which has none for connecting and RSET.
func DefaultTimeouts() Timeouts {
	return Timeouts{Connect: 30 * time.Second, Greeting: 5 * time.Minute, Hello: 5 * time.Minute, Mail: 5 * time.Minute,
		Rcpt: 5 * time.Minute, DataStart: 2 * time.Minute, DataBlock: 3 * time.Minute, DataEnd: 10 * time.Minute,
		TLS: time.Minute, Reset: 5 * time.Second}
}

// farewell is how long the courtesies may take: writing RSET, QUIT, the last words of a server that hung up.
const farewell = time.Second

// writeSize is the size of a write of content.
const writeSize = 64 << 10

// Options of a connection.
type Options struct {
	Protocol Protocol
	Hostname mailbox.DomainName // our name, for EHLO and LHLO
	Host     string             // the server's name in errors
	Timeouts Timeouts           // every one positive; see DefaultTimeouts
	TLS      TLSMode
	Config   *tls.Config // for TLS; needed unless the mode is TLSNever
	Auth     *Auth       // AUTH, only ever under TLS; nil: none
	Source   netip.Addr  // local address to connect from; zero: the system's choice
	Note     any         // what the user of the connection knows about it; see Client.Note

	// Connected is told the local address, zero when it is not of IP, before anything is said: what comes then may end
	// without a Client. Nil: nobody wants to know.
	Connected func(local netip.Addr)
}

// Client is one connection. It is used by one goroutine at a time; transactions follow each other.
type Client struct {
	socket  *socket  // of the system; closing it needs nobody's answer
	conn    net.Conn // what is spoken through: the socket, or TLS over it
	r       *bufio.Reader
	buf     []byte // for everything written
	opts    Options
	ext     map[string]string // what the server announced: keyword in capitals, arguments
	maxSize int64             // SIZE; 0: no limit
	owed    int               // replies to RSET that are still to be read
	broken  bool              // not to be used for another transaction
	opened  time.Time
}

// Dial connects and opens; see [Open].
func Dial(ctx context.Context, network, address string, opts Options) (*Client, error) {
	d := net.Dialer{Timeout: opts.Timeouts.Connect}
	if opts.Source.IsValid() {
		d.LocalAddr = &net.TCPAddr{IP: opts.Source.AsSlice(), Zone: opts.Source.Zone()}
	}
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", opts.Host, mailbox.ErrUnavailable, err)
	}
	return Open(ctx, conn, opts)
}

// Open reads the greeting on a new connection, says hello, and does TLS and AUTH as the options say. The connection is
// the client's from now on; it is closed when there is an error: what the server said (*mailbox.RemoteError), or one that
// wraps [mailbox.ErrUnavailable].
func Open(ctx context.Context, conn net.Conn, opts Options) (*Client, error) {
	s := &socket{Conn: conn}
	c := &Client{socket: s, conn: s, r: bufio.NewReaderSize(s, maxLine), buf: make([]byte, 0, writeSize), opts: opts,
		opened: time.Now()}
	if opts.Connected != nil {
		opts.Connected(c.local())
	}
	defer c.guard(ctx)()
	if err := c.greet(ctx); err != nil {
		c.Quit()
		return nil, err
	}
	return c, nil
}

func (c *Client) greet(ctx context.Context) error {
	if c.opts.TLS == TLSImplicit {
		if err := c.handshake(ctx); err != nil {
			return err
		}
	}
	if _, err := c.expect(ctx, "connect", c.opts.Timeouts.Greeting); err != nil {
		return err
	}
	verb := "EHLO"
	if c.opts.Protocol == LMTP {
		verb = "LHLO"
	}
	err := c.hello(ctx, verb)
	var refusal *mailbox.RemoteError
	if verb == "EHLO" && errors.As(err, &refusal) && !refusal.Temporary() {
		err = c.hello(ctx, "HELO") // RFC 5321 section 3.2
	}
	if err == nil {
		err = c.startTLS(ctx, verb)
	}
	if err == nil && c.opts.Auth != nil {
		err = c.authenticate(ctx)
	}
	return err
}

func (c *Client) hello(ctx context.Context, verb string) error {
	timeout := c.opts.Timeouts.Hello
	if err := c.say(ctx, verb, []byte(verb+" "+c.opts.Hostname.ASCII()+"\r\n"), timeout); err != nil {
		return err
	}
	rep, err := c.expect(ctx, verb, timeout)
	if err != nil {
		return err
	}
	c.ext, c.maxSize = map[string]string{}, 0
	if verb == "HELO" {
		return nil
	}
	_, lines, _ := strings.Cut(rep.text, "\n") // the first line names the server
	for line := range strings.SplitSeq(lines, "\n") {
		keyword, args, _ := strings.Cut(line, " ")
		c.ext[strings.ToUpper(keyword)] = args
	}
	if n, err := strconv.ParseInt(c.ext["SIZE"], 10, 64); err == nil { // RFC 1870 section 4; otherwise it is not known
		c.maxSize = n
	}
	return nil
}

// Host gives the server's name, as in the Options.
func (c *Client) Host() string { return c.opts.Host }

// Note gives what stands in the Options.
func (c *Client) Note() any { return c.opts.Note }

// local gives the address that the connection was made from; zero: not of IP.
func (c *Client) local() netip.Addr {
	if at, ok := c.socket.LocalAddr().(*net.TCPAddr); ok {
		return at.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// Age tells how long ago the connection was made.
func (c *Client) Age() time.Duration { return time.Since(c.opened) }

// Announces tells whether the server announced an extension, given in capitals.
func (c *Client) Announces(keyword string) bool {
	_, ok := c.ext[keyword]
	return ok
}

// Usable tells whether another transaction can be tried on the connection, as far as is known without asking.
func (c *Client) Usable() bool { return !c.broken && (c.owed > 0 || c.r.Buffered() == 0) }

// Alive looks at the connection after a pause: it must not have been closed, and nothing may have come that was not
// asked for (such as the 421 of a server that closes idle connections).
func (c *Client) Alive() bool {
	if !c.Usable() || c.socket.SetDeadline(time.Now().Add(farewell)) != nil { // TLS may have to write
		return false
	}
	c.socket.now = true
	_, err := c.r.Peek(1)
	c.socket.now = false
	return err == nil && c.owed > 0 || errors.Is(err, syscall.EAGAIN)
}

// Quit says goodbye, waits a moment for the answer and closes the connection.
func (c *Client) Quit() {
	if !c.broken {
		_ = c.socket.SetDeadline(time.Now().Add(farewell))
		_, err := c.conn.Write([]byte("QUIT\r\n"))
		for n := 0; err == nil && n <= c.owed; n++ {
			_, err = readReply(c.r)
		}
		if err == nil {
			_ = c.conn.Close() // TLS says goodbye, too: the server still listens
		}
	}
	c.Close()
}

// Close closes the connection.
func (c *Client) Close() {
	c.broken = true
	_ = c.socket.Close()
}

// guard closes the connection when the context ends, until the returned function is called.
func (c *Client) guard(ctx context.Context) func() {
	stop := context.AfterFunc(ctx, func() { _ = c.socket.Close() })
	return func() {
		if !stop() {
			c.broken = true
		}
	}
}

// say sends commands. A server that said something before it was asked is not spoken to any more: its answers would be
// taken for those to other questions.
func (c *Client) say(ctx context.Context, command string, p []byte, timeout time.Duration) error {
	if c.owed == 0 && c.r.Buffered() > 0 {
		return c.unasked(ctx, command)
	}
	return c.write(ctx, command, p, timeout)
}

// write sends p. A server that hung up may have said why before: that is the error then.
func (c *Client) write(ctx context.Context, command string, p []byte, timeout time.Duration) error {
	_ = c.socket.SetDeadline(time.Now().Add(timeout)) // fails on a closed connection only, as writing will
	_, err := c.conn.Write(p)
	if err == nil {
		return nil
	}
	if ctx.Err() == nil && !errors.Is(err, os.ErrDeadlineExceeded) && c.owed == 0 {
		if refusal := c.lastWords(command); refusal != nil {
			return refusal
		}
	}
	return c.lost(ctx, command, err)
}

// lastWords reads what the server said without waiting to be asked, and ends the connection; nil when it was no refusal.
func (c *Client) lastWords(command string) error {
	_ = c.socket.SetDeadline(time.Now().Add(farewell))
	rep, err := readReply(c.r)
	c.Close()
	if err == nil && rep.negative() {
		return rep.refusal(c.opts.Host, command)
	}
	return nil
}

// expect reads the reply to a command: nil when it is positive, a *mailbox.RemoteError when it was refused, otherwise the
// connection is of no more use.
func (c *Client) expect(ctx context.Context, command string, timeout time.Duration) (reply, error) {
	rep, err := c.answer(ctx, command, timeout)
	if err == nil && rep.positive() == (command == "DATA") { // RFC 5321 section 4.3.2: 354 follows DATA, and only DATA
		return reply{}, c.lost(ctx, command, fmt.Errorf("%w: %d", errReply, rep.code))
	}
	return rep, err
}

// answer reads the reply to a command, within timeout from its first octet to its last; see expect. It can be 2xx or 3xx.
func (c *Client) answer(ctx context.Context, command string, timeout time.Duration) (reply, error) {
	_ = c.socket.SetReadDeadline(time.Now().Add(timeout)) // fails on a closed connection only, as reading will
	rep, err := readReply(c.r)
	switch {
	case err != nil:
		return reply{}, c.lost(ctx, command, err)
	case rep.code == 421: // RFC 5321 section 3.8: the server closes
		c.broken = true
		return reply{}, rep.refusal(c.opts.Host, command)
	case rep.negative():
		return reply{}, rep.refusal(c.opts.Host, command)
	}
	return rep, nil
}

// unasked ends the connection to a server that answered what nobody asked.
func (c *Client) unasked(ctx context.Context, command string) error {
	return c.lost(ctx, command, fmt.Errorf("%w: nothing was asked", errReply))
}

// lost ends the connection and makes the error that says so, with the context's where that was the cause.
func (c *Client) lost(ctx context.Context, command string, err error) error {
	c.Close()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return &LostError{Host: c.opts.Host, Command: command, Err: err}
}

// isRefusal tells whether err is what the server said, so that the dialogue can go on.
func isRefusal(err error) bool {
	var refusal *mailbox.RemoteError
	return errors.As(err, &refusal)
}
