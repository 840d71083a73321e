package dsn

import (
	"bytes"
	"fmt"
	"mime/quotedprintable"
	"strings"
	"time"

	"mxbypass/mailbox"
)

// subject says in plain words what happened, and why when that is the same for all recipients. It is ASCII.
func (n *Notification) subject() string {
	switch n.action() {
	case Delivered:
		return "Delivered: your message has arrived"
	case Relayed:
		return "Handed on: your message is with another server, which sends no reports"
	}
	what := "Not delivered"
	if n.action() == Delayed {
		what = "Not delivered yet"
	}
	title := because(&n.Recipients[0]).title
	for i := range n.Recipients {
		if because(&n.Recipients[i]).title != title {
			return fmt.Sprintf("%s to %d recipients, for different reasons", what, len(n.Recipients))
		}
	}
	return what + ": " + title
}

// wordsPart writes the first part: for people.
func (n *Notification) wordsPart(back returned) *part {
	var b bytes.Buffer
	wrapped(&b, "", "This is the mail server "+n.Hostname.ASCII()+".")
	b.WriteString("\r\n")
	wrapped(&b, "", n.opening())
	for i := range n.Recipients {
		b.WriteString("\r\n")
		n.about(&b, &n.Recipients[i])
	}
	if closing := n.closing(); closing != "" {
		b.WriteString("\r\n")
		wrapped(&b, "", closing)
	}
	b.WriteString("\r\n")
	wrapped(&b, "", n.attached(back))
	b.WriteString("\r\n")
	wrapped(&b, "", n.signature())
	return textPart(b.Bytes())
}

// textPart makes a part of text. What is not ASCII is encoded, because these words must also reach who is behind a
// server without 8BITMIME.
func textPart(text []byte) *part {
	p := &part{kind: "text/plain; charset=us-ascii", encoding: encoding(false), description: "What happened", body: text}
	if !hasEightBit(text) {
		return p
	}
	var b bytes.Buffer
	w := quotedprintable.NewWriter(&b)
	_, _ = w.Write(text) // a buffer takes everything
	_ = w.Close()
	p.kind, p.encoding, p.body = "text/plain; charset=utf-8", "quoted-printable", b.Bytes()
	return p
}

// opening says what happened.
func (n *Notification) opening() string {
	message := "Your message"
	if !n.Original.Arrived.IsZero() {
		message += " of " + forPeople(n.Original.Arrived)
	}
	to := "this recipient"
	if len(n.Recipients) > 1 {
		to = "these recipients"
	}
	switch n.action() {
	case Failed:
		return message + " could not be delivered to " + to + ":"
	case Delayed:
		return message + " has not been delivered to " + to + " yet. This is only to let you know: you need not do anything."
	case Delivered:
		return message + " was delivered to " + to + ":"
	default:
		return message + " was handed on to the mail server of " + to + ":"
	}
}

// about says what became of one recipient, why, what the other server said, and what can be done.
func (n *Notification) about(b *bytes.Buffer, r *Recipient) {
	const indent = "    "
	wrapped(b, "", r.named())
	why := clean(r.Reason, maxReason, true)
	cause := because(r)
	trouble := r.Action == Failed || r.Action == Delayed
	if why == "" && trouble {
		why = cause.why
	}
	if why != "" {
		b.WriteString("\r\n")
		wrapped(b, indent, sentence(why))
	}
	if said := clean(r.Diagnostic, maxDiagnostic, true); said != "" {
		server := "The other server"
		if mta := remoteName(r.RemoteMTA); mta != "" {
			server = "The server " + mta
		}
		b.WriteString("\r\n")
		wrapped(b, indent, server+" said:")
		wrapped(b, indent+"  ", said)
	}
	switch {
	case r.Action == Failed:
		b.WriteString("\r\n")
		wrapped(b, indent, "What you can do: "+cause.todo)
	case r.Action == Delayed && !r.RetryUntil.IsZero():
		b.WriteString("\r\n")
		wrapped(b, indent, "It is tried again until "+forPeople(r.RetryUntil)+".")
	}
}

// named gives the address as the client wrote it, and where it led when that is another one.
func (r *Recipient) named() string {
	address := "<" + exact(r.Final.Header()) + ">"
	written := clean(r.Written, maxValue, true)
	if written == "" {
		return address
	}
	if p, err := mailbox.ParseReversePath(r.Written, true); err == nil && p.Address.Fold() == r.Final.Fold() {
		return "<" + written + ">"
	}
	return "<" + written + ">, which leads to " + address
}

// sentence gives s the capital and the full stop that it may lack. A name of a server at its beginning stays as it is.
func sentence(s string) string {
	first, _, _ := strings.Cut(s, " ")
	if c := s[0]; 'a' <= c && c <= 'z' && !strings.ContainsAny(first, ".[@") {
		s = string(c-'a'+'A') + s[1:]
	}
	if !strings.ContainsAny(s[len(s)-1:], ".!?") {
		s += "."
	}
	return s
}

// closing says what comes next.
func (n *Notification) closing() string {
	switch n.action() {
	case Failed:
		return "It is not tried again. If you send the message once more, send it only to who is named here: others to whom " +
			"it was written are not concerned."
	case Delayed:
		return "Please do not send the message again: it would arrive twice. If it cannot be delivered in the end, you get " +
			"another message that says so; if it can, this was the last that you hear of it, unless you asked for a report."
	case Relayed:
		return "That server does not report deliveries. If the message cannot be delivered from there, it is that server " +
			"that tells you."
	default:
		return "You get this report because it was asked for when the message was sent."
	}
}

// attached says what the other parts are.
func (n *Notification) attached(back returned) string {
	s := "Attached are the same in a form for programs, and "
	switch {
	case back.whole:
		return s + "your message."
	case back.size == 0:
		return s + "an empty part: your message has no header. " + back.short
	default:
		return s + "the header of your message. " + back.short
	}
}

// signature says who can help, and with what.
func (n *Notification) signature() string {
	s := "The postmaster here is " + exact(n.Postmaster.Header()) + "."
	if id := clean(n.Original.ID, maxReason, false); id != "" {
		s += " If you ask about this message, give its number " + id + "."
	}
	return s
}

func forPeople(t time.Time) string { return t.Format("Monday, 2 January 2006, 15:04 -0700") }
