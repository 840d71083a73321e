package login

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mxbypass/mailbox"
)

func TestNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := authenticator(t, company(), nil)
		for name, want := range map[string]string{
			"anna@exemple.org":             "Anna@exemple.org",
			"ANNA@Exemple.ORG":             "Anna@exemple.org",
			"anna%exemple.org":             "Anna@exemple.org",
			"Anna%EXEMPLE.org":             "Anna@exemple.org",
			"bert@exemple.org":             "bert@exemple.org",
			"jürgen@bücher.example":        "jürgen@xn--bcher-kva.example",
			"JÜRGEN%xn--bcher-kva.example": "jürgen@xn--bcher-kva.example",
			"ju\u0308rgen@BÜCHER.example":  "jürgen@xn--bcher-kva.example",
			" anna@exemple.org ":           "Anna@exemple.org", // as telephones write
			`"anna"@exemple.org`:           "Anna@exemple.org",
		} {
			right(t, a, name, horse, want)
		}
	})
}

// All spellings of a login are counted as one, and what is no login at all stays bounded.
func TestKeys(t *testing.T) {
	for _, name := range []string{"ANNA@Exemple.ORG", "anna%exemple.org", " anna@exemple.org.", `"Anna"@exemple.org`} {
		if got := Key(name); got != "anna@exemple.org" {
			t.Errorf("%q: %q", name, got)
		}
	}
	for name := range nobody {
		if got := Key(name); len(got) > maxName || got != mailbox.Printable(got) {
			t.Errorf("%q: %q", name, got)
		}
	}
	if Key("nobody here") == Key("nobody there") {
		t.Error("all that are wrong are one")
	}
}

// nobody are names that nobody has, and why.
var nobody = map[string]string{
	"":                                       "empty",
	"anna":                                   "no domain",
	"@":                                      "nothing",
	"%":                                      "nothing",
	"%exemple.org":                           "no user",
	"anna@":                                  "no domain",
	"anna@nowhere.example":                   "not hosted",
	"other@exemple.org":                      "no mailbox: not the catch-all either",
	"anna+x@exemple.org":                     "a tag",
	"info@exemple.org":                       "an alias",
	"off@exemple.org":                        "disabled",
	"anna@closed.example":                    "in a disabled domain",
	"none@exemple.org":                       "no password",
	"anna%exemple.org@mx.t":                  "a bypass address",
	"a%anna@exemple.org":                     "more than one sign",
	"anna\x00@exemple.org":                   "NUL",
	"anna@exemple.org\x00":                   "NUL",
	"anna@[192.0.2.1]":                       "an address literal",
	"\xffanna@exemple.org":                   "no UTF-8",
	"anna@exemple.org,b@c.d":                 "two",
	strings.Repeat("a", 70) + "@exemple.org": "too long a user",
	strings.Repeat("a", 1<<20):               "too long",
	"a@" + strings.Repeat("b.", 300) + "org": "too long a domain",
}

// Whoever fails: it takes as long, and the same work.
func TestFailuresTellNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, verified := authenticator(t, company(), nil)
		fail := func(name, secret string) {
			t.Helper()
			before, began := verified.count(a.decoy), time.Now()
			wrong(t, a, name, secret, ErrWrong)
			if spent := time.Since(began); spent != pace {
				t.Errorf("%.80q: it took %s", name, spent)
			}
			if n := verified.count(a.decoy) - before; n != 1 {
				t.Errorf("%.80q: %d decoys", name, n)
			}
		}
		for name := range nobody {
			fail(name, horse)
		}
		for _, name := range []string{"anna@exemple.org", "bert@exemple.org"} {
			fail(name, "wrong horse")
			fail(name, "correct horse ")
			fail(name, "Correct horse")
			fail(name, horse+"\x00")
			fail(name, "\x00")
			fail(name, "")
			fail(name, strings.Repeat("x", 1<<20))
		}
	})
}

