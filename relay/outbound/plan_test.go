package outbound

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mxbypass/mailbox"
	"mxbypass/routing"
	"mxbypass/routing/mx"
)

var own = mx.Own{Hosts: []mailbox.DomainName{name("us.test"), name("gate.us.test")},
	Addrs: []netip.Addr{ip("::ffff:198.51.100.7"), ip("2001:db8::7")}}

// TestPlan: RFC 5321 section 5.1 and RFC 7505, where nothing is left to chance.
func TestPlan(t *testing.T) {
	for _, c := range []struct {
		title string
		hop   string
		zone  []string
		want  string // hosts, or "4.4.3 words"
	}{
		{"by preference", "mx:d.test", []string{"d.test MX 20 b.d.test", "d.test MX 3 a.d.test", "d.test MX 100 c.d.test",
			"a.d.test A 192.0.2.1", "b.d.test A 192.0.2.2", "c.d.test A 192.0.2.3"},
			"a.d.test[192.0.2.1] b.d.test[192.0.2.2] c.d.test[192.0.2.3]"},
		{"both families", "mx:d.test", []string{"d.test MX 10 a.d.test", "a.d.test A 192.0.2.1 2001:db8::1"},
			"a.d.test[2001:db8::1] a.d.test[192.0.2.1]"},
		{"no MX", "mx:d.test", []string{"d.test A 192.0.2.1"}, "d.test[192.0.2.1]"},
		{"no MX, and no address either", "mx:d.test", []string{"d.test A"}, "5.4.4 no host of d.test"},
		{"no MX, and the address fails", "mx:d.test", []string{"d.test A FAIL"}, "4.4.3 SERVFAIL"},
		{"no such domain", "mx:d.test", nil, "5.1.2 there is no domain d.test"},
		{"MX fails", "mx:d.test", []string{"d.test MX FAIL", "d.test A 192.0.2.1"}, "4.4.3 SERVFAIL"},
		{"null MX", "mx:d.test", []string{"d.test MX 0 .", "d.test A 192.0.2.1"}, "5.1.10 d.test accepts no mail"},
		{"null MX is for an external hop too", "external:d.test", []string{"d.test MX 0 ."}, "5.1.10 d.test accepts no mail"},
		{"null MX among others", "mx:d.test", []string{"d.test MX 0 .", "d.test MX 5 a.d.test", "a.d.test A 192.0.2.1"},
			"a.d.test[192.0.2.1]"},
		{"no host name", "mx:d.test", []string{"d.test MX 0 ?", "d.test MX 5 a.d.test", "a.d.test A 192.0.2.1"},
			"a.d.test[192.0.2.1]"},
		{"only what is no host name", "mx:d.test", []string{"d.test MX 0 ?", "d.test A 192.0.2.1"}, "5.4.4 no host of d.test"},
		{"hosts that do not exist", "mx:d.test", []string{"d.test MX 5 a.d.test", "d.test MX 10 b.d.test", "b.d.test A"},
			"5.4.4 no host of d.test"},
		{"one does not exist", "mx:d.test", []string{"d.test MX 5 a.d.test", "d.test MX 10 b.d.test", "b.d.test A 192.0.2.2"},
			"b.d.test[192.0.2.2]"},
		{"one fails", "mx:d.test", []string{"d.test MX 5 a.d.test", "d.test MX 10 b.d.test", "a.d.test A FAIL", "b.d.test A 192.0.2.2"},
			"b.d.test[192.0.2.2]"},
		{"all fail", "mx:d.test", []string{"d.test MX 5 a.d.test", "d.test MX 10 b.d.test", "a.d.test A FAIL", "b.d.test A FAIL"},
			"4.4.3 SERVFAIL; SERVFAIL"},
		{"one fails, the other does not exist", "mx:d.test", []string{"d.test MX 5 a.d.test", "d.test MX 10 b.d.test", "a.d.test A FAIL"},
			"4.4.3 SERVFAIL"},
		{"one family fails", "mx:d.test", []string{"d.test MX 5 a.d.test", "a.d.test A 192.0.2.1 FAIL"}, "a.d.test[192.0.2.1]"},
		{"the same address twice", "mx:d.test", []string{"d.test MX 5 a.d.test", "d.test MX 10 b.d.test", "a.d.test A 192.0.2.1",
			"b.d.test A 192.0.2.1 192.0.2.2"}, "a.d.test[192.0.2.1] b.d.test[192.0.2.2]|a.d.test[192.0.2.1] b.d.test[192.0.2.2]"},
		{"nobody can be there", "mx:d.test", []string{"d.test MX 5 a.d.test",
			"a.d.test A 0.0.0.0 :: 224.0.0.1 ff02::1 169.254.1.1 fe80::1 255.255.255.255 192.0.2.1"}, "a.d.test[192.0.2.1]"},
		{"nobody can be anywhere", "mx:d.test", []string{"d.test A 0.0.0.0"}, "5.4.4 no host of d.test"},

		{"us by name", "mx:d.test", []string{"d.test MX 5 a.d.test", "d.test MX 10 gate.us.test", "d.test MX 10 b.d.test",
			"d.test MX 20 c.d.test", "a.d.test A 192.0.2.1", "b.d.test A 192.0.2.2", "c.d.test A 192.0.2.3"}, "a.d.test[192.0.2.1]"},
		{"us by address", "mx:d.test", []string{"d.test MX 5 a.d.test", "d.test MX 10 x.d.test", "d.test MX 20 c.d.test",
			"a.d.test A 192.0.2.1", "x.d.test A 192.0.2.9 198.51.100.7", "c.d.test A 192.0.2.3"}, "a.d.test[192.0.2.1]"},
		{"us by IPv6 address", "mx:d.test", []string{"d.test MX 5 a.d.test", "d.test MX 5 x.d.test", "a.d.test A 192.0.2.1",
			"x.d.test A 2001:db8::7"}, "5.4.6 mail for d.test loops back to us"},
		{"us, the best", "mx:d.test", []string{"d.test MX 5 us.test", "d.test MX 10 b.d.test", "b.d.test A 192.0.2.2"},
			"5.4.6 mail for d.test loops back to us"},
		{"us without MX", "mx:us.test", []string{"us.test A 192.0.2.2"}, "5.4.6 mail for us.test loops back to us"},
		{"us, on the machine itself", "mx:d.test", []string{"d.test MX 5 a.d.test", "a.d.test A 127.0.0.1"}, "5.4.6 mail for d.test loops"},
		{"us, on the machine itself, IPv6", "mx:d.test", []string{"d.test A ::1"}, "5.4.6 mail for d.test loops"},
		{"us, and a better one fails", "mx:d.test", []string{"d.test MX 5 a.d.test", "d.test MX 10 us.test", "a.d.test A FAIL"},
			"4.4.3 SERVFAIL"},
		{"us, and a better one does not exist", "mx:d.test", []string{"d.test MX 5 a.d.test", "d.test MX 10 us.test"}, "5.4.6 mail"},
		{"external: without us", "external:d.test", []string{"d.test MX 5 us.test", "d.test MX 5 x.d.test", "d.test MX 10 b.d.test",
			"x.d.test A 198.51.100.7", "b.d.test A 192.0.2.2"}, "b.d.test[192.0.2.2]"},
		{"external: only us", "external:d.test", []string{"d.test MX 5 us.test", "d.test MX 5 x.d.test", "x.d.test A 198.51.100.7"},
			"5.4.6 every host for the mail of d.test is this one"},

		{"literal", "mx:[192.0.2.5]", nil, "[192.0.2.5]"},
		{"IPv6 literal", "mx:[IPv6:2001:db8::5]", nil, "[IPv6:2001:db8::5]"},
		{"literal of ours", "mx:[198.51.100.7]", nil, "5.4.6 mail for [198.51.100.7] loops"},
		{"literal of the machine", "mx:[127.0.0.1]", nil, "5.4.6 mail for [127.0.0.1] loops"},
		{"literal of the machine, mapped", "mx:[IPv6:::ffff:127.0.0.1]", nil, "5.4.6 mail for"},
		{"literal where nobody can be", "mx:[224.0.0.1]", nil, "5.4.4 no host of [224.0.0.1]"},

		{"server", "smtp://mx.d.test:2525", []string{"mx.d.test A 192.0.2.1", "mx.d.test MX 5 other.test"}, "mx.d.test[192.0.2.1]"},
		{"server on the machine", "smtp://127.0.0.1:2525", nil, "[127.0.0.1]"},
		{"server by IPv6 address", "smtp://[2001:db8::9]:26", nil, "[IPv6:2001:db8::9]"},
		{"server that does not exist", "smtp://mx.d.test:25", nil, "4.3.5 no host of mx.d.test"},
		{"server that fails", "smtp://mx.d.test:25", []string{"mx.d.test A FAIL"}, "4.4.3 SERVFAIL"},
		{"smarthost", "smarthost", []string{"smart.test A 192.0.2.1"}, "smart.test[192.0.2.1]"},
	} {
		t.Run(c.title, func(t *testing.T) {
			client := newClient(t, Options{Resolver: zone(c.zone...), Own: own,
				Smarthost: &Smarthost{Host: mailbox.NextHop{Host: name("smart.test"), Port: 587}}})
			targets, f := client.plan(t.Context(), hop(c.hop))
			if c.want[0] == '4' || c.want[0] == '5' {
				if f == nil || !strings.HasPrefix(fmt.Sprintf("%d.%d.%d %s", f.Enhanced[0], f.Enhanced[1], f.Enhanced[2], f.Text), c.want) ||
					f.Permanent != (c.want[0] == '5') || f.Scope != ScopeDestination || f.Host != "" || f.Code != 0 {
					t.Errorf("%v, %+v", planned(targets), f)
				}
				return
			}
			if f != nil {
				t.Fatal(f)
			}
			got := strings.Join(planned(targets), " ")
			if !slices.Contains(strings.Split(c.want, "|"), got) {
				t.Errorf("%s", got)
			}
			port := uint16(25)
			switch {
			case strings.HasPrefix(c.hop, "smtp:"):
				port = hop(c.hop).Server.Port
			case c.hop == "smarthost":
				port = 587
			}
			for _, target := range targets {
				if target.addr.Port() != port {
					t.Errorf("port %d", target.addr.Port())
				}
			}
		})
	}
}

