package mx

import (
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Any packet: nothing panics, only answers to the question are taken, and what is kept is bounded and sane.
func FuzzAnswer(f *testing.F) {
	query := new(dns.Msg)
	query.SetQuestion("d.example.", dns.TypeMX)
	query.Id = 0x1234
	for _, lines := range [][]string{
		{"d.example. 60 IN MX 10 a.example.", "d.example. 60 IN MX 0 ."},
		{"d.example. 60 IN CNAME e.example.", "e.example. 60 IN CNAME d.example."},
		{"d.example. 60 IN CNAME e.example.", `e.example. 60 IN MX 1 \000\255.example.`},
		{soa},
		{"!example. 60 IN NS ns.example."},
	} {
		raw, err := records(f, query, lines...).Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
		f.Add(raw[:len(raw)-3])
	}
	refused, err := rcode(query, dns.RcodeRefused).Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(refused)

	f.Fuzz(func(t *testing.T, raw []byte) {
		m, ok := parseAnswer(raw, query)
		if !ok {
			return
		}
		if m.Id != query.Id || !m.Response {
			t.Error("not an answer to the question")
		}
		r, err := interpret(m, query.Question[0])
		if err != nil {
			return
		}
		if r.ttl < 0 || r.outcome == Found && r.ttl > 1<<31*time.Second {
			t.Errorf("TTL %v", r.ttl)
		}
		if (r.outcome == Found) != (len(r.records) > 0) || r.unfinished && r.outcome != Failed {
			t.Errorf("outcome %v with %d records", r.outcome, len(r.records))
		}
		said := Answer[dns.RR]{Outcome: r.outcome, Records: r.records, TTL: r.ttl}
		answer := understood(name("d.example"), said, decodeMX, compareMX)
		if len(answer.Records) > maxRecords {
			t.Errorf("%d records", len(answer.Records))
		}
		for _, m := range answer.Records {
			if m.Root && !m.Host.IsZero() {
				t.Errorf("the root is %s", m.Host)
			}
		}
		understood(name("d.example"), said, decodeAddr, netip.Addr.Compare)
	})
}
