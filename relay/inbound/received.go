package inbound

import (
	"net/netip"
	"strings"
	"time"

	"mxbypass/mailbox"
)

// trace is what a Received field says (RFC 5321 section 4.4).
type trace struct {
	hello    string
	client   netip.Addr
	hostname string
	with     string // RFC 3848, RFC 6531 section 4.3
	tls      *secured
	id       string
	to       string // the one recipient, as the client wrote it; empty when there are several
	at       time.Time
}

// field prints the field, folded, with its CRLF.
func (t trace) field() []byte {
	var b strings.Builder
	b.Grow(320)
	b.WriteString("Received: from " + t.hello)
	if t.client.IsValid() {
		b.WriteString(" (" + literal(t.client) + ")")
	}
	if t.tls != nil {
		b.WriteString("\r\n\t(using " + t.tls.version + " with cipher " + t.tls.cipher + ")")
	}
	b.WriteString("\r\n\tby " + t.hostname + " with " + t.with + " id " + t.id)
	if t.to != "" {
		b.WriteString("\r\n\tfor <" + mailbox.Printable(t.to) + ">")
	}
	b.WriteString(";\r\n\t" + t.at.Format("Mon, 2 Jan 2006 15:04:05 -0700") + "\r\n")
	return []byte(b.String())
}

// literal gives the address literal of RFC 5321 section 4.1.3.
func literal(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return "[" + a.String() + "]"
	}
	return "[IPv6:" + a.String() + "]"
}
