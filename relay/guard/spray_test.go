package guard

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"
)

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// visit is all that a client can do once.
func visit(g *Guard, a netip.Addr, login string) {
	release, _ := g.Connect(a)
	g.Message(a)
	g.Recipient(a)
	g.Unknown(a)
	g.LoginAllowed(a, login)
	g.LoginFailed(a, login)
	release()
}

// A spray of a million addresses takes no memory, and does not push out who has used up much.
func TestSpray(t *testing.T) {
	before := heap()
	g, clock := start(usual())
	made := heap()
	if size := made - before; size > 14<<20 {
		t.Errorf("%d octets of tables", size)
	}

	heavy, locked := ip("198.51.100.1"), ip("203.0.113.1")
	for range 100 {
		g.Unknown(heavy)
	}
	for i := range 20 {
		g.LoginFailed(locked, fmt.Sprintf("u%d@example.org", i))
		g.LoginFailed(stranger(rand.New(rand.NewPCG(1, 1))), "boss@example.org")
	}
	// A network that is busy by many hosts, each of which does little.
	neighbour := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{198, 51, 101, byte(i)}) }
	for i := range 800 {
		g.Unknown(neighbour(i % 200))
	}

	r := rand.New(rand.NewPCG(7, 7))
	const addresses = 1_000_000
	for i := range addresses {
		a := stranger(r)
		if i%4 == 0 {
			a = netip.AddrFrom4([4]byte{100, byte(i >> 18), byte(i >> 10), byte(i >> 2)})
		}
		if i%50 == 0 {
			visit(g, a, a.String())
		} else {
			g.Unknown(a)
		}
		clock.pass(100 * time.Second / addresses)
		if i == 200_000 || i == addresses-1 {
			if n := heap(); n > made+256<<10 {
				t.Errorf("%d octets more after %d addresses", n-made, i)
			}
		}
	}

	if n, _ := until(t, 1000, func() Verdict { return g.Unknown(heavy) }); n > 17 { // 100 s give back 16
		t.Errorf("the heavy host was forgotten: %d", n)
	}
	if v := g.LoginAllowed(locked, "somebody@example.org"); v.Err != ErrLocked {
		t.Errorf("a lock of a host was forgotten: %v", v)
	}
	if v := g.LoginAllowed(ip("192.0.2.99"), "boss@example.org"); v.Err != ErrLocked {
		t.Errorf("a lock of a name was forgotten: %v", v)
	}
	n := 0
	for i := range 2500 {
		if g.Unknown(neighbour(i%250)).Err == nil {
			n++
		}
	}
	if n > 200+170 { // of 1000, 800 are used and 166 come back
		t.Errorf("the busy network was forgotten: %d", n)
	}
	runtime.KeepAlive(g)
}

// Whoever sprays from one network is stopped by its counter, however many addresses there are.
func TestSprayOfOneNetwork(t *testing.T) {
	g, clock := start(usual())
	r := rand.New(rand.NewPCG(3, 3))
	accepted := 0
	for range 100_000 {
		a := stranger(r).As16()
		copy(a[:6], []byte{0x20, 1, 0xd, 0xb8, 0, 7})
		release, v := g.Connect(netip.AddrFrom16(a))
		if v.Err == nil {
			accepted++
		}
		release()
		clock.pass(600 * time.Microsecond) // a minute in all
	}
	if accepted < 23_900 || accepted > 24_100 {
		t.Errorf("%d connections in a minute instead of the 12,000 and those that come back", accepted)
	}
}

// An honest sender that is as busy as the limits foresee is not noticed, spray or not.
func TestHonestInASpray(t *testing.T) {
	g, clock := start(usual())
	r := rand.New(rand.NewPCG(5, 5))
	for i := range 30_000 {
		g.Unknown(stranger(r))
		if i%10 == 0 { // 100 connections a second, from sixteen hosts of a network
			a := netip.AddrFrom4([4]byte{209, 85, 220, byte(i / 10 % 16)})
			release, v := g.Connect(a)
			if v != (Verdict{}) {
				t.Fatal(i, v)
			}
			if v := g.Message(a); v != (Verdict{}) {
				t.Fatal(i, v)
			}
			for range 2 {
				if v := g.Recipient(a); v != (Verdict{}) {
					t.Fatal(i, v)
				}
			}
			release()
		}
		clock.pass(time.Millisecond)
	}
}

func BenchmarkSpray(b *testing.B) {
	before := heap()
	g := New(usual())
	r := rand.New(rand.NewPCG(1, 2))
	b.ReportAllocs()
	for b.Loop() {
		g.Message(stranger(r))
	}
	b.ReportMetric(float64(heap()-before), "octets")
	runtime.KeepAlive(g)
}

func BenchmarkSameClient(b *testing.B) {
	o := usual()
	o.Host.Messages, o.Network.Messages = per(1<<30, time.Second), per(1<<30, time.Second)
	g := New(o)
	a := ip("192.0.2.1")
	b.ReportAllocs()
	for b.Loop() {
		if v := g.Message(a); v.Err != nil {
			b.Fatal(v)
		}
	}
}
