package wire

import (
	"strings"

	"mxbypass/mailbox"
	"mxbypass/relay/reply"
)

const (
	maxEnvelopeID = 100 // octets of ENVID (RFC 3461 section 4.4)
	maxOriginal   = 500 // octets of ORCPT (RFC 3461 section 4.2)
)

// mailParams parses the parameters of MAIL that were announced.
func (cmd *Command) mailParams(params string, maxSize int64) *refusal {
	seen := keywords{}
	for param := range strings.FieldsSeq(params) {
		key, value, assigned := strings.Cut(param, "=")
		key = upper(key)
		if seen.twice(key) {
			return refused(answerBadParam)
		}
		if r := cmd.mailParam(key, value, assigned, maxSize); r != nil {
			return r
		}
	}
	return nil
}

// keywords are the keywords that a command has had: few, so that a list is enough.
type keywords []string

func (s *keywords) twice(key string) bool {
	for _, k := range *s {
		if k == key {
			return true
		}
	}
	*s = append(*s, key)
	return false
}

func (cmd *Command) mailParam(key, value string, assigned bool, maxSize int64) *refusal {
	switch key {
	case "SIZE": // RFC 1870
		n, ok := parseSize(value)
		if !ok {
			return refused(answerBadParam)
		}
		if n > maxSize {
			return &refusal{rep: reply.For(errTooBig), err: errTooBig}
		}
		cmd.Size = n
	case "BODY": // RFC 6152
		switch upper(value) {
		case "":
			return refused(answerBadParam)
		case "7BIT", "8BITMIME":
		default:
			return refused(answerBody)
		}
	case "SMTPUTF8": // RFC 6531
		if assigned {
			return refused(answerBadParam)
		}
		cmd.UTF8 = true
	case "RET": // RFC 3461 section 4.3
		cmd.Return = mailbox.Return(upper(value))
		if cmd.Return != mailbox.ReturnFull && cmd.Return != mailbox.ReturnHeaders {
			return refused(answerBadParam)
		}
	case "ENVID": // RFC 3461 section 4.4
		if value == "" || len(value) > maxEnvelopeID || !isXtext(value) {
			return refused(answerBadParam)
		}
		cmd.EnvelopeID = value
	case "REQUIRETLS": // RFC 8689
		if assigned {
			return refused(answerBadParam)
		}
		cmd.RequireTLS = true
	case "AUTH": // RFC 4954 section 5: who the sender is elsewhere; nobody is believed, and it goes nowhere
		if value != "<>" && (value == "" || !isXtext(value)) {
			return refused(answerBadParam)
		}
	default:
		return refused(answerParam)
	}
	return nil
}

// rcptParams parses the parameters of RCPT (RFC 3461).
func (cmd *Command) rcptParams(params string, utf8 bool) *refusal {
	seen := keywords{}
	for param := range strings.FieldsSeq(params) {
		key, value, _ := strings.Cut(param, "=")
		key = upper(key)
		if seen.twice(key) {
			return refused(answerBadParam)
		}
		var ok bool
		switch key {
		case "NOTIFY":
			cmd.Report.Notify, ok = parseNotify(value)
		case "ORCPT":
			cmd.Report.Original, ok = value, isOriginal(value, utf8)
		default:
			return refused(answerParam)
		}
		if !ok {
			return refused(answerBadParam)
		}
	}
	return nil
}

// parseNotify parses NEVER, or a list of the others without doubles (RFC 3461 section 4.1).
func parseNotify(value string) (mailbox.Notify, bool) {
	var n mailbox.Notify
	for word := range strings.SplitSeq(upper(value), ",") {
		var bit mailbox.Notify
		switch word {
		case "NEVER":
			bit = mailbox.NotifyNever
		case "SUCCESS":
			bit = mailbox.NotifySuccess
		case "FAILURE":
			bit = mailbox.NotifyFailure
		case "DELAY":
			bit = mailbox.NotifyDelay
		}
		if bit == 0 || n&bit != 0 {
			return 0, false
		}
		n |= bit
	}
	return n, n&mailbox.NotifyNever == 0 || n == mailbox.NotifyNever
}

// isOriginal tells whether value can be an ORCPT: an address type, ";", and the address as xtext, or with SMTPUTF8 and
// the type utf-8 in one of the forms of RFC 6533 section 3. Only printable ASCII is taken: the form utf-8-addr-unitext
// cannot be passed on to servers without SMTPUTF8.
func isOriginal(value string, utf8 bool) bool {
	kind, address, ok := strings.Cut(value, ";")
	if !ok || kind == "" || address == "" || len(value) > maxOriginal {
		return false
	}
	for _, c := range []byte(kind) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-') {
			return false
		}
	}
	if strings.EqualFold(kind, "utf-8") && utf8 {
		return isGraphicASCII(address) // \x{…} for what is not ASCII
	}
	return isXtext(address)
}

// isXtext checks xtext (RFC 3461 section 4): printable ASCII, with "+" before two hexadecimal digits in capitals only,
// and without "=".
func isXtext(s string) bool {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c <= ' ' || c >= 0x7f || c == '=':
			return false
		case c == '+':
			if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
				return false
			}
			i += 2
		}
	}
	return true
}

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'A' <= c && c <= 'F' }

func isGraphicASCII(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}
