package msgauth

import (
	"slices"
	"strings"

	"mxbypass/mailbox"
	"mxbypass/relay/header"
)

// maxFrom is how many From domains of a message are judged. A second one is rare already.
const maxFrom = 4

// authors are the domains in the From field of a message.
type authors struct {
	domains []mailbox.DomainName
	more    bool // there are more than are judged
}

// authorsOf finds the From domains. What cannot be read as RFC 5322 has it is read as people's programs would show it:
// the last address in angle brackets of each field, else whatever stands behind an "@". Otherwise a field could be one
// that is shown and not judged.
func authorsOf(h *header.Header) authors {
	var a authors
	if addresses, err := header.From(h); err == nil {
		for _, from := range addresses {
			a.add(from.Domain)
		}
		return a
	}
	for _, f := range h.All("From") {
		value := f.Value()
		if start := strings.LastIndexByte(value, '<'); start >= 0 && strings.Contains(value[start:], "@") {
			value = value[start:]
		}
		for _, part := range strings.Split(value, "@")[1:] {
			end := strings.IndexAny(part, " \t\r\n<>(),;:\"")
			if end < 0 {
				end = len(part)
			}
			if name, err := mailbox.ParseDomainName(part[:end]); err == nil {
				a.add(name)
			}
		}
	}
	return a
}

func (a *authors) add(d mailbox.DomainName) {
	switch {
	case slices.Contains(a.domains, d):
	case len(a.domains) == maxFrom:
		a.more = true
	default:
		a.domains = append(a.domains, d)
	}
}