// Once somebody has a hash that costs more than the pace, everybody waits for as long.
func TestDearHashes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := company()
		a, _ := authenticator(t, u, nil)
		u.secrets["carl@exemple.org"] = "$2b$15" + bcryptHorse[6:]
		const twice = "it cannot be known before"
		for _, name := range []string{"carl@exemple.org", "anna@exemple.org", "nobody@exemple.org", "carl@exemple.org"} {
			began := time.Now()
			_, _, err := a.find(t.Context(), name)
			if err != nil && !errors.Is(err, ErrWrong) {
				t.Fatal(err)
			}
			a.pause(t.Context(), began)
			if spent := time.Since(began); spent != 3*pace {
				t.Errorf("%s: %s: %s", name, twice, spent)
			}
		}
	})
}

func TestRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := company()
		a, verified := authenticator(t, u, nil)
		tries := func(want int) {
			t.Helper()
			if n := verified.count(bcryptHorse) + verified.count(bcryptWelt); n != want {
				t.Errorf("%d passwords were tried, want %d", n, want)
			}
		}
		right(t, a, "anna@exemple.org", horse, "Anna@exemple.org")
		right(t, a, "ANNA%exemple.org", horse, "Anna@exemple.org")
		tries(1)
		// Only who knows the password is remembered, and only as the one that he is.
		wrong(t, a, "anna@exemple.org", horse+"x", ErrWrong)
		right(t, a, "carl@exemple.org", horse, "carl@exemple.org")
		tries(3)
		time.Sleep(time.Minute)
		right(t, a, "anna@exemple.org", horse, "Anna@exemple.org")
		tries(4)

		// A new password ends it, and so do the ends of mailbox and domain.
		u.change(func() { u.secrets["anna@exemple.org"] = bcryptWelt })
		wrong(t, a, "anna@exemple.org", horse, ErrWrong)
		right(t, a, "anna@exemple.org", "Grüße, Welt!", "Anna@exemple.org")
		tries(6)
		u.change(func() { u.secrets["anna@exemple.org"] = "" })
		wrong(t, a, "anna@exemple.org", "Grüße, Welt!", ErrWrong)
		u.change(func() {
			u.secrets["anna@exemple.org"] = bcryptWelt
			e := u.entries["anna@exemple.org"]
			e.Disabled = true
			u.entries["anna@exemple.org"] = e
		})
		wrong(t, a, "anna@exemple.org", "Grüße, Welt!", ErrWrong)
		u.change(func() {
			d := u.domains["exemple.org"]
			d.Disabled = true
			u.domains["exemple.org"] = d
		})
		wrong(t, a, "carl@exemple.org", horse, ErrWrong)
		tries(6)
	})
}

func TestNotRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, verified := authenticator(t, company(), func(o *Options) { o.Remember = 0 })
		for range 3 {
			right(t, a, "anna@exemple.org", horse, "Anna@exemple.org")
		}
		if n := verified.count(bcryptHorse); n != 3 {
			t.Error(n)
		}
	})
}

func TestUnknownIsNeverNo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := company()
		a, _ := authenticator(t, u, nil)
		u.secrets["anna@exemple.org"] = "$argon2id$v=19$m=9999999,t=1,p=1$damaged"
		wrong(t, a, "anna@exemple.org", horse, ErrUnavailable)
		u.failure = errors.New("disk gone")
		wrong(t, a, "carl@exemple.org", horse, ErrUnavailable)
		wrong(t, a, "nobody@exemple.org", horse, ErrUnavailable)
		if ok, err := a.MayUse(t.Context(), Identity{address("carl@exemple.org")}, address("carl@exemple.org")); ok ||
			!errors.Is(err, mailbox.ErrUnavailable) {
			t.Error(ok, err)
		}
	})
}

