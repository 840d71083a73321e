package mx

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// systemFile is where the system's resolvers are named.
const systemFile = "/etc/resolv.conf"

// ParseServer reads the address of a DNS server: "address:port", "[address]:port", or an address alone for port 53. Host
// names are refused: who would resolve them?
func ParseServer(s string) (netip.AddrPort, error) {
	if at, err := netip.ParseAddrPort(s); err == nil && at.Port() != 0 {
		return at, nil
	}
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("DNS server %q: want an IP address, or address:port", s)
	}
	return netip.AddrPortFrom(addr, 53), nil
}

// systemServers are the resolvers of a file like /etc/resolv.conf, read again when it changes.
type systemServers struct {
	path string

	mu      sync.Mutex
	changed time.Time
	size    int64
	servers []string
}

// list gives the servers. A file that is missing or names none means the machine itself, as it does for libc; one that
// cannot be read leaves what was read before.
func (s *systemServers) list() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	info, err := os.Stat(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.changed, s.size, s.servers = time.Time{}, 0, nil
	case err == nil && (!info.ModTime().Equal(s.changed) || info.Size() != s.size):
		s.read(info)
	}
	if len(s.servers) == 0 {
		return []string{"127.0.0.1:53"}
	}
	return s.servers
}

func (s *systemServers) read(info fs.FileInfo) {
	config, err := dns.ClientConfigFromFile(s.path)
	if err != nil {
		return
	}
	s.changed, s.size = info.ModTime(), info.Size()
	s.take(config)
}

func (s *systemServers) take(config *dns.ClientConfig) {
	s.servers = nil
	for _, server := range config.Servers {
		if addr, err := netip.ParseAddr(server); err == nil {
			s.servers = append(s.servers, net.JoinHostPort(addr.String(), config.Port))
		}
	}
}

// SystemServers gives the system's resolvers, and tells whether one of them is on this machine. The error says that none is
// named.
func SystemServers() (servers []string, here bool, err error) {
	config, err := dns.ClientConfigFromFile(systemFile)
	if err != nil {
		return nil, false, err
	}
	s := systemServers{path: systemFile}
	s.take(config)
	if len(s.servers) == 0 {
		return nil, false, fmt.Errorf("%s names no server", systemFile)
	}
	return s.servers, slices.ContainsFunc(s.servers, onThisMachine), nil
}
