package mx

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

const patient = 20 * time.Second // longer than any test takes

const soa = "!d.example. 7200 IN SOA ns.d.example. h.d.example. 1 7200 900 1209600 300"

// What a message says, end to end.
func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		title  string
		answer func(q *dns.Msg) *dns.Msg
		want   Answer[MX]
		err    string
	}{
		{title: "records, sorted, the lowest TTL", answer: func(q *dns.Msg) *dns.Msg {
			return records(t, q, "D.example. 300 IN MX 20 B.example.", "d.EXAMPLE. 60 IN MX 10 c.example.",
				"d.example. 300 IN MX 10 a.example.", "other.example. 1 IN MX 1 x.example.", "d.example. 1 IN A 192.0.2.1")
		}, want: Answer[MX]{Outcome: Found, TTL: time.Minute, Authoritative: true, Records: []MX{
			{Preference: 10, Host: name("a.example"), TTL: 300 * time.Second},
			{Preference: 10, Host: name("c.example"), TTL: 60 * time.Second},
			{Preference: 20, Host: name("b.example"), TTL: 300 * time.Second},
		}}},
		{title: "null MX", answer: func(q *dns.Msg) *dns.Msg { return records(t, q, "d.example. 60 IN MX 0 .") },
			want: Answer[MX]{Outcome: Found, TTL: time.Minute, Authoritative: true, Records: []MX{{Root: true, TTL: time.Minute}}}},
		{title: "no host name", answer: func(q *dns.Msg) *dns.Msg { return records(t, q, `d.example. 60 IN MX 5 a\032b.example.`) },
			want: Answer[MX]{Outcome: Found, TTL: time.Minute, Authoritative: true,
				Records: []MX{{Preference: 5, TTL: time.Minute}}}},
		{title: "TTL with the highest bit", answer: func(q *dns.Msg) *dns.Msg {
			return records(t, q, "d.example. 2147483648 IN MX 1 a.example.")
		}, want: Answer[MX]{Outcome: Found, Authoritative: true, Records: []MX{{Preference: 1, Host: name("a.example")}}}},
		{title: "no data: the lower of SOA's TTL and minimum", answer: func(q *dns.Msg) *dns.Msg { return records(t, q, soa) },
			want: Answer[MX]{Outcome: NoData, TTL: 300 * time.Second, Authoritative: true}},
		{title: "no data without SOA is not kept", answer: func(q *dns.Msg) *dns.Msg { return records(t, q) },
			want: Answer[MX]{Outcome: NoData, Authoritative: true}},
		{title: "no such domain", answer: func(q *dns.Msg) *dns.Msg {
			m := records(t, q, soa)
			m.Rcode = dns.RcodeNameError
			return m
		}, want: Answer[MX]{Outcome: NXDomain, TTL: 300 * time.Second, Authoritative: true}},
		{title: "an alias in the same message", answer: func(q *dns.Msg) *dns.Msg {
			return records(t, q, "e.example. 50 IN CNAME f.example.", "d.example. 60 IN CNAME e.example.",
				"f.example. 70 IN MX 1 a.example.")
		}, want: Answer[MX]{Outcome: Found, TTL: 50 * time.Second, Alias: "f.example", Authoritative: true,
			Records: []MX{{Preference: 1, Host: name("a.example"), TTL: 70 * time.Second}}}},
		{title: "an alias of nothing", answer: func(q *dns.Msg) *dns.Msg {
			m := records(t, q, "d.example. 60 IN CNAME e.example.", soa)
			m.Rcode = dns.RcodeNameError
			return m
		}, want: Answer[MX]{Outcome: NXDomain, TTL: 60 * time.Second, Alias: "e.example", Authoritative: true}},
		{title: "an unfinished alias is asked on", answer: func(q *dns.Msg) *dns.Msg {
			if strings.HasPrefix(q.Question[0].Name, "d.") {
				return records(t, q, "d.example. 60 IN CNAME e.example.")
			}
			return records(t, q, "e.example. 3600 IN MX 1 a.example.")
		}, want: Answer[MX]{Outcome: Found, TTL: 60 * time.Second, Alias: "e.example", Authoritative: true,
			Records: []MX{{Preference: 1, Host: name("a.example"), TTL: time.Hour}}}},
		{title: "a loop of aliases", answer: func(q *dns.Msg) *dns.Msg {
			return records(t, q, "d.example. 60 IN CNAME e.example.", "e.example. 60 IN CNAME d.example.")
		}, err: "endless chain"},
		{title: "a loop of aliases, one at a time", answer: func(q *dns.Msg) *dns.Msg {
			other := map[string]string{"d.example.": "e.example.", "e.example.": "d.example."}[q.Question[0].Name]
			return records(t, q, q.Question[0].Name+" 60 IN CNAME "+other)
		}, err: "endless chain"},
		{title: "an alias that leads on and on", answer: func(q *dns.Msg) *dns.Msg {
			return records(t, q, q.Question[0].Name+" 60 IN CNAME x."+q.Question[0].Name)
		}, err: "endless chain"},
		{title: "a referral", answer: func(q *dns.Msg) *dns.Msg {
			m := records(t, q, "!example. 60 IN NS ns.example.")
			m.Authoritative = false
			return m
		}, err: errLame.Error()},
		{title: "an upward referral that claims recursion", answer: func(q *dns.Msg) *dns.Msg {
			m := records(t, q, "!. 60 IN NS a.root.example.")
			m.Authoritative, m.RecursionAvailable = false, true
			return m
		}, err: errLame.Error()},
		{title: "nothing, by nobody", answer: func(q *dns.Msg) *dns.Msg {
			m := records(t, q)
			m.Authoritative = false
			return m
		}, err: errLame.Error()},
		{title: "SERVFAIL", answer: func(q *dns.Msg) *dns.Msg { return rcode(q, dns.RcodeServerFailure) }, err: "SERVFAIL"},
		{title: "REFUSED", answer: func(q *dns.Msg) *dns.Msg { return rcode(q, dns.RcodeRefused) }, err: "REFUSED"},
		{title: "refused without the question", answer: func(q *dns.Msg) *dns.Msg {
			m := rcode(q, dns.RcodeRefused)
			m.Question = nil
			return m
		}, err: "REFUSED"},
		{title: "an RCODE without a name", answer: func(q *dns.Msg) *dns.Msg { return rcode(q, 14) }, err: "RCODE 14"},
		{title: "before EDNS", answer: func(q *dns.Msg) *dns.Msg {
			if q.IsEdns0() != nil {
				return rcode(q, dns.RcodeFormatError)
			}
			return records(t, q, "d.example. 60 IN MX 0 .")
		}, want: Answer[MX]{Outcome: Found, TTL: time.Minute, Authoritative: true, Records: []MX{{Root: true, TTL: time.Minute}}}},
	} {
		t.Run(c.title, func(t *testing.T) {
			server := serveDNS(t, func(w dns.ResponseWriter, q *dns.Msg, _ string) { send(t, w, c.answer(q)) })
			got := newDNS(t, patient, server).LookupMX(t.Context(), name("d.example"))
			if c.err != "" {
				if got.Outcome != Failed || got.Err == nil || !strings.Contains(got.Err.Error(), c.err) {
					t.Fatalf("%v: %v", got.Outcome, got.Err)
				}
				if strings.ContainsRune(got.Err.Error(), '\n') {
					t.Errorf("more than a line: %q", got.Err)
				}
				return
			}
			if diff := cmp.Diff(c.want, got, cmp.Comparer(func(a, b MX) bool { return a == b })); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What does not fit into a datagram comes over TCP, and what is kept of it is bounded.
func TestTruncation(t *testing.T) {
	var overTCP atomic.Int32
	server := serveDNS(t, func(w dns.ResponseWriter, q *dns.Msg, network string) {
		m := records(t, q)
		for i := range 200 {
			m.Answer = append(m.Answer, &dns.MX{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeMX,
				Class: dns.ClassINET, Ttl: 60}, Preference: uint16(i), Mx: fmt.Sprintf("mx%d.d.example.", i)})
		}
		if network == "udp" {
			m.Truncate(int(q.IsEdns0().UDPSize()))
		} else {
			overTCP.Add(1)
		}
		send(t, w, m)
	})
	got := newDNS(t, patient, server).LookupMX(t.Context(), name("d.example"))
	if got.Outcome != Found || len(got.Records) != maxRecords || got.Records[maxRecords-1].Preference != maxRecords-1 {
		t.Errorf("%v, %d records, %v", got.Outcome, len(got.Records), got.Err)
	}
	if overTCP.Load() != 1 {
		t.Errorf("asked %d times over TCP", overTCP.Load())
	}
}

// A datagram that is cut in the middle of a record, and says so, is a reason to ask over TCP as well.
func TestCutDatagram(t *testing.T) {
	server := serveDNS(t, func(w dns.ResponseWriter, q *dns.Msg, network string) {
		m := records(t, q, "d.example. 60 IN MX 1 a.example.")
		if network == "tcp" {
			send(t, w, m)
			return
		}
		m.Truncated = true
		raw, err := m.Pack()
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(raw[:len(raw)-5])
	})
	if got := newDNS(t, patient, server).LookupMX(t.Context(), name("d.example")); got.Outcome != Found {
		t.Errorf("%v: %v", got.Outcome, got.Err)
	}
}

// A server that says over TCP that the answer is still too long has no answer.
func TestTruncatedTCP(t *testing.T) {
	server := serveDNS(t, func(w dns.ResponseWriter, q *dns.Msg, _ string) {
		m := records(t, q)
		m.Truncated = true
		send(t, w, m)
	})
	got := newDNS(t, patient, server).LookupMX(t.Context(), name("d.example"))
	if got.Outcome != Failed || !strings.Contains(got.Err.Error(), "over TCP") {
		t.Errorf("%v: %v", got.Outcome, got.Err)
	}
}

// Datagrams that answer another question do not end the wait for the answer.
func TestForgedAnswers(t *testing.T) {
	server := serveDNS(t, func(w dns.ResponseWriter, q *dns.Msg, _ string) {
		forged := func(change func(m *dns.Msg)) {
			m := records(t, q, "d.example. 60 IN MX 1 forged.example.")
			change(m)
			send(t, w, m)
		}
		forged(func(m *dns.Msg) { m.Id++ })
		forged(func(m *dns.Msg) { m.Response = false })
		forged(func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify })
		forged(func(m *dns.Msg) { m.Question = nil })
		forged(func(m *dns.Msg) { m.Question[0].Name = "e.example." })
		forged(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeA })
		forged(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS })
		forged(func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) })
		_, _ = w.Write([]byte("short"))
		_, _ = w.Write(append([]byte{byte(q.Id >> 8), byte(q.Id)}, strings.Repeat("\xff", 40)...))
		m := records(t, q, "d.example. 60 IN MX 1 true.example.")
		m.Question[0].Name = "D.eXample." // as a server may write it
		send(t, w, m)
	})
	got := newDNS(t, patient, server).LookupMX(t.Context(), name("d.example"))
	if got.Outcome != Found || got.Records[0].Host != name("true.example") {
		t.Errorf("%+v", got)
	}
}

