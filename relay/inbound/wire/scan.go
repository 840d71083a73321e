package wire

import (
	"bytes"
	"fmt"
	"io"

	"mxbypass/relay/reply"
	"mxbypass/relay/spool"
)

// BodyLimits bound the content of one message. All of them are greater than zero.
type BodyLimits struct {
	Size     int64 // octets of the content, header and body, dots unstuffed
	Header   int64 // octets of the header
	Line     int64 // octets of a line with its CRLF
	Received int   // Received fields
}

// scanner judges content in pieces of any size and passes it on to dst. The first thing that is wrong is kept in err;
// from then on the rest is only looked at for its end.
type scanner struct {
	dst    io.Writer
	limits *BodyLimits
	header headerScan
	err    error

	size     int64 // octets passed on
	line     int64 // octets of the line so far
	inLine   bool  // not at the start of a line; only CRLF starts one
	afterCR  bool  // the last octet was a CR
	crs, lfs int64 // CRs seen; LFs seen that follow a CR
}

func (s *scanner) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

func indexLF(b []byte) int { return bytes.IndexByte(b, '\n') }

// data takes the next octets of a DATA body. It returns how many of them it used, and whether the end of data was
// among them; when it was not, at most two octets are left over (a dot at the start of a line, perhaps with a CR), to
// be given again with what follows.
func (s *scanner) data(b []byte) (used int, end bool) {
	start, i := 0, 0 // what is not yet passed on; what is not yet looked at
	for i < len(b) {
		if !s.inLine && b[i] == '.' {
			rest := b[i:]
			if len(rest) == 1 || len(rest) == 2 && rest[1] == '\r' {
				break
			}
			if rest[1] == '\r' && rest[2] == '\n' {
				s.judge(b[:i])
				s.pass(b[start:i])
				return i + 3, true
			}
			s.pass(b[start:i])
			i++ // the stuffed dot
			start = i
			s.inLine = true
		}
		i = s.nextLine(b, i)
	}
	s.judge(b[:i])
	s.pass(b[start:i])
	return i, false
}

// chunk takes the next octets of a BDAT body.
func (s *scanner) chunk(b []byte) {
	for i := 0; i < len(b); {
		i = s.nextLine(b, i)
	}
	s.judge(b)
	s.pass(b)
}

// nextLine looks for the end of the line that goes on at i, and returns where the next one starts.
func (s *scanner) nextLine(b []byte, i int) int {
	j := indexLF(b[i:])
	if j < 0 {
		s.inLine = true
		s.grow(len(b) - i)
		return len(b)
	}
	s.grow(j + 1)
	s.line = 0
	lf := i + j
	cr := s.afterCR
	if lf > 0 {
		cr = b[lf-1] == '\r'
	}
	if cr {
		s.lfs++
	} else {
		s.fail(fmt.Errorf("%w: bare LF", reply.ErrBareControl))
	}
	s.inLine = !cr
	return lf + 1
}

func (s *scanner) grow(n int) {
	if s.line += int64(n); s.line > s.limits.Line {
		s.fail(reply.ErrLineTooLong)
	}
}

// judge looks for CR and NUL, a whole piece at a time: every LF was seen to follow a CR, so every CR is followed by an
// LF if there are as many of them (one more at the end of a piece is judged with the next).
func (s *scanner) judge(b []byte) {
	if len(b) == 0 {
		return
	}
	s.afterCR = b[len(b)-1] == '\r'
	s.crs += int64(bytes.Count(b, []byte{'\r'}))
	surplus := s.crs - s.lfs
	if s.afterCR {
		surplus--
	}
	if surplus > 0 {
		s.fail(fmt.Errorf("%w: bare CR", reply.ErrBareControl))
	}
	if bytes.IndexByte(b, 0) >= 0 {
		s.fail(fmt.Errorf("%w: NUL", reply.ErrBareControl))
	}
}

// pass gives octets of the message on.
func (s *scanner) pass(b []byte) {
	if s.err != nil || len(b) == 0 {
		return
	}
	if s.size += int64(len(b)); s.size > s.limits.Size {
		s.fail(fmt.Errorf("%w: more than %d octets", spool.ErrTooBig, s.limits.Size))
		return
	}
	if !s.header.done {
		s.header.write(b)
		switch {
		case s.header.size > s.limits.Header:
			s.fail(reply.ErrHeaderTooBig)
			return
		case s.header.received > s.limits.Received || len(s.header.delivered) == maxLoops:
			s.fail(reply.ErrTooManyHops)
			return
		}
	}
	if _, err := s.dst.Write(b); err != nil {
		s.fail(err)
	}
}

// finish is called at the end of the content, and returns what was wrong with it.
func (s *scanner) finish() error {
	if s.afterCR {
		s.fail(fmt.Errorf("%w: bare CR", reply.ErrBareControl))
	}
	s.header.finish()
	return s.err
}
