package dsn

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"mxbypass/mailbox"
)

// Action is what a notification says about a recipient (RFC 3464 section 2.3.3).
type Action string

// The actions.
const (
	Failed    Action = "failed"
	Delayed   Action = "delayed"
	Delivered Action = "delivered"
	Relayed   Action = "relayed" // to a server that reports no successes
)

const (
	// MaxFull is the largest message, in octets, that comes back whole when that was asked for.
	MaxFull = 10 << 20
	// MaxUnasked is the largest message, in octets, that comes back whole when the client did not say how much it wants.
	MaxUnasked = 64 << 10
	// MaxHeader is how much of a header comes back, in octets, when the message does not come back whole.
	MaxHeader = 1 << 20
)

// Original is the message that is reported on.
type Original struct {
	ID         string
	Arrived    time.Time
	Reverse    mailbox.Address // who gets the notification
	EnvelopeID string          // ENVID as the client wrote it: xtext; empty: none
	Return     mailbox.Return
	UTF8Header bool // the header is not ASCII: it can only travel with SMTPUTF8
	Content    mailbox.Content
}

// Recipient is what became of one recipient.
type Recipient struct {
	Action     Action
	Final      mailbox.Address // to whom it was tried to be delivered
	Written    string          // the forward-path as the client wrote it, printable; for the human part
	Original   string          // ORCPT; empty: none
	Status     [3]int          // RFC 3463; what cannot stand in a field is replaced by the general code of the action
	RemoteMTA  string          // empty: none
	Diagnostic string          // what the other server said, code and text, as it came; empty: nothing
	Reason     string          // why, in a sentence for people; printable; empty: as the status has it
	Last       time.Time
	RetryUntil time.Time // delayed
}

// Notification is what is to be said, about one or more recipients of one message with one action.
type Notification struct {
	ID         string             // of the notification, as in logs
	Hostname   mailbox.DomainName // ours
	Postmaster mailbox.Address    // From; null: postmaster at Hostname
	Time       time.Time
	Original   Original
	Recipients []Recipient
}

// Compose writes a notification: a message from the null sender to n.Original.Reverse. Its content reads the original's
// when it is read, which must exist as long. The message says UTF8 only when the reverse-path itself needs it, so that
// who wrote to an address that is not ASCII can be told wherever its mailbox is.
//
// The errors: n is none (no recipients, several actions), the reverse-path is null, or the original cannot be read.
func Compose(n Notification) (*mailbox.Message, error) {
	if err := n.check(); err != nil {
		return nil, fmt.Errorf("dsn: %w", err)
	}
	if n.Postmaster.IsNull() || n.Postmaster.NeedsUTF8() && !n.Original.Reverse.NeedsUTF8() {
		n.Postmaster = mailbox.Address{Local: "postmaster", Domain: n.Hostname}
	}
	back, err := n.whatComesBack()
	if err != nil {
		return nil, fmt.Errorf("dsn: reading the original: %w", err)
	}
	boundary := "=_" + rand.Text()
	words := n.wordsPart(back)
	status := n.statusPart()
	var b bytes.Buffer
	n.writeHeader(&b, back.messageID, boundary, status.eightBit || back.eightBit)
	words.write(&b, boundary)
	status.write(&b, boundary)
	back.part().write(&b, boundary)
	return &mailbox.Message{
		ID:   n.ID,
		UTF8: n.Original.Reverse.NeedsUTF8(),
		Content: &content{
			head:     b.Bytes(),
			original: n.Original.Content,
			part:     back.size,
			tail:     []byte("\r\n--" + boundary + "--\r\n"),
		},
	}, nil
}

// check tells whether n can be said.
func (n *Notification) check() error {
	switch {
	case n.Original.Reverse.IsNull():
		return errors.New("the message has a null reverse-path: nobody can be told")
	case len(n.Recipients) == 0:
		return errors.New("no recipients")
	}
	switch action := n.action(); action {
	case Failed, Delayed, Delivered, Relayed:
	default:
		return fmt.Errorf("unknown action %q", action)
	}
	for i := range n.Recipients {
		if n.Recipients[i].Action != n.action() {
			return errors.New("recipients with different actions")
		}
	}
	return nil
}

// action is the one action of all recipients.
func (n *Notification) action() Action { return n.Recipients[0].Action }

// writeHeader writes the header of the notification. It is ASCII unless the reverse-path is not.
func (n *Notification) writeHeader(b *bytes.Buffer, messageID, boundary string, eightBit bool) {
	to := n.Original.Reverse
	if to.Domain.IsZero() { // <Postmaster>, who is ours
		to.Domain = n.Hostname
	}
	line(b, "From", "Mail Delivery System <"+exact(n.Postmaster.Header())+">")
	line(b, "To", "<"+exact(to.Header())+">")
	line(b, "Subject", n.subject())
	line(b, "Date", date(n.Time))
	line(b, "Message-ID", "<"+exact(n.ID)+"@"+n.Hostname.ASCII()+">")
	if messageID != "" {
		line(b, "In-Reply-To", messageID)
		line(b, "References", messageID)
	}
	line(b, "Auto-Submitted", "auto-replied") // RFC 3834 section 5
	line(b, "MIME-Version", "1.0")
	line(b, "Content-Type", "multipart/report; report-type=delivery-status;\r\n boundary=\""+boundary+"\"")
	line(b, "Content-Transfer-Encoding", encoding(eightBit))
}

// part is one of the three, without the original's octets.
type part struct {
	kind        string // Content-Type
	description string
	encoding    string
	eightBit    bool
	body        []byte
}

// write writes the part with the delimiter before it (RFC 2046 section 5.1.1).
func (p *part) write(b *bytes.Buffer, boundary string) {
	b.WriteString("\r\n--" + boundary + "\r\n")
	line(b, "Content-Description", p.description)
	line(b, "Content-Type", p.kind)
	line(b, "Content-Transfer-Encoding", p.encoding)
	b.WriteString("\r\n")
	b.Write(p.body)
}

func encoding(eightBit bool) string {
	if eightBit {
		return "8bit"
	}
	return "7bit"
}

func date(t time.Time) string { return t.Format("Mon, 2 Jan 2006 15:04:05 -0700") }