// A flood of answers to other questions ends.
func TestFlood(t *testing.T) {
	server := serveDNS(t, func(w dns.ResponseWriter, q *dns.Msg, network string) {
		m := records(t, q)
		m.Id++
		for range 2 * maxStray {
			if w.WriteMsg(m) != nil || network == "tcp" {
				return
			}
		}
	})
	got := newDNS(t, 2*time.Second, server).LookupMX(t.Context(), name("d.example"))
	if got.Outcome != Failed {
		t.Errorf("%+v", got)
	}
}

// The next server is asked when one is silent, is not there or has no answer; the one that answered is asked first after.
func TestFailover(t *testing.T) {
	for title, bad := range map[string]func(w dns.ResponseWriter, q *dns.Msg, _ string){
		"silent":   func(dns.ResponseWriter, *dns.Msg, string) {},
		"SERVFAIL": func(w dns.ResponseWriter, q *dns.Msg, _ string) { send(t, w, rcode(q, dns.RcodeServerFailure)) },
		"lame": func(w dns.ResponseWriter, q *dns.Msg, _ string) {
			m := records(t, q)
			m.Authoritative = false
			send(t, w, m)
		},
	} {
		t.Run(title, func(t *testing.T) {
			var asked atomic.Int32
			first := serveDNS(t, func(w dns.ResponseWriter, q *dns.Msg, network string) {
				asked.Add(1)
				bad(w, q, network)
			})
			second := serveDNS(t, func(w dns.ResponseWriter, q *dns.Msg, _ string) {
				send(t, w, records(t, q, "d.example. 60 IN MX 1 a.example."))
			})
			d := newDNS(t, patient, first, second)
			for range 3 {
				if got := d.LookupMX(t.Context(), name("d.example")); got.Outcome != Found {
					t.Fatalf("%v: %v", got.Outcome, got.Err)
				}
			}
			if asked.Load() != 1 {
				t.Errorf("the bad server was asked %d times", asked.Load())
			}
		})
	}
}

