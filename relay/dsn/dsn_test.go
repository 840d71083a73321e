package dsn

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"mxbypass/mailbox"
)

var failure = Recipient{Action: Failed, Written: "nobody@elsewhere.example", Status: [3]int{5, 1, 1}}

// ORCPT and ENVID come back as the sender knows them, or not at all, or encoded; never as something else.
func TestWhatTheClientWrote(t *testing.T) {
	for written, want := range map[string]string{
		"rfc822;a@b.example":                      "rfc822; a@b.example",
		"RFC822;user+2Btag@b.example":             "RFC822; user+tag@b.example",
		"rfc822;a+20b@c.example":                  "rfc822; a b@c.example",
		"x400;/C=x/+3B/":                          "x400; /C=x/;/",
		"rfc822;a+0D+0AAction:+20failed":          "rfc822; a+0D+0AAction:+20failed",
		"rfc822;j+C3+BCrgen@b.example":            "rfc822; j+C3+BCrgen@b.example",
		"rfc822;a+00@b.example":                   "rfc822; a+00@b.example",
		"rfc822;user+tag@b.example":               "rfc822; user+tag@b.example", // no xtext
		"rfc822;user+":                            "rfc822; user+",
		`utf-8;j\x{FC}rgen@b.example`:             "utf-8; jürgen@b.example",
		`UTF-8;j\x{fc}rgen\x{2B}x@b`:              "UTF-8; jürgen+x@b",
		"utf-8;plain+tag@b.example":               "utf-8; plain+tag@b.example",
		`utf-8;a\x{0D}\x{0A}Action: x@b`:          `utf-8; a\x{0D}\x{0A}Action: x@b`,
		`utf-8;a\x{D800}@b`:                       `utf-8; a\x{D800}@b`,
		`utf-8;a\x{2028}@b`:                       `utf-8; a\x{2028}@b`,
		`utf-8;a\x{FFFFFFFFFFFFFFFFFF}@b`:         `utf-8; a\x{FFFFFFFFFFFFFFFFFF}@b`,
		`utf-8;a\x{FC@b`:                          `utf-8; a\x{FC@b`,
		`utf-8;a\x{}@b`:                           `utf-8; a\x{}@b`,
		"":                                        "",
		"rfc822":                                  "",
		"rfc822;":                                 "",
		";a@b":                                    "",
		"a b;c@d":                                 "",
		"rfc822;a\r\nAction: x":                   "",
		"rfc822;é":                                "",
		"rfc822;" + strings.Repeat("x", maxValue): "",
	} {
		r := failure
		r.Original = written
		got := compose(t, notification(t, r))
		if got := got.fields[1].Get("Original-Recipient"); got != want {
			t.Errorf("%.60q: %q, want %q", written, got, want)
		}
		kind := "message/delivery-status"
		if !isASCII(want) {
			kind = "message/global-delivery-status"
		}
		if got.kinds[1] != kind {
			t.Errorf("%.60q: %s", written, got.kinds[1])
		}
	}
	for written, want := range map[string]string{
		"QQ314159": "QQ314159", "a+2Bb+3D": "a+b=", "a+20b": "a b", "": "", "a+0D+0Ab": "", "a+": "", "a+GG": "", "a+FFb": "",
		"a\r\nb: c": "", strings.Repeat("x", 1000): "",
	} {
		n := notification(t, failure)
		n.Original.EnvelopeID = written
		if got := compose(t, n).fields[0].Get("Original-Envelope-Id"); got != want {
			t.Errorf("ENVID %.60q: %q, want %q", written, got, want)
		}
	}
}

