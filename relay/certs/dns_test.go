package certs

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mholt/acmez/v3/acme"
	"github.com/miekg/dns"
)

const (
	zoneKey    = "mxbypass."
	zoneSecret = "MDEyMzQ1Njc4OWFiY2RlZg=="
)

// nameServer has the zone host.test, and takes updates; integration/trust has real ones.
type nameServer struct {
	addr netip.AddrPort

	mu       sync.Mutex
	texts    map[string][]string // TXT records by name
	had      []string            // names that were added
	hidden   int                 // questions for TXT that are answered as if there was nothing
	mistrust uint16              // what is said to signatures, if not 0
	rcode    int                 // of the answers to updates, if not 0
	unsigned bool                // answers to updates have no signature
	silent   func()              // it is called for updates that are made, and not answered; nil: all are
	foreign  bool                // it knows no zone
}

func newNameServer(t *testing.T) *nameServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &nameServer{addr: l.Addr().(*net.TCPAddr).AddrPort(), texts: map[string][]string{}}
	server := &dns.Server{
		Listener: l, Handler: dns.HandlerFunc(n.serve), TsigSecret: map[string]string{zoneKey: zoneSecret},
		MsgAcceptFunc: func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept },
	}
	ended := make(chan error)
	started := make(chan struct{})
	server.NotifyStartedFunc = func() { close(started) }
	go func() { ended <- server.ActivateAndServe() }()
	<-started
	t.Cleanup(func() {
		if err := errors.Join(server.Shutdown(), <-ended); err != nil {
			t.Error(err)
		}
	})
	return n
}

