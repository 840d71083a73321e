package mailbox

import (
	"fmt"
	"strconv"
	"strings"
)

// DefaultSMTPPort is the port of a next hop that names none (RFC 5321 section 4.5.4.2).
const DefaultSMTPPort = 25

// NextHop is a server that mail is given to without asking for MX records. The zero value is none.
type NextHop struct {
	Host DomainName // a host name or an address literal
	Port uint16
}

// ParseNextHop reads "smtp://host", "smtp://host:port" or the same with an IP address (IPv6 in brackets). The error
// wraps [ErrSyntax] or [ErrTooLong].
func ParseNextHop(s string) (NextHop, error) {
	rest, ok := strings.CutPrefix(s, "smtp://")
	if !ok {
		if scheme, _, found := strings.Cut(s, "://"); found {
			return NextHop{}, fmt.Errorf("%w: unknown scheme %.80q", ErrSyntax, scheme)
		}
		return NextHop{}, fmt.Errorf("%w: no scheme", ErrSyntax)
	}
	h := NextHop{Port: DefaultSMTPPort}
	if colon := strings.LastIndexByte(rest, ':'); colon > strings.LastIndexByte(rest, ']') {
		port, err := strconv.ParseUint(rest[colon+1:], 10, 16)
		if err != nil || port == 0 {
			return NextHop{}, fmt.Errorf("%w: %.80q is no port", ErrSyntax, rest[colon+1:])
		}
		rest, h.Port = rest[:colon], uint16(port)
	}
	var err error
	if h.Host, err = parseHost(rest); err != nil {
		return NextHop{}, err
	}
	return h, nil
}

// parseHost reads a host name or an IP address; IPv6 stands in brackets.
func parseHost(s string) (DomainName, error) {
	inner, bracketed := strings.CutPrefix(s, "[")
	if bracketed {
		return parseLiteral("[IPv6:" + inner)
	}
	d, err := ParseDomainName(s)
	if err != nil {
		return DomainName{}, err
	}
	if d.looksLikeIPv4() {
		return parseLiteral("[" + s + "]")
	}
	return d, nil
}

// IsZero tells whether there is no next hop.
func (h NextHop) IsZero() bool { return h == NextHop{} }

// String writes the next hop as it is read, always with its port.
func (h NextHop) String() string {
	if h.IsZero() {
		return ""
	}
	host := h.Host.ASCII()
	if inner, ok := strings.CutPrefix(host, "[IPv6:"); ok {
		host = "[" + inner
	} else {
		host = strings.Trim(host, "[]")
	}
	return fmt.Sprintf("smtp://%s:%d", host, h.Port)
}

// External says by which way the external mail of a hosted domain leaves: that of our own users under the policies
// external and auto, and what the other half of a split domain gets. The zero value: as all mail for elsewhere does.
type External struct {
	MX   bool    // always by the MX records, without the hosts that are ours
	Host NextHop // always to this server
}

// ParseExternal reads "" (as all mail for elsewhere), "mx" or "smtp://host:port". The error wraps [ErrSyntax] or
// [ErrTooLong], and says what is wanted.
func ParseExternal(s string) (External, error) {
	switch s {
	case "":
		return External{}, nil
	case "mx":
		return External{MX: true}, nil
	}
	h, err := ParseNextHop(s)
	if err != nil {
		return External{}, fmt.Errorf(`%w: want "mx", "smtp://host:port" or nothing`, err)
	}
	return External{Host: h}, nil
}

// String writes it as it is read.
func (e External) String() string {
	if e.MX {
		return "mx"
	}
	return e.Host.String()
}
