package wire

import (
	"errors"
	"time"

	"mxbypass/relay/reply"
)

// Errors of command lines that end the connection.
var (
	errLineTooLong = errors.New("command line too long")
	errBadChunk    = errors.New("malformed BDAT")
	errForbidden   = errors.New("not a mail client")
)

// nextCommand reads up to the next command that is for go-smtp, and returns its line. scratch is free to be written to.
func (c *Conn) nextCommand(scratch []byte) (string, error) {
	for {
		raw, err := c.nextLine(scratch)
		if err != nil {
			return "", err
		}
		c.mute = false
		if refusal := c.parse(raw); refusal != nil {
			if err := c.refuse(refusal); err != nil {
				return "", err
			}
			continue
		}
		if r := c.peer.Admit(&c.command); r != nil {
			// The chunk follows the command even when the command is refused (RFC 3030 section 2).
			if c.command.Verb == BDAT {
				if err := c.discard(c.command.Chunk); err != nil {
					return "", err
				}
			}
			c.say(*r)
			continue
		}
		switch c.command.Verb {
		case STARTTLS:
			if err := c.startTLS(); err != nil {
				return "", err
			}
			continue
		case AUTH:
			if err := c.login(); err != nil {
				return "", err
			}
			continue
		case EHLO, LHLO:
			c.extend = true
		case DATA:
			c.body = dotBody
		case BDAT: // go-smtp is told of DATA; its 354 is not for the client
			c.body = chunkBody
			c.mute = true
		}
		return c.command.line, nil
	}
}

// nextLine returns the next command line with its line end. It points into scratch or into what is pending, and is
// valid until the next read.
func (c *Conn) nextLine(scratch []byte) ([]byte, error) {
	if c.errors >= c.cfg.ErrorsClose {
		return nil, reply.ErrTooManyErrors
	}
	if line := c.unread; line != nil {
		c.unread = nil
		return line, nil
	}
	if c.state.Load() != running {
		if open, _ := c.peer.Transaction(); !open {
			return nil, reply.ErrShutdown
		}
	}
	if len(scratch) < smallBuffer {
		scratch = make([]byte, smallBuffer)
	}
	n := 0
	if c.pending != nil {
		line, err := c.pendingLine()
		if line != nil || err != nil {
			return line, err
		}
		n = copy(scratch, c.pending.bytes())
		c.release()
	}
	until := time.Now().Add(c.peer.Patience())
	for {
		if n >= c.cfg.CommandLine {
			return nil, c.refuse(&refusal{rep: answerTooLong, err: errLineTooLong, end: true})
		}
		m, err := c.wait(scratch[n:], until)
		if err != nil {
			return nil, err
		}
		if i := indexLF(scratch[n : n+m]); i >= 0 {
			line := scratch[:n+i+1]
			c.keep(scratch[n+i+1 : n+m])
			return line, c.checkLength(line)
		}
		n += m
	}
}

// pendingLine returns the next line of what is pending, nil when only a part of one is there.
func (c *Conn) pendingLine() ([]byte, error) {
	b := c.pending.bytes()
	i := indexLF(b)
	if i < 0 {
		return nil, c.checkLength(b)
	}
	c.pending.r += i + 1
	if c.pending.empty() { // its octets stay where they are until the buffer is used again: take it back then
		line := append([]byte(nil), b[:i+1]...)
		c.release()
		return line, c.checkLength(line)
	}
	return b[:i+1], c.checkLength(b[:i+1])
}

func (c *Conn) checkLength(line []byte) error {
	if len(line) > c.cfg.CommandLine {
		return c.refuse(&refusal{rep: answerTooLong, err: errLineTooLong, end: true})
	}
	return nil
}

// keep puts the surplus of a read aside.
func (c *Conn) keep(b []byte) {
	if len(b) == 0 {
		return
	}
	c.pending = c.cfg.Buffers.getSmall()
	c.pending.w = copy(c.pending.b, b)
}

func (c *Conn) release() {
	c.cfg.Buffers.put(c.pending)
	c.pending = nil
}

// refusal is the answer to a line that is no command for anybody.
type refusal struct {
	rep reply.Reply
	err error
	end bool // the connection cannot go on
}

// refuse answers. The error, if any, ends the connection.
func (c *Conn) refuse(r *refusal) error {
	c.peer.Refused(&c.command, r.rep, r.err)
	c.say(r.rep)
	if r.end {
		c.linger = true
		return r.err
	}
	return nil
}
