package guard

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is one that stands still unless it is told otherwise.
type clock struct{ at time.Time }

func (c *clock) now() time.Time       { return c.at }
func (c *clock) pass(d time.Duration) { c.at = c.at.Add(d) }
func newClock() *clock                { return &clock{time.Unix(1_700_000_000, 0)} }
func ip(s string) netip.Addr          { return netip.MustParseAddr(s) }
func per(n int, d time.Duration) Rate { return Rate{n, d} }

// start makes a guard on a clock of its own.
func start(o Options) (*Guard, *clock) {
	c := newClock()
	o.Now = c.now
	return New(o), c
}

// usual are limits as configs has them.
func usual() Options {
	return Options{
		AtOnce: 1000,
		Host: Rates{
			Connections: per(1200, time.Minute), Messages: per(3000, time.Minute), Recipients: per(6000, time.Minute),
			Unknown: per(100, 10*time.Minute),
		},
		Network: Rates{
			Connections: per(12_000, time.Minute), Messages: per(20_000, time.Minute),
			Recipients: per(40_000, time.Minute), Unknown: per(1000, 10*time.Minute),
		},
		SlowFrom: 50, Slowest: 2 * time.Second,
		Logins: Logins{
			Host: per(20, 15*time.Minute), Network: per(100, 15*time.Minute), Name: per(20, 15*time.Minute),
			Lock: 15 * time.Minute, Slowest: 5 * time.Second,
		},
	}
}

// stranger gives an address of 2400::/16, of which there are enough for 2^32 networks and any number of hosts in each.
func stranger(r *rand.Rand) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], r.Uint64())
	binary.BigEndian.PutUint64(b[8:], r.Uint64())
	b[0], b[1] = 0x24, 0
	return netip.AddrFrom16(b)
}
