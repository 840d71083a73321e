package wire

import (
	"errors"
	"fmt"
	"io"
	"time"

	"mxbypass/relay/reply"
	"mxbypass/relay/spool"
)

// bodyState says what follows the last command line.
type bodyState uint8

const (
	noBody    bodyState = iota
	dotBody             // DATA
	chunkBody           // BDAT
)

var (
	// ErrAborted: the client gave up a message between two chunks (RSET, QUIT, EHLO). There is nothing to answer.
	ErrAborted = errors.New("message given up by the client")
	// ErrLost: the connection was lost within the content.
	ErrLost = errLost

	errTooBig = fmt.Errorf("%w: announced", spool.ErrTooBig)
)

// Body is what was seen of the content on its way.
type Body struct {
	Size        int64
	DeliveredTo []string // values of Delivered-To fields, raw
	Relayed     []string // values of X-Mxbypass-Relayed fields, raw
}

// Fatal tells whether err ended the connection.
func Fatal(err error) bool {
	return errors.Is(err, ErrLost) || errors.Is(err, reply.ErrIdle) || errors.Is(err, reply.ErrShutdown) ||
		errors.Is(err, reply.ErrTooManyErrors) || errors.Is(err, errBadChunk) || errors.Is(err, errLineTooLong) ||
		errors.Is(err, errForbidden)
}

// pace is the clock of one message.
type pace struct {
	start time.Time
	got   int64
	first bool // waiting for the first octets
}

// ReadBody reads the content that follows the command at hand and writes it to dst, dots unstuffed. It returns after
// the real end of the content, or with an error for which [Fatal] is true and after which the connection ends. Then,
// and after [ErrAborted], the client was told what there is to tell. Any other error says what is wrong with the
// content, or is the one of dst, and is to be answered.
func (c *Conn) ReadBody(limits *BodyLimits, dst io.Writer) (Body, error) {
	s := scanner{dst: dst, limits: limits}
	p := pace{start: time.Now(), first: c.pending == nil}
	var err error
	switch c.body {
	case dotBody:
		err = c.readDots(&s, &p)
	case chunkBody:
		c.mute = false
		err = c.readChunks(&s, &p)
	default:
		err = errors.New("no content follows this command")
	}
	if err != nil && Fatal(err) {
		c.end(err)
		return Body{}, err
	}
	// What go-smtp reads in place of the content is its end.
	c.body = noBody
	c.handout = ".\r\n"
	if err == nil {
		err = s.finish()
	}
	return Body{Size: s.size, DeliveredTo: s.header.delivered, Relayed: s.header.relayed}, err
}

// readDots reads up to the end of data. What follows it stays pending.
func (c *Conn) readDots(s *scanner, p *pace) error {
	for {
		if c.pending != nil {
			used, end := s.data(c.pending.bytes())
			c.pending.r += used
			if end {
				if c.pending.empty() {
					c.release()
				}
				return nil
			}
		}
		if err := c.more(p); err != nil {
			return err
		}
	}
}

// readChunks reads chunks up to the last one, answering those before it.
func (c *Conn) readChunks(s *scanner, p *pace) error {
	for {
		chunk := c.command.Chunk
		if chunk > s.limits.Size-s.size {
			s.fail(errTooBig)
		}
		for left := chunk; left > 0; {
			b, err := c.raw(left, p)
			if err != nil {
				return err
			}
			if s.err == nil {
				s.chunk(b)
			}
			left -= int64(len(b))
		}
		if c.pending != nil && c.pending.empty() {
			c.release()
		}
		if s.err != nil || c.command.Last {
			return s.err
		}
		c.say(reply.Reply{Code: 250, Enhanced: [3]int{2, 0, 0}, Text: fmt.Sprintf("%d octets received", chunk)})
		if err := c.nextChunk(); err != nil {
			return err
		}
	}
}

// nextChunk reads commands up to the next BDAT.
func (c *Conn) nextChunk() error {
	scratch := c.cfg.Buffers.getSmall()
	defer c.cfg.Buffers.put(scratch)
	for {
		line, err := c.nextLine(scratch.b)
		if err != nil {
			return err
		}
		if r := c.parse(line); r != nil {
			if err := c.refuse(r); err != nil {
				return err
			}
			continue
		}
		switch c.command.Verb {
		case BDAT:
			return nil
		case RSET, QUIT, HELO, EHLO, LHLO:
			// go-smtp still waits for the end of its DATA; then it gets the command.
			c.unread = append([]byte(nil), line...)
			c.mute = true
			return ErrAborted
		case NOOP:
			c.say(reply.Reply{Code: 250, Enhanced: [3]int{2, 0, 0}, Text: "OK"})
		default:
			c.say(reply.Reply{Code: 503, Enhanced: [3]int{5, 5, 1}, Text: "send the rest of the message, or RSET"})
		}
	}
}

// raw returns octets of a chunk, at most n. They are valid until the next read.
func (c *Conn) raw(n int64, p *pace) ([]byte, error) {
	if c.pending == nil || c.pending.empty() {
		if err := c.more(p); err != nil {
			return nil, err
		}
	}
	b := c.pending.bytes()
	if int64(len(b)) > n {
		b = b[:n]
	}
	c.pending.r += len(b)
	return b, nil
}

// discard reads a chunk that nobody wants.
func (c *Conn) discard(n int64) error {
	p := pace{start: time.Now(), first: c.pending == nil}
	for n > 0 {
		b, err := c.raw(n, &p)
		if err != nil {
			return err
		}
		n -= int64(len(b))
	}
	if c.pending != nil && c.pending.empty() {
		c.release()
	}
	return nil
}

// more waits for more of the content, behind what is pending.
func (c *Conn) more(p *pace) error {
	now := time.Now()
	if elapsed := now.Sub(p.start); elapsed > floorAfter && p.got < int64(elapsed/time.Second)*floorRate {
		return reply.ErrIdle
	}
	until := now.Add(c.cfg.DataBlock)
	if p.first {
		until = now.Add(c.cfg.DataStart)
	}
	if end := p.start.Add(c.cfg.DataTotal); end.Before(until) {
		until = end
	}
	if c.pending == nil || len(c.pending.b) < largeBuffer {
		b := c.cfg.Buffers.getLarge()
		if c.pending != nil {
			b.w = copy(b.b, c.pending.bytes())
			c.release()
		}
		c.pending = b
	}
	c.pending.compact()
	n, err := c.wait(c.pending.b[c.pending.w:], until)
	if err != nil {
		return err
	}
	c.pending.w += n
	p.got += int64(n)
	p.first = false
	return nil
}
