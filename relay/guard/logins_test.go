package guard

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

const user = "user@example.org"

// guess tries a password that is wrong.
func guess(g *Guard, addr netip.Addr, login string) Verdict {
	v := g.LoginAllowed(addr, login)
	if v.Err == nil {
		g.LoginFailed(addr, login)
	}
	return v
}

// enter tries one that is right.
func enter(g *Guard, addr netip.Addr, login string) Verdict {
	v := g.LoginAllowed(addr, login)
	if v.Err == nil {
		g.LoginSucceeded(addr, login)
	}
	return v
}

func TestFailuresSlowAndLock(t *testing.T) {
	g, clock := start(usual())
	a := ip("192.0.2.1")
	want := []time.Duration{0, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second,
		5 * time.Second, 5 * time.Second}
	for i, d := range want {
		if v := guess(g, a, user); v != (Verdict{Delay: d}) {
			t.Errorf("guess %d: %v instead of %v", i, v, d)
		}
	}
	n, err := until(t, 100, func() Verdict { return guess(g, a, user) })
	if len(want)+n != 20 || err != ErrLocked {
		t.Errorf("%d, then %v", len(want)+n, err)
	}
	// A lock is one for whoever comes, with whatever name and password.
	if v := enter(g, a, user); v.Err != ErrLocked {
		t.Error(v)
	}
	if v := enter(g, a, "other@example.org"); v.Err != ErrLocked {
		t.Error(v)
	}
	if v := enter(g, ip("198.51.100.1"), user); v.Err != ErrLocked {
		t.Error(v)
	}
	if v := enter(g, ip("198.51.100.1"), "other@example.org"); v != (Verdict{}) {
		t.Error(v)
	}
	clock.pass(15*time.Minute - time.Second)
	if v := enter(g, a, user); v.Err != ErrLocked {
		t.Error(v)
	}
	clock.pass(time.Second)
	if v := enter(g, a, user); v != (Verdict{}) {
		t.Error(v)
	}
}

// A network counts what its hosts do together.
func TestFailuresOfANetwork(t *testing.T) {
	g, _ := start(usual())
	i := 0
	n, err := until(t, 1000, func() Verdict {
		i++
		return guess(g, netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), fmt.Sprint(i))
	})
	if n != 100 || err != ErrLocked {
		t.Error(n, err)
	}
}

// Slow guessing from many places: the name is locked, and its owner is let in from where he is known.
func TestOwnerIsNotLockedOut(t *testing.T) {
	g, clock := start(usual())
	home, office := ip("203.0.113.7"), ip("2001:db8:1:2::3")
	for _, a := range []netip.Addr{home, office} {
		if v := enter(g, a, user); v != (Verdict{}) {
			t.Fatal(v)
		}
	}
	r := rand.New(rand.NewPCG(9, 9))
	tried := 0
	for range 10_000 { // a guess each 9 seconds, for a day and an hour
		if guess(g, stranger(r), user).Err == nil {
			tried++
		}
		clock.pass(9 * time.Second)
		for _, a := range []netip.Addr{home, office, ip("203.0.113.200"), ip("2001:db8:1:ffff::3")} {
			if v := g.LoginAllowed(a, user); v != (Verdict{}) {
				t.Fatal(a, v)
			}
		}
	}
	if tried > 2200 { // 80 in an hour
		t.Errorf("%d guesses in a day", tried)
	}
	if v := g.LoginAllowed(ip("192.0.2.200"), user); v.Err == nil && v.Delay == 0 {
		t.Error("a stranger is not even slow")
	}
}

// Who is known may fail as well, by itself: a telephone with an old password locks nobody out elsewhere.
func TestKnownFailures(t *testing.T) {
	g, clock := start(usual())
	home, office := ip("203.0.113.7"), ip("198.51.100.7")
	enter(g, home, user)
	enter(g, office, user)
	if n, err := until(t, 100, func() Verdict { return guess(g, home, user) }); n != 20 || err != ErrLocked {
		t.Fatal(n, err)
	}
	for _, c := range []struct {
		addr  netip.Addr
		login string
	}{{office, user}, {home, "colleague@example.org"}, {ip("192.0.2.3"), user}} {
		if v := g.LoginAllowed(c.addr, c.login); v != (Verdict{}) {
			t.Errorf("%s, %s: %v", c.addr, c.login, v)
		}
	}
	clock.pass(15 * time.Minute)
	for range 19 {
		guess(g, home, user)
	}
	enter(g, home, user)
	if v := g.LoginAllowed(home, user); v != (Verdict{}) {
		t.Errorf("success forgives: %v", v)
	}
	clock.pass(31 * 24 * time.Hour)
	for range 20 {
		guess(g, stranger(rand.New(rand.NewPCG(1, 1))), user)
	}
	if v := g.LoginAllowed(home, user); v.Err != ErrLocked {
		t.Errorf("nobody is known for ever: %v", v)
	}
}