// A lost datagram is not the end: a silent server is asked a second time. One that has no answer is not.
func TestSecondRound(t *testing.T) {
	var lost, refusals atomic.Int32
	loses := serveDNS(t, func(w dns.ResponseWriter, q *dns.Msg, _ string) {
		if lost.Add(1) > 1 {
			send(t, w, records(t, q, "d.example. 60 IN MX 1 a.example."))
		}
	})
	refuses := serveDNS(t, func(w dns.ResponseWriter, q *dns.Msg, _ string) {
		refusals.Add(1)
		send(t, w, rcode(q, dns.RcodeRefused))
	})
	got := newDNS(t, patient, loses, refuses).LookupMX(t.Context(), name("d.example"))
	if got.Outcome != Found || lost.Load() != 2 || refusals.Load() != 1 {
		t.Errorf("%v: %v; asked %d and %d times", got.Outcome, got.Err, lost.Load(), refusals.Load())
	}
}

func TestNobodyAnswers(t *testing.T) {
	silent := serveDNS(t, func(dns.ResponseWriter, *dns.Msg, string) {})
	got := newDNS(t, 100*time.Millisecond, silent).LookupMX(t.Context(), name("d.example"))
	if got.Outcome != Failed || !errors.Is(got.Err, errNoAnswer) {
		t.Errorf("%v: %v", got.Outcome, got.Err)
	}
}