// A CNAME that ends at our name is us, also where no addresses of ours are known.
func TestPlanAlias(t *testing.T) {
	dns := zone("d.test MX 10 alias.test", "alias.test A 192.0.2.1")
	a := dns.addrs["alias.test"]
	a.Alias = "gate.us.test"
	dns.addrs["alias.test"] = a
	client := newClient(t, Options{Resolver: dns, Own: mx.Own{Hosts: own.Hosts}})
	if targets, f := client.plan(t.Context(), hopMX("d.test")); f == nil || f.Enhanced != [3]int{5, 4, 6} {
		t.Errorf("%v, %v", targets, f)
	}
	a.Alias = "not a\uFFFDname"
	dns.addrs["alias.test"] = a
	client = newClient(t, Options{Resolver: dns, Own: own})
	if _, f := client.plan(t.Context(), hopMX("d.test")); f != nil {
		t.Error(f)
	}
}

// A resolver that fails without a word is none that says no.
func TestPlanSilentFailure(t *testing.T) {
	dns := zone()
	dns.mx["d.test"] = mx.Answer[mx.MX]{}
	dns.mx["e.test"] = zone("e.test MX 10 mx.e.test").mx["e.test"]
	dns.addrs["mx.e.test"] = mx.Answer[netip.Addr]{}
	client := newClient(t, Options{Resolver: dns})
	for _, domain := range []string{"d.test", "e.test"} {
		if _, f := client.plan(t.Context(), hopMX(domain)); f == nil || f.Permanent || f.Enhanced != [3]int{4, 4, 3} || f.Text == "" {
			t.Errorf("%+v", f)
		}
	}
	if _, f := client.plan(t.Context(), routing.Hop{Kind: routing.HopSmarthost}); f == nil || f.Permanent || f.Enhanced != [3]int{4, 3, 5} {
		t.Errorf("%+v", f)
	}
}

