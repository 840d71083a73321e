package lookup

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mxbypass/relay/lookup/dnstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// kit is a client with its server and a clock of its own.
type kit struct {
	*Client
	server *dnstest.Server
	now    atomic.Int64 // seconds
}

func newKit(t testing.TB, o Options) *kit {
	t.Helper()
	k := &kit{server: dnstest.New(t)}
	o.Servers = []string{k.server.Addr}
	o.Now = func() time.Time { return time.Unix(k.now.Load(), 0) }
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	k.Client = c
	return k
}

func isNotFound(err error) bool {
	dns, ok := err.(*net.DNSError) // itself, as net.Resolver gives it
	return ok && dns.IsNotFound && !dns.IsTemporary
}

func isTemporary(err error) bool {
	dns, ok := err.(*net.DNSError)
	return ok && !dns.IsNotFound && dns.Temporary()
}

func TestRecords(t *testing.T) {
	t.Parallel()
	k := newKit(t, Options{})
	k.server.Add(t,
		`txt.test. TXT "one" " and two"`, `txt.test. TXT "quoted \" and \\ and \200"`,
		"a.test. A 192.0.2.1", "a.test. AAAA 2001:db8::1", "v4.test. A 192.0.2.4", "alias.test. CNAME v4.test.",
		"mx.test. MX 20 b.test.", "mx.test. MX 10 a.test.", "null.test. MX 0 .",
		"1.2.0.192.in-addr.arpa. PTR host.test.",
		"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR six.test.",
		"_25._tcp.mx.test. TLSA 3 1 1 0123abcd",
	)
	k.server.AddTXT(`od\ d.test.`, "odd")
	ctx := t.Context()
	for name, c := range map[string]struct {
		ask  func() (any, error)
		want string
	}{
		"texts": {func() (any, error) { return k.TXT(ctx, "TXT.test") },
			`[]string{"one and two", "quoted \" and \\ and \xc8"}`},
		"odd name":     {func() (any, error) { return k.TXT(ctx, "od d.test") }, `[]string{"odd"}`},
		"both":         {func() (any, error) { return k.Addr(ctx, "a.test") }, "[192.0.2.1 2001:db8::1]"},
		"one family":   {func() (any, error) { return k.Addr(ctx, "v4.test.") }, "[192.0.2.4]"},
		"alias":        {func() (any, error) { return k.Addr4(ctx, "alias.test") }, "[192.0.2.4]"},
		"v4 only":      {func() (any, error) { return k.Addr4(ctx, "a.test") }, "[192.0.2.1]"},
		"names":        {func() (any, error) { return k.PTR(ctx, netip.MustParseAddr("192.0.2.1")) }, `[]string{"host.test."}`},
		"mapped":       {func() (any, error) { return k.PTR(ctx, netip.MustParseAddr("::ffff:192.0.2.1")) }, `[]string{"host.test."}`},
		"names of six": {func() (any, error) { return k.PTR(ctx, netip.MustParseAddr("2001:db8::1")) }, `[]string{"six.test."}`},
		"TLSA": {func() (any, error) { r, _, err := k.TLSA(ctx, "_25._tcp.mx.test"); return r, err },
			`[]lookup.TLSA{lookup.TLSA{Usage:0x3, Selector:0x1, Matching:0x1, Data:[]uint8{0x1, 0x23, 0xab, 0xcd}}}`},
	} {
		got, err := c.ask()
		text := fmt.Sprintf("%#v", got)
		if addrs, ok := got.([]netip.Addr); ok {
			text = fmt.Sprint(addrs)
		}
		if err != nil || text != c.want {
			t.Errorf("%s: %s, %v", name, text, err)
		}
	}
	mx, err := k.MX(ctx, "mx.test")
	if want := []*net.MX{{Host: "a.test.", Pref: 10}, {Host: "b.test.", Pref: 20}}; err != nil || !reflect.DeepEqual(mx, want) {
		t.Error(mx, err)
	}
	if mx, err := k.MX(ctx, "null.test"); err != nil || len(mx) != 1 || mx[0].Host != "." {
		t.Error(mx, err)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	k := newKit(t, Options{})
	k.server.Add(t, "a.test. A 192.0.2.1", "below.there.test. A 192.0.2.1")
	k.server.Fail("broken.test.", true)
	ctx := t.Context()
	for _, name := range []string{
		"a.test", "missing.test", "", ".", "a..b", strings.Repeat("x", 64) + ".test", strings.Repeat("abc.", 64) + "test",
	} {
		if _, err := k.TXT(ctx, name); !isNotFound(err) {
			t.Errorf("TXT %q: %v", name, err)
		}
		if _, err := k.MX(ctx, name); !isNotFound(err) {
			t.Errorf("MX %q: %v", name, err)
		}
	}
	if _, err := k.Addr(ctx, "broken.test"); !isTemporary(err) {
		t.Error(err)
	}
	ended, cancel := context.WithCancelCause(ctx)
	cancel(errors.New("enough"))
	if _, err := k.TXT(ended, "new.test"); !isTemporary(err) || !strings.Contains(err.Error(), "enough") {
		t.Error(err)
	}
	for name, want := range map[string]bool{"a.test": true, "there.test": true, "missing.test": false} {
		if got, err := k.Exists(ctx, name); got != want || err != nil {
			t.Errorf("%s exists: %t, %v", name, got, err)
		}
	}
	if _, err := k.Exists(ctx, "broken.test"); !isTemporary(err) {
		t.Error(err)
	}
	if _, err := New(Options{Servers: []string{"nonsense:x"}}); err == nil {
		t.Error("a server that is none")
	}
}

// What is known is not asked again before its time: answers, a "no", and for some seconds a failure.
func TestKept(t *testing.T) {
	t.Parallel()
	k := newKit(t, Options{})
	k.server.Add(t, "a.test. TXT one")
	k.server.Fail("broken.test.", true)
	ask := func(name string) string {
		texts, err := k.TXT(t.Context(), name)
		if err != nil && !isNotFound(err) && !isTemporary(err) {
			t.Errorf("%s: %v", name, err)
		}
		return strings.Join(texts, " ")
	}
	expect := func(name string, want int) {
		t.Helper()
		if got := k.server.Asked(name); got != want {
			t.Errorf("%s was asked for %d times, want %d", name, got, want)
		}
	}
	for range 2 {
		if ask("a.test") != "one" || ask("A.Test.") != "one" || ask("missing.test") != "" || ask("broken.test") != "" {
			t.Error("wrong answer")
		}
		expect("a.test.", 1)
		expect("missing.test.", 1)
		expect("broken.test.", 1)
		k.now.Add(4)
	}
	k.now.Add(2)
	k.server.Fail("broken.test.", false)
	k.server.Add(t, "broken.test. TXT mended")
	if got := ask("broken.test"); got != "mended" {
		t.Errorf("%q after it was mended", got)
	}
	k.now.Add(60)
	ask("a.test")
	expect("a.test.", 2)
}

// Many who ask at the same time are one question, and when the first one gives up, another one goes on.
func TestShared(t *testing.T) {
	t.Parallel()
	k := newKit(t, Options{})
	k.server.Add(t, "a.test. TXT one")
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if texts, err := k.TXT(t.Context(), "a.test"); err != nil || len(texts) != 1 {
				t.Error(texts, err)
			}
		})
	}
	all.Wait()
	if n := k.server.Asked("a.test."); n != 1 {
		t.Errorf("asked %d times", n)
	}

	q := question{"b.test", 16}
	first := make(chan struct{})
	k.running[q] = first // somebody who will not answer
	k.server.Add(t, "b.test. TXT two")
	waiting := make(chan error)
	go func() { _, err := k.TXT(t.Context(), "b.test"); waiting <- err }()
	k.mu.Lock()
	delete(k.running, q)
	k.mu.Unlock()
	close(first)
	if err := <-waiting; err != nil {
		t.Error(err)
	}
	short, cancel := context.WithCancel(t.Context())
	cancel()
	k.running[question{"c.test", 16}] = make(chan struct{})
	if _, err := k.TXT(short, "c.test"); !isTemporary(err) {
		t.Error(err)
	}
}

