package queue

import (
	"bytes"
	"encoding/binary"
)

// survey tells what a message needs of those who are to take it.
type survey struct {
	size       int64
	eightBit   bool // something is not ASCII
	utf8Header bool // something before the first empty line is not
	body       bool // the header has ended
	line       int  // octets of the line that is not complete
}

// add looks at the next piece of the content.
func (s *survey) add(p []byte) {
	s.size += int64(len(p))
	if !s.body {
		n := s.header(p)
		if !s.utf8Header && !ascii(p[:n]) {
			s.utf8Header, s.eightBit = true, true
		}
		p = p[n:]
	}
	if !s.eightBit && !ascii(p) {
		s.eightBit = true
	}
}

// header tells how much of p belongs to the header. A line of CR LF alone ends it.
func (s *survey) header(p []byte) int {
	at := 0
	for {
		n := bytes.IndexByte(p[at:], '\n')
		if n < 0 {
			s.line += len(p) - at
			return len(p)
		}
		at += n + 1
		if s.line+n <= 1 {
			s.body = true
			return at
		}
		s.line = 0
	}
}

// ascii tells whether no octet has its high bit set.
func ascii(p []byte) bool {
	for ; len(p) >= 32; p = p[32:] {
		a, b := binary.NativeEndian.Uint64(p), binary.NativeEndian.Uint64(p[8:])
		c, d := binary.NativeEndian.Uint64(p[16:]), binary.NativeEndian.Uint64(p[24:])
		if (a|b|c|d)&0x8080808080808080 != 0 {
			return false
		}
	}
	for _, c := range p {
		if c >= 0x80 {
			return false
		}
	}
	return true
}
