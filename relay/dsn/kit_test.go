package dsn

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/textproto"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"mxbypass/mailbox"
)

// memory is a message in memory.
type memory string

func (m memory) Size() int64          { return int64(len(m)) }
func (m memory) Buffers() [][]byte    { return [][]byte{[]byte(m)} }
func (m memory) NewReader() io.Reader { return iotest.HalfReader(strings.NewReader(string(m))) }

// repeated is a message of any size that is nowhere: start, then n times again.
type repeated struct {
	start, again string
	n            int
}

func (r repeated) Size() int64       { return int64(len(r.start) + r.n*len(r.again)) }
func (r repeated) Buffers() [][]byte { return nil }
func (r repeated) NewReader() io.Reader {
	readers := []io.Reader{strings.NewReader(r.start)}
	for range r.n {
		readers = append(readers, strings.NewReader(r.again))
	}
	return io.MultiReader(readers...)
}

func address(t testing.TB, s string) mailbox.Address {
	t.Helper()
	p, err := mailbox.ParseReversePath(s, true)
	if err != nil {
		t.Fatal(err)
	}
	return p.Address
}

var (
	arrived = time.Date(2026, 11, 25, 11, 41, 45, 0, time.UTC)
	now     = arrived.Add(4*time.Hour + 10*time.Minute)
)

const letter = "Received: from desk.exemple.org by mail.exemple.org; Wed, 25 Nov 2026 12:41:44 +0100\r\n" +
	"From: Jo <jo@exemple.org>\r\nTo: nobody@elsewhere.example\r\nSubject: Lunch\r\n" +
	"Message-ID: <lunch.1@exemple.org>\r\n\r\nAt noon?\r\n"

// notification is one about a letter to one recipient, to be changed by the tests.
func notification(t testing.TB, r Recipient) Notification {
	t.Helper()
	if r.Final.IsNull() {
		r.Final = address(t, "nobody@elsewhere.example")
	}
	if r.Last.IsZero() {
		r.Last = now
	}
	return Notification{
		ID: "01KAX0REPORT", Hostname: mailbox.MustDomainName("mx.host.test"), Time: now,
		Original: Original{
			ID: "01KAX0LETTER", Arrived: arrived, Reverse: address(t, "jo@exemple.org"), Content: memory(letter),
		},
		Recipients: []Recipient{r},
	}
}

// report is a notification as somebody else reads it.
type report struct {
	raw    string
	header mail.Header
	words  string
	fields []textproto.MIMEHeader // per message, then per recipient
	kinds  [3]string              // media types of the parts
	last   string                 // the third part
}

// read takes a notification apart, and is strict about everything that all of them keep to.
func read(t testing.TB, m *mailbox.Message) report {
	t.Helper()
	raw, err := io.ReadAll(m.Content.NewReader())
	if err != nil || int64(len(raw)) != m.Content.Size() {
		t.Fatalf("%d octets (%v), and Size says %d", len(raw), err, m.Content.Size())
	}
	r := report{raw: string(raw)}
	message, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	r.header = message.Header
	for _, name := range []string{"From", "To"} {
		if list, err := r.header.AddressList(name); err != nil || len(list) != 1 {
			t.Fatalf("%s: %q: %v, %v", name, r.header.Get(name), list, err)
		}
	}
	if _, err := r.header.Date(); err != nil {
		t.Fatal(err)
	}
	kind, params, err := mime.ParseMediaType(r.header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || params["report-type"] != "delivery-status" || len(params["boundary"]) < 22 {
		t.Fatalf("%q: %v", r.header.Get("Content-Type"), err)
	}
	parts := multipart.NewReader(message.Body, params["boundary"])
	eightBit := false
	for i := range r.kinds {
		p, err := parts.NextPart()
		if err != nil {
			t.Fatalf("part %d: %v", i+1, err)
		}
		body, err := io.ReadAll(p)
		if err != nil {
			t.Fatalf("part %d: %v", i+1, err)
		}
		if r.kinds[i], _, err = mime.ParseMediaType(p.Header.Get("Content-Type")); err != nil {
			t.Fatalf("part %d: %v", i+1, err)
		}
		encoding := p.Header.Get("Content-Transfer-Encoding") // none where multipart has decoded it
		if eightBit = eightBit || encoding == "8bit"; encoding == "7bit" && hasEightBit(body) {
			t.Fatalf("part %d is not 7bit: %q", i+1, body)
		}
		switch i {
		case 0:
			r.words = string(body)
			mustBeLines(t, r.words)
		case 1:
			mustBeLines(t, string(body))
			r.fields = fields(t, body)
		case 2:
			r.last = string(body)
		}
	}
	if _, err := parts.NextPart(); !errors.Is(err, io.EOF) {
		t.Fatalf("a fourth part: %v", err)
	}
	if got := r.header.Get("Content-Transfer-Encoding"); got != encoding(eightBit) {
		t.Fatalf("the whole is %q, with a part of 8bit: %v", got, eightBit)
	}
	head := r.raw[:strings.Index(r.raw, "\r\n\r\n")+2]
	mustBeLines(t, head)
	if !m.UTF8 && !isASCII(head) {
		t.Fatalf("the header is not ASCII:\n%s", head)
	}
	if !m.Reverse.IsNull() || r.header.Get("Auto-Submitted") != "auto-replied" {
		t.Fatal("not marked as automatic")
	}
	return r
}

// mustBeLines: text that we write ends its lines with CRLF, none is too long, and nothing in it is a control.
func mustBeLines(t testing.TB, text string) {
	t.Helper()
	for l := range strings.SplitSeq(strings.TrimSuffix(text, "\r\n"), "\r\n") {
		if len(l) > 998 || !isOneLine(strings.TrimSpace(l)) && len(l) <= maxValue {
			t.Fatalf("no line of ours: %q", l)
		}
	}
}

// known are the fields that a report may have; what else turned up would be somebody else's.
var known = map[string]bool{
	"Original-Envelope-Id": true, "Reporting-Mta": true, "Arrival-Date": true, "Original-Recipient": true,
	"Final-Recipient": true, "Action": true, "Status": true, "Remote-Mta": true, "Diagnostic-Code": true,
	"Last-Attempt-Date": true, "Final-Log-Id": true, "Will-Retry-Until": true,
}

func fields(t testing.TB, body []byte) []textproto.MIMEHeader {
	t.Helper()
	var groups []textproto.MIMEHeader
	r := textproto.NewReader(bufio.NewReader(bytes.NewReader(body)))
	for {
		group, err := r.ReadMIMEHeader()
		if len(group) > 0 {
			groups = append(groups, group)
		}
		for name, values := range group {
			if !known[name] || len(values) != 1 {
				t.Fatalf("field %s: %q", name, values)
			}
		}
		if errors.Is(err, io.EOF) {
			return groups
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, body)
		}
	}
}

func compose(t testing.TB, n Notification) report {
	t.Helper()
	m, err := Compose(n)
	if err != nil {
		t.Fatal(err)
	}
	if m.ID != n.ID {
		t.Fatalf("its id is %q", m.ID)
	}
	return read(t, m)
}