// A status that cannot stand in a field becomes the general one of the action.
func TestStatus(t *testing.T) {
	for _, c := range []struct {
		action Action
		status [3]int
		want   string
	}{
		{Failed, [3]int{5, 1, 1}, "5.1.1"}, {Failed, [3]int{4, 4, 7}, "4.4.7"}, {Failed, [3]int{5, 999, 999}, "5.999.999"},
		{Failed, [3]int{}, "5.0.0"}, {Failed, [3]int{5, 1000, 0}, "5.0.0"}, {Failed, [3]int{3, 0, 0}, "5.0.0"},
		{Delayed, [3]int{4, 0, -1}, "4.0.0"}, {Delivered, [3]int{}, "2.0.0"}, {Relayed, [3]int{}, "2.0.0"},
	} {
		got := compose(t, notification(t, Recipient{Action: c.action, Status: c.status}))
		if f := got.fields[1]; f.Get("Status") != c.want || f.Get("Action") != string(c.action) {
			t.Errorf("%s %v: %v", c.action, c.status, f)
		}
	}
}

// Every code has words for the subject, a reason and an advice; they are ASCII, and the subject is one line.
func TestCauses(t *testing.T) {
	for class := range 6 {
		for subject := range 10 {
			for detail := range 35 {
				r := Recipient{Action: Failed, Status: [3]int{class, subject, detail}}
				c := because(&r)
				if c.title == "" || c.why == "" || c.todo == "" || !isPrintableASCII(c.title+c.why+c.todo) ||
					len(c.title) > 50 || !strings.HasSuffix(c.why, ".") || !strings.HasSuffix(c.todo, ".") {
					t.Errorf("%v: %+v", r.Status, c)
				}
			}
		}
	}
}

func TestSubject(t *testing.T) {
	same := notification(t, failure)
	same.Recipients = append(same.Recipients, failure)
	if got := compose(t, same).header.Get("Subject"); got != "Not delivered: no such address" {
		t.Error(got)
	}
	same.Recipients[1].Status = [3]int{5, 2, 2}
	if got := compose(t, same).header.Get("Subject"); got != "Not delivered to 2 recipients, for different reasons" {
		t.Error(got)
	}
}

// The postmaster may be set; one that is not ASCII does not keep a notification from a sender who is.
func TestPostmaster(t *testing.T) {
	for _, c := range []struct{ postmaster, reverse, want string }{
		{"", "jo@exemple.org", "postmaster@mx.host.test"},
		{"help@exemple.org", "jo@exemple.org", "help@exemple.org"},
		{"pöst@exemple.org", "jo@exemple.org", "postmaster@mx.host.test"},
		{"pöst@exemple.org", "jö@exemple.org", "pöst@exemple.org"},
		{"help@exemple.org", "jö@exemple.org", "help@exemple.org"},
		{"", "postmaster", "postmaster@mx.host.test"},
		{`"a b"@exemple.org`, `"c d\""@[192.0.2.1]`, `a b@exemple.org`},
	} {
		n := notification(t, failure)
		n.Postmaster, n.Original.Reverse = address(t, c.postmaster), address(t, c.reverse)
		m, err := Compose(n)
		if err != nil {
			t.Fatal(err)
		}
		if m.UTF8 != n.Original.Reverse.NeedsUTF8() {
			t.Errorf("%+v: UTF8 %v", c, m.UTF8)
		}
		got := read(t, m)
		if c.reverse == "postmaster" && got.header.Get("To") != "<postmaster@mx.host.test>" {
			t.Errorf("To: %s", got.header.Get("To"))
		}
		from, err := got.header.AddressList("From")
		if err != nil || strings.ReplaceAll(from[0].Address, `"`, "") != c.want {
			t.Errorf("%+v: %v, %v", c, from, err)
		}
	}
}

