package mx

import (
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// TestSecure: the word on DNSSEC is believed of whom we trust, for all that an answer is made of, and of nobody else.
func TestSecure(t *testing.T) {
	var mu sync.Mutex
	var wanted []bool // by questions
	server := serveDNS(t, func(w dns.ResponseWriter, q *dns.Msg, _ string) {
		n, six := q.Question[0].Name, q.Question[0].Qtype == dns.TypeAAAA
		mu.Lock()
		wanted = append(wanted, q.AuthenticatedData)
		mu.Unlock()
		var m *dns.Msg
		switch {
		case q.Question[0].Qtype == dns.TypeMX && strings.HasPrefix(n, "no"):
			m = records(t, q, soa)
		case q.Question[0].Qtype == dns.TypeMX:
			m = records(t, q, n+" 60 IN MX 10 mx.example.")
		case six && n == "broken.example.":
			m = rcode(q, dns.RcodeServerFailure)
		case n == "chain.example.", n == "weak.example.":
			m = records(t, q, n+" 60 IN CNAME end.example.")
		case six:
			m = records(t, q, soa)
		default:
			m = records(t, q, n+" 60 IN A 192.0.2.1")
		}
		m.AuthenticatedData = n != "insecure.example." && n != "weak.example." && n != "noinsecure.example." &&
			!(six && n == "half.example.")
		send(t, w, m)
	})
	for _, validating := range []bool{true, false} {
		mu.Lock()
		wanted = nil
		mu.Unlock()
		d, err := NewDNS(DNSOptions{Servers: []string{server}, Timeout: patient, Validating: validating})
		if err != nil {
			t.Fatal(err)
		}
		for n, want := range map[string]bool{"secure.example": true, "insecure.example": false, "none.example": true,
			"noinsecure.example": false} {
			if a := d.LookupMX(t.Context(), name(n)); a.Secure != (want && validating) || a.Outcome == Failed {
				t.Errorf("validating %v, MX of %s: %+v", validating, n, a)
			}
		}
		for n, want := range map[string]bool{"secure.example": true, "insecure.example": false, "half.example": false,
			"broken.example": true, "chain.example": true, "weak.example": false} {
			if a := d.LookupAddr(t.Context(), name(n)); a.Secure != (want && validating) || a.Outcome != Found {
				t.Errorf("validating %v, addresses of %s: %+v", validating, n, a)
			}
		}
		mu.Lock()
		for _, w := range wanted {
			if w != validating {
				t.Error("whether it was validated is asked of those who are believed")
			}
		}
		mu.Unlock()
	}
}

// Of the system's servers only those on this machine are believed.
func TestSecureSystem(t *testing.T) {
	d, err := NewDNS(DNSOptions{SystemFile: "/nonexistent", Validating: true})
	if err != nil {
		t.Fatal(err)
	}
	for server, want := range map[string]bool{"127.0.0.53:53": true, "[::1]:53": true, "192.0.2.1:53": false, "[::ffff:127.0.0.1]:53": true,
		"10.0.0.1:53": false, "": false} {
		if d.trusted(server) != want {
			t.Errorf("%q", server)
		}
	}
}
