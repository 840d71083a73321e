// Package dnstest is a DNS server for tests: what is not put into it does not exist, and what is to fail fails. It answers
// for every zone, over UDP and TCP on one port of the loopback.
package dnstest

import (
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// ttl is that of all records, in seconds.
const ttl = 60

// portTries is how often a free port is looked for that is free for UDP and TCP.
const portTries = 20

// Server is a running server. It ends with the test.
type Server struct {
	mu     sync.Mutex
	names  map[string][]dns.RR
	fails  map[string]bool
	secure bool
	asked  map[string]int

	// Addr is where it listens.
	Addr string
}

// New starts a server.
func New(t testing.TB) *Server {
	t.Helper()
	s := &Server{names: map[string][]dns.RR{}, fails: map[string]bool{}, asked: map[string]int{}}
	packets, listener := listen(t)
	s.Addr = packets.LocalAddr().String()
	var running, started sync.WaitGroup
	t.Cleanup(running.Wait) // after those below
	for _, d := range []*dns.Server{{PacketConn: packets}, {Listener: listener}} {
		started.Add(1)
		d.NotifyStartedFunc = started.Done
		d.Handler = dns.HandlerFunc(s.answer)
		running.Go(func() { _ = d.ActivateAndServe() }) // it ends by Shutdown
		t.Cleanup(func() { _ = d.Shutdown() })
	}
	started.Wait()
	return s
}

func listen(t testing.TB) (net.PacketConn, net.Listener) {
	t.Helper()
	for range portTries {
		packets, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", packets.LocalAddr().String())
		if err == nil {
			return packets, listener
		}
		_ = packets.Close() // the port is free for UDP only
	}
	t.Fatal("no port that is free for UDP and TCP")
	return nil, nil
}

// Add adds records in the form of a zone file, with absolute names and without TTL: "a.example. TXT text".
func (s *Server) Add(t testing.TB, records ...string) {
	t.Helper()
	for _, r := range records {
		rr, err := dns.NewRR(r)
		if err != nil {
			t.Fatalf("%q: %v", r, err)
		}
		s.AddRR(rr)
	}
}

// AddTXT adds a TXT record of that text, in strings as long as they may be.
func (s *Server) AddTXT(name, text string) {
	rr := &dns.TXT{Hdr: dns.RR_Header{Name: dns.Fqdn(name), Rrtype: dns.TypeTXT, Class: dns.ClassINET}}
	for len(text) > 255 {
		rr.Txt, text = append(rr.Txt, text[:255]), text[255:]
	}
	rr.Txt = append(rr.Txt, text)
	s.AddRR(rr)
}

// AddRR adds a record.
func (s *Server) AddRR(rr dns.RR) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rr.Header().Ttl = ttl
	name := dns.CanonicalName(rr.Header().Name)
	s.names[name] = append(s.names[name], rr)
}

// Remove takes all records of a name away.
func (s *Server) Remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.names, dns.CanonicalName(name))
}

// Fail makes questions about a name fail, or succeed again.
func (s *Server) Fail(name string, fails bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails[dns.CanonicalName(name)] = fails
}

// Secure makes all answers ones that were validated (the AD bit).
func (s *Server) Secure() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secure = true
}

// Asked tells how often a name was asked for, over all types.
func (s *Server) Asked(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[dns.CanonicalName(name)]
}

func (s *Server) answer(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(q)
	m.Authoritative, m.RecursionAvailable = true, true
	m.Compress = true
	s.fill(m, q)
	if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
		size := dns.MinMsgSize
		if edns := q.IsEdns0(); edns != nil {
			size = int(edns.UDPSize())
		}
		m.Truncate(size)
	}
	_ = w.WriteMsg(m) // whoever asked may have gone
}

func (s *Server) fill(m, q *dns.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := dns.CanonicalName(q.Question[0].Name)
	s.asked[name]++
	if s.fails[name] {
		m.Rcode = dns.RcodeServerFailure
		return
	}
	m.AuthenticatedData = s.secure && q.AuthenticatedData
	for _, rr := range s.names[name] {
		if t := rr.Header().Rrtype; t == q.Question[0].Qtype || t == dns.TypeCNAME {
			m.Answer = append(m.Answer, rr)
		}
	}
	if len(m.Answer) > 0 {
		return
	}
	if !s.exists(name) {
		m.Rcode = dns.RcodeNameError
	}
	m.Ns = []dns.RR{&dns.SOA{
		Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: ttl},
		Ns:  "ns.invalid.", Mbox: "hostmaster.invalid.", Minttl: ttl,
	}}
}

// exists tells whether there is such a name, if only because of one below it.
func (s *Server) exists(name string) bool {
	for known := range s.names {
		if known == name || strings.HasSuffix(known, "."+name) {
			return true
		}
	}
	return false
}