// Equals come in every order, and their addresses too; the preference is always kept.
func TestPlanShuffles(t *testing.T) {
	dns := zone("d.test MX 10 a.d.test", "d.test MX 10 b.d.test", "d.test MX 5 best.d.test",
		"best.d.test A 192.0.2.9", "a.d.test A 192.0.2.1 192.0.2.2", "b.d.test A 192.0.2.3")
	client := newClient(t, Options{Resolver: dns})
	orders := map[string]int{}
	for range 200 {
		targets, f := client.plan(t.Context(), hopMX("d.test"))
		if f != nil || targets[0].addr.Addr() != ip("192.0.2.9") {
			t.Fatal(targets, f)
		}
		orders[strings.Join(planned(targets[1:]), " ")]++
		client.plans.forget(hopMX("d.test"))
	}
	if len(orders) != 4 {
		t.Errorf("%d orders: %v", len(orders), orders)
	}
}

// Five addresses, and of two hosts and both families where there are such.
func TestPlanFive(t *testing.T) {
	count := func(targets []target, is func(target) bool) int {
		return len(slices.DeleteFunc(slices.Clone(targets), func(t target) bool { return !is(t) }))
	}
	is4 := func(t target) bool { return t.addr.Addr().Is4() }
	isWorse := func(t target) bool { return t.name == name("worse.test") }
	six := " 2001:db8::1 2001:db8::2 2001:db8::3 2001:db8::4 2001:db8::5 2001:db8::6"
	four := " 192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4 192.0.2.5 192.0.2.6"
	for _, c := range []struct {
		title        string
		zone         []string
		total, v4, w int
	}{
		{"one family", []string{"d.test MX 1 mx.test", "mx.test A" + four}, 5, 5, 0},
		{"both in turn", []string{"d.test MX 1 mx.test", "mx.test A" + four + six}, 5, 2, 0},
		{"one of the other family", []string{"d.test MX 1 mx.test", "mx.test A 192.0.2.1" + six}, 5, 1, 0},
		{"another host", []string{"d.test MX 1 mx.test", "d.test MX 2 worse.test", "mx.test A" + four, "worse.test A 192.0.2.9"}, 5, 5, 1},
		{"the other family elsewhere", []string{"d.test MX 1 mx.test", "d.test MX 2 worse.test", "mx.test A" + six, "worse.test A 192.0.2.9"},
			5, 1, 1},
		{"another host and the other family", []string{"d.test MX 1 mx.test", "d.test MX 2 worse.test", "d.test MX 3 last.test",
			"mx.test A" + six, "worse.test A 2001:db8::9", "last.test A 192.0.2.8"}, 5, 1, 1},
	} {
		t.Run(c.title, func(t *testing.T) {
			client := newClient(t, Options{Resolver: zone(c.zone...)})
			targets, f := client.plan(t.Context(), hopMX("d.test"))
			if f != nil || len(targets) != c.total || count(targets, is4) != c.v4 || count(targets, isWorse) != c.w {
				t.Errorf("%v, %v", planned(targets), f)
			}
			if isWorse(targets[0]) {
				t.Error("the worse one is first")
			}
		})
	}
}

