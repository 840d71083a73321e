package greylist

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"mxbypass/mailbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func address(s string) mailbox.Address {
	if s == "" {
		return mailbox.Address{}
	}
	a, err := mailbox.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

var (
	alice = address("alice@sender.example")
	bob   = address("bob@exemple.org")
	here  = netip.MustParseAddr("192.0.2.1")
)

// kit is a greylist with a clock and a log.
type kit struct {
	*List
	o   Options
	at  time.Time
	log bytes.Buffer
}

func (k *kit) pass(d time.Duration) { k.at = k.at.Add(d) }

func open(t *testing.T, change func(*Options)) *kit {
	t.Helper()
	k := &kit{at: time.Unix(1_700_000_000, 0)}
	k.o = Options{
		Path: filepath.Join(t.TempDir(), "greylist.db"), Delay: 5 * time.Minute, Within: 24 * time.Hour,
		Lifetime: 35 * 24 * time.Hour, Servers: 3, Entries: 1000,
		Log: slog.New(slog.NewTextHandler(&k.log, nil)), Now: func() time.Time { return k.at },
	}
	if change != nil {
		change(&k.o)
	}
	k.reopen(t)
	t.Cleanup(func() { k.Close() })
	return k
}

func (k *kit) reopen(t *testing.T) {
	t.Helper()
	var err error
	if k.List, err = Open(k.o); err != nil {
		t.Fatal(err)
	}
}

func (k *kit) want(t *testing.T, addr netip.Addr, sender, recipient mailbox.Address, wait time.Duration) {
	t.Helper()
	var want error
	if wait > 0 {
		want = ErrGreylisted
	}
	if got, err := k.Check(addr, sender, recipient); got != wait || err != want {
		t.Errorf("%v, %v instead of %v", got, err, wait)
	}
}

func TestTriple(t *testing.T) {
	k := open(t, nil)
	k.want(t, here, alice, bob, 5*time.Minute)
	k.pass(time.Minute)
	k.want(t, here, alice, bob, 4*time.Minute)
	k.want(t, netip.MustParseAddr("::ffff:192.0.2.200"), alice, address("BOB@exemple.org"), 4*time.Minute)
	k.want(t, netip.MustParseAddr("192.0.3.1"), alice, bob, 5*time.Minute)
	k.want(t, here, address("eve@sender.example"), bob, 5*time.Minute)
	k.want(t, here, alice, address("carol@exemple.org"), 5*time.Minute)
	k.want(t, here, mailbox.Address{}, bob, 5*time.Minute)
	k.pass(4 * time.Minute)
	k.want(t, here, alice, bob, 0)
	k.pass(34 * 24 * time.Hour)
	k.want(t, here, alice, bob, 0)
	k.pass(34 * 24 * time.Hour)
	k.want(t, here, alice, bob, 0)
	k.pass(36 * 24 * time.Hour)
	k.want(t, here, alice, bob, 5*time.Minute)
	// Whoever comes again too late begins again.
	k.pass(25 * time.Hour)
	k.want(t, here, alice, bob, 5*time.Minute)
	k.pass(5 * time.Minute)
	k.want(t, here, alice, bob, 0)
}

func TestIPv6Network(t *testing.T) {
	k := open(t, nil)
	k.want(t, netip.MustParseAddr("2001:db8::1"), alice, bob, 5*time.Minute)
	k.pass(5 * time.Minute)
	k.want(t, netip.MustParseAddr("2001:db8:0:1::1"), alice, bob, 5*time.Minute)
	k.want(t, netip.MustParseAddr("2001:db8::ffff:1%eth0"), alice, bob, 0)
}

func TestNumbersDoNotCount(t *testing.T) {
	k := open(t, nil)
	k.want(t, here, address("bounce-1234-7=bob@list.example"), bob, 5*time.Minute)
	k.pass(5 * time.Minute)
	k.want(t, here, address("bounce-1-99=bob@list.example"), bob, 0)
	k.want(t, here, address("bounce-bob@list.example"), bob, 5*time.Minute)
}

func TestServers(t *testing.T) {
	k := open(t, nil)
	sender := func(n int) mailbox.Address { return address(strings.Repeat("x", n+1) + "@sender.example") }
	// One message to many counts once.
	for n := range 20 {
		k.want(t, here, alice, address(strings.Repeat("r", n+1)+"@exemple.org"), 5*time.Minute)
	}
	k.pass(6 * time.Minute)
	for n := range 20 {
		k.want(t, here, alice, address(strings.Repeat("r", n+1)+"@exemple.org"), 0)
	}
	for n := range 2 {
		k.want(t, here, sender(n), bob, 5*time.Minute)
		k.pass(5 * time.Minute)
		k.want(t, here, sender(n), bob, 0)
	}
	k.want(t, here, sender(5), bob, 0)
	k.want(t, netip.MustParseAddr("192.0.3.1"), sender(6), bob, 5*time.Minute)
	k.pass(36 * 24 * time.Hour)
	k.want(t, here, sender(7), bob, 5*time.Minute)

	k = open(t, func(o *Options) { o.Servers = 0 })
	for n := range 20 {
		k.want(t, here, sender(n), bob, 5*time.Minute)
		k.pass(5 * time.Minute)
		k.want(t, here, sender(n), bob, 0)
	}
}

// The clock may be set.
func TestClockGoesBack(t *testing.T) {
	k := open(t, nil)
	k.want(t, here, alice, bob, 5*time.Minute)
	k.pass(-48 * time.Hour)
	k.want(t, here, alice, bob, 5*time.Minute)
	k.pass(5 * time.Minute)
	k.want(t, here, alice, bob, 0)
	k.pass(-48 * time.Hour)
	k.want(t, here, alice, bob, 0)
}

