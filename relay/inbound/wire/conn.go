package wire

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	"mxbypass/relay/reply"
)

// Peer is the session on this side of a connection. Its methods are called by the goroutine that reads, which is the
// one that runs the session.
type Peer interface {
	// Admit is asked about every well-formed command before go-smtp is. A reply refuses it: it is sent, and go-smtp
	// never hears of the command.
	Admit(cmd *Command) *reply.Reply
	// Refused tells that a command was refused here, and why.
	Refused(cmd *Command, r reply.Reply, err error)
	// Transaction tells whether a transaction is in progress, and whether it is one with SMTPUTF8 (RFC 6531).
	Transaction() (open, utf8 bool)
	// Patience is how long the next command is waited for.
	Patience() time.Duration
	// Extensions are the lines of the answer to EHLO for what the gate does itself.
	Extensions() []string
	// TLS is for STARTTLS, after Admit has allowed it.
	TLS() *tls.Config
	// Secured tells that the connection is encrypted from now on; what was said before does not count any more (RFC 3207
	// section 4.2).
	Secured(state tls.ConnectionState)
	// Insecure tells that TLS failed; the connection ends.
	Insecure(err error)
	// Login runs the dialogue of an AUTH command (RFC 4954) that Admit has allowed, and gives the answer to it. ask sends a
	// challenge and gives the client's response; its error is to be returned.
	Login(cmd *Command, ask func(challenge string) ([]byte, error)) (reply.Reply, error)
	// Panicked tells of a mistake of ours; the connection ends.
	Panicked(v any, stack []byte)
	// Closed tells that the connection is being closed. It is called once.
	Closed()
}

// Config is what all connections of a server share. Every duration and number is greater than zero.
type Config struct {
	MaxSize     int64 // of a message as announced by SIZE and BDAT, in octets
	CommandLine int   // octets of a command line with its line end; at most 4096
	ErrorsSlow  int   // from so many replies with 4xx or 5xx on each of them is delayed by ErrorDelay
	ErrorsClose int   // after so many the connection is closed
	ErrorDelay  time.Duration

	DataStart time.Duration // wait for the first octet of DATA
	DataBlock time.Duration // wait for each of the next reads
	DataTotal time.Duration // for the whole content
	Write     time.Duration // for the client to take replies
	Handshake time.Duration // for that of TLS

	Buffers *Buffers
	// Draining is closed when the server wants to end: no reply is delayed any more.
	Draining <-chan struct{}
}

// Throughput floor: who sends a message with less than floorRate octets per second, counted after the first floorAfter,
// holds a session for nothing. A modem of 1990 had twenty times as much.
const (
	floorRate  = 50
	floorAfter = 5 * time.Minute
)

// States of a connection that its server asked to end.
const (
	running int32 = iota
	draining
	aborted
)

// Conn is the gate. Read, Write and Close are for go-smtp, ReadBody, Answer and Command for the session, all in one
// goroutine; Drain, Abort and Kill may be called by anybody.
type Conn struct {
	net.Conn // below: the socket
	cfg      *Config
	peer     Peer
	secure   *tls.Conn // upon the socket; nil: there is no TLS
	opening  Opening   // what has to be done before the greeting is sent
	opened   bool

	// Input.
	pending *buffer // received, not used yet; nil when there is nothing
	unread  []byte  // a command line to be read again
	handout string  // for go-smtp, before anything else
	command Command
	body    bodyState
	ended   bool      // go-smtp gets no more input
	until   time.Time // the read deadline that is set

	// Output.
	out      *buffer   // replies to be sent; nil when there is nothing
	mute     bool      // what go-smtp writes is dropped
	extend   bool      // the answer to EHLO has begun, and our extensions come behind its first line
	errors   int       // replies with 4xx or 5xx
	outUntil time.Time // the write deadline that is set
	linger   bool      // unread input must not turn our last words into a reset
	closed   bool

	state atomic.Int32
	woken atomic.Bool // the read deadline was moved by Drain or Abort
}

// New puts a gate before c.
func New(c net.Conn, peer Peer, cfg *Config, o Opening) *Conn {
	return &Conn{Conn: c, peer: peer, cfg: cfg, opening: o}
}

// stream is what is read and written: the socket, or TLS upon it.
func (c *Conn) stream() net.Conn {
	if c.secure != nil {
		return c.secure
	}
	return c.Conn
}

// Peer returns the session on this side.
func (c *Conn) Peer() Peer { return c.peer }

// Command returns the command that go-smtp was handed last, parsed. It is valid until the next one.
func (c *Conn) Command() *Command { return &c.command }