func TestNoNotification(t *testing.T) {
	for name, change := range map[string]func(n *Notification){
		"null reverse-path": func(n *Notification) { n.Original.Reverse = mailbox.Address{} },
		"no recipients":     func(n *Notification) { n.Recipients = nil },
		"two actions": func(n *Notification) {
			n.Recipients = append(n.Recipients, Recipient{Action: Delayed, Final: n.Original.Reverse})
		},
		"no action":      func(n *Notification) { n.Recipients[0].Action = "" },
		"unknown action": func(n *Notification) { n.Recipients[0].Action = "expanded\r\n" },
		"shorter than it says": func(n *Notification) {
			n.Original.Content = lying{memory(letter), int64(len(letter)) + 1}
		},
		"longer than it says": func(n *Notification) { n.Original.Content = lying{memory(letter), 3} },
		"unreadable":          func(n *Notification) { n.Original.Content = lying{failing{}, 3} },
	} {
		n := notification(t, failure)
		change(&n)
		if m, err := Compose(n); err == nil || m != nil {
			t.Errorf("%s: %v, %v", name, m, err)
		}
	}
}

// lying is a content that has another size than it says.
type lying struct {
	mailbox.Content
	size int64
}

func (l lying) Size() int64 { return l.size }

var errDisk = errors.New("input/output error")

// failing cannot be read.
type failing struct{ memory }

func (failing) NewReader() io.Reader {
	return io.MultiReader(strings.NewReader("Subject: x\r\n"), failing{})
}

func (failing) Read([]byte) (int, error) { return 0, errDisk }

// vanishing is a content that can be read so many times only, and then ends in the middle, or with an error.
type vanishing struct {
	memory
	times *int
	after io.Reader
}

func (v vanishing) NewReader() io.Reader {
	if *v.times--; *v.times >= 0 {
		return v.memory.NewReader()
	}
	return v.after
}

// An original that is gone when the notification is read is an error there, not a shorter notification.
func TestOriginalVanishes(t *testing.T) {
	for name, c := range map[string]struct {
		after io.Reader
		want  error
	}{
		"short": {strings.NewReader("Received:"), io.ErrUnexpectedEOF},
		"empty": {strings.NewReader(""), io.ErrUnexpectedEOF},
		"error": {failing{}, errDisk},
	} {
		n := notification(t, failure)
		times := 2
		n.Original.Content = vanishing{memory(letter), &times, c.after}
		m, err := Compose(n)
		if err != nil {
			t.Fatal(err)
		}
		read(t, m)
		if _, err := io.ReadAll(m.Content.NewReader()); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// No two notifications have the same boundary.
func TestBoundary(t *testing.T) {
	n := notification(t, failure)
	first, second := compose(t, n).header.Get("Content-Type"), compose(t, n).header.Get("Content-Type")
	if first == second {
		t.Error(first)
	}
}

// The notification costs the same memory whatever the size of the original.
func TestMemory(t *testing.T) {
	n := notification(t, failure)
	n.Original.Return = mailbox.ReturnFull
	n.Original.Content = repeated{"Subject: x\r\n\r\n", strings.Repeat("x", 1<<20-2) + "\r\n", 9}
	m, err := Compose(n)
	if err != nil {
		t.Fatal(err)
	}
	if c := m.Content.(*content); len(c.head)+len(c.tail) > 8<<10 || c.Buffers() != nil {
		t.Errorf("%d octets are kept", len(c.head)+len(c.tail))
	}
	size, err := io.Copy(io.Discard, m.Content.NewReader())
	if err != nil || size != m.Content.Size() {
		t.Errorf("%d octets instead of %d: %v", size, m.Content.Size(), err)
	}
}

// What is unset is left out.
func TestSparse(t *testing.T) {
	n := Notification{
		ID: "x", Hostname: mailbox.MustDomainName("mx.host.test"), Time: now,
		Original:   Original{Reverse: address(t, "jo@exemple.org"), Content: memory("")},
		Recipients: []Recipient{{Action: Delayed, Final: mailbox.Address{Local: "Postmaster"}}},
	}
	got := compose(t, n)
	if s := fmt.Sprint(got.fields); s != "[map[Reporting-Mta:[dns; mx.host.test]] "+
		"map[Action:[delayed] Final-Recipient:[rfc822; Postmaster] Status:[4.0.0]]]" {
		t.Error(s)
	}
	if strings.Contains(got.words, "number") || strings.Contains(got.words, time.Time{}.Format("2006")) {
		t.Error(got.words)
	}
}