func (n *nameServer) serve(w dns.ResponseWriter, m *dns.Msg) {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := new(dns.Msg).SetReply(m)
	signature := m.IsTsig()
	if signature != nil {
		r.SetTsig(signature.Hdr.Name, signature.Algorithm, fudge, time.Now().Unix())
		if w.TsigStatus() != nil || n.mistrust != 0 {
			r.Rcode = dns.RcodeNotAuth
			r.IsTsig().Error = max(n.mistrust, dns.RcodeBadSig)
			_ = w.WriteMsg(r)
			return
		}
	}
	switch {
	case m.Opcode == dns.OpcodeUpdate:
		if r.Rcode = n.rcode; n.rcode == dns.RcodeSuccess && signature != nil {
			n.update(m)
		}
		if n.unsigned {
			r.Extra = nil
		}
		if n.silent != nil {
			n.silent()
			return
		}
	case m.Question[0].Qtype == dns.TypeTXT && n.hidden > 0:
		n.hidden--
	case m.Question[0].Qtype == dns.TypeTXT:
		for _, text := range n.texts[m.Question[0].Name] {
			r.Answer = append(r.Answer, &dns.TXT{
				Hdr: dns.RR_Header{Name: m.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{text},
			})
		}
	case n.foreign:
		r.Rcode = dns.RcodeRefused
	default:
		r.Rcode = dns.RcodeNameError
		r.Ns = []dns.RR{&dns.SOA{
			Hdr: dns.RR_Header{Name: "host.TEST.", Rrtype: dns.TypeSOA, Class: dns.ClassINET}, Ns: "ns.host.test.", Mbox: ".",
		}}
	}
	_ = w.WriteMsg(r)
}

func (n *nameServer) update(m *dns.Msg) {
	for _, rr := range m.Ns {
		name, text := rr.Header().Name, strings.Join(rr.(*dns.TXT).Txt, "")
		if rr.Header().Class == dns.ClassINET {
			n.texts[name] = append(n.texts[name], text)
			n.had = append(n.had, m.Question[0].Name+" "+name)
			continue
		}
		n.texts[name] = slices.DeleteFunc(n.texts[name], func(s string) bool { return s == text })
		if len(n.texts[name]) == 0 {
			delete(n.texts, name)
		}
	}
}

func (n *nameServer) set(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
}

// updates are for a solver, or an authority's client.
func (n *nameServer) updates() *DNSUpdate {
	return &DNSUpdate{
		Server: n.addr, Key: "MXbypass", Algorithm: "hmac-sha256", Secret: zoneSecret,
		Alias: func(_ context.Context, name string) (string, error) { return name, nil },
	}
}

func challengeOf(name string) acme.Challenge {
	return acme.Challenge{
		URL: "https://acme.test/" + name, Token: "token", KeyAuthorization: "token.key",
		Identifier: acme.Identifier{Type: "dns", Value: name},
	}
}

// A name and all below it are proved at one place, and nothing stays there, nor goes that others have put there.
func TestObtainByDNS(t *testing.T) {
	n := newNameServer(t)
	const at = "_acme-challenge.host.test."
	n.texts[at] = []string{"of somebody else"}
	a := newTestAuthority(t)
	a.set(func() {
		a.way = "dns-01"
		a.look = func(name string) bool {
			n.mu.Lock()
			defer n.mu.Unlock()
			return name == "host.test" && len(n.texts[at]) == 2
		}
	})
	o := &ACME{
		Names: []string{"host.test", "*.host.test"}, Directory: a.URL + "/dir", Agree: true, Roots: a.roots(),
		Dir: filepath.Join(t.TempDir(), "acme"), DNS: n.updates(),
	}
	m := newManager(t, Options{ACME: o})
	defer m.Close()
	for _, name := range o.Names {
		if err := round(t, m, name); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"host.test", "mx.host.test"} {
		if err := trusts(a, m, name); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff(map[string][]string{at: {"of somebody else"}}, n.texts); diff != "" || len(n.had) != 2 {
		t.Error(diff, n.had)
	}
	// The next start has them from the disk.
	again := newManager(t, Options{ACME: o})
	defer again.Close()
	if err := trusts(a, again, "mx.host.test"); err != nil {
		t.Error(err)
	}
}

// An alias is followed; a zone that is configured is not asked for.
func TestDNSAliasAndZone(t *testing.T) {
	n := newNameServer(t)
	o := n.updates()
	o.Alias = func(_ context.Context, name string) (string, error) {
		if name != "_acme-challenge.mx.elsewhere.test" {
			return "", errors.New("no DNS")
		}
		return "Proofs.host.test.", nil
	}
	for _, zone := range []string{"", "proofs.HOST.test"} {
		o.Zone = zone
		s := newDNSSolver(*o, nil)
		c := challengeOf("mx.elsewhere.test")
		if err := errors.Join(s.Present(t.Context(), c), s.Wait(t.Context(), c)); err != nil {
			t.Error(err)
		}
		if got := n.texts["proofs.host.test."]; len(got) != 1 || got[0] != c.DNS01KeyAuthorization() {
			t.Error(got)
		}
		if err := errors.Join(s.CleanUp(t.Context(), c), s.CleanUp(t.Context(), c)); err != nil || len(n.texts) > 0 {
			t.Error(err, n.texts)
		}
		if err := s.Present(t.Context(), challengeOf("x.test")); err == nil || err.Error() != "no DNS" {
			t.Error(err)
		}
	}
	if diff := cmp.Diff([]string{"host.test. proofs.host.test.", "proofs.host.test. proofs.host.test."}, n.had); diff != "" {
		t.Error(diff)
	}
}

// What a server says to an update is told as what is to be done about it, and no update follows.
func TestDNSRefusals(t *testing.T) {
	for want, broken := range map[string]func(*nameServer, *DNSUpdate){
		`does not take our signature: the secret is not that of its key "MXbypass", BADSIG`: func(_ *nameServer, o *DNSUpdate) {
			o.Secret = "b3RoZXIgdGhhbiB0aGF0IG9uZQ=="
		},
		`does not take our signature: it has no key "MXbypass" for hmac-sha256, BADKEY`: func(n *nameServer, _ *DNSUpdate) {
			n.mistrust = dns.RcodeBadKey
		},
		"its clock and ours differ, BADTIME": func(n *nameServer, _ *DNSUpdate) { n.mistrust = dns.RcodeBadTime },
		"refuses the update of _acme-challenge.mx.host.test in the zone host.test: the key may not do that, REFUSED": func(
			n *nameServer, _ *DNSUpdate) {
			n.rcode = dns.RcodeRefused
		},
		"it is not the primary server of that zone, NOTAUTH": func(n *nameServer, o *DNSUpdate) { n.rcode = dns.RcodeNotAuth },
		"in the zone org: the name is in another zone, NOTZONE": func(n *nameServer, o *DNSUpdate) {
			o.Zone, n.rcode = "org", dns.RcodeNotZone
		},
		"it takes no updates, NOTIMP":                           func(n *nameServer, _ *DNSUpdate) { n.rcode = dns.RcodeNotImplemented },
		"host.test: SERVFAIL":                                   func(n *nameServer, _ *DNSUpdate) { n.rcode = dns.RcodeServerFailure },
		"has no zone of _acme-challenge.mx.host.test (REFUSED)": func(n *nameServer, _ *DNSUpdate) { n.foreign = true },
		"connection refused": func(_ *nameServer, o *DNSUpdate) {
			address, _ := listening(t)
			o.Server, o.Zone = netip.MustParseAddrPort(address), "host.test"
		},
	} {
		n := newNameServer(t)
		o := n.updates()
		broken(n, o)
		log, said := newLog(t)
		s := newDNSSolver(*o, log)
		err := s.Present(t.Context(), challengeOf("mx.host.test"))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), o.Server.String()) ||
			strings.Contains(err.Error(), o.Secret) {
			t.Errorf("%v, want %s", err, want)
		}
		if err := s.CleanUp(t.Context(), challengeOf("mx.host.test")); err != nil || said.String() != "" {
			t.Errorf("%s: cleaned up: %v %s", want, err, said)
		}
	}
}

