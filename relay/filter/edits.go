package filter

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/d--j/go-milter"

	"mxbypass/mailbox"
	"mxbypass/relay/header"
)

const (
	// maxEdits bounds the changes that a filter makes to one message.
	maxEdits = 1000

	// maxTold bounds what is logged of those that are not made.
	maxTold = 5

	// maxIndent is how much white space a line of a field may begin with, in octets.
	maxIndent = 80
)

// maxLine is how long a line of a field may be (RFC 5322 section 2.1.1), in octets, without its end.
const maxLine = 998

// result makes of what the filter has said what becomes of the content.
func (s *Session) result(m *shown, j judgement, c mailbox.Content) (Result, error) {
	r := Result{Content: c, Discard: s.discard}
	switch j.act.Type {
	case milter.ActionAccept, milter.ActionContinue:
	case milter.ActionDiscard:
		r.Discard = true
		return r, nil
	default:
		return r, rejection(s.filter.options.Name, j.act)
	}
	e := edit{
		leading: s.milter.ProtocolOption(milter.OptHeaderLeadingSpace),
		log:     s.filter.options.Log.With("id", s.client.ID),
	}
	for _, f := range m.fields {
		e.slots = append(e.slots, slot{field: f})
	}
	if len(j.edits) > maxEdits {
		return r, errTooMuch
	}
	for _, a := range j.edits {
		if a.Type == milter.ActionQuarantine {
			if r.Quarantine = plain(a.Reason); r.Quarantine == "" {
				r.Quarantine = s.filter.options.Name
			}
			continue
		}
		e.apply(a)
	}
	if !e.changed && !j.body {
		return r, nil
	}
	fields := e.fields()
	if !j.body {
		m.header.Fields = ended(append(fields, m.rest...))
		r.Content = m.header.Content()
		return r, nil
	}
	body, err := s.content()
	if err != nil {
		return r, err
	}
	m.header.Fields = ended(append(fields, header.Field{})) // the last one is followed, too
	r.Content = m.header.WithBody(body)
	return r, nil
}

func isRejection(err error) bool {
	var r *Rejection
	return errors.As(err, &r)
}

// ended makes sure that every field before the last one ends its line: the last one of a message without a body may not.
func ended(fields []header.Field) []header.Field {
	for i := range max(len(fields)-1, 0) {
		if raw := fields[i].Raw; len(raw) > 0 && !bytes.HasSuffix(raw, []byte("\n")) {
			fields[i].Raw = append(bytes.Clone(raw), "\r\n"...)
		}
	}
	return fields
}

// slot is the place of a field. A field that was taken away leaves it, so that a filter may count on as it has seen them:
// so does Sendmail, and who counts from the end, because Postfix does not, comes to the same.
type slot struct {
	field header.Field
	gone  bool
}

// edit is a header that a filter changes.
type edit struct {
	slots   []slot
	leading bool // values come with the white space that follows the colon
	changed bool
	told    int
	log     *slog.Logger
}

// leftOut tells of a change that is not made.
func (e *edit) leftOut(why, what string) {
	if e.told++; e.told <= maxTold {
		e.log.Warn(why, slog.String("what", clip(what)))
	}
}

func (e *edit) fields() []header.Field {
	fields := make([]header.Field, 0, len(e.slots))
	for _, s := range e.slots {
		if !s.gone {
			fields = append(fields, s.field)
		}
	}
	return fields
}

// apply makes one change. What a filter may not do here, or what would be no field, is left out and told.
func (e *edit) apply(a milter.ModifyAction) {
	switch a.Type {
	case milter.ActionAddHeader, milter.ActionInsertHeader, milter.ActionChangeHeader:
	default:
		e.leftOut("filter wants what filters cannot do here", a.String())
		return
	}
	if !isName(a.HeaderName) || len(a.HeaderName) > maxLine-1 {
		e.leftOut("filter wants an impossible field", a.HeaderName)
		return
	}
	switch a.Type {
	case milter.ActionAddHeader:
		e.insert(len(e.slots), a)
	case milter.ActionInsertHeader:
		// It counts from the field that the server has put on top, our Received, which is number 1 and stands above all of
		// these; 0 would be above it.
		e.insert(int(min(max(a.HeaderIndex, 1)-1, uint32(len(e.slots)))), a)
	case milter.ActionChangeHeader:
		e.change(a)
	}
}

func (e *edit) insert(at int, a milter.ModifyAction) {
	e.slots = slices.Insert(e.slots, at, slot{field: e.field(a)})
	e.changed = true
}

// change replaces the field of that name and number, takes it away when there is nothing to be in it, or adds it when
// there are not so many.
func (e *edit) change(a milter.ModifyAction) {
	left := a.HeaderIndex
	for i := range e.slots {
		if !e.slots[i].field.Is(a.HeaderName) {
			continue
		}
		if left--; left > 0 {
			continue
		}
		e.changed = true
		if a.HeaderValue == "" {
			e.slots[i].gone = true
			return
		}
		e.slots[i] = slot{field: e.field(a)}
		return
	}
	if a.HeaderValue != "" {
		e.insert(len(e.slots), a)
	}
}

// field makes a field of what a filter gives as name and value. However the value is folded, it stays one field: its
// lines go on with white space, are not too long, and are not empty.
func (e *edit) field(a milter.ModifyAction) header.Field {
	v := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(a.HeaderValue)
	if !e.leading {
		v = " " + v
	}
	var b bytes.Buffer
	b.WriteString(a.HeaderName + ":")
	room := maxLine - b.Len()
	for i, line := range strings.Split(v, "\n") {
		text := strings.Trim(line, " \t")
		indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
		if i > 0 {
			if text == "" {
				continue // it could be taken for the end of the header
			}
			b.WriteString("\r\n")
			room = maxLine
		}
		switch {
		case text == "":
			indent = ""
		case len(indent) > maxIndent || i > 0 && indent == "":
			indent = " "
		}
		for line = indent + text; len(line) > room; room = maxLine {
			n := foldAt(line, room, len(indent))
			b.WriteString(line[:n] + "\r\n")
			indent, line = " ", " "+strings.TrimLeft(line[n:], " \t")
		}
		b.WriteString(line)
	}
	b.WriteString("\r\n")
	return header.Field{Name: a.HeaderName, Raw: b.Bytes()}
}

// foldAt gives where to fold a line that is longer than room: before the last white space that fits, if there is any
// after its indent; else in the middle of a word, but not of a character. It is less than the room and may be zero.
func foldAt(line string, room, indent int) int {
	if room <= indent {
		return 0
	}
	if n := strings.LastIndexAny(line[indent:room], " \t"); n > 0 {
		return indent + n
	}
	for n := room; n > room-utf8.UTFMax && n > indent; n-- {
		if utf8.RuneStart(line[n]) {
			return n
		}
	}
	return room
}