// The memory of the cache is bounded, whatever the size of answers.
func TestBound(t *testing.T) {
	t.Parallel()
	k := newKit(t, Options{CacheEntries: 8})
	for i := range 40 {
		name := fmt.Sprintf("big%d.test.", i)
		k.server.AddTXT(name, strings.Repeat("x", 1000))
		if _, err := k.TXT(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	k.cache.CleanUp()
	if size := k.cache.WeightedSize(); size > 8*entryOctets {
		t.Errorf("%d octets are kept", size)
	}
}

func TestSecure(t *testing.T) {
	t.Parallel()
	for _, trusted := range []bool{true, false} {
		k := newKit(t, Options{Trusted: trusted})
		k.server.Add(t, "a.test. A 192.0.2.1", "a.test. MX 1 a.test.")
		k.server.Secure()
		_, addr, err := k.AddrSecure(t.Context(), "a.test")
		_, mx, err2 := k.MXSecure(t.Context(), "a.test")
		_, no, err3 := k.TLSA(t.Context(), "_25._tcp.a.test")
		if err != nil || err2 != nil || !isNotFound(err3) {
			t.Fatal(err, err2, err3)
		}
		if addr != trusted || mx != trusted || no != trusted {
			t.Errorf("trusted %t: %t %t %t", trusted, addr, mx, no)
		}
	}
}

func TestReverseName(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"192.0.2.1": "1.2.0.192", "::ffff:192.0.2.1": "1.2.0.192",
		"2001:db8::1": "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2",
	} {
		if got := ReverseName(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %s", addr, got)
		}
	}
}

// Whatever a name is, it is one that the library takes, or none.
func FuzzPresentation(f *testing.F) {
	for _, s := range []string{"a.test", "", "..", "a b", `x\.y`, "\x00.\xff", "é.test", `\`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if name, ok := presentation(s); ok && strings.Count(name, ".") < strings.Count(s, ".") {
			t.Errorf("%q became %q", s, name)
		}
	})
}
