package filter

import (
	"bytes"
	"errors"
	"fmt"

	"mxbypass/mailbox"
	"mxbypass/relay/spool"
)

// errBody: the body that the filter has written is none.
var errBody = errors.New("it wrote an impossible body")

// written takes in a body that a filter writes. Line ends become CRLF, whatever the filter takes for one, and the last
// line has one: nothing that it writes can end a message on its further way.
type written struct {
	session *Session
	out     *spool.Writer // nil: there is none
	last    byte          // of what was written
	cr      bool          // a CR came, of which it is open what it is
}

// Write implements [io.Writer].
func (w *written) Write(p []byte) (int, error) {
	if w.out == nil {
		out, err := w.session.filter.newBody()
		if err != nil {
			return 0, ownError{err}
		}
		w.out, w.session.body = out, out
	}
	total := len(p)
	if bytes.IndexByte(p, 0) >= 0 {
		return 0, fmt.Errorf("%w: with NUL", errBody)
	}
	for len(p) > 0 {
		if w.cr {
			w.cr = false
			if p[0] == '\n' {
				p = p[1:]
			}
			if err := w.put([]byte("\r\n")); err != nil {
				return 0, err
			}
			continue
		}
		n := bytes.IndexAny(p, "\r\n")
		if n < 0 {
			n = len(p)
		}
		if err := w.put(p[:n]); err != nil {
			return 0, err
		}
		if n == len(p) {
			break
		}
		w.cr = true
		if p[n] == '\n' { // a bare one is handled as the end of a CRLF
			p = p[n:]
			continue
		}
		p = p[n+1:]
	}
	return total, nil
}

func (w *written) put(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	_, err := w.out.Write(p)
	if err != nil && !errors.Is(err, spool.ErrTooBig) {
		return ownError{err}
	}
	w.last = p[len(p)-1]
	return err
}

// close ends the body.
func (w *written) close() error {
	if w.out != nil && (w.cr || w.last != 0 && w.last != '\n') {
		return w.put([]byte("\r\n"))
	}
	return nil
}

// content is the body that was written.
func (s *Session) content() (mailbox.Content, error) {
	c, err := s.body.Seal()
	if err != nil {
		return nil, ownError{err}
	}
	return c, nil
}