// A domain with any number of hosts costs a bounded number of lookups, and ours is seen among them all.
func TestPlanManyHosts(t *testing.T) {
	var lines []string
	for i := range 50 {
		lines = append(lines, fmt.Sprintf("d.test MX 10 mx%d.test", i))
	}
	dns := zone(lines...)
	client := newClient(t, Options{Resolver: dns, Own: own})
	if _, f := client.plan(t.Context(), hopMX("d.test")); f == nil || !f.Permanent {
		t.Error(f)
	}
	if n := dns.questions(); n != 1+maxHosts {
		t.Errorf("%d questions", n)
	}
	dns = zone(append(lines, "d.test MX 10 us.test")...)
	client = newClient(t, Options{Resolver: dns, Own: own})
	if _, f := client.plan(t.Context(), hopMX("d.test")); f == nil || f.Enhanced != [3]int{5, 4, 6} || dns.questions() != 1 {
		t.Errorf("%v after %d questions", f, dns.questions())
	}
}

// How long a plan is used.
func TestPlanExpiry(t *testing.T) {
	answers := func(ttl time.Duration, lines ...string) func(*fakeDNS) {
		return func(d *fakeDNS) {
			d.change(lines...)
			for k, a := range d.mx {
				a.TTL = ttl
				d.mx[k] = a
			}
			for k, a := range d.addrs {
				a.TTL = ttl
				d.addrs[k] = a
			}
		}
	}
	good := []string{"d.test MX 10 mx.test", "mx.test A 192.0.2.1"}
	for _, c := range []struct {
		title string
		set   func(*fakeDNS)
		kept  time.Duration
	}{
		{"its TTL", answers(5*time.Minute, good...), 5 * time.Minute},
		{"no TTL", answers(0, good...), minPlan},
		{"weeks", answers(1000*time.Hour, good...), maxPlan},
		{"for ever", answers(math.MaxInt64, good...), maxPlan},
		{"something is missing", answers(time.Hour, append(good, "d.test MX 20 other.test", "other.test A FAIL")...), minPlan},
		{"a failure", answers(time.Hour, "d.test MX FAIL"), failedPlan},
		{"no such domain", answers(time.Hour), failedPlan},
	} {
		t.Run(c.title, func(t *testing.T) {
			dns, clock := zone(), &clock{now: time.Unix(1e9, 0)}
			c.set(dns)
			client := newClient(t, Options{Resolver: dns, Now: clock.Now})
			ask := func() int {
				client.plan(t.Context(), hopMX("d.test"))
				return dns.questions()
			}
			once := ask()
			clock.advance(c.kept - 1)
			if n := ask(); n != once {
				t.Errorf("asked again: %d, then %d", once, n)
			}
			clock.advance(1)
			if n := ask(); n != 2*once {
				t.Errorf("not asked again: %d, then %d", once, n)
			}
		})
	}
}

