package guard

import (
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// What is done until there is an error, at one moment.
func until(t *testing.T, most int, do func() Verdict) (n int, err error) {
	t.Helper()
	for ; n < most; n++ {
		if v := do(); v.Err != nil {
			return n, v.Err
		}
	}
	return n, nil
}

func TestRates(t *testing.T) {
	rates := Rates{
		Connections: per(3, time.Minute), Messages: per(4, time.Minute), Recipients: per(5, time.Minute),
		Unknown: per(6, time.Minute),
	}
	what := []struct {
		name string
		n    int
		err  error
		do   func(*Guard, netip.Addr) Verdict
	}{
		{"connections", 3, ErrTooOften, func(g *Guard, a netip.Addr) Verdict {
			release, v := g.Connect(a)
			release()
			return v
		}},
		{"messages", 4, ErrTooFast, (*Guard).Message},
		{"recipients", 5, ErrTooFast, (*Guard).Recipient},
		{"unknown recipients", 6, ErrTooManyUnknown, (*Guard).Unknown},
	}
	for _, w := range what {
		for _, c := range []struct {
			name         string
			host         bool
			first, other string // other counts with first
			apart        string // and this one does not
		}{
			{"IPv4 host", true, "192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"},
			{"IPv4 network", false, "192.0.2.1", "192.0.2.254", "192.0.3.1"},
			{"IPv6 host", true, "2001:db8::1", "2001:db8::ffff:0:0:1", "2001:db8:0:1::1"},
			{"IPv6 network", false, "2001:db8::1", "2001:db8:0:ffff::1", "2001:db8:1::1"},
		} {
			t.Run(w.name+" of an "+c.name, func(t *testing.T) {
				var o Options
				if o.Network = rates; c.host {
					o.Host, o.Network = rates, Rates{}
				}
				g, clock := start(o)
				first := true
				n, err := until(t, 100, func() Verdict {
					first = !first
					if first {
						return w.do(g, ip(c.first))
					}
					return w.do(g, ip(c.other))
				})
				if n != w.n || !errors.Is(err, w.err) {
					t.Errorf("%d, then %v", n, err)
				}
				if v := w.do(g, ip(c.apart)); v.Err != nil {
					t.Errorf("somebody else: %v", v.Err)
				}
				clock.pass(time.Minute/time.Duration(w.n) + time.Microsecond)
				if n, _ := until(t, 100, func() Verdict { return w.do(g, ip(c.first)) }); n != 1 {
					t.Errorf("%d after the time of one", n)
				}
				clock.pass(time.Hour)
				if n, _ := until(t, 100, func() Verdict { return w.do(g, ip(c.first)) }); n != w.n {
					t.Errorf("%d after a long time", n)
				}
			})
		}
	}
}

func TestNothingIsLimited(t *testing.T) {
	g, _ := start(Options{})
	for range 10_000 {
		if _, v := g.Connect(ip("192.0.2.1")); v != (Verdict{}) {
			t.Fatal(v)
		}
		g.LoginFailed(ip("192.0.2.1"), "u@example.org")
	}
	for _, v := range []Verdict{
		g.Message(ip("192.0.2.1")), g.Recipient(ip("192.0.2.1")), g.Unknown(ip("192.0.2.1")),
		g.LoginAllowed(ip("192.0.2.1"), "u@example.org"),
	} {
		if v != (Verdict{}) {
			t.Error(v)
		}
	}
}

// A client without an address, on a unix socket, is nobody's neighbour.
func TestNoAddress(t *testing.T) {
	o := usual()
	o.AtOnce = 1
	g, _ := start(o)
	for range 10_000 {
		release, v := g.Connect(netip.Addr{})
		if v != (Verdict{}) || g.Unknown(netip.Addr{}) != (Verdict{}) {
			t.Fatal(v)
		}
		defer release()
	}
}

func TestExempt(t *testing.T) {
	o := usual()
	o.AtOnce = 5
	o.Exempt = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/28"), netip.MustParsePrefix("2001:db8::/32")}
	g, _ := start(o)
	for _, a := range []string{"192.0.2.7", "::ffff:192.0.2.7", "2001:db8::1", "2001:db8::1%eth0"} {
		if n, err := until(t, 50_000, func() Verdict { return g.Unknown(ip(a)) }); err != nil {
			t.Errorf("%s: %v after %d", a, err, n)
		}
	}
	if n, _ := until(t, 10_000, func() Verdict { return g.Unknown(ip("192.0.2.16")) }); n != 100 {
		t.Errorf("beside it: %d", n)
	}
	// What is a limit of the moment holds for them as well.
	if n, err := until(t, 100, func() Verdict { _, v := g.Connect(ip("192.0.2.7")); return v }); n != 5 || err != ErrNetworkFull {
		t.Errorf("%d at once, then %v", n, err)
	}
}

// Of the machine itself only failed logins are counted.
func TestLoopback(t *testing.T) {
	o := usual()
	o.AtOnce = 5
	g, _ := start(o)
	for _, a := range []string{"127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"} {
		if n, err := until(t, 10_000, func() Verdict { return g.Unknown(ip(a)) }); err != nil {
			t.Errorf("%s: %v after %d", a, err, n)
		}
		if n, err := until(t, 100, func() Verdict { _, v := g.Connect(ip(a)); return v }); err != nil {
			t.Errorf("%s: %v after %d at once", a, err, n)
		}
	}
	if _, err := until(t, 1000, func() Verdict {
		g.LoginFailed(ip("127.0.0.1"), "u@example.org")
		return g.LoginAllowed(ip("127.0.0.1"), "u@example.org")
	}); err != ErrLocked {
		t.Error(err)
	}
}

func TestAtOnce(t *testing.T) {
	g, _ := start(Options{AtOnce: 2, Host: Rates{Connections: per(4, time.Hour)}})
	release1, v1 := g.Connect(ip("2001:db8::1"))
	_, v2 := g.Connect(ip("2001:db8:0:5::1"))
	if v1.Err != nil || v2.Err != nil {
		t.Fatal(v1, v2)
	}
	for range 10 {
		release, v := g.Connect(ip("2001:db8:0:6::1"))
		if v.Err != ErrNetworkFull {
			t.Fatal(v)
		}
		release() // it has nothing to give back
	}
	if _, v := g.Connect(ip("2001:db8:1::1")); v.Err != nil {
		t.Error("another network:", v.Err)
	}
	release1()
	// Nor does a refusal by the rate keep a place.
	for range 10 {
		release, _ := g.Connect(ip("2001:db8::1"))
		release()
	}
	if _, v := g.Connect(ip("2001:db8:0:6::1")); v.Err != nil {
		t.Error(v.Err)
	}
	if len(g.atOnce) != 2 {
		t.Error(g.atOnce)
	}
}

// What a network refuses its host has not used.
func TestNetworkGivesBack(t *testing.T) {
	o := Options{Host: Rates{Messages: per(10, time.Hour)}, Network: Rates{Messages: per(10, time.Minute)}}
	g, clock := start(o)
	for range 10 {
		g.Message(ip("192.0.2.2"))
	}
	if n, err := until(t, 100, func() Verdict { return g.Message(ip("192.0.2.1")) }); n != 0 || err == nil {
		t.Fatal(n, err)
	}
	clock.pass(time.Minute)
	if n, _ := until(t, 100, func() Verdict { return g.Message(ip("192.0.2.1")) }); n != 10 {
		t.Error(n)
	}
}

// Who has named too many that do not exist learns nothing from asking on.
func TestUnknownHidesKnown(t *testing.T) {
	g, clock := start(usual())
	a := ip("192.0.2.1")
	if n, err := until(t, 1000, func() Verdict { return g.Unknown(a) }); n != 100 || err != ErrTooManyUnknown {
		t.Fatal(n, err)
	}
	if v := g.Recipient(a); v.Err != ErrTooManyUnknown {
		t.Error(v)
	}
	if v := g.Recipient(ip("192.0.2.2")); v.Err != nil {
		t.Error("a neighbour:", v.Err)
	}
	clock.pass(7 * time.Second)
	if v := g.Recipient(a); v.Err != nil {
		t.Error("once there is room again:", v.Err)
	}
}

func TestSlowBeforeRefused(t *testing.T) {
	g, _ := start(usual())
	last, slow := time.Duration(0), 0
	for n := 1; ; n++ {
		v := g.Message(ip("192.0.2.1"))
		if v.Err != nil {
			if n != 3001 || v.Delay != 2*time.Second {
				t.Errorf("%d: %v", n, v)
			}
			break
		}
		if v.Delay < last || v.Delay > 2*time.Second || n <= 1500 && v.Delay != 0 {
			t.Fatalf("%d: %v after %v", n, v.Delay, last)
		}
		if last = v.Delay; last > 0 {
			slow++
		}
	}
	if slow != 1500 || last != 2*time.Second {
		t.Errorf("%d slow answers, the last %v", slow, last)
	}
	o := usual()
	o.SlowFrom = 100
	g.Update(o)
	g, _ = start(o)
	for range 3000 {
		if v := g.Message(ip("192.0.2.1")); v != (Verdict{}) {
			t.Fatal(v)
		}
	}
}

// A reload changes limits and keeps what was counted.
func TestUpdate(t *testing.T) {
	g, clock := start(Options{Host: Rates{Messages: per(10, time.Hour)}})
	a := ip("192.0.2.1")
	for range 10 {
		g.Message(a)
	}
	o := Options{Host: Rates{Messages: per(20, time.Hour)}}
	g.Update(o)
	if v := g.Message(a); v.Err != ErrTooFast {
		t.Errorf("the hour is used up: %v", v)
	}
	g.Update(Options{Host: Rates{Messages: per(10, time.Minute)}})
	if v := g.Message(a); v.Err != ErrTooFast {
		t.Error(v)
	}
	clock.pass(6 * time.Second)
	if v := g.Message(a); v.Err != nil {
		t.Errorf("a shorter time holds at once: %v", v)
	}
	g.Update(Options{})
	if v := g.Message(a); v != (Verdict{}) {
		t.Error(v)
	}
}

// Everything at once, for the race detector; and what comes in goes out.
func TestConcurrent(t *testing.T) {
	o := usual()
	o.AtOnce = 20
	g := New(o)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			a := netip.AddrFrom4([4]byte{192, 0, 2, byte(i % 4)})
			for range 300 {
				release, _ := g.Connect(a)
				g.Message(a)
				g.Recipient(a)
				g.Unknown(a)
				g.LoginAllowed(a, "u@example.org")
				if i%2 == 0 {
					g.LoginFailed(a, "u@example.org")
				} else {
					g.LoginSucceeded(a, "u@example.org")
				}
				if i == 0 {
					g.Update(o)
				}
				release()
			}
		})
	}
	all.Wait()
	if len(g.atOnce) != 0 {
		t.Error(g.atOnce)
	}
}
