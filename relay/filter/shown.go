package filter

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/d--j/go-milter"

	"mxbypass/mailbox"
	"mxbypass/relay/header"
)

const (
	// maxChunk is how much of a body is sent at once (MILTER_CHUNK_SIZE of Sendmail), in octets.
	maxChunk = 65535

	// maxField bounds a field with its name: filters take no longer commands than a chunk, with room for what divides
	// the two.
	maxField = maxChunk - 16
)

// shown is a message as a filter is to see it.
type shown struct {
	header *header.Header
	fields []header.Field // those of the header that are shown as such
	size   int64          // of all
	rest   []header.Field // where a line that is no field ends the header for others, from it on: it is shown as body
}

// show takes a content apart. A line that is no field does not end a header for everybody, but what comes after it may
// be read as text by somebody; so it is shown as that, as other mail servers do.
func show(c mailbox.Content) (*shown, error) {
	h, err := header.Read(c, c.Size())
	if err != nil {
		return nil, err
	}
	n := slices.IndexFunc(h.Fields, func(f header.Field) bool { return !isName(f.Name) })
	if n < 0 {
		n = len(h.Fields)
	}
	for _, f := range h.Fields[:n] {
		if len(f.Raw) > maxField {
			return nil, fmt.Errorf("%w: %q with %d octets", ErrFieldTooBig, clip(f.Name), len(f.Raw))
		}
	}
	return &shown{header: h, size: c.Size(), fields: h.Fields[:n], rest: h.Fields[n:]}, nil
}

// isName tells whether that can be the name of a field (RFC 5322 section 3.6.8).
func isName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' })
}

// text reads what is shown as body.
func (s *shown) text() (io.Reader, error) {
	body := s.header.Body()
	if len(s.rest) > 0 {
		readers := make([]io.Reader, 0, len(s.rest)+1)
		for _, f := range s.rest {
			readers = append(readers, bytes.NewReader(f.Raw))
		}
		return io.MultiReader(append(readers, body)...), nil
	}
	if _, err := io.CopyN(io.Discard, body, int64(len("\r\n"))); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return body, nil
}

// value is what follows the colon of a field, with folds as filters know them: LF. Of the white space before it one
// space is left out, unless the filter wants to have it.
func value(f header.Field, leading bool) string {
	_, v, _ := bytes.Cut(f.Raw, []byte{':'})
	s := strings.TrimSuffix(strings.ReplaceAll(string(v), "\r\n", "\n"), "\n")
	if leading {
		return s
	}
	return strings.TrimPrefix(s, " ")
}

// judgement is what a filter has said to a message.
type judgement struct {
	act   *milter.Action
	edits []milter.ModifyAction
	body  bool // it has written another body
}

// judge lets the filter see the message and gives what it says: when it has seen enough, or at the end.
func (s *Session) judge(m *shown) (judgement, error) {
	act, err := s.milter.DataStart()
	if over(act, err) {
		return judgement{act: act}, err
	}
	leading := s.milter.ProtocolOption(milter.OptHeaderLeadingSpace)
	for _, f := range m.fields {
		if act, err = s.milter.HeaderField(f.Name, value(f, leading), nil); over(act, err) {
			return judgement{act: act}, err
		}
		if s.milter.Skip() {
			break
		}
	}
	if act, err = s.milter.HeaderEnd(); over(act, err) {
		return judgement{act: act}, err
	}
	if act, err = s.sendBody(m); over(act, err) {
		return judgement{act: act}, err
	}
	body := &written{session: s}
	s.line.body = body
	edits, act, err := s.milter.End()
	if err == nil {
		err = body.close()
	}
	return judgement{act: act, edits: edits, body: body.out != nil}, err
}

func over(act *milter.Action, err error) bool { return err != nil || act.Type != milter.ActionContinue }

// sendBody sends the body, in chunks.
func (s *Session) sendBody(m *shown) (*milter.Action, error) {
	r, err := m.text()
	if err != nil {
		return nil, ownError{err}
	}
	chunk := make([]byte, min(maxChunk, max(m.size, 1)))
	for empty := true; ; empty = false {
		n, err := io.ReadFull(r, chunk)
		end := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		switch {
		case err != nil && !end:
			return nil, ownError{err}
		case n == 0 && empty:
			return s.noBody()
		case n > 0:
			if act, err := s.milter.BodyChunk(chunk[:n]); over(act, err) || end || s.milter.Skip() {
				return act, err
			}
		}
		if end {
			return &milter.Action{Type: milter.ActionContinue}, nil
		}
	}
}

// noBody makes the library believe that it has sent a body, without which it would not go on to the end. A real chunk
// without octets is nothing that filters expect: clamav-milter breaks off.
func (s *Session) noBody() (*milter.Action, error) {
	s.line.mute = true
	defer func() { s.line.mute = false }()
	return s.milter.BodyChunk(nil)
}
