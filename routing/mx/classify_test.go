package mx

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestClassification(t *testing.T) {
	addresses := []netip.Addr{netip.MustParseAddr("192.0.2.25"), netip.MustParseAddr("::ffff:192.0.2.26"),
		netip.MustParseAddr("2001:db8::25")}
	fake := newFake()
	fake.addr["alias.ours.example"] = addrs("198.51.100.1", "192.0.2.25")
	fake.addr["six.ours.example"] = addrs("2001:db8::25")
	fake.addr["mapped.ours.example"] = addrs("192.0.2.26")
	fake.addr["other.example"] = addrs("198.51.100.7")
	fake.addr["dead.example"] = Answer[netip.Addr]{Err: errDNS}
	half := addrs("198.51.100.7")
	half.Err = errDNS
	fake.addr["half.example"] = half
	halfOurs := addrs("192.0.2.25")
	halfOurs.Err = errDNS
	fake.addr["half.ours.example"] = halfOurs

	const google = "aspmx.l.google.com"
	for _, c := range []struct {
		hosts     string // "" is no host name, "." the root
		named     Kind   // when only host names are ours
		addressed Kind   // when addresses are ours as well
		provider  string
	}{
		{"mx.host.test", Self, Self, ""},
		{"MX.host.test vps42.host.test", Self, Self, ""},
		{google, External, External, "Google Workspace"},
		{"other.example", External, External, ""},
		{"mx.host.test " + google, Mixed, Mixed, "Google Workspace"},
		{"mx0.mail.ovh.net " + google + " mx1.mail.ovh.net", External, External, "OVH, Google Workspace"},
		{"mxa.pphosted.com mx.host.test", Mixed, Mixed, "Proofpoint"},
		{".", Null, Null, ""},
		{". other.example", External, External, ""},
		{"|", External, External, ""},
		{"| mx.host.test", Mixed, Mixed, ""},
		{"alias.ours.example", External, Self, ""},
		{"six.ours.example mapped.ours.example", External, Self, ""},
		{"alias.ours.example other.example", External, Mixed, ""},
		{"missing.example", External, External, ""},
		{"missing.example mx.host.test", Mixed, Mixed, ""},
		{"dead.example", External, Unknown, ""},
		{"half.example", External, Unknown, ""},
		{"half.ours.example", External, Self, ""},
		{"dead.example other.example", External, Unknown, ""},
		// One that is ours is enough to know: self and mixed are the same to routing.
		{"dead.example mx.host.test", Mixed, Mixed, ""},
		{"dead.example alias.ours.example", External, Mixed, ""},
	} {
		list := strings.Fields(strings.ToLower(c.hosts))
		for i := range list {
			list[i] = strings.TrimSuffix(list[i], "|")
		}
		for _, own := range []Own{{Hosts: hostNames("mx.host.test vps42.host.test")},
			{Hosts: hostNames("mx.host.test vps42.host.test"), Addrs: addresses}} {
			want := c.named
			if len(own.Addrs) > 0 {
				want = c.addressed
			}
			fake.set("d.example", hosts(time.Hour, list...))
			state, ttl := classifier{fake, providers(t), own}.look(t.Context(), name("d.example"))
			if state.Kind != want {
				t.Errorf("%s, addresses %v: %s, want %s", c.hosts, own.Addrs, state.Kind, want)
			}
			if want == Unknown {
				if !errors.Is(state.Err, errDNS) || state.Hosts != nil || ttl != 0 {
					t.Errorf("%s: %+v, %v", c.hosts, state, ttl)
				}
				continue
			}
			if state.Provider != c.provider {
				t.Errorf("%s: provider %q, want %q", c.hosts, state.Provider, c.provider)
			}
			if want != Null && len(state.Hosts) != len(list) {
				t.Errorf("%s: hosts %+v", c.hosts, state.Hosts)
			}
		}
	}
	if n := fake.count("addr " + google); n != 0 {
		t.Errorf("the address of a known provider's host was asked for %d times", n)
	}
}

// An address that decides lives as long as its own TTL.
func TestAddressTTL(t *testing.T) {
	fake := newFake()
	answer := addrs("192.0.2.25")
	answer.TTL = time.Minute
	fake.addr["mx.ours.example"] = answer
	fake.set("d.example", hosts(time.Hour, "mx.ours.example", "mx.host.test"))
	own := Own{Hosts: hostNames("mx.host.test"), Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.25")}}
	if state, ttl := (classifier{fake, Providers{}, own}).look(t.Context(), name("d.example")); state.Kind != Self ||
		ttl != time.Minute {
		t.Errorf("%+v, kept for %v", state, ttl)
	}
}
