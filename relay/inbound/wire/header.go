package wire

import "strings"

const (
	// maxLoops is how many fields that tell a loop are kept; a message with more has come around too often.
	maxLoops = 100
	// maxFieldValue is how much of such a field is kept: an address has at most 320 octets, a host name 255.
	maxFieldValue = 640
	maxFieldName  = 24 // longer than any name that is looked for
)

// headerScan watches the header of a message go by, in pieces of any size, and keeps what tells a loop. The header ends
// at the empty line, or at the first line that is no header field (RFC 5322 section 2.2).
type headerScan struct {
	done  bool
	state headerState

	size int64 // of the header so far

	name      [maxFieldName]byte
	nameLen   int
	pastFirst bool // past the first line, which may be the envelope line of a mailbox file

	value     []byte    // of the field being read, if it tells a loop
	into      *[]string // where that value goes; nil: it is of no interest
	received  int
	delivered []string // values of Delivered-To
	relayed   []string // values of X-Mxbypass-Relayed
}

// relayedField is the name, folded, of the field that the relay puts on top of what it gives to the other half of a
// split domain.
const relayedField = "x-mxbypass-relayed"

type headerState uint8

const (
	lineStart headerState = iota
	inName                // of a field
	afterName             // white space between a name and its colon
	inRest                // anything up to the end of the line
	emptyLine             // a CR at the start of a line
)

// write looks at the next piece of the message.
func (h *headerScan) write(p []byte) {
	i := 0
	for i < len(p) && !h.done {
		if h.state == inRest {
			n := len(p) - i
			if j := indexLF(p[i:]); j >= 0 {
				n = j + 1
				h.state, h.pastFirst = lineStart, true
			}
			if h.into != nil && len(h.value) < maxFieldValue {
				h.value = append(h.value, p[i:i+min(n, maxFieldValue-len(h.value))]...)
			}
			i += n
			continue
		}
		h.octet(p[i])
		i++
	}
	h.size += int64(i)
}

// octet reads the start of a line.
func (h *headerScan) octet(c byte) {
	switch h.state {
	case lineStart:
		h.nameLen = 0
		switch {
		case (c == ' ' || c == '\t') && !h.pastFirst: // there is no header, and package header sees none
			h.done = true
			return
		case c == ' ' || c == '\t': // the field goes on
			h.state = inRest
			return
		case c == '\r':
			h.endField()
			h.state = emptyLine
			return
		}
		h.endField()
		h.state = inName
		h.nameOctet(c)
	case inName:
		h.nameOctet(c)
	case afterName:
		switch c {
		case ' ', '\t':
		case ':':
			h.field()
		default:
			h.noField(c)
		}
	case emptyLine:
		h.done = true // CRLF; a CR with anything else is refused anyway
	}
}

func (h *headerScan) nameOctet(c byte) {
	switch {
	case c == ':' && h.nameLen > 0:
		h.field()
	case c == ' ' || c == '\t':
		h.state = afterName
	case c > ' ' && c < 0x7f && c != ':':
		if h.nameLen < maxFieldName {
			h.name[h.nameLen] = c
		}
		h.nameLen++
	default:
		h.noField(c)
	}
}

// field begins after the colon.
func (h *headerScan) field() {
	h.state = inRest
	if h.nameLen > maxFieldName {
		return
	}
	switch name := h.name[:h.nameLen]; {
	case foldEqual(name, "received"):
		h.received++
	case foldEqual(name, "delivered-to"):
		h.into, h.value = &h.delivered, h.value[:0]
	case foldEqual(name, relayedField):
		h.into, h.value = &h.relayed, h.value[:0]
	}
}

// endField keeps the value that was read.
func (h *headerScan) endField() {
	if h.into == nil {
		return
	}
	if len(*h.into) < maxLoops {
		v := strings.NewReplacer("\r", "", "\n", "").Replace(string(h.value))
		*h.into = append(*h.into, strings.Trim(strings.TrimSpace(v), "<>"))
	}
	h.into = nil
}

// noField ends the header, unless the line is the envelope line of a mailbox file, which some programs send first.
func (h *headerScan) noField(c byte) {
	name := h.name[:min(h.nameLen, maxFieldName)]
	if !h.pastFirst && h.state == afterName && (string(name) == "From" || string(name) == ">From") {
		h.state = inRest
		if c == '\n' {
			h.state, h.pastFirst = lineStart, true
		}
		return
	}
	h.done = true
}

// finish is called at the end of the message.
func (h *headerScan) finish() { h.endField() }

// foldEqual compares with a lower-case ASCII word.
func foldEqual(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
