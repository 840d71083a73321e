package zoneserver_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"mxbypass/routing/mx/zoneserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const start = "$TTL 60\n@ IN SOA ns h 1 2 3 4 5\n@ IN NS ns\n"

func folder(files map[string]string) fstest.MapFS {
	fs := fstest.MapFS{}
	for name, content := range files {
		fs[name] = &fstest.MapFile{Data: []byte(content)}
	}
	return fs
}

func serve(t *testing.T, files map[string]string) *zoneserver.Server {
	t.Helper()
	s, err := zoneserver.Serve(t.Context(), "127.0.0.1:0", folder(files))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func ask(t *testing.T, s *zoneserver.Server, network, name string, qtype uint16, size uint16) *dns.Msg {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion(name, qtype)
	if size > 0 {
		q.SetEdns0(size, false)
	}
	m, _, err := (&dns.Client{Net: network}).Exchange(q, s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestAnswers(t *testing.T) {
	s := serve(t, map[string]string{
		"d.example.zone": start + "@ IN MX 10 mx\nmx IN A 192.0.2.1\nalias IN CNAME mx\nfar IN CNAME x.e.example.\n" +
			"out IN CNAME x.elsewhere.example.\nloop IN CNAME loop\nlame IN CNAME a.lame.example.\na.b.c IN A 192.0.2.2\n",
		"sub.d.example.zone": start + "@ IN MX 5 mx\n",
		"e.example.zone":     start + "x IN A 192.0.2.3\n",
		"lame.example.zone":  "; nothing\n",
		"readme.txt":         "not a zone",
	})
	for _, c := range []struct {
		name    string
		qtype   uint16
		rcode   int
		answers string
		soa     bool
	}{
		{"d.example.", dns.TypeMX, dns.RcodeSuccess, "10 mx.d.example.", false},
		{"D.Example.", dns.TypeMX, dns.RcodeSuccess, "10 mx.d.example.", false},
		{"sub.d.example.", dns.TypeMX, dns.RcodeSuccess, "5 mx.sub.d.example.", false},
		{"d.example.", dns.TypeA, dns.RcodeSuccess, "", true},
		{"b.c.d.example.", dns.TypeA, dns.RcodeSuccess, "", true}, // stands between
		{"no.d.example.", dns.TypeA, dns.RcodeNameError, "", true},
		{"alias.d.example.", dns.TypeA, dns.RcodeSuccess, "mx.d.example. 192.0.2.1", false},
		{"alias.d.example.", dns.TypeCNAME, dns.RcodeSuccess, "mx.d.example.", false},
		{"alias.d.example.", dns.TypeMX, dns.RcodeSuccess, "mx.d.example.", true},
		{"far.d.example.", dns.TypeA, dns.RcodeSuccess, "x.e.example. 192.0.2.3", false},
		{"out.d.example.", dns.TypeA, dns.RcodeSuccess, "x.elsewhere.example.", false},
		{"lame.d.example.", dns.TypeA, dns.RcodeSuccess, "a.lame.example.", false},
		{"loop.d.example.", dns.TypeA, dns.RcodeSuccess, strings.TrimSpace(strings.Repeat("loop.d.example. ", 8)), false},
		{"lame.example.", dns.TypeMX, dns.RcodeServerFailure, "", false},
		{"x.lame.example.", dns.TypeMX, dns.RcodeServerFailure, "", false},
		{"example.", dns.TypeMX, dns.RcodeRefused, "", false},
		{".", dns.TypeNS, dns.RcodeRefused, "", false},
		{"d.example.", dns.TypeANY, dns.RcodeRefused, "", false},
	} {
		for _, network := range []string{"udp", "tcp"} {
			m := ask(t, s, network, c.name, c.qtype, 1232)
			var values []string
			for _, rr := range m.Answer {
				values = append(values, strings.TrimPrefix(rr.String(), rr.Header().String()))
			}
			soa := len(m.Ns) == 1 && m.Ns[0].Header().Rrtype == dns.TypeSOA
			authoritative := c.rcode == dns.RcodeSuccess || c.rcode == dns.RcodeNameError
			if m.Rcode != c.rcode || strings.Join(values, " ") != c.answers || soa != c.soa ||
				m.Authoritative != authoritative || m.RecursionAvailable {
				t.Errorf("%s %s %s:\n%v", network, c.name, dns.TypeToString[c.qtype], m)
			}
		}
	}
}

func TestTruncation(t *testing.T) {
	zone := start
	for i := range 60 {
		zone += fmt.Sprintf("@ IN MX %d a-rather-long-name-%d\n", i, i)
	}
	s := serve(t, map[string]string{"d.example.zone": zone})
	for _, size := range []uint16{0, 512, 1232} {
		m := ask(t, s, "udp", "d.example.", dns.TypeMX, size)
		m.Compress = true // as it came
		if !m.Truncated || m.Len() > max(512, int(size)) {
			t.Errorf("%d: truncated %v, %d octets", size, m.Truncated, m.Len())
		}
	}
	if m := ask(t, s, "tcp", "d.example.", dns.TypeMX, 1232); m.Truncated || len(m.Answer) != 60 {
		t.Errorf("truncated %v, %d answers", m.Truncated, len(m.Answer))
	}
}

func TestOddQuestions(t *testing.T) {
	s := serve(t, map[string]string{"d.example.zone": start})
	for title, c := range map[string]struct {
		change func(q *dns.Msg)
		rcode  int
	}{
		"STATUS": {func(q *dns.Msg) { q.Opcode = dns.OpcodeStatus }, dns.RcodeNotImplemented},
		"NOTIFY": {func(q *dns.Msg) { q.Opcode = dns.OpcodeNotify }, dns.RcodeNotImplemented},
		"CHAOS":  {func(q *dns.Msg) { q.Question[0].Qclass = dns.ClassCHAOS }, dns.RcodeRefused},
		"none":   {func(q *dns.Msg) { q.Question = nil }, dns.RcodeFormatError},
	} {
		q := new(dns.Msg)
		q.SetQuestion("d.example.", dns.TypeMX)
		c.change(q)
		if m, _, err := new(dns.Client).Exchange(q, s.Addr()); err != nil || m.Rcode != c.rcode {
			t.Errorf("%s: %v, %v", title, m, err)
		}
	}
}

func TestBadZones(t *testing.T) {
	for title, c := range map[string]struct{ file, content, want string }{
		"no zone":      {"x.txt", "", "no *.zone files"},
		"syntax":       {"d.example.zone", start + "@ IN MX ten mx\n", "line: 4"},
		"no SOA":       {"d.example.zone", "@ 60 IN MX 1 mx\n", "records without SOA"},
		"elsewhere":    {"d.example.zone", start + "e.example. IN A 192.0.2.1\n", "not in this zone"},
		"wildcard":     {"d.example.zone", start + "* IN A 192.0.2.1\n", "not served"},
		"delegation":   {"d.example.zone", start + "sub IN NS ns\n", "not served"},
		"another file": {"d.example.zone", start + "$INCLUDE /etc/passwd\n", "$INCLUDE"},
	} {
		s, err := zoneserver.Serve(t.Context(), "127.0.0.1:0", folder(map[string]string{c.file: c.content}))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", title, err)
		}
		if err == nil {
			s.Close()
		}
	}
}

func TestAddressInUse(t *testing.T) {
	s := serve(t, map[string]string{"d.example.zone": start})
	if second, err := zoneserver.Serve(t.Context(), s.Addr(), folder(map[string]string{"d.example.zone": start})); err == nil {
		second.Close()
		t.Error("two servers on one address")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	third, err := zoneserver.Serve(t.Context(), listener.Addr().String(), folder(map[string]string{"d.example.zone": start}))
	if err == nil {
		third.Close()
		t.Error("a server without TCP")
	}
}

// The end of the context ends the server; Close then has nothing to do.
func TestContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s, err := zoneserver.Serve(ctx, "127.0.0.1:0", os.DirFS("../../../configs/demo/zones"))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