// Read hands out one command line, and never more (see the package documentation).
func (c *Conn) Read(p []byte) (n int, err error) {
	defer func() {
		if v := recover(); v != nil {
			c.peer.Panicked(v, debug.Stack())
			c.ended = true
			n, err = 0, io.EOF
		}
	}()
	switch {
	case len(p) == 0:
		return 0, nil
	case !c.open():
		return 0, io.EOF
	case len(c.handout) > 0:
	case c.ended || c.body != noBody: // a body that nobody read must not be taken for commands
		c.ended = true
		return 0, io.EOF
	default:
		if c.handout, err = c.nextCommand(p); err != nil {
			c.end(err)
			return 0, io.EOF
		}
	}
	n = copy(p, c.handout)
	c.handout = c.handout[n:]
	return n, nil
}

// end is the end of input: go-smtp is told of a closed connection, and closes it in turn. The client hears why, if it
// is still there; nothing else is said after that.
func (c *Conn) end(err error) {
	c.ended = true
	if r := reply.For(err); r.Code == 421 {
		c.say(r)
		c.linger = true
	}
	c.mute = true
}

// Fail ends the connection after a mistake of ours.
func (c *Conn) Fail() {
	c.mute = false
	c.Answer(reply.Reply{Code: 421, Enhanced: [3]int{4, 3, 0}, Text: "internal error, closing the connection"})
	c.ended = true
}

// errLost: the connection ended, or broke, under us.
var errLost = errors.New("connection lost")

// wait reads what comes next, with a deadline. What was said before is sent first. The error is [reply.ErrIdle],
// [reply.ErrShutdown] or errLost.
func (c *Conn) wait(b []byte, until time.Time) (int, error) {
	if err := c.flush(); err != nil {
		return 0, errLost
	}
	for {
		c.setReadDeadline(until)
		switch c.state.Load() {
		case aborted:
			return 0, reply.ErrShutdown
		case draining:
			if open, _ := c.peer.Transaction(); !open {
				return 0, reply.ErrShutdown
			}
		}
		n, err := c.stream().Read(b)
		switch {
		case n > 0:
			return n, nil
		case err == nil:
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return 0, errLost
		case !time.Now().Before(until):
			return 0, reply.ErrIdle
		}
	}
}

// setReadDeadline leaves a deadline alone that is a little late: moving it costs more than it is worth, read for read.
func (c *Conn) setReadDeadline(until time.Time) {
	const slack = 2 * time.Second
	if moved := c.woken.Swap(false); !moved && !c.until.Before(until) && c.until.Sub(until) <= slack {
		return
	}
	// With a short wait the slack would be most of it.
	late := min(slack, time.Until(until)/16)
	c.until = until.Add(max(late, 0))
	_ = c.Conn.SetReadDeadline(c.until) // the error of a closed connection comes from Read as well
}

// Drain asks the connection to end: at once when no transaction is in progress, otherwise after it.
func (c *Conn) Drain() { c.wake(draining) }

// Abort asks the connection to end at the next moment that it waits for the client.
func (c *Conn) Abort() { c.wake(aborted) }

// wake makes a waiting Read look at the state. The order counts: Read sets its deadline before it looks.
func (c *Conn) wake(state int32) {
	c.state.Store(state)
	c.woken.Store(true)
	_ = c.Conn.SetReadDeadline(time.Unix(1, 0))
}

// Kill closes the socket under whoever uses it.
func (c *Conn) Kill() { _ = c.Conn.Close() }

// Close sends what was said and closes the connection.
func (c *Conn) Close() error {
	if c.closed {
		return nil
	}
	c.closed, c.ended = true, true
	if err := c.flush(); err == nil && c.linger {
		c.lingerOn()
	}
	if c.pending != nil {
		c.cfg.Buffers.put(c.pending)
		c.pending = nil
	}
	c.peer.Closed() // before the client can see it: who comes again at once finds the place free
	return c.stream().Close()
}

// lingerOn reads a little of what the client still sends: closing with unread input resets the connection, and the
// client may then never read why it was closed.
func (c *Conn) lingerOn() {
	const patience = time.Second
	if c.secure != nil && c.secure.CloseWrite() != nil {
		return
	}
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	b := c.cfg.Buffers.getSmall()
	defer c.cfg.Buffers.put(b)
	_ = c.Conn.SetReadDeadline(time.Now().Add(patience))
	for range 64 {
		if c.state.Load() == aborted {
			return
		}
		if _, err := c.Conn.Read(b.b); err != nil {
			return
		}
	}
}
