package smtpclient

import (
	"bytes"
	"errors"
	"io"

	"mxbypass/mailbox"
)

// errBareControl: the content breaks the promise of [mailbox.Content].
var errBareControl = errors.New("bare CR or LF in the message")

// dotWriter turns content into what follows DATA: dots stuffed, ended by CRLF.CRLF. It collects a full buffer before it
// calls send.
type dotWriter struct {
	send  func([]byte) error
	buf   []byte // its capacity is the size of a write
	start bool   // at the start of a line
	cr    bool   // the last octet was CR
}

func newDotWriter(buf []byte, send func([]byte) error) *dotWriter {
	return &dotWriter{send: send, buf: buf[:0], start: true}
}

// Write implements io.Writer.
func (w *dotWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		line, ended := p, false
		if i := bytes.IndexByte(p, '\n'); i >= 0 {
			line, ended = p[:i+1], true
		}
		if err := w.check(line, ended); err != nil {
			return n - len(p), err
		}
		if w.start && line[0] == '.' {
			if err := w.put([]byte{'.'}); err != nil {
				return n - len(p), err
			}
		}
		if err := w.put(line); err != nil {
			return n - len(p), err
		}
		w.start, w.cr = ended, line[len(line)-1] == '\r'
		p = p[len(line):]
	}
	return n, nil
}

// check proves that CR and LF stand in line as pairs only; line is a whole line (ended) or the beginning of one, and may
// follow another piece of the same line.
func (w *dotWriter) check(line []byte, ended bool) error {
	cr := bytes.IndexByte(line, '\r')
	switch {
	case w.cr && line[0] != '\n': // a CR at the end of the piece before
	case !ended && (cr < 0 || cr == len(line)-1):
		return nil
	case ended && len(line) == 1 && w.cr:
		return nil
	case ended && cr >= 0 && cr == len(line)-2:
		return nil
	}
	return errBareControl
}

func (w *dotWriter) put(p []byte) error {
	for len(p) > 0 {
		if len(w.buf) == cap(w.buf) {
			if err := w.flush(); err != nil {
				return err
			}
		}
		n := min(len(p), cap(w.buf)-len(w.buf))
		w.buf = append(w.buf, p[:n]...)
		p = p[n:]
	}
	return nil
}

func (w *dotWriter) flush() error {
	err := w.send(w.buf)
	w.buf = w.buf[:0]
	return err
}

// Close sends the end of data.
func (w *dotWriter) Close() error {
	end := ".\r\n"
	switch {
	case w.cr:
		return errBareControl
	case !w.start:
		end = "\r\n.\r\n"
	}
	if err := w.put([]byte(end)); err != nil {
		return err
	}
	return w.flush()
}

// copyContent writes the whole content.
func copyContent(w io.Writer, content mailbox.Content) error {
	if buffers := content.Buffers(); buffers != nil {
		for _, b := range buffers {
			if _, err := w.Write(b); err != nil {
				return err
			}
		}
		return nil
	}
	n, err := io.Copy(w, content.NewReader())
	if err == nil && n != content.Size() {
		return io.ErrUnexpectedEOF
	}
	return err
}

// headerScan looks for octets beyond ASCII in a header, and stops reading with an error at its end.
type headerScan struct {
	line        int // octets in the line so far, without its end
	found, done bool
}

// Write implements io.Writer.
func (s *headerScan) Write(p []byte) (int, error) {
	for i, b := range p {
		switch {
		case b >= 0x80:
			s.found, s.done = true, true
		case b == '\n':
			s.done, s.line = s.line == 0, 0
		case b != '\r':
			s.line++
		}
		if s.done {
			return i, io.EOF
		}
	}
	return len(p), nil
}