// hold makes an authenticator verify nothing before release is called. It tells how many are verified at once.
func hold(a *Authenticator) (release func(), most func() int) {
	var mu sync.Mutex
	var now, peak int
	gate := make(chan struct{})
	a.verify = func(string, string) (bool, error) {
		mu.Lock()
		now++
		peak = max(peak, now)
		mu.Unlock()
		<-gate
		mu.Lock()
		now--
		mu.Unlock()
		return false, nil
	}
	return func() { close(gate) }, func() int { mu.Lock(); defer mu.Unlock(); return peak }
}

func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := authenticator(t, company(), nil)
		release, most := hold(a)
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		results := make(chan error, 1000)
		try := func(ctx context.Context) {
			all.Go(func() {
				_, err := a.Authenticate(ctx, "nobody@exemple.org", horse)
				results <- err
			})
		}
		const room = 2 + 2*waitingPerSlot
		for i := range room {
			if i == 5 {
				try(ctx)
			} else {
				try(t.Context())
			}
			synctest.Wait()
		}
		// One more is too many, and takes nobody's place.
		wrong(t, a, "anna@exemple.org", horse, ErrBusy)
		wrong(t, a, "nobody@exemple.org", horse, ErrBusy)
		// Whoever goes away leaves room.
		cancel()
		synctest.Wait()
		if err := <-results; !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		try(t.Context())
		synctest.Wait()
		wrong(t, a, "nobody@exemple.org", horse, ErrBusy)
		release()
		all.Wait()
		close(results)
		n := 0
		for err := range results {
			if n++; !errors.Is(err, ErrWrong) {
				t.Error(err)
			}
		}
		if n != room || most() != 2 {
			t.Errorf("%d answers, %d at once", n, most())
		}
		if _, err := a.Authenticate(ctx, "nobody@exemple.org", horse); !errors.Is(err, ErrUnavailable) {
			t.Error(err)
		}
	})
}

// Who waits for others does not wait longer because of it, and the end of the context ends a pause.
func TestWaitingIsNotCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := authenticator(t, company(), func(o *Options) { o.Parallel = 1 })
		work := time.Duration(a.dearest.Load())
		began := time.Now()
		var all sync.WaitGroup
		for i := range 10 {
			all.Go(func() {
				wrong(t, a, "nobody@exemple.org", horse, ErrWrong)
				if spent := time.Since(began); spent < pace || (spent-pace)%work != 0 || spent-pace > 9*work {
					t.Errorf("%d: %s", i, spent)
				}
			})
		}
		all.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), work+time.Millisecond)
		defer cancel()
		began = time.Now()
		if _, err := a.Authenticate(ctx, "nobody@exemple.org", horse); !errors.Is(err, ErrWrong) {
			t.Error(err)
		}
		if spent := time.Since(began); spent != work+time.Millisecond {
			t.Error(spent)
		}
	})
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{{}, {Parallel: -1}, {Parallel: 1, Remember: -1}} {
		if a, err := New(o); err == nil {
			t.Error(o, a)
		}
	}
}

// Whatever the name: with a "%" in the place of the "@" it is the same one, and it is an address in its own form.
func FuzzParseName(f *testing.F) {
	for name := range nobody {
		if len(name) < 1000 {
			f.Add(name)
		}
	}
	f.Add("anna@exemple.org")
	f.Add("jürgen%bücher.example")
	f.Fuzz(func(t *testing.T, name string) {
		a, err := parseName(name)
		if err != nil {
			return
		}
		if again, err := parseName(a.Wire()); err != nil || again != a {
			t.Fatalf("%q: %q, then %q, %v", name, a, again, err)
		}
		if !a.Local.IsDotString() || strings.ContainsAny(string(a.Local), "@%") {
			return
		}
		if again, err := parseName(string(a.Local) + "%" + a.Domain.ASCII()); err != nil || again != a {
			t.Fatalf("%q: %q, then %q, %v", name, a, again, err)
		}
	})
}