// One's own password is no way to go on guessing those of others, nor does the owner's success help who guesses.
func TestSuccessForgivesNothingElse(t *testing.T) {
	g, _ := start(usual())
	a := ip("192.0.2.1")
	n := 0
	for ; n < 100; n++ {
		if guess(g, a, fmt.Sprintf("victim%d@example.org", n)).Err != nil {
			break
		}
		enter(g, a, "mine@example.org")
	}
	if n != 20 {
		t.Error(n)
	}
	g, _ = start(usual())
	r := rand.New(rand.NewPCG(2, 2))
	for n = 0; n < 100; n++ {
		if guess(g, stranger(r), user).Err != nil {
			break
		}
		enter(g, ip("203.0.113.7"), user)
	}
	if n != 20 {
		t.Error(n)
	}
}

// It is one name, however it is written.
func TestSpellings(t *testing.T) {
	g, _ := start(usual())
	spellings := []string{"user@example.org", "USER@example.org", "user@EXAMPLE.ORG.", "user%example.org", " User%Example.Org ",
		`"user"@example.org`}
	r := rand.New(rand.NewPCG(4, 4))
	for i := range 20 {
		guess(g, stranger(r), spellings[i%len(spellings)])
	}
	for _, s := range spellings {
		if v := g.LoginAllowed(stranger(r), s); v.Err != ErrLocked {
			t.Errorf("%s: %v", s, v)
		}
	}
	for _, s := range []string{"", "%", "user", "user@", "\x00\xff"} {
		if v := guess(g, stranger(r), s); v != (Verdict{}) {
			t.Errorf("%q: %v", s, v)
		}
	}
}

// The failures of exempt networks are their names' alone.
func TestExemptLogins(t *testing.T) {
	o := usual()
	o.Exempt = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	g, _ := start(o)
	for i := range 1000 {
		if v := guess(g, ip("192.0.2.1"), fmt.Sprint(i)); v != (Verdict{}) {
			t.Fatal(i, v)
		}
	}
	if n, err := until(t, 100, func() Verdict { return guess(g, ip("192.0.2.1"), user) }); n != 20 || err != ErrLocked {
		t.Error(n, err)
	}
	if n, err := until(t, 100, func() Verdict { return guess(g, netip.Addr{}, "socket") }); n != 20 || err != ErrLocked {
		t.Error("without an address:", n, err)
	}
}

// Many guesses at the same moment are no more than some, though none has failed yet; and logins of which nobody could
// tell are forgotten.
func TestUnderway(t *testing.T) {
	g, clock := start(usual())
	r := rand.New(rand.NewPCG(6, 6))
	n, err := until(t, 10_000, func() Verdict { return g.LoginAllowed(stranger(r), user) })
	if n != 80 || err != ErrLocked {
		t.Error(n, err)
	}
	g.LoginSucceeded(ip("203.0.113.7"), user)
	if n, _ := until(t, 10_000, func() Verdict { return g.LoginAllowed(stranger(r), user) }); n != 1 {
		t.Errorf("one has ended, and %d may begin", n)
	}
	if n, err := until(t, 10_000, func() Verdict { return g.LoginAllowed(ip("203.0.113.8"), user) }); err != nil {
		t.Errorf("who is known after %d: %v", n, err)
	}
	clock.pass(waitingFor + time.Second)
	if v := g.LoginAllowed(stranger(r), user); v != (Verdict{}) {
		t.Error(v)
	}
}

// A name is known from its last networks only, and others are not pushed out by it.
func TestKnownNetworksAreBounded(t *testing.T) {
	g, clock := start(usual())
	r := rand.New(rand.NewPCG(8, 8))
	mine := ip("203.0.113.7")
	enter(g, mine, "other@example.org")
	first := stranger(r)
	enter(g, first, user)
	last := first
	for range 1000 {
		clock.pass(time.Second)
		last = stranger(r)
		enter(g, last, user)
	}
	for range 20 {
		guess(g, stranger(r), user)
		guess(g, stranger(r), "other@example.org")
	}
	if v := g.LoginAllowed(first, user); v.Err != ErrLocked {
		t.Errorf("the first: %v", v)
	}
	for _, v := range []Verdict{g.LoginAllowed(last, user), g.LoginAllowed(mine, "other@example.org")} {
		if v != (Verdict{}) {
			t.Error(v)
		}
	}
}