// Nobody listens there, and the system says so.
func TestNobodyThere(t *testing.T) {
	var gone string
	t.Run("a port that was in use", func(t *testing.T) {
		gone = serveDNS(t, func(dns.ResponseWriter, *dns.Msg, string) {})
	})
	got := newDNS(t, 2*time.Second, gone).LookupMX(t.Context(), name("d.example"))
	if got.Outcome != Failed || got.Err == nil {
		t.Errorf("%v: %v", got.Outcome, got.Err)
	}
}

func TestLookupIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	silent := serveDNS(t, func(dns.ResponseWriter, *dns.Msg, string) { cancel() })
	got := newDNS(t, patient, silent).LookupMX(ctx, name("d.example"))
	if got.Outcome != Failed || !errors.Is(got.Err, context.Canceled) {
		t.Errorf("%v: %v", got.Outcome, got.Err)
	}
}

func TestAddresses(t *testing.T) {
	server := serveDNS(t, func(w dns.ResponseWriter, q *dns.Msg, _ string) {
		n, six := q.Question[0].Name, q.Question[0].Qtype == dns.TypeAAAA
		switch {
		case n == "none.example.":
			send(t, w, records(t, q, soa))
		case n == "failed.example.", n == "half.example." && six:
			send(t, w, rcode(q, dns.RcodeServerFailure))
		case n == "alias.example.":
			send(t, w, records(t, q, "alias.example. 60 IN CNAME none.example.", soa))
		case n == "six.example." && !six:
			send(t, w, records(t, q, soa))
		case six:
			send(t, w, records(t, q, n+" 60 IN AAAA 2001:db8::1", n+" 60 IN AAAA ::ffff:192.0.2.9"))
		default:
			send(t, w, records(t, q, n+" 30 IN A 192.0.2.2", n+" 30 IN A 192.0.2.1"))
		}
	})
	d := newDNS(t, patient, server)
	for n, want := range map[string]struct {
		outcome Outcome
		addrs   string
		ttl     time.Duration
		alias   string
		failed  bool
	}{
		"both.example":   {Found, "192.0.2.1 192.0.2.2 192.0.2.9 2001:db8::1", 30 * time.Second, "", false},
		"six.example":    {Found, "192.0.2.9 2001:db8::1", 60 * time.Second, "", false},
		"half.example":   {Found, "192.0.2.1 192.0.2.2", 30 * time.Second, "", true},
		"none.example":   {NoData, "", 300 * time.Second, "", false},
		"alias.example":  {NoData, "", 60 * time.Second, "none.example", false},
		"failed.example": {Failed, "", 0, "", true},
	} {
		got := d.LookupAddr(t.Context(), name(n))
		slices.SortFunc(got.Records, netip.Addr.Compare)
		list := strings.Trim(fmt.Sprint(got.Records), "[]")
		if got.Outcome != want.outcome || list != want.addrs || got.TTL != want.ttl || got.Alias != want.alias ||
			(got.Err != nil) != want.failed {
			t.Errorf("%s: %+v", n, got)
		}
	}
}

func TestNoDomainName(t *testing.T) {
	d := newDNS(t, patient, "127.0.0.1:1")
	if got := d.LookupMX(t.Context(), name("d.example")); got.Outcome != Failed {
		t.Errorf("%+v", got)
	}
	var zero = hostName("")
	if got := d.LookupMX(t.Context(), zero); got.Outcome != Failed || got.Err == nil {
		t.Errorf("%+v", got)
	}
}

// Each question has an id of its own.
func TestRandomIDs(t *testing.T) {
	var mu sync.Mutex
	ids := map[uint16]bool{}
	ports := map[string]bool{}
	server := serveDNS(t, func(w dns.ResponseWriter, q *dns.Msg, _ string) {
		mu.Lock()
		ids[q.Id], ports[w.RemoteAddr().String()] = true, true
		mu.Unlock()
		send(t, w, records(t, q, "d.example. 60 IN MX 0 ."))
	})
	d := newDNS(t, patient, server)
	const n = 20
	for range n {
		d.LookupMX(t.Context(), name("d.example"))
	}
	mu.Lock()
	defer mu.Unlock()
	if len(ids) < n/2 || len(ports) < n/2 {
		t.Errorf("%d ids and %d ports for %d questions", len(ids), len(ports), n)
	}
}
