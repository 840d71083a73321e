package mailbox

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// MaxPath is the longest path in octets, with its angle brackets (RFC 5321 section 4.5.3.1.3).
const MaxPath = 256

// Path is a forward-path or reverse-path as it was parsed from a command.
type Path struct {
	Address Address
	// Written is what the client wrote between the angle brackets. It is free of control characters and of invalid
	// UTF-8, and it is shown in X-Original-To, logs and explanations; nothing is ever decided by it.
	Written string
}

// CutPath cuts the path from the arguments of MAIL or RCPT: rest is what follows it (the ESMTP parameters). The angle
// brackets are looked for outside of quoted strings; a path without them ends at the first space, as many devices send
// it. Neither path nor parameters may hold a control character. The error wraps [ErrSyntax].
func CutPath(args string) (path, rest string, err error) {
	for i := 0; i < len(args); i++ {
		if args[i] < 0x20 || args[i] == 0x7f {
			return "", "", fmt.Errorf("%w: a control character in the command", ErrSyntax)
		}
	}
	args = strings.TrimLeft(args, " ")
	if !strings.HasPrefix(args, "<") {
		path, rest, _ = strings.Cut(args, " ")
		if path == "" || strings.ContainsAny(path, `<>"`) {
			return "", "", fmt.Errorf("%w: a path is written in angle brackets", ErrSyntax)
		}
		return path, strings.TrimLeft(rest, " "), nil
	}
	quoted := false
	for i := 1; i < len(args); i++ {
		switch c := args[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == '>' && !quoted:
			rest = args[i+1:]
			if rest != "" && rest[0] != ' ' {
				return "", "", fmt.Errorf("%w: something follows the path", ErrSyntax)
			}
			return args[1:i], strings.TrimLeft(rest, " "), nil
		}
	}
	return "", "", fmt.Errorf("%w: the path is not closed", ErrSyntax)
}

// ParsePath parses a forward-path, given without its angle brackets (RFC 5321 section 4.1.2, RFC 6531 section 3.3).
// smtputf8 tells whether the client asked for SMTPUTF8. A source route is checked and dropped (appendix C); an "@" in
// the local part is refused, also when it is quoted, because somebody behind us could read a route in it; so is an IP
// address that is written as a name. The one path without a domain is <Postmaster>. The error wraps [ErrSyntax],
// [ErrTooLong] or [ErrNeedsUTF8].
func ParsePath(raw string, smtputf8 bool) (Path, error) {
	p, err := parse(raw, smtputf8)
	if err != nil {
		return Path{}, err
	}
	if p.Address.IsNull() {
		return Path{}, fmt.Errorf("%w: empty address", ErrSyntax)
	}
	if strings.Contains(string(p.Address.Local), "@") {
		return Path{}, fmt.Errorf("%w: an @ in the local part", ErrSyntax)
	}
	if p.Address.Domain.looksLikeIPv4() {
		return Path{}, fmt.Errorf("%w: an IP address is written in square brackets", ErrSyntax)
	}
	return p, nil
}

// ParseReversePath parses a reverse-path, given without its angle brackets; the empty string is the null reverse-path,
// and nothing is refused only because somebody could read a route in it. Otherwise as [ParsePath].
func ParseReversePath(raw string, smtputf8 bool) (Path, error) { return parse(raw, smtputf8) }

// ParseAddress parses an address as people and configuration files write it: local@domain, with a real domain name.
func ParseAddress(s string) (Address, error) {
	p, err := ParsePath(strings.TrimSpace(s), true)
	if err != nil {
		return Address{}, err
	}
	if p.Address.Domain.IsZero() || p.Address.Domain.IsLiteral() || strings.HasPrefix(strings.TrimSpace(s), "@") {
		return Address{}, fmt.Errorf("%w: an address is written local@domain", ErrSyntax)
	}
	return p.Address, nil
}

func parse(raw string, smtputf8 bool) (Path, error) {
	if err := checkBytes(raw, smtputf8); err != nil {
		return Path{}, err
	}
	if raw == "" {
		return Path{}, nil
	}
	mailbox, err := dropSourceRoute(raw)
	if err != nil {
		return Path{}, err
	}
	local, domain, err := cutLocalPart(mailbox)
	if err != nil {
		return Path{}, err
	}
	p := Path{Address: Address{Local: local}, Written: raw}
	switch {
	case domain == "":
		// Compared as ASCII: Unicode folding would take the long s for an s.
		if len(raw) == len("postmaster") && strings.EqualFold(raw, "postmaster") {
			return p, nil
		}
		return Path{}, fmt.Errorf("%w: no domain", ErrSyntax)
	case strings.HasPrefix(domain, "@["):
		p.Address.Domain, err = parseLiteral(domain[1:])
	default:
		p.Address.Domain, err = ParseDomainName(domain[1:])
	}
	if err != nil {
		return Path{}, err
	}
	// A-labels are longer than U-labels: what was short enough to come in must be short enough to go out again.
	if !isASCII(raw) && len(p.Address.Wire())+2 > MaxPath {
		return Path{}, fmt.Errorf("%w: a path has at most %d octets", ErrTooLong, MaxPath)
	}
	return p, nil
}

