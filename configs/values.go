package configs

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
	"net/netip"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"mxbypass/mailbox"
)

// Size is a number of octets, written "50MiB": a whole number with B, KiB, MiB or GiB. Decimal units are refused: people
// mean different things by them.
type Size int64

var sizeUnits = []struct {
	name   string
	octets int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *Size) UnmarshalText(text []byte) error {
	for _, u := range sizeUnits {
		digits, ok := strings.CutSuffix(string(text), u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimRight(digits, " "), 10, 63)
		if err == nil && n > 0 && int64(n) <= math.MaxInt64/u.octets {
			*s = Size(int64(n) * u.octets)
			return nil
		}
		break
	}
	return errors.New(`want a size such as "50MiB" (B, KiB, MiB or GiB)`)
}

// String writes the size as it is read.
func (s Size) String() string {
	for _, u := range sizeUnits {
		if s != 0 && int64(s)%u.octets == 0 {
			return strconv.FormatInt(int64(s)/u.octets, 10) + u.name
		}
	}
	return "0B"
}

// Duration is a time span greater than zero, written "5s", "1h30m", "36h" or, in whole days, "5d".
type Duration time.Duration

const day = 24 * time.Hour

// UnmarshalText implements [encoding.TextUnmarshaler].
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if digits, days := strings.CutSuffix(string(text), "d"); days {
		var n uint64
		n, err = strconv.ParseUint(digits, 10, 16) // 179 years
		v = time.Duration(n) * day
	}
	if err != nil || v <= 0 {
		return errors.New(`want a duration such as "5s", "1h30m" or "5d"`)
	}
	*d = Duration(v)
	return nil
}

// Std is the duration as everybody else wants it.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String writes the duration as it is read, without zero parts.
func (d Duration) String() string {
	if n := time.Duration(d) / day; n > 0 && n < 1<<16 && time.Duration(d)%day == 0 {
		return strconv.FormatInt(int64(n), 10) + "d"
	}
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// DurationOrNever is a time span as [Duration], or "never", which is zero.
type DurationOrNever time.Duration

const never = "never"

// UnmarshalText implements [encoding.TextUnmarshaler].
func (d *DurationOrNever) UnmarshalText(text []byte) error {
	if string(text) == never {
		*d = 0
		return nil
	}
	if err := (*Duration)(d).UnmarshalText(text); err != nil {
		return fmt.Errorf("%w, or %q", err, never)
	}
	return nil
}

// Std is the duration as everybody else wants it; zero: never.
func (d DurationOrNever) Std() time.Duration { return time.Duration(d) }

// String writes it as it is read.
func (d DurationOrNever) String() string {
	if d == 0 {
		return never
	}
	return Duration(d).String()
}

// FileMode is the mode of folders, written in octal: "0750".
type FileMode fs.FileMode

// UnmarshalText implements [encoding.TextUnmarshaler].
func (m *FileMode) UnmarshalText(text []byte) error {
	v, err := strconv.ParseUint(string(text), 8, 16)
	if err != nil || v > 0o777 || v&0o700 != 0o700 {
		return errors.New(`want the mode of a folder in octal, such as "0750", with all rights for its owner`)
	}
	*m = FileMode(v)
	return nil
}

// String writes the mode as it is read.
func (m FileMode) String() string { return fmt.Sprintf("%04o", uint32(m)) }

// Owner is a user and a group, written "vmail:mail" with names or numbers. Names are looked up when the file is read.
type Owner struct {
	Set      bool
	UID, GID int
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (o *Owner) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return nil
	}
	name, group, ok := strings.Cut(string(text), ":")
	if !ok || name == "" || group == "" {
		return errors.New(`want "user:group"`)
	}
	uid, err := strconv.ParseUint(name, 10, 31)
	if err != nil {
		u, err := user.Lookup(name)
		if err != nil {
			return fmt.Errorf("no user %q on this machine", name)
		}
		if uid, err = strconv.ParseUint(u.Uid, 10, 31); err != nil {
			return fmt.Errorf("the user %q has no number", name)
		}
	}
	gid, err := strconv.ParseUint(group, 10, 31)
	if err != nil {
		g, err := user.LookupGroup(group)
		if err != nil {
			return fmt.Errorf("no group %q on this machine", group)
		}
		if gid, err = strconv.ParseUint(g.Gid, 10, 31); err != nil {
			return fmt.Errorf("the group %q has no number", group)
		}
	}
	*o = Owner{Set: true, UID: int(uid), GID: int(gid)}
	return nil
}