// Without an answer that can be believed the proof may be there, and is taken away, also when the relay ends.
func TestDNSWithoutAnswer(t *testing.T) {
	for want, broken := range map[string]func(n *nameServer, stop func()){
		"context canceled":            func(n *nameServer, stop func()) { n.silent = stop },
		"its answer has no signature": func(n *nameServer, _ func()) { n.unsigned = true },
	} {
		n := newNameServer(t)
		log, said := newLog(t)
		o := n.updates()
		o.Zone = "host.test"
		s := newDNSSolver(*o, log)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		broken(n, stop)
		c := challengeOf("mx.host.test")
		if err := s.Present(ctx, c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
		stop()
		n.set(func() { n.silent, n.unsigned = nil, false })
		if err := s.CleanUp(ctx, c); err != nil || len(n.had) != 1 || len(n.texts) > 0 || said.String() != "" {
			t.Error(err, n.had, n.texts, said)
		}
	}

	// What cannot be taken away is told.
	n := newNameServer(t)
	log, said := newLog(t)
	s := newDNSSolver(*n.updates(), log)
	c := challengeOf("mx.host.test")
	if err := s.Present(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	n.set(func() { n.rcode = dns.RcodeRefused })
	if err := s.CleanUp(t.Context(), c); err == nil || !strings.Contains(said.String(), "the proof for the authority stays in DNS") ||
		strings.Count(said.String(), "\n") != 1 {
		t.Error(err, said)
	}
}

// The authority is called when all secondaries show the proof; one that never will is told after a while, and not waited
// for any longer.
func TestDNSSecondaries(t *testing.T) {
	n := newNameServer(t)
	n.hidden = 1
	dead, _ := listening(t)
	o := n.updates()
	o.Secondaries = []netip.AddrPort{n.addr}
	log, said := newLog(t)
	s := newDNSSolver(*o, log)
	c := challengeOf("mx.host.test")
	if err := errors.Join(s.Present(t.Context(), c), s.Wait(t.Context(), c)); err != nil || n.hidden != 0 || said.String() != "" {
		t.Error(err, n.hidden, said)
	}

	s.options.Secondaries = []netip.AddrPort{netip.MustParseAddrPort(dead), n.addr}
	s.patience = 10 * time.Millisecond
	if err := s.Wait(t.Context(), c); err != nil {
		t.Error(err)
	}
	if got := said.String(); strings.Count(got, "does not show the proof") != 1 || !strings.Contains(got, "server="+dead) {
		t.Error(got)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := s.Wait(ctx, c); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
