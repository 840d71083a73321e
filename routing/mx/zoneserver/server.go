// Package zoneserver is a small authoritative DNS server, for the demo and for tests: it serves a folder of zone files in
// the standard format (RFC 1035 section 5), over UDP and TCP, from memory.
//
// The file exemple.org.zone is the zone exemple.org. A file without any record is a zone that this server ought to know
// and does not: it answers SERVFAIL there, as nsd does for a zone that it could not load. Names outside of every zone are
// refused. There are no wildcards, delegations, DNSSEC or transfers; zones that use them are not loaded.
package zoneserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// portTries is how often a free port is looked for that is free for UDP and TCP.
const portTries = 20

// Server is a running server.
type Server struct {
	zones    map[string]*zone
	addr     string
	udp, tcp *dns.Server
	running  sync.WaitGroup
	forget   func() bool // ends the watch over the context
	once     sync.Once
	err      error // of shutdown
}

// Serve loads the zones and serves them on an address ("127.0.0.1:0" takes a free port), until Close or the end of the
// context. When it returns, questions are answered. The error names the file and the line that is wrong.
func Serve(ctx context.Context, addr string, zones fs.FS) (*Server, error) {
	loaded, err := loadZones(zones)
	if err != nil {
		return nil, fmt.Errorf("DNS zones: %w", err)
	}
	packets, listener, err := listen(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("DNS server: %w", err)
	}
	s := &Server{zones: loaded, addr: packets.LocalAddr().String()}
	s.udp = &dns.Server{PacketConn: packets, Handler: s}
	s.tcp = &dns.Server{Listener: listener, Handler: s}
	var started sync.WaitGroup
	for _, server := range []*dns.Server{s.udp, s.tcp} {
		started.Add(1)
		server.NotifyStartedFunc = started.Done
		s.running.Go(func() { _ = server.ActivateAndServe() }) // it ends by Shutdown, on sockets that are open already
	}
	started.Wait()
	s.forget = context.AfterFunc(ctx, s.shutdown)
	return s, nil
}

// listen opens the same port for UDP and TCP.
func listen(ctx context.Context, addr string) (net.PacketConn, net.Listener, error) {
	var config net.ListenConfig
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, nil, err
	}
	for range portTries {
		var packets net.PacketConn
		if packets, err = config.ListenPacket(ctx, "udp", addr); err != nil {
			return nil, nil, err
		}
		var listener net.Listener
		if listener, err = config.Listen(ctx, "tcp", packets.LocalAddr().String()); err == nil {
			return packets, listener, nil
		}
		err = errors.Join(err, packets.Close())
		if port != "0" {
			break
		}
	}
	return nil, nil, err
}

// Addr is where the server listens, as "address:port".
func (s *Server) Addr() string { return s.addr }

// Close ends the server. It may be called more than once.
func (s *Server) Close() error {
	s.forget()
	s.shutdown()
	return s.err
}

func (s *Server) shutdown() {
	s.once.Do(func() {
		s.err = errors.Join(s.udp.Shutdown(), s.tcp.Shutdown())
		s.running.Wait()
	})
}

// ServeDNS implements [dns.Handler].
func (s *Server) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	answer := new(dns.Msg)
	answer.SetReply(query)
	size := dns.MinMsgSize
	if opt := query.IsEdns0(); opt != nil {
		size = max(size, int(opt.UDPSize()))
		answer.SetEdns0(dns.DefaultMsgSize, false)
	}
	switch {
	case query.Opcode != dns.OpcodeQuery:
		answer.Rcode = dns.RcodeNotImplemented
	case len(query.Question) != 1:
		answer.Rcode = dns.RcodeFormatError
	default:
		s.answer(answer, query.Question[0])
	}
	if _, overTCP := w.RemoteAddr().(*net.TCPAddr); overTCP {
		size = dns.MaxMsgSize
	}
	answer.Truncate(size)
	_ = w.WriteMsg(answer) // a client that has gone will not be told
}

// answer fills in the answer to one question.
func (s *Server) answer(m *dns.Msg, q dns.Question) {
	name := dns.CanonicalName(q.Name)
	z := s.zoneOf(name)
	switch {
	case z == nil, q.Qclass != dns.ClassINET, q.Qtype == dns.TypeANY, q.Qtype == dns.TypeAXFR, q.Qtype == dns.TypeIXFR:
		m.Rcode = dns.RcodeRefused
		return
	case z.soa == nil:
		m.Rcode = dns.RcodeServerFailure
		return
	}
	m.Authoritative = true
	for range maxAliases {
		records, alias, exists := z.find(name, q.Qtype)
		if alias == nil {
			m.Answer = append(m.Answer, records...)
			if len(records) == 0 {
				m.Ns = []dns.RR{z.soa}
			}
			if !exists {
				m.Rcode = dns.RcodeNameError
			}
			return
		}
		m.Answer = append(m.Answer, alias)
		name = dns.CanonicalName(alias.Target)
		if z = s.zoneOf(name); z == nil || z.soa == nil {
			return // elsewhere: whoever asks will ask there
		}
	}
}

// zoneOf finds the closest zone that a name is in.
func (s *Server) zoneOf(name string) *zone {
	for {
		if z := s.zones[name]; z != nil {
			return z
		}
		dot := strings.IndexByte(name, '.')
		if dot < 0 || dot+1 == len(name) {
			return nil
		}
		name = name[dot+1:]
	}
}