func parseName(s string) (mailbox.DomainName, error) {
	name, err := mailbox.ParseDomainName(s)
	if err != nil {
		return mailbox.DomainName{}, errors.New(`want a domain name such as "mx.example.org"`)
	}
	return name, nil
}

func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, errors.New("want an IP address")
	}
	return a.Unmap(), nil
}

// parseServer reads the address of a DNS server, with port 53 when it has none. Names are refused: who would resolve them?
func parseServer(s string) (netip.AddrPort, error) {
	server, err := netip.ParseAddrPort(s)
	if err != nil {
		var a netip.Addr
		if a, err = parseAddr(s); err == nil {
			server = netip.AddrPortFrom(a, 53)
		}
	}
	if err != nil || server.Port() == 0 || server.Addr().IsUnspecified() {
		return netip.AddrPort{}, errors.New(`want the IP address of a server, such as "192.0.2.53" or "192.0.2.53:5353"`)
	}
	return server, nil
}

// parseNetwork reads a network or a single address. Bits beyond the network's length are a mistake in one of the two.
func parseNetwork(s string) (netip.Prefix, error) {
	if a, err := parseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, errors.New(`want a network such as "192.0.2.0/24" or "2001:db8::/32", or an IP address`)
	}
	if p.Masked() != p {
		return netip.Prefix{}, fmt.Errorf("the address is longer than the network; did you mean %q?", p.Masked())
	}
	return p, nil
}

// Endpoint is where to listen or to connect: a host and a port, the path of a unix socket, or, to listen, the name of a
// socket that systemd has opened for us.
type Endpoint struct {
	Network string // "tcp", "unix" or [NetworkSystemd]; empty: not given
	Address string // for package net; the name that FileDescriptorName= gives a socket of systemd
}

// NetworkSystemd is the network of sockets that systemd has opened.
const NetworkSystemd = "systemd"

const (
	unixPrefix    = "unix:"
	systemdPrefix = NetworkSystemd + ":"
)

// UnmarshalText implements [encoding.TextUnmarshaler].
func (e *Endpoint) UnmarshalText(text []byte) error {
	s := string(text)
	if s == "" {
		*e = Endpoint{}
		return nil
	}
	if name, ok := strings.CutPrefix(s, systemdPrefix); ok {
		// What sd_listen_fds_with_names(3) allows, without what divides names.
		odd := func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' }
		if name == "" || len(name) > 255 || strings.ContainsFunc(name, odd) {
			return errors.New("want the name of a socket behind it, as FileDescriptorName= gives it")
		}
		*e = Endpoint{NetworkSystemd, name}
		return nil
	}
	if path, ok := strings.CutPrefix(s, unixPrefix); ok {
		if !filepath.IsAbs(path) || filepath.Clean(path) != path {
			return errors.New("the path of a unix socket must be absolute and clean")
		}
		// sockaddr_un has room for 108 octets, with the NUL that ends them.
		if len(path) > 107 {
			return errors.New("the path of a unix socket has at most 107 octets")
		}
		*e = Endpoint{"unix", path}
		return nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return errors.New(`want "host:port" or "unix:/path"`)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("invalid port %q: want 1 to 65535", port)
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" {
		name, err := mailbox.ParseDomainName(host)
		if err != nil {
			return fmt.Errorf("invalid host %q: want an IP address or a host name", host)
		}
		host = name.ASCII()
	}
	*e = Endpoint{"tcp", net.JoinHostPort(host, port)}
	return nil
}

// String writes the endpoint as it is read.
func (e Endpoint) String() string {
	switch e.Network {
	case "unix":
		return unixPrefix + e.Address
	case NetworkSystemd:
		return systemdPrefix + e.Address
	}
	return e.Address
}

// ip is the address of a TCP endpoint: the zero Addr for every address of the machine; false when it is a name.
func (e Endpoint) ip() (addr netip.Addr, port string, ok bool) {
	host, port, err := net.SplitHostPort(e.Address)
	if err != nil || e.Network != "tcp" {
		return netip.Addr{}, "", false
	}
	if host == "" {
		return netip.Addr{}, port, true
	}
	addr, err = netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}, port, false
	}
	if addr = addr.Unmap(); addr.IsUnspecified() {
		if addr.Is4() {
			return addr, port, true
		}
		return netip.Addr{}, port, true
	}
	return addr, port, true
}
