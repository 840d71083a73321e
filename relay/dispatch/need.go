package dispatch

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"mxbypass/mailbox"
	"mxbypass/routing"
)

// maxNeed is how much of a message is searched for TLS-Required, in octets. A header that is longer says nothing.
const maxNeed = 256 << 10

// need is what a message wants of the connections that it leaves by (RFC 8689). REQUIRETLS outweighs TLS-Required
// (section 5). What has a null sender goes the usual ways: a report that could not keep the promise would be lost.
func need(m *mailbox.Message) routing.Need {
	switch {
	case m.RequireTLS && m.Reverse.IsNull():
		return routing.NeedPolicy
	case m.RequireTLS:
		return routing.NeedTLS
	case m.Content != nil && tlsOptional(m.Content):
		return routing.NeedDelivery
	}
	return routing.NeedPolicy
}

// tlsOptional tells whether the header has the field "TLS-Required: No" (RFC 8689 section 3), in one line, and no other
// such field.
func tlsOptional(c mailbox.Content) bool {
	r := bufio.NewReaderSize(io.LimitReader(c.NewReader(), maxNeed), 4<<10)
	found, begins := false, true
	for {
		line, err := r.ReadSlice('\n') // what cannot be read will be said later
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return found
		}
		began := begins
		begins = err == nil // and not within a line that is longer than the buffer
		if !began {
			continue
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			return found
		}
		value, ok := tlsRequired(line)
		if ok && (found || !bytes.EqualFold(value, []byte("no"))) {
			return false
		}
		found = found || ok
	}
}

// tlsRequired gives the value of the field when the line is one.
func tlsRequired(line []byte) (value []byte, ok bool) {
	const name = "tls-required"
	if len(line) <= len(name) || line[0]|0x20 != name[0] || !bytes.EqualFold(line[:len(name)], []byte(name)) {
		return nil, false
	}
	value, ok = bytes.CutPrefix(bytes.TrimLeft(line[len(name):], " \t"), []byte(":"))
	return bytes.TrimSpace(value), ok
}
