package queue

import (
	"database/sql/driver"
	"fmt"
	"time"
	"unicode/utf8"

	"mxbypass/mailbox"
)

// micros gives a time as it is kept; zero is none.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n)
}

// some gives a text as it is kept where it may be missing.
func some(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// headerColumns, recipientColumns and destinationColumns are read by the methods of record, in this order.
const (
	headerColumns    = "m.id, m.name, m.created, m.reverse, m.flags, m.size, m.ret, m.envid, m.received"
	recipientColumns = `r.message, r.n, r.state, r.lease, r.doubt, r.attempts, r.due, r.notice, r.expires, r.notify, r.address,
	r.purpose, r.mailbox, r.tag, r.reverse, r.mark, r.original, r.orcpt, r.last_time, r.last_host, r.last_command,
	r.last_code, r.last_enhanced, r.last_text, r.last_tls`
)

// record reads the columns of a row one after the other. What is not what it should be is kept as the first error, and
// reading goes on with something harmless: a command shows as much of a damaged row as there is.
type record struct {
	values []any
	at     int
	err    error
	due    int64 // of the destination that was read last
}

func asAny(row []driver.Value) []any {
	values := make([]any, len(row))
	for i, v := range row {
		values[i] = v
	}
	return values
}

func (r *record) next() any {
	if r.at >= len(r.values) {
		r.fail("a column is missing")
		return nil
	}
	r.at++
	return r.values[r.at-1]
}

func (r *record) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
	}
}

func (r *record) integer(what string) int64 {
	n, ok := r.next().(int64)
	if !ok {
		r.fail("%s is no number", what)
	}
	return n
}

func (r *record) time(what string) time.Time { return fromMicros(r.integer(what)) }

// text reads a text that may be missing.
func (r *record) text(what string) string {
	s, _ := r.maybe(what)
	return s
}

func (r *record) maybe(what string) (s string, there bool) {
	switch v := r.next().(type) {
	case nil:
		return "", false
	case string:
		return v, true
	case []byte:
		r.fail("%s is no text", what)
		return string(v), true
	}
	r.fail("%s is no text", what)
	return "", true
}

// address reads what an address looks like on the wire. Of one that is none, the text is the local part.
func (r *record) address(what string) mailbox.Address {
	s := r.text(what)
	p, err := mailbox.ParseReversePath(s, true)
	if err != nil {
		r.fail("%s is no address: %v", what, err)
		return mailbox.Address{Local: mailbox.LocalPart(mailbox.Printable(s))}
	}
	return p.Address
}

// header reads headerColumns; nil: there is no such row.
func (r *record) header() *Header {
	if r.values[r.at] == nil {
		r.at += 9
		return nil
	}
	h := &Header{Row: r.integer("the message"), ID: r.text("its identifier"), Created: r.time("its time"),
		Reverse: r.address("its sender")}
	flags := r.integer("what it needs")
	h.UTF8, h.UTF8Header, h.EightBit = flags&flagUTF8 != 0, flags&flagUTF8Header != 0, flags&flagEightBit != 0
	h.RequireTLS = flags&flagRequireTLS != 0
	h.Size = r.integer("its size")
	h.Return = mailbox.Return(r.text("RET"))
	h.EnvelopeID = r.text("ENVID")
	received, ok := r.next().([]byte)
	if !ok {
		r.fail("Received is missing")
	}
	h.Trace = received
	if h.Size < 0 || h.Size > maxContent {
		r.fail("the size is %d", h.Size)
	}
	return h
}

// attempt reads the seven columns of a failure; nil: there is none.
func (r *record) attempt() *Attempt {
	if r.at < len(r.values) && r.values[r.at] == nil {
		r.at += failureColumns
		return nil
	}
	a := &Attempt{Time: r.time("the time of the failure"), Host: r.text("the host"), Command: r.text("the command")}
	a.Code = int(r.integer("the code"))
	enhanced := r.integer("the enhanced code")
	a.Enhanced = [3]int{int(enhanced / 1e6), int(enhanced / 1e3 % 1e3), int(enhanced % 1e3)}
	a.Text = r.text("the failure")
	a.TLS = r.text("its TLS")
	return a
}

// itemRow is a row of a recipient.
type itemRow struct {
	*Item
	state    int64
	inherits bool // the sender is that of the message
}

// item reads recipientColumns.
func (r *record) item() itemRow {
	i := &Item{Key: Key{Row: r.integer("the message"), N: int(r.integer("the recipient"))}}
	state := r.integer("the state")
	i.Lease = r.integer("the lease")
	i.InDoubt = r.integer("the doubt") != 0
	i.Attempts = int(r.integer("the attempts"))
	i.Due, i.Notice, i.Expires = r.time("due"), r.time("the notice"), r.time("the expiry")
	if notify := r.integer("NOTIFY"); notify < 0 || notify > 0xf {
		r.fail("NOTIFY is %d", notify)
	} else {
		i.Report.Notify = mailbox.Notify(notify)
	}
	i.To = r.address("the recipient")
	i.Purpose = r.text("the purpose")
	i.Mailbox = r.address("the mailbox")
	i.Tag = mailbox.LocalPart(r.text("the tag"))
	inherits := r.at < len(r.values) && r.values[r.at] == nil
	i.Reverse = r.address("the sender")
	i.Mark = r.text("the mark")
	var written bool
	if i.Original, written = r.maybe("the address as it was written"); !written {
		i.Original = i.To.Wire()
	}
	i.Report.Original = r.text("ORCPT")
	i.Last = r.attempt()
	return itemRow{i, state, inherits}
}

// destination reads destinationColumns, and until.
func (r *record) destination() (*Destination, int64) {
	d := &Destination{ID: r.integer("the destination"), Name: r.text("its name")}
	r.due = r.integer("its time")
	until := r.integer("its wait")
	d.Due = fromMicros(r.due)
	d.Failures = int(r.integer("its failures"))
	d.Last = r.attempt()
	return d, until
}

const (
	// maxFailure bounds the text of a failure.
	maxFailure = 2 << 10
	// failureColumns is how many columns a failure has.
	failureColumns = 7
)

// failure gives the columns of a failure.
func failure(a *Attempt) []any {
	if a == nil {
		return make([]any, failureColumns)
	}
	e := a.Enhanced
	return []any{max(micros(a.Time), 1), some(plain(a.Host, 512)), some(plain(a.Command, 64)), int64(a.Code),
		int64(e[0])*1e6 + int64(e[1])*1e3 + int64(e[2]), plain(a.Text, maxFailure), some(plain(a.TLS, 256))}
}

// plain bounds a text that came from elsewhere, and makes it one that every database keeps: UTF-8 without NUL.
func plain(s string, most int) string {
	if len(s) > most {
		s = s[:most]
	}
	clean := true
	for i := 0; i < len(s); i++ {
		if s[i] == 0 || s[i] >= utf8.RuneSelf {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	b := make([]rune, 0, len(s))
	for _, c := range s { // what is not UTF-8 becomes U+FFFD
		if c == 0 {
			c = utf8.RuneError
		}
		b = append(b, c)
	}
	return string(b)
}