// However many want to know, DNS is asked once; who gives up waiting goes, and a question that was broken off is no answer
// to others.
func TestPlanOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := zone("d.test A 192.0.2.1")
		dns.hold = func(ctx context.Context) {
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
		client := newClient(t, Options{Resolver: dns})
		gone := errors.New("gone")
		ask := func(d time.Duration) (int, *Failure) {
			ctx, cancel := context.WithTimeoutCause(t.Context(), d, gone)
			defer cancel()
			targets, f := client.plan(ctx, hopMX("d.test"))
			return len(targets), f
		}
		var all sync.WaitGroup
		all.Go(func() {
			if _, f := ask(100 * time.Millisecond); f == nil || f.Permanent {
				t.Errorf("%v", f)
			}
		})
		synctest.Wait()
		for range 20 {
			all.Go(func() {
				if n, f := ask(time.Minute); n != 1 || f != nil {
					t.Errorf("%d, %v", n, f)
				}
			})
		}
		time.Sleep(150 * time.Millisecond) // now one of them asks
		all.Go(func() {
			if _, f := ask(200 * time.Millisecond); f == nil || !errors.Is(f, gone) {
				t.Errorf("%v", f)
			}
		})
		all.Wait()
		if n := dns.questions(); n != 3 { // broken off, MX, address
			t.Errorf("%d questions", n)
		}
		if len(client.plans.running) != 0 {
			t.Error("lookups are left")
		}
	})
}

// A failure belongs to who gets it.
func TestPlanFailureIsACopy(t *testing.T) {
	client := newClient(t, Options{Resolver: zone()})
	_, a := client.plan(t.Context(), hopMX("d.test"))
	a.Text = "changed"
	if _, b := client.plan(t.Context(), hopMX("d.test")); b.Text == a.Text {
		t.Error("shared")
	}
}

// What is remembered has bounds: what is over goes first, then anything.
func TestMakeRoom(t *testing.T) {
	m := map[int]bool{}
	for i := range 1000 {
		makeRoom(m, 100, func(over bool) bool { return over })
		m[i] = i%100 < 50 && i < 100
		if len(m) > 100 {
			t.Fatalf("%d", len(m))
		}
		if i == 100 && (len(m) != 51 || m[0] || m[49]) { // what was over has gone, and nothing else
			t.Errorf("%d left", len(m))
		}
	}
	client := newClient(t, Options{Resolver: zone()})
	for i := range maxPlans + 10 {
		client.plans.kept[hopMX(fmt.Sprintf("d%d.test", i))] = plan{until: time.Now().Add(time.Hour)}
	}
	client.plan(t.Context(), hopMX("d.test"))
	if n := len(client.plans.kept); n > maxPlans {
		t.Errorf("%d plans", n)
	}
	for i := range maxSick + 10 {
		client.sick.failed(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 25))
	}
	if n := len(client.sick.until); n > maxSick {
		t.Errorf("%d sick", n)
	}
}
