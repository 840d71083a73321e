package filter

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

const (
	// maxAnswers bounds what a filter says to one command, in octets, without the body that it writes: what it can add to
	// a header.
	maxAnswers = 1 << 20

	// frameCost is what an answer counts beside its octets: the smallest ones cost memory, too.
	frameCost = 64

	// farewell is how long a filter has to take our good-bye.
	farewell = time.Second
)

// What answers are called that are not left to the library, or are counted.
const (
	codeContinue    = 'c'
	codeNegotiated  = 'O'
	codeProgress    = 'p'
	codeReplaceBody = 'b'

	// negotiated is the length of what is agreed on. What may follow are the macros that the filter would like; it gets all
	// that there are anyway, as early as they are known.
	negotiated = 12
)

// What a filter may do wrong on its connection.
var (
	errLeftAlone = errors.New("it has failed before and is left alone for a moment")
	errFrame     = errors.New("it sent an answer of an impossible length")
	errTooMuch   = errors.New("it said too much")
	errUnasked   = errors.New("it spoke without being asked")
)

// ownError is an error that is not the filter's doing.
type ownError struct{ error }

func (e ownError) Unwrap() error { return e.error }

// ours gives the part of an error that is our own doing, if it has one.
func ours(err error) error {
	var e ownError
	if errors.As(err, &e) {
		return e.error
	}
	return nil
}

// line is the connection to a filter, seen by the library as a [net.Conn] with well-formed answers only. It holds back
// what is written until an answer is waited for, keeps the time by itself, and takes out of the answers what is long: a
// body that the filter writes goes straight to where it is kept.
//
// The library would allocate whatever length an answer claims to have, and take an answer without a code for a mistake
// of its own.
type line struct {
	net.Conn
	in  *bufio.Reader
	out *bufio.Writer

	frame []byte // what is left of the answer that is being read
	said  int    // octets since begin
	body  io.Writer
	mute  bool // what is written is not sent, and the answer is to go on
}

func newLine(conn net.Conn) *line {
	return &line{Conn: conn, in: bufio.NewReaderSize(conn, 4<<10), out: bufio.NewWriterSize(conn, 16<<10)}
}

// Dial implements [milter.Dialer]: it is connected already.
func (l *line) Dial(string, string) (net.Conn, error) { return l, nil }

// begin gives the filter so much time for what comes now, until the returned function is called. The end of the context
// ends it as well.
func (l *line) begin(ctx context.Context, d time.Duration) (end func()) {
	l.said = 0
	_ = l.Conn.SetDeadline(time.Now().Add(d)) // an error is that of the next read, too
	stop := context.AfterFunc(ctx, func() { _ = l.Conn.SetDeadline(time.Unix(1, 0)) })
	return func() { stop() }
}

// Read implements [io.Reader].
func (l *line) Read(p []byte) (int, error) {
	if len(l.frame) == 0 {
		if err := l.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, l.frame)
	l.frame = l.frame[n:]
	return n, nil
}

// next waits for the next answer that is for the library.
func (l *line) next() error {
	if l.mute {
		l.frame = []byte{0, 0, 0, 1, codeContinue}
		return nil
	}
	if err := l.out.Flush(); err != nil {
		return err
	}
	for {
		var head [5]byte
		if _, err := io.ReadFull(l.in, head[:]); err != nil {
			return broken(err)
		}
		length := binary.BigEndian.Uint32(head[:4])
		if length < 1 || length > maxAnswers {
			return fmt.Errorf("%w: %d", errFrame, length)
		}
		n := int(length) - 1 // without the code
		toBody := head[4] == codeReplaceBody && l.body != nil
		l.said += frameCost
		if !toBody {
			l.said += n
		}
		switch {
		case l.said > maxAnswers:
			return errTooMuch
		case toBody:
			if err := l.toBody(n); err != nil {
				return err
			}
		case head[4] != codeProgress || n > 0: // of progress we need not know: it gives no time
			return l.take(head, n)
		}
	}
}

// toBody moves n octets to where the body is kept. That there are none is a body, too.
func (l *line) toBody(n int) error {
	if _, err := l.body.Write(nil); err != nil {
		return err
	}
	if _, err := io.CopyN(l.body, l.in, int64(n)); err != nil {
		return broken(err)
	}
	return nil
}

// take reads the rest of an answer, of n octets.
func (l *line) take(head [5]byte, n int) error {
	frame := make([]byte, len(head)+n)
	copy(frame, head[:])
	if _, err := io.ReadFull(l.in, frame[len(head):]); err != nil {
		return broken(err)
	}
	if head[4] == codeNegotiated && n > negotiated {
		frame = frame[:len(head)+negotiated]
		binary.BigEndian.PutUint32(frame, negotiated+1)
	}
	l.frame = frame
	return nil
}

// broken makes the end of a connection what it is in the middle of a dialogue.
func broken(err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("it took too long: %w", err)
	}
	return err
}

// Write implements [io.Writer].
func (l *line) Write(p []byte) (int, error) {
	if len(l.frame) > 0 || l.in.Buffered() > 0 {
		return 0, errUnasked // the next answer would be taken for one to this command
	}
	if l.mute {
		return len(p), nil
	}
	return l.out.Write(p)
}

// SetDeadline and its kin are for begin only.
func (l *line) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements [net.Conn].
func (l *line) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements [net.Conn].
func (l *line) SetWriteDeadline(time.Time) error { return nil }

// Close implements [io.Closer].
func (l *line) Close() error {
	_ = l.Conn.SetDeadline(time.Now().Add(farewell))
	_ = l.out.Flush() // a good-bye that does not arrive is none
	return l.Conn.Close()
}
