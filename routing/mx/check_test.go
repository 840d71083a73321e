package mx

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"mxbypass/mailbox"
	"mxbypass/routing/mx/zoneserver"
)

// demoWorld serves the zones of the demo, and asks them.
func demoWorld(t *testing.T) Checker {
	t.Helper()
	server, err := zoneserver.Serve(t.Context(), "127.0.0.1:0", os.DirFS("../../configs/demo/zones"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return Checker{newDNS(t, patient, server.Addr()), providers(t), Own{Hosts: hostNames("mx.host.test vps42.host.test")}}
}

// The domains of the demo, over real DNS: state, provider, and what there is to say.
func TestDemoWorld(t *testing.T) {
	checker := demoWorld(t)
	cache := newCache(t, CacheOptions{Resolver: checker.Resolver, Providers: checker.Providers, Own: checker.Own})
	for _, c := range []struct {
		domain   string
		kind     Kind
		provider string
		findings string
	}{
		{"exemple.org", External, "Google Workspace", ""},
		{"gandi.example", External, "Gandi", ""},
		{"microsoft.example", External, "Microsoft 365", ""},
		{"ovh.example", External, "OVH", ""},
		{"ours.example", Self, "", ""},
		{"mixed.example", Mixed, "OVH", "advice ours"},
		{"broken.example", Unknown, "", ""},
		{"null.example", Null, "", "advice null_mx"},
		{"nomx.example", None, "", "wrong no_mx"},
		{"doubled.example", None, "", "wrong no_mx, wrong doubled"},
		{"missing.host.test", None, "", "wrong no_mx"},
	} {
		state := cache.State(t.Context(), name(c.domain))
		if state.Kind != c.kind || state.Provider != c.provider {
			t.Errorf("%s: %+v", c.domain, state)
		}
		report := checker.Check(t.Context(), name(c.domain))
		if report.State.Kind != c.kind || report.State.Provider != c.provider {
			t.Errorf("%s, checked: %+v", c.domain, report.State)
		}
		if got := summary(report.Findings); got != c.findings {
			t.Errorf("%s: %s, want %s\n%+v", c.domain, got, c.findings, report.Findings)
		}
		if report.Wrong() != strings.Contains(c.findings, "wrong") {
			t.Errorf("%s: wrong is %v", c.domain, report.Wrong())
		}
		if (c.domain == "doubled.example") != (len(report.Doubled) == 2 && report.Doubled[0].Provider == "Gandi") {
			t.Errorf("%s: doubled %+v", c.domain, report.Doubled)
		}
	}
}

func summary(findings []Finding) string {
	var list []string
	for _, f := range findings {
		list = append(list, string(f.Level)+" "+f.Code)
	}
	return strings.Join(list, ", ")
}

// ovh is the complete set, to be spoilt.
func ovh() Answer[MX] {
	a := hosts(time.Hour, "mx0.mail.ovh.net", "mx1.mail.ovh.net", "mx2.mail.ovh.net", "mx3.mail.ovh.net")
	for i, p := range []uint16{1, 5, 50, 100} {
		a.Records[i].Preference = p
	}
	return a
}

func google() Answer[MX] {
	a := hosts(time.Hour, "aspmx.l.google.com", "alt1.aspmx.l.google.com", "alt2.aspmx.l.google.com",
		"alt3.aspmx.l.google.com", "alt4.aspmx.l.google.com")
	for i, p := range []uint16{1, 5, 5, 10, 10} {
		a.Records[i].Preference = p
	}
	return a
}

func one(host string, preference uint16) Answer[MX] {
	a := hosts(time.Hour, host)
	a.Records[0].Preference = preference
	return a
}

func changed(a Answer[MX], change func(a *Answer[MX])) Answer[MX] {
	change(&a)
	return a
}

// What is wrong with records, one thing at a time.
func TestFindings(t *testing.T) {
	for _, c := range []struct {
		title    string
		answer   Answer[MX]
		findings string
	}{
		{"complete", ovh(), ""},
		{"Google's five", google(), ""},
		{"Google's single one", one("smtp.google.com", 1), ""},
		{"Google's single one, wrong priority", one("smtp.google.com", 10), "wrong priority"},
		{"both of Google's", changed(google(), func(a *Answer[MX]) {
			a.Records = append(a.Records, one("smtp.google.com", 1).Records...)
		}), "wrong extra"},
		{"an old one of Google's", changed(google(), func(a *Answer[MX]) {
			a.Records = append(a.Records, one("aspmx2.googlemail.com", 30).Records...)
		}), "wrong extra"},
		{"missing", changed(ovh(), func(a *Answer[MX]) { a.Records = slices.Delete(a.Records, 1, 2) }), "wrong missing"},
		{"another provider's", changed(ovh(), func(a *Answer[MX]) {
			a.Records = append(a.Records, one("aspmx.l.google.com", 200).Records...)
		}), "wrong extra"},
		{"somebody's", changed(ovh(), func(a *Answer[MX]) {
			a.Records = append(a.Records, one("other.example", 200).Records...)
		}), "wrong extra"},
		{"ours", changed(ovh(), func(a *Answer[MX]) {
			a.Records = append(a.Records, one("mx.host.test", 200).Records...)
		}), "advice ours"},
		{"priority", changed(ovh(), func(a *Answer[MX]) { a.Records[0].Preference = 2 }), "wrong priority"},
		{"longer TTL", changed(ovh(), func(a *Answer[MX]) { a.Records[0].TTL = 2 * time.Hour }), "advice ttl"},
		{"shorter TTL", changed(ovh(), func(a *Answer[MX]) { a.Records[0].TTL = time.Minute }), "advice ttl"},
		{"shorter TTL out of a cache", changed(ovh(), func(a *Answer[MX]) {
			a.Records[0].TTL, a.Authoritative = time.Minute, false
		}), ""},
		{"longer TTL out of a cache", changed(ovh(), func(a *Answer[MX]) {
			a.Records[0].TTL, a.Authoritative = 2*time.Hour, false
		}), "advice ttl"},
		{"Microsoft's own name", one("made-up01b.mail.protection.outlook.com", 1), ""},
		{"Microsoft's newer name", one("d-example.o-v1.mx.microsoft", 1), ""},
		{"two of Microsoft's", changed(one("a.mail.protection.outlook.com", 1), func(a *Answer[MX]) {
			a.Records = append(a.Records, one("d-example.mail.protection.outlook.com", 1).Records...)
		}), "wrong extra"},
		{"a filter", one("mxa.pphosted.com", 10), "advice gateway"},
		{"a provider without plan", one("mta-gw.infomaniak.ch", 10), ""},
		{"nobody known", one("other.example", 10), ""},
		{"an alias", one("alias.example", 10), "wrong alias"},
		{"an alias of nothing", one("lost.example", 10), "wrong no_address, wrong alias"},
		{"no address", one("missing.example", 10), "wrong no_address"},
		{"a host of dead DNS", one("dead.example", 10), "advice lookup_failed"},
		{"an address for a name", one("192.0.2.1", 10), "wrong no_host_name"},
		{"no host name", hosts(time.Hour, ""), "wrong no_host_name"},
		{"null MX among others", hosts(time.Hour, ".", "other.example"), "wrong no_host_name"},
		{"null MX", hosts(time.Hour, "."), "advice null_mx"},
		{"no records", Answer[MX]{Outcome: NoData}, "wrong no_mx"},
		{"no domain", Answer[MX]{Outcome: NXDomain}, "wrong no_mx"},
		{"dead DNS", Answer[MX]{Err: errDNS}, ""},
	} {
		t.Run(c.title, func(t *testing.T) {
			fake := newFake()
			for _, m := range c.answer.Records {
				fake.addr[m.Host.ASCII()] = addrs("192.0.2.1")
			}
			alias := addrs("192.0.2.1")
			alias.Alias = "true.example"
			fake.addr["alias.example"] = alias
			fake.addr["lost.example"] = Answer[netip.Addr]{Outcome: NXDomain, Alias: "true.example"}
			fake.addr["dead.example"] = Answer[netip.Addr]{Err: errDNS}
			delete(fake.addr, "missing.example")
			fake.set("d.example", c.answer)
			checker := Checker{fake, providers(t), Own{Hosts: hostNames("mx.host.test")}}
			report := checker.Check(t.Context(), name("d.example"))
			if got := summary(report.Findings); got != c.findings {
				t.Errorf("%s, want %s\n%+v", got, c.findings, report.Findings)
			}
			if (report.State.Kind == Unknown) != (c.title == "dead DNS") {
				t.Errorf("%+v", report.State)
			}
			for _, f := range report.Findings {
				if f.Text == "" || mailbox.Printable(f.Text) != f.Text {
					t.Errorf("%q", f.Text)
				}
			}
		})
	}
}

// The records at DOMAIN.DOMAIN: a mistake, unless a wildcard puts records everywhere.
func TestDoubled(t *testing.T) {
	for _, c := range []struct {
		title    string
		records  map[string]Answer[MX]
		findings string
		doubled  int
	}{
		{"instead", map[string]Answer[MX]{"d.example.d.example": ovh()}, "wrong no_mx, wrong doubled", 4},
		{"as well", map[string]Answer[MX]{"d.example.d.example": ovh(), "d.example": ovh()}, "advice doubled", 4},
		{"a null MX there", map[string]Answer[MX]{"d.example.d.example": hosts(time.Hour, ".")}, "wrong no_mx", 0},
		{"a wildcard", map[string]Answer[MX]{"d.example.d.example": ovh(), "wildcard-test.d.example": ovh()},
			"wrong no_mx", 0},
		{"dead DNS there", map[string]Answer[MX]{"d.example.d.example": {Err: errDNS}, "d.example": ovh()},
			"advice lookup_failed", 0},
	} {
		fake := newFake()
		for _, m := range ovh().Records {
			fake.addr[m.Host.ASCII()] = addrs("192.0.2.1")
		}
		for n, a := range c.records {
			fake.set(n, a)
		}
		report := Checker{fake, providers(t), Own{}}.Check(t.Context(), name("d.example"))
		if got := summary(report.Findings); got != c.findings || len(report.Doubled) != c.doubled {
			t.Errorf("%s: %s, want %s\n%+v", c.title, got, c.findings, report)
		}
	}
	long := strings.Repeat("a", 50) + "." + strings.Repeat("b", 50) + "." + strings.Repeat("c", 50) + ".example"
	fake := newFake()
	if got := summary(Checker{fake, providers(t), Own{}}.Check(t.Context(), name(long)).Findings); got != "wrong no_mx" {
		t.Error(got)
	}
}

// When only the addresses of hosts could not be told, the records are still there to read.
func TestUnknownWithRecords(t *testing.T) {
	fake := newFake()
	fake.set("d.example", one("dead.example", 10))
	fake.addr["dead.example"] = Answer[netip.Addr]{Err: errDNS}
	checker := Checker{fake, providers(t), Own{Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.25")}}}
	report := checker.Check(t.Context(), name("d.example"))
	if report.State.Kind != Unknown || len(report.Records) != 1 || report.Records[0].Name != name("dead.example") {
		t.Errorf("%+v", report)
	}
}
