package wire

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"mxbypass/relay/reply"
)

// Write takes the replies of go-smtp, a line at a time.
func (c *Conn) Write(p []byte) (int, error) {
	if !c.mute && !c.closed {
		c.put(p)
		c.announce(p)
	}
	return len(p), nil // a connection that broke is noticed by the next Read
}

// announce adds our extensions behind the first line of the answer to EHLO.
func (c *Conn) announce(line []byte) {
	if !c.extend {
		return
	}
	c.extend = false
	if !bytes.HasPrefix(line, []byte("250-")) {
		return // it was refused
	}
	for _, e := range c.peer.Extensions() {
		c.put([]byte("250-" + e + "\r\n"))
	}
}

// Answer is the session's answer to the command at hand. What go-smtp says to it is dropped.
func (c *Conn) Answer(r reply.Reply) {
	c.say(r)
	c.mute = true
}

// say sends a reply with the enhanced code on every line (RFC 2034 section 4).
func (c *Conn) say(r reply.Reply) {
	line := make([]byte, 0, 128)
	for text, more := r.Text, true; more; {
		var one string
		one, text, more = strings.Cut(text, "\n")
		line = strconv.AppendInt(line[:0], int64(r.Code), 10)
		if more {
			line = append(line, '-')
		} else {
			line = append(line, ' ')
		}
		line = strconv.AppendInt(line, int64(r.Enhanced[0]), 10)
		for _, n := range r.Enhanced[1:] {
			line = strconv.AppendInt(append(line, '.'), int64(n), 10)
		}
		line = append(line, ' ')
		line = append(line, one...)
		line = append(line, '\r', '\n')
		c.put(line)
	}
}

// put adds a line to what is to be sent, and counts it when it is the last line of an error.
func (c *Conn) put(line []byte) {
	if isError(line) {
		c.errors++
		if c.errors >= c.cfg.ErrorsSlow {
			c.delay()
		}
	}
	for len(line) > 0 {
		if c.out == nil {
			c.out = c.cfg.Buffers.getSmall()
		}
		n := copy(c.out.b[c.out.w:], line)
		c.out.w += n
		line = line[n:]
		if c.out.w == len(c.out.b) && c.flush() != nil {
			return
		}
	}
}

// isError tells whether line is the last one of a reply with 4xx or 5xx. 421 is no answer to anything.
func isError(line []byte) bool {
	return len(line) > 3 && line[3] == ' ' && (line[0] == '4' || line[0] == '5') && string(line[:3]) != "421"
}

// delay slows a client down that is told "no" too often. What was said before does not wait for it.
func (c *Conn) delay() {
	if c.flush() != nil {
		return
	}
	t := time.NewTimer(c.cfg.ErrorDelay)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.cfg.Draining:
	}
}

// flush sends what was said. After an error there is nobody to talk to any more.
func (c *Conn) flush() error {
	if c.out == nil {
		return nil
	}
	now := time.Now()
	if c.outUntil.Sub(now) < c.cfg.Write {
		c.outUntil = now.Add(c.cfg.Write + c.cfg.Write/8)
		_ = c.Conn.SetWriteDeadline(c.outUntil) // the error of a closed connection comes from Write as well
	}
	_, err := c.stream().Write(c.out.bytes())
	c.cfg.Buffers.put(c.out)
	c.out = nil
	if err != nil {
		c.ended = true
	}
	return err
}
