package dsn

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"mxbypass/mailbox"
)

// returned is what comes back of the original, and what was seen of it.
type returned struct {
	whole     bool
	size      int64  // octets from its start
	short     string // a sentence, when that is less than the sender may expect
	global    bool   // its header is UTF-8
	eightBit  bool   // what comes back is not ASCII
	messageID string // its Message-ID, if it is well-formed
}

// whatComesBack looks the original over.
func (n *Notification) whatComesBack() (returned, error) {
	o := &n.Original
	var r returned
	r.whole, r.short = n.wanted()
	seen, err := look(o.Content.NewReader(), r.whole)
	if err != nil {
		return returned{}, err
	}
	r.messageID = seen.messageID()
	r.global = o.UTF8Header && seen.headerEightBit
	if r.whole {
		if seen.size != o.Content.Size() {
			return returned{}, fmt.Errorf("%d octets instead of %d", seen.size, o.Content.Size())
		}
		r.size, r.eightBit = seen.size, seen.eightBit
		return r, nil
	}
	r.size, r.eightBit = seen.header, seen.headerEightBit
	if seen.cut && r.short == "" {
		r.short = "Its header is longer than " + octets(MaxHeader) + ", the rest of it was cut off."
	}
	return r, nil
}

// wanted tells whether the whole message comes back; why is a sentence when that is less than the sender may expect.
func (n *Notification) wanted() (whole bool, why string) {
	size := n.Original.Content.Size()
	switch asked := n.Original.Return; {
	case n.action() != Failed || asked == mailbox.ReturnHeaders:
		return false, ""
	case asked == mailbox.ReturnFull && size > MaxFull:
		return false, "The whole message had been asked for, but it is larger than " + octets(MaxFull) + "."
	case asked != mailbox.ReturnFull && size > MaxUnasked:
		return false, "The message is larger than " + octets(MaxUnasked) + ", so that the rest is left out."
	}
	return true, ""
}

func octets(n int) string {
	if n >= 1<<20 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d KiB", n>>10)
}

// part is the third one, up to the original's octets (RFC 6522 section 4, RFC 6533 section 4).
func (r *returned) part() *part {
	p := &part{encoding: encoding(r.eightBit), eightBit: r.eightBit, description: "Header of your message"}
	switch {
	case r.whole && r.global:
		p.kind = "message/global"
	case r.whole:
		p.kind = "message/rfc822"
	case r.global:
		p.kind = "message/global-headers"
	default:
		p.kind = "text/rfc822-headers"
	}
	if r.whole {
		p.description = "Your message"
	}
	return p
}

// look reads the header of a message, and the rest of it when that matters.
func look(from io.Reader, whole bool) (*sight, error) {
	s := &sight{}
	r := bufio.NewReaderSize(from, 32<<10)
	for whole || !s.over {
		piece, err := r.ReadSlice('\n')
		if len(piece) > 0 {
			s.piece(piece)
		}
		switch {
		case errors.Is(err, io.EOF):
			return s, nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
	return s, nil
}

// sight is what is seen of a message while it passes. Its header ends before the empty line, or before the first line
// that is no header field, so that no line of a body comes back to who asked for headers only.
type sight struct {
	size           int64
	eightBit       bool
	header         int64 // octets of the header, at most MaxHeader; what is longer is cut before a field
	headerEightBit bool
	cut            bool

	over    bool   // the header is
	midLine bool   // the next piece goes on with a line
	field   int64  // where the last field begins
	inID    bool   // that field is the Message-ID
	id      []byte // its value so far
}

// piece looks at the next line, or at as much of it as fits into the buffer.
func (s *sight) piece(p []byte) {
	eightBit := hasEightBit(p)
	s.eightBit = s.eightBit || eightBit
	if !s.over && !s.midLine {
		s.over = !s.headerLine(p)
	}
	s.midLine = p[len(p)-1] != '\n'
	s.size += int64(len(p))
	if s.over {
		return
	}
	if s.size > MaxHeader {
		s.header, s.cut, s.over = s.field, true, true
		return
	}
	s.header = s.size
	s.headerEightBit = s.headerEightBit || eightBit
	if s.inID && len(s.id) <= maxValue {
		s.id = append(s.id, p...)
	}
}

// headerLine tells whether a line that begins with p belongs to the header.
func (s *sight) headerLine(p []byte) bool {
	if p[0] == ' ' || p[0] == '\t' {
		return s.size > 0
	}
	name, _, ok := bytes.Cut(p, []byte(":"))
	name = bytes.TrimRight(name, " \t")
	if !ok || !isFieldName(name) {
		// Some programs send the envelope line of a mailbox file first.
		return s.size == 0 && (bytes.HasPrefix(p, []byte("From ")) || bytes.HasPrefix(p, []byte(">From ")))
	}
	s.field = s.size
	s.inID = s.id == nil && bytes.EqualFold(name, []byte("Message-ID"))
	return true
}

// isFieldName checks a name of RFC 5322 section 3.6.8.
func isFieldName(name []byte) bool {
	for _, c := range name {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return len(name) > 0
}

// messageID is the Message-ID of the header, or nothing when it is not one of RFC 5322 section 3.6.4.
func (s *sight) messageID() string {
	_, value, _ := strings.Cut(string(s.id), ":")
	value = strings.TrimSpace(value)
	inner, opened := strings.CutPrefix(value, "<")
	inner, closed := strings.CutSuffix(inner, ">")
	left, right, found := strings.Cut(inner, "@")
	if literal, ok := strings.CutPrefix(right, "["); ok {
		right = strings.ReplaceAll(strings.TrimSuffix(literal, "]"), ":", ".")
	}
	if !opened || !closed || !found || len(value) > maxValue || !isAtoms(left) || !isAtoms(right) {
		return ""
	}
	return value
}

// isAtoms tells whether s is made of atoms and dots, wherever they stand: programs that write dots in a wrong place are
// understood by all that compare identifiers.
func isAtoms(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>[]:;@\,"`, r)
	})
}

func hasEightBit(p []byte) bool {
	for _, c := range p {
		if c >= utf8.RuneSelf {
			return true
		}
	}
	return false
}
