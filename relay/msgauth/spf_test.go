package msgauth

import (
	"encoding/json"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"mxbypass/relay/lookup/dnstest"
)

// suite is a part of the test suite of RFC 7208 (testdata/rfc7208, with its licence), as JSON.
type suite struct {
	Description string
	Tests       map[string]struct {
		Helo, Host, MailFrom string
		Result               []string
	}
	Zone map[string][]struct {
		Type string
		Pref uint16
		Data []string
	}
}

// departures are where the module knowingly differs from the suite: it asks for no SPF records (type 99), which RFC 7208
// section 3.1 has done away with; takes a slash in a name for the beginning of a mask; and does not expand %{p}, as section
// 7.2 allows. None of them lets somebody pass whom the record does not name.
var departures = map[string]string{
	"spftimeout":               "temperror",
	"a-colon-domain":           "permerror",
	"a-colon-domain-ip4mapped": "permerror", "mx-colon-domain": "permerror", "mx-colon-domain-ip4mapped": "permerror",
	"p-macro-multiple": "neutral", "macro-mania-in-domain": "fail",
}

func TestSuite(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/rfc7208/tests.json")
	if err != nil {
		t.Fatal(err)
	}
	var suites []suite
	if err := json.Unmarshal(raw, &suites); err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, s := range suites {
		k := newKit(t, nil)
		s.load(k.dns)
		for test, c := range s.Tests {
			ran++
			sender := c.MailFrom
			if sender == "" {
				sender = "postmaster@" + c.Helo
			} else if !strings.Contains(sender, "@") {
				sender = "postmaster@" + sender
			} else if strings.HasPrefix(sender, "@") {
				sender = "postmaster" + sender
			}
			got, why := k.spf(t.Context(), netip.MustParseAddr(c.Host), c.Helo, sender)
			want := c.Result
			if d, ok := departures[test]; ok {
				want = []string{d}
			}
			if !slices.Contains(want, string(got)) {
				t.Errorf("%s, %s: %s (%v), want %v", s.Description, test, got, why, want)
			}
		}
	}
	if ran < 200 {
		t.Errorf("%d tests", ran)
	}
}

// load puts the zone of a suite into DNS. An SPF record (type 99) stands for a TXT record where there is none, as the
// suite has it.
func (s suite) load(server *dnstest.Server) {
	for name, records := range s.Zone {
		name = dns.Fqdn(name)
		texts := false
		for _, r := range records {
			texts = texts || r.Type == "TXT"
		}
		for _, r := range records {
			h := dns.RR_Header{Name: name, Class: dns.ClassINET, Rrtype: dns.StringToType[r.Type]}
			switch r.Type {
			case "TIMEOUT", "CNAMELOOP":
				server.Fail(name, true)
			case "SPF", "TXT":
				if r.Type == "TXT" && r.Data[0] != "NONE" || !texts {
					h.Rrtype = dns.TypeTXT
					var escaped []string
					for _, text := range r.Data {
						escaped = append(escaped, strings.ReplaceAll(text, `\`, `\\`))
					}
					server.AddRR(&dns.TXT{Hdr: h, Txt: escaped})
				}
			case "MX":
				server.AddRR(&dns.MX{Hdr: h, Preference: r.Pref, Mx: dns.Fqdn(r.Data[0])})
			case "PTR":
				server.AddRR(&dns.PTR{Hdr: h, Ptr: dns.Fqdn(r.Data[0])})
			case "CNAME":
				server.AddRR(&dns.CNAME{Hdr: h, Target: dns.Fqdn(r.Data[0])})
			case "A":
				server.AddRR(&dns.A{Hdr: h, A: netip.MustParseAddr(r.Data[0]).AsSlice()})
			case "AAAA":
				server.AddRR(&dns.AAAA{Hdr: h, AAAA: netip.MustParseAddr(r.Data[0]).AsSlice()})
			}
		}
	}
}

// A record is void when anything in it is wrong, or when it is longer than anybody's; other texts are nobody's business.
func TestRecordsAsAWhole(t *testing.T) {
	t.Parallel()
	const void = "v=spf1 syntax-error"
	texts := []string{
		"v=spf1 -all", "V=SPF1", "v=spf1  ip4:192.0.2.1/24 ip6:2001:db8::/32 a mx:a.test//64 ?include:%{d}.a.test exp=e.test x=y ~all",
		"v=spf1 ip4:300.0.2.1", "v=spf1 ip4:192.0.2.1/33", "v=spf1 redirect=a.test redirect=b.test", "v=spf1 a:", "v=spf1 -all nonsense",
		"v=spf1 " + strings.Repeat("a ", maxSPF), "v=spf10 nonsense", "other",
	}
	before := slices.Clone(texts)
	got := checkedSPF(texts)
	for i, text := range texts {
		want := text
		if i >= 3 && i <= 8 {
			want = void
		}
		if got[i] != want {
			t.Errorf("%.80q: %.80q", text, got[i])
		}
	}
	if !slices.Equal(texts, before) {
		t.Error("what the cache keeps has changed")
	}
}