// ParseLocalPart checks a decoded local part: length, characters, form C.
func ParseLocalPart(s string) (LocalPart, error) {
	if len(s) <= MaxPath && !isASCII(s) { // ASCII is in form C; that of more is not worth the work
		s = norm.NFC.String(s)
	}
	switch {
	case s == "":
		return "", fmt.Errorf("%w: empty local part", ErrSyntax)
	case len(s) > MaxLocalPart:
		return "", fmt.Errorf("%w: a local part has at most %d octets", ErrTooLong, MaxLocalPart)
	}
	for _, r := range s {
		if !allowedRune(r) {
			return "", fmt.Errorf("%w: a character that no address has", ErrSyntax)
		}
	}
	return LocalPart(s), nil
}

// checkBytes runs before anything is parsed: length, control characters, UTF-8, and whether it is allowed here.
func checkBytes(raw string, smtputf8 bool) error {
	if len(raw)+2 > MaxPath {
		return fmt.Errorf("%w: a path has at most %d octets", ErrTooLong, MaxPath)
	}
	if !utf8.ValidString(raw) {
		if !smtputf8 {
			return fmt.Errorf("%w: the address is not ASCII", ErrNeedsUTF8)
		}
		return fmt.Errorf("%w: the address is not valid UTF-8", ErrSyntax)
	}
	ascii := true
	for _, r := range raw {
		if !allowedRune(r) {
			return fmt.Errorf("%w: a character that no address has", ErrSyntax)
		}
		ascii = ascii && r < utf8.RuneSelf
	}
	if !ascii && !smtputf8 {
		return fmt.Errorf("%w: the address is not ASCII", ErrNeedsUTF8)
	}
	return nil
}

// dropSourceRoute removes "@a,@b:" (RFC 5321 section 4.1.1.3: accepted, ignored), after having proved it to be one.
func dropSourceRoute(s string) (string, error) {
	if s[0] != '@' {
		return s, nil
	}
	route, rest, ok := strings.Cut(s, ":")
	if !ok {
		return "", fmt.Errorf("%w: empty local part", ErrSyntax)
	}
	for hop := range strings.SplitSeq(route, ",") {
		host, ok := strings.CutPrefix(hop, "@")
		if !ok {
			return "", fmt.Errorf("%w: invalid source route", ErrSyntax)
		}
		if _, err := ParseDomainName(host); err != nil {
			return "", fmt.Errorf("%w: invalid source route", ErrSyntax)
		}
	}
	if rest == "" {
		return "", fmt.Errorf("%w: empty address", ErrSyntax)
	}
	return rest, nil
}

// cutLocalPart reads a quoted string or a dot-string up to the "@", with what follows (which is empty or starts with the
// "@"). One dot too many at the end of a dot-string is kept, as if it were quoted: no dot-string ends so (RFC 5321
// section 4.1.2), but such senders exist, and the domain inside a bypass address may end in a dot like any other.
func cutLocalPart(s string) (local LocalPart, rest string, err error) {
	if s[0] == '"' {
		decoded, rest, err := cutQuotedString(s)
		if err != nil {
			return "", "", err
		}
		local, err = ParseLocalPart(decoded)
		return local, rest, err
	}
	at := strings.IndexByte(s, '@')
	if at < 0 {
		at = len(s)
	}
	if local, err = ParseLocalPart(s[:at]); err != nil {
		return "", "", err
	}
	// Of form C, not of what came: form C turns some characters into ASCII ones that have to be quoted.
	if !LocalPart(strings.TrimSuffix(string(local), ".")).IsDotString() {
		return "", "", fmt.Errorf("%w: invalid local part", ErrSyntax)
	}
	return local, s[at:], nil
}

// cutQuotedString decodes the quoted string at the start of s, which an "@" or nothing must follow.
func cutQuotedString(s string) (decoded, rest string, err error) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; c {
		case '\\':
			if i++; i == len(s) || s[i] >= utf8.RuneSelf {
				return "", "", fmt.Errorf("%w: unfinished quoted string", ErrSyntax)
			}
			b.WriteByte(s[i])
		case '"':
			if i+1 < len(s) && s[i+1] != '@' {
				return "", "", fmt.Errorf("%w: something follows the quoted string", ErrSyntax)
			}
			return b.String(), s[i+1:], nil
		default:
			b.WriteByte(c)
		}
	}
	return "", "", fmt.Errorf("%w: unfinished quoted string", ErrSyntax)
}
