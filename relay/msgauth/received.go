package msgauth

import (
	"net/netip"
	"strings"
)

// hop is what one Received field says (RFC 5321 section 4.4): who wrote it, and from which address he had the message.
type hop struct {
	from netip.Addr // not valid: it does not say, as a step within one system
	by   string
}

// parseReceived reads a Received field, unfolded. Servers write the address in three ways, all in a comment behind the
// name that the client gave itself: "[192.0.2.1]" with a name or without, "192.0.2.1" alone. That name may be an address
// literal as well and is the client's word, so that it counts only when nothing else is there.
func parseReceived(value string) hop {
	var h hop
	var claimed netip.Addr
	before := "" // the clause that we are in
	for word, comment := range words(value) {
		switch {
		case comment && before == "from" && !h.from.IsValid():
			h.from = addressIn(word)
		case comment:
		case strings.EqualFold(word, "from") && before == "":
			before = "from"
		case strings.EqualFold(word, "by") && h.by == "":
			before = "by"
		case before == "from" && !claimed.IsValid():
			claimed = literal(word)
		case before == "by" && h.by == "":
			h.by = strings.TrimSuffix(strings.ToLower(word), ".")
			before = "end"
		}
		if before == "end" {
			break
		}
	}
	if !h.from.IsValid() {
		h.from = claimed
	}
	return h
}

// words gives the words and, in one piece, the comments of a field up to the semicolon before the date.
func words(value string) func(yield func(word string, comment bool) bool) {
	return func(yield func(string, bool) bool) {
		for value != "" {
			value = strings.TrimLeft(value, " \t\r\n")
			switch {
			case value == "" || value[0] == ';':
				return
			case value[0] == '(':
				end := commentEnd(value)
				if !yield(value[1:end], true) {
					return
				}
				value = value[min(end+1, len(value)):]
			default:
				end := strings.IndexAny(value, " \t\r\n(;")
				if end < 0 {
					end = len(value)
				}
				if !yield(value[:end], false) {
					return
				}
				value = value[end:]
			}
		}
	}
}

// commentEnd tells where the comment at the beginning of s is closed; the end of s when it is not.
func commentEnd(s string) int {
	depth := 0
	for i := range len(s) {
		switch s[i] {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return len(s)
}

// addressIn finds the address in a comment: in brackets anywhere, else as a word of its own. What stands behind "helo=" and
// the like is what the client said, and so is what its ident server said, before an "@".
func addressIn(comment string) netip.Addr {
	var bare netip.Addr
	said := false
	for word := range strings.FieldsSeq(comment) {
		skip := said || strings.Contains(word, "=")
		said = strings.EqualFold(word, "HELO") || strings.EqualFold(word, "EHLO")
		if skip {
			continue
		}
		word = word[strings.LastIndexByte(word, '@')+1:]
		if a := literal(word); a.IsValid() {
			return a
		}
		if a, err := netip.ParseAddr(word); err == nil && !bare.IsValid() {
			bare = plain(a)
		}
	}
	return bare
}

// literal reads an address in brackets, perhaps with a port or a name directly before it.
func literal(word string) netip.Addr {
	start := strings.IndexByte(word, '[')
	if start < 0 {
		return netip.Addr{}
	}
	inner, _, ok := strings.Cut(word[start+1:], "]")
	if !ok {
		return netip.Addr{}
	}
	if len(inner) > 5 && strings.EqualFold(inner[:5], "IPv6:") {
		inner = inner[5:]
	}
	a, err := netip.ParseAddr(inner)
	if err != nil {
		return netip.Addr{}
	}
	return plain(a)
}

func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// outside tells whether an address can be one on the Internet: others are steps within a system.
func outside(a netip.Addr) bool {
	return a.IsValid() && a.IsGlobalUnicast() && !a.IsPrivate()
}
