package dsn

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"mxbypass/mailbox"
)

// statusPart writes the fields for programs (RFC 3464 section 2, RFC 6533 section 4).
func (n *Notification) statusPart() *part {
	global := false
	originals := make([]string, len(n.Recipients))
	for i := range n.Recipients {
		r := &n.Recipients[i]
		originals[i] = original(r.Original)
		global = global || r.Final.NeedsUTF8() || !isASCII(originals[i])
	}
	var b bytes.Buffer
	if id, ok := decodeXtext(n.Original.EnvelopeID); ok && id != "" && len(id) <= maxValue && isPrintableASCII(id) {
		line(&b, "Original-Envelope-Id", id)
	}
	line(&b, "Reporting-MTA", "dns; "+n.Hostname.ASCII())
	if !n.Original.Arrived.IsZero() {
		line(&b, "Arrival-Date", date(n.Original.Arrived))
	}
	for i := range n.Recipients {
		b.WriteString("\r\n")
		n.recipient(&b, &n.Recipients[i], originals[i], global)
	}
	p := &part{kind: "message/delivery-status", description: "Delivery report", body: b.Bytes()}
	if global {
		p.kind, p.eightBit = "message/global-delivery-status", true
	}
	p.encoding = encoding(p.eightBit)
	return p
}

// recipient writes the fields about one recipient, in the order of RFC 3464 section 2.3.
func (n *Notification) recipient(b *bytes.Buffer, r *Recipient, original string, global bool) {
	if original != "" {
		line(b, "Original-Recipient", original)
	}
	line(b, "Final-Recipient", final(r.Final))
	line(b, "Action", string(r.Action))
	status := r.status()
	line(b, "Status", fmt.Sprintf("%d.%d.%d", status[0], status[1], status[2]))
	if mta := remoteName(r.RemoteMTA); mta != "" {
		line(b, "Remote-MTA", "dns; "+mta)
	}
	if said := clean(r.Diagnostic, maxDiagnostic, global); said != "" {
		folded(b, "Diagnostic-Code", "smtp; "+said)
	}
	if !r.Last.IsZero() {
		line(b, "Last-Attempt-Date", date(r.Last))
	}
	if id := clean(n.Original.ID, maxValue, false); id != "" {
		line(b, "Final-Log-ID", id)
	}
	if r.Action == Delayed && !r.RetryUntil.IsZero() {
		line(b, "Will-Retry-Until", date(r.RetryUntil))
	}
}

// final writes an address with its type.
func final(a mailbox.Address) string {
	if a.NeedsUTF8() {
		return "utf-8; " + exact(a.Header())
	}
	return "rfc822; " + exact(a.Header())
}

// status is the code of r when it can stand in a field (RFC 3463 section 2), otherwise the general one of its action.
func (r *Recipient) status() [3]int {
	s := r.Status
	inRange := func(n int) bool { return 0 <= n && n <= 999 }
	if (s[0] == 2 || s[0] == 4 || s[0] == 5) && inRange(s[1]) && inRange(s[2]) {
		return s
	}
	switch r.Action {
	case Failed:
		return [3]int{5, 0, 0}
	case Delayed:
		return [3]int{4, 0, 0}
	default:
		return [3]int{2, 0, 0}
	}
}

// remoteName is the name of another server, one word of ASCII; empty when there is none.
func remoteName(s string) string {
	name, _, _ := strings.Cut(clean(s, mailbox.MaxDomainName+len("[IPv6:]"), false), " ")
	return name
}

// original decodes ORCPT into the value of Original-Recipient: the address type as it was written, and the address as
// the sender has it. What would not be one line of its charset when it is decoded stays encoded, and what is no ORCPT
// gives nothing.
func original(orcpt string) string {
	kind, encoded, ok := strings.Cut(orcpt, ";")
	if !ok || kind == "" || encoded == "" || len(orcpt) > maxValue || !isPrintableASCII(orcpt) || !isAtoms(kind) {
		return ""
	}
	if strings.EqualFold(kind, "utf-8") {
		if address, ok := decodeUnitext(encoded); ok && isOneLine(address) {
			return kind + "; " + address
		}
		return kind + "; " + encoded
	}
	if address, ok := decodeXtext(encoded); ok && isPrintableASCII(address) {
		return kind + "; " + address
	}
	return kind + "; " + encoded
}

// decodeXtext decodes xtext (RFC 3461 section 4): "+" and two hexadecimal digits are an octet.
func decodeXtext(s string) (string, bool) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "+")
		b.WriteString(before)
		if !found {
			return b.String(), true
		}
		if len(after) < 2 {
			return "", false
		}
		octet, err := strconv.ParseUint(after[:2], 16, 8)
		if err != nil {
			return "", false
		}
		b.WriteByte(byte(octet))
		s = after[2:]
	}
}

// decodeUnitext decodes the address of type utf-8 (RFC 6533 section 3): \x{…} is a character by its number.
func decodeUnitext(s string) (string, bool) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, `\x{`)
		b.WriteString(before)
		if !found {
			return b.String(), true
		}
		digits, rest, closed := strings.Cut(after, "}")
		point, err := strconv.ParseUint(digits, 16, 21)
		if !closed || err != nil || !utf8.ValidRune(rune(point)) {
			return "", false
		}
		b.WriteRune(rune(point))
		s = rest
	}
}

func isPrintableASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f })
}
