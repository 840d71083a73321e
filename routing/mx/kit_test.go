package mx

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"mxbypass/mailbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func name(s string) mailbox.DomainName { return mailbox.MustDomainName(s) }

func providers(t testing.TB) Providers {
	t.Helper()
	ps, err := EmbeddedProviders()
	if err != nil {
		t.Fatal(err)
	}
	return ps
}

// serveDNS runs a DNS server, over UDP and TCP on one port, that answers as the handler does. It ends with the test.
func serveDNS(t testing.TB, handler func(w dns.ResponseWriter, q *dns.Msg, network string)) string {
	t.Helper()
	var packets net.PacketConn
	var listener net.Listener
	for listener == nil {
		var err error
		if packets, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if listener, err = net.Listen("tcp", packets.LocalAddr().String()); err != nil {
			packets.Close() // the port is free for UDP only
		}
	}
	var running sync.WaitGroup
	t.Cleanup(running.Wait) // after those below
	for _, s := range []*dns.Server{{PacketConn: packets}, {Listener: listener}} {
		network := "udp"
		if s.Listener != nil {
			network = "tcp"
		}
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		s.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { handler(w, q, network) })
		running.Go(func() { _ = s.ActivateAndServe() })
		<-started
		t.Cleanup(func() { _ = s.Shutdown() })
	}
	return packets.LocalAddr().String()
}

// records answers a question with records in zone file form; the section of each follows a "!" for the authority.
func records(t testing.TB, q *dns.Msg, lines ...string) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	m.SetReply(q)
	m.Authoritative = true
	for _, line := range lines {
		line, authority := strings.CutPrefix(line, "!")
		rr, err := dns.NewRR(line)
		if err != nil {
			t.Error(err)
			continue
		}
		if authority {
			m.Ns = append(m.Ns, rr)
		} else {
			m.Answer = append(m.Answer, rr)
		}
	}
	return m
}

func rcode(q *dns.Msg, code int) *dns.Msg { return new(dns.Msg).SetRcode(q, code) }

func send(t testing.TB, w dns.ResponseWriter, m *dns.Msg) {
	t.Helper()
	if err := w.WriteMsg(m); err != nil {
		t.Log(err) // whoever asked may have gone
	}
}

func newDNS(t testing.TB, timeout time.Duration, servers ...string) *DNS {
	t.Helper()
	d, err := NewDNS(DNSOptions{Servers: servers, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// fakeResolver answers from maps, and counts. A name that is in neither does not exist.
type fakeResolver struct {
	mu    sync.Mutex
	mx    map[string]Answer[MX]
	addr  map[string]Answer[netip.Addr]
	asked map[string]int
	// hold, when set, is called before each answer about MX.
	hold func(ctx context.Context)
}

func newFake() *fakeResolver {
	return &fakeResolver{mx: map[string]Answer[MX]{}, addr: map[string]Answer[netip.Addr]{}, asked: map[string]int{}}
}

func (f *fakeResolver) LookupMX(ctx context.Context, n mailbox.DomainName) Answer[MX] {
	f.mu.Lock()
	f.asked[n.ASCII()]++
	answer, ok := f.mx[n.ASCII()]
	hold := f.hold
	f.mu.Unlock()
	if hold != nil {
		hold(ctx)
		if ctx.Err() != nil {
			return Answer[MX]{Err: ctx.Err()}
		}
	}
	if !ok {
		return Answer[MX]{Outcome: NXDomain, TTL: time.Minute}
	}
	return answer
}

func (f *fakeResolver) LookupAddr(_ context.Context, n mailbox.DomainName) Answer[netip.Addr] {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked["addr "+n.ASCII()]++
	if answer, ok := f.addr[n.ASCII()]; ok {
		return answer
	}
	return Answer[netip.Addr]{Outcome: NXDomain, TTL: time.Minute}
}

func (f *fakeResolver) set(domain string, a Answer[MX]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mx[domain] = a
}

func (f *fakeResolver) count(what string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked[what]
}

// hosts makes an answer of MX hosts, with rising preferences.
func hosts(ttl time.Duration, names ...string) Answer[MX] {
	a := Answer[MX]{Outcome: Found, TTL: ttl, Authoritative: true}
	for i, n := range names {
		m := MX{Preference: uint16(10 * i), TTL: ttl}
		switch n {
		case ".":
			m.Root = true
		case "": // no host name
		default:
			m.Host = name(n)
		}
		a.Records = append(a.Records, m)
	}
	return a
}

func addrs(list ...string) Answer[netip.Addr] {
	a := Answer[netip.Addr]{Outcome: Found, TTL: time.Hour}
	for _, s := range list {
		a.Records = append(a.Records, netip.MustParseAddr(s))
	}
	return a
}

func hostNames(list string) []mailbox.DomainName {
	var names []mailbox.DomainName
	for s := range strings.FieldsSeq(list) {
		names = append(names, name(s))
	}
	return names
}