func v4(n int) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(n)<<8|10<<24)
	return netip.AddrFrom4(b)
}

func numbered(n int) mailbox.Address {
	name := fmt.Sprintf("%b@sender.example", n)
	return address(strings.NewReplacer("0", "o", "1", "l").Replace(name))
}

// A flood takes no memory, and cannot keep honest mail out.
func TestFlood(t *testing.T) {
	k := open(t, nil)
	k.want(t, here, alice, bob, 5*time.Minute)
	k.pass(5 * time.Minute)
	k.want(t, here, alice, bob, 0)
	for n := range 20_000 {
		k.Check(v4(n), numbered(n), bob)
	}
	k.mu.Lock()
	if k.waiting.len() != 1000 || len(k.waiting.records) > 1000 || len(k.waiting.own) > 1000 {
		t.Errorf("%d wait", k.waiting.len())
	}
	k.mu.Unlock()
	k.want(t, here, alice, bob, 0)
	k.want(t, netip.MustParseAddr("198.51.100.1"), alice, bob, 0) // there is no place for it
	if n := strings.Count(k.log.String(), "full of new triples"); n != 1 {
		t.Errorf("said %d times", n)
	}
	k.pass(5 * time.Minute) // then their places are free
	k.want(t, netip.MustParseAddr("198.51.100.1"), alice, bob, 5*time.Minute)
}

// One network takes only its own places.
func TestFloodOfANetwork(t *testing.T) {
	k := open(t, nil)
	for n := range 5000 {
		k.want(t, here, numbered(n), bob, 5*time.Minute)
	}
	if k.waiting.len() != 20 {
		t.Errorf("%d wait", k.waiting.len())
	}
	k.want(t, netip.MustParseAddr("198.51.100.1"), alice, bob, 5*time.Minute)
	k.pass(5 * time.Minute)
	k.want(t, here, alice, bob, 5*time.Minute) // in the place of the oldest
	k.want(t, here, numbered(0), bob, 5*time.Minute)
	k.want(t, here, numbered(19), bob, 0)
	k.want(t, netip.MustParseAddr("198.51.100.1"), alice, bob, 0)
}

func TestKnownAreBounded(t *testing.T) {
	k := open(t, nil)
	for n := range 3000 {
		k.want(t, v4(n), alice, bob, 5*time.Minute)
		k.pass(5 * time.Minute)
		k.want(t, v4(n), alice, bob, 0)
	}
	for _, m := range []*memory{k.waiting, k.passed, k.networks} {
		if m.len() > 1000 || len(m.records) > 1001 {
			t.Errorf("%d", m.len())
		}
	}
	k.want(t, v4(2999), alice, bob, 0)
	k.want(t, v4(0), alice, bob, 5*time.Minute)
}

// A memory is what a plain list would be, whatever is done to it.
func TestMemory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMemory()
		var model []record
		at := func(k key) int {
			for i, r := range model {
				if r.key == k {
					return i
				}
			}
			return -1
		}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			k := key{byte(rapid.IntRange(1, 12).Draw(t, "key"))}
			i := at(k)
			switch rapid.SampledFrom([]string{"add", "remove", "touch"}).Draw(t, "what") {
			case "add":
				if i < 0 {
					r := record{key: k, network: key{k[0] % 3}}
					m.add(r)
					model = append(model, r)
				}
			case "remove":
				if m.remove(k); i >= 0 {
					model = append(model[:i], model[i+1:]...)
				}
			case "touch":
				if m.touch(k); i >= 0 {
					r := model[i]
					model = append(append(model[:i], model[i+1:]...), r)
				}
			}
			var got []key
			m.each(func(r *record) { got = append(got, r.key) })
			first := map[key]key{}
			n := map[key]int{}
			for i, r := range model {
				if i >= len(got) || got[i] != r.key || m.get(r.key) == nil {
					t.Fatalf("%v instead of %v", got, model)
				}
				if n[r.network]++; n[r.network] == 1 {
					first[r.network] = r.key
				}
			}
			if len(got) != len(model) || m.len() != len(model) || len(m.index) != len(model) {
				t.Fatalf("%v instead of %v", got, model)
			}
			if o := m.oldest(); (o == nil) != (len(model) == 0) || o != nil && o.key != model[0].key {
				t.Fatal(o)
			}
			for network := range byte(3) {
				network := key{network}
				if network == (key{}) {
					continue
				}
				if o := m.oldestOf(network); m.own[network].n != n[network] ||
					(o == nil) != (n[network] == 0) || o != nil && o.key != first[network] {
					t.Fatal(o, n, first)
				}
			}
		}
	})
}

// The saver writes once a minute, and only when there is something new.
func TestSaver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := open(t, func(o *Options) { o.Now = nil })
		written := func() time.Time {
			info, err := os.Stat(k.o.Path)
			if err != nil {
				return time.Time{}
			}
			return info.ModTime()
		}
		sleep := func(d time.Duration) {
			<-time.After(d)
			synctest.Wait()
		}
		sleep(2 * time.Minute)
		if !written().IsZero() {
			t.Error("nothing to write")
		}
		k.Check(here, alice, bob)
		sleep(time.Minute + time.Second)
		first := written()
		if first.IsZero() {
			t.Error("not written")
		}
		if info, err := os.Stat(k.o.Path); err != nil || info.Mode().Perm() != 0o600 {
			t.Error(info, err)
		}
		sleep(10 * time.Minute)
		if written() != first {
			t.Error("written again")
		}
	})
}
