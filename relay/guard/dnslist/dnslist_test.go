package dnslist

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeDNS is a DNS of maps. A name that is in none of them does not exist.
type fakeDNS struct {
	a     map[string]string // addresses with spaces between them
	txt   map[string]string
	fail  map[string]bool          // SERVFAIL
	after map[string]time.Duration // when there is an answer; -1: never. "TXT" before a name is for that alone

	mu    *sync.Mutex // nil: nobody wants to know what was asked
	asked []string
}

func (f *fakeDNS) wait(ctx context.Context, name string) error {
	if f.mu != nil {
		f.mu.Lock()
		f.asked = append(f.asked, name)
		f.mu.Unlock()
	}
	var after <-chan time.Time
	if d, ok := f.after[name]; ok {
		if d >= 0 {
			after = time.After(d)
		}
		select {
		case <-after:
		case <-ctx.Done():
			return &net.DNSError{Err: ctx.Err().Error(), Name: name, IsTimeout: true}
		}
	}
	if f.fail[name] {
		return &net.DNSError{Err: "server failure", Name: name, IsTemporary: true}
	}
	return nil
}

func (f *fakeDNS) Addr4(ctx context.Context, name string) (addrs []netip.Addr, err error) {
	if err := f.wait(ctx, name); err != nil {
		return nil, err
	}
	for _, s := range strings.Fields(f.a[name]) {
		addrs = append(addrs, netip.MustParseAddr(s))
	}
	if addrs == nil {
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	return addrs, nil
}

func (f *fakeDNS) TXT(ctx context.Context, name string) ([]string, error) {
	if err := f.wait(ctx, "TXT "+name); err != nil {
		return nil, err
	}
	if s, ok := f.txt[name]; ok {
		return []string{s}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

const client = "192.0.2.1"

func lists(t *testing.T, dns *fakeDNS, log *bytes.Buffer, zones ...Zone) *Lists {
	t.Helper()
	l, err := New(Options{Zones: zones, Lookup: dns, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func codes(s string) Codes {
	first, last, ok := strings.Cut(s, "-")
	if !ok {
		last = first
	}
	return Codes{netip.MustParseAddr(first), netip.MustParseAddr(last)}
}

func TestVerdict(t *testing.T) {
	bad := Zone{Zone: "bl.example"}
	mark := Zone{Zone: "Mark.Example.", Action: Mark}
	good := Zone{Zone: "wl.example", Action: Allow}
	const inBad, inMark, inGood = "1.2.0.192.bl.example", "1.2.0.192.mark.example", "1.2.0.192.wl.example"
	some := []Codes{codes("127.0.0.4-127.0.0.7"), codes("127.0.0.10")}
	refused := func(code string) string { return "refuse: listed by bl.example (" + code + ")" }
	for _, tt := range []struct {
		name  string
		dns   fakeDNS
		zones []Zone
		want  string // what is done, with the marks
		took  time.Duration
		log   string // a part of it; empty: nothing is said
	}{
		{name: "on none", zones: []Zone{bad, mark, good}, want: "accept"},
		{name: "listed", dns: fakeDNS{a: map[string]string{inBad: "127.0.0.2"}}, zones: []Zone{bad},
			want: refused("127.0.0.2") + " [bl.example=127.0.0.2]"},
		{name: "with a reason", zones: []Zone{bad}, want: refused("127.0.0.2") + ": see elsewhere [bl.example=127.0.0.2]",
			dns: fakeDNS{a: map[string]string{inBad: "127.0.0.2"}, txt: map[string]string{inBad: " see\r\n elsewhere "}}},
		{name: "the reason takes too long", zones: []Zone{bad}, want: refused("127.0.0.2") + " [bl.example=127.0.0.2]",
			took: 5 * time.Second, dns: fakeDNS{a: map[string]string{inBad: "127.0.0.2"},
				after: map[string]time.Duration{"TXT " + inBad: -1}}},
		{name: "marked", dns: fakeDNS{a: map[string]string{inMark: "127.0.0.2"}}, zones: []Zone{bad, mark},
			want: "accept [mark.example=127.0.0.2]"},
		{name: "allowed", took: time.Second, zones: []Zone{bad, good}, want: "allow [bl.example=127.0.0.2]",
			dns: fakeDNS{a: map[string]string{inBad: "127.0.0.2", inGood: "127.0.5.1"},
				after: map[string]time.Duration{inGood: time.Second}}}, // the other one answers first
		{name: "allowed, and nobody waits for more", zones: []Zone{mark, good}, want: "allow",
			dns: fakeDNS{a: map[string]string{inGood: "127.0.5.1"}, after: map[string]time.Duration{inMark: -1}}},
		{name: "code that counts", zones: []Zone{{Zone: "bl.example", Codes: some}}, want: refused("127.0.0.7") +
			" [bl.example=127.0.0.7]", dns: fakeDNS{a: map[string]string{inBad: "127.0.0.2 127.0.0.7"}}},
		{name: "codes that do not", zones: []Zone{{Zone: "bl.example", Codes: some}}, want: "accept",
			dns: fakeDNS{a: map[string]string{inBad: "127.0.0.2 127.0.0.8"}}},
		{name: "not served", zones: []Zone{bad}, want: "accept", log: "it does not serve us: 127.255.255.254",
			dns: fakeDNS{a: map[string]string{inBad: "127.255.255.254"}}},
		{name: "allowed by one that does not serve", zones: []Zone{good}, want: "accept",
			log: "it does not serve us: 127.0.0.255", dns: fakeDNS{a: map[string]string{inGood: "127.0.0.255"}}},
		{name: "not served is said with codes, too", zones: []Zone{{Zone: "bl.example", Codes: some}}, want: "accept",
			log: "it does not serve us: 127.0.0.1", dns: fakeDNS{a: map[string]string{inBad: "127.0.0.1"}}},
		{name: "a domain that was sold", zones: []Zone{bad}, want: "accept", log: "outside of 127.0.0.0/8: 198.51.100.1",
			dns: fakeDNS{a: map[string]string{inBad: "198.51.100.1"}}},
		{name: "failure", zones: []Zone{bad}, want: "accept", log: "server failure", dns: fakeDNS{fail: map[string]bool{inBad: true}}},
		{name: "no answer", zones: []Zone{bad}, want: "accept", took: 5 * time.Second, log: "deadline exceeded",
			dns: fakeDNS{after: map[string]time.Duration{inBad: -1}}},
		{name: "no answer of one of two", zones: []Zone{bad, mark}, took: 5 * time.Second, log: "deadline exceeded",
			want: refused("127.0.0.2") + " [bl.example=127.0.0.2]",
			dns:  fakeDNS{a: map[string]string{inBad: "127.0.0.2"}, after: map[string]time.Duration{inMark: -1}}},
		{name: "in time", zones: []Zone{bad}, want: refused("127.0.0.2") + " [bl.example=127.0.0.2]", took: 4 * time.Second,
			dns: fakeDNS{a: map[string]string{inBad: "127.0.0.2"}, after: map[string]time.Duration{inBad: 4 * time.Second}}},
		{name: "in doubt", zones: []Zone{bad, good}, want: "accept [bl.example=127.0.0.2]", log: "server failure",
			dns: fakeDNS{a: map[string]string{inBad: "127.0.0.2"}, fail: map[string]bool{inGood: true}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				q := lists(t, &tt.dns, &log, tt.zones...).Begin(t.Context(), netip.MustParseAddr("::ffff:"+client))
				defer q.Close()
				started := time.Now()
				for range 2 {
					if got := written(q.Verdict(t.Context())); got != tt.want {
						t.Errorf("%q instead of %q", got, tt.want)
					}
					if took := time.Since(started); took != tt.took {
						t.Errorf("after %v instead of %v", took, tt.took)
					}
				}
				synctest.Wait()
				if got := log.String(); !strings.Contains(got, tt.log) || tt.log == "" && got != "" {
					t.Errorf("log: %s", got)
				}
			})
		})
	}
}

func written(v Verdict) string {
	s := "accept"
	switch {
	case v.Err != nil:
		s = "refuse: " + v.Err.Error()
	case v.Allowed:
		s = "allow"
	}
	if v.Marks != nil {
		s += " " + fmt.Sprint(v.Marks)
	}
	return s
}

func TestQuestions(t *testing.T) {
	dns := &fakeDNS{mu: new(sync.Mutex)}
	l := lists(t, dns, &bytes.Buffer{}, Zone{Zone: "a.example"}, Zone{Zone: "b.example", Action: Allow})
	for _, a := range []string{client, "2001:db8::1%eth0"} {
		q := l.Begin(t.Context(), netip.MustParseAddr(a))
		q.Verdict(t.Context())
		q.Close()
	}
	slices.Sort(dns.asked)
	const v6 = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2."
	want := []string{v6 + "a.example", v6 + "b.example", "1.2.0.192.a.example", "1.2.0.192.b.example"}
	slices.Sort(want)
	if diff := cmp.Diff(want, dns.asked); diff != "" {
		t.Error(diff)
	}
}

// Who asks does not wait for longer than he wants, and a client that leaves ends what is asked about it.
func TestEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		dns := &fakeDNS{after: map[string]time.Duration{"1.2.0.192.bl.example": -1}}
		q := lists(t, dns, &log, Zone{Zone: "bl.example"}).Begin(t.Context(), netip.MustParseAddr(client))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		started := time.Now()
		if v := q.Verdict(ctx); v.Err != nil || time.Since(started) != time.Second {
			t.Error(v, time.Since(started))
		}
		q.Close()
		q.Close()
		if time.Since(started) != time.Second || log.Len() > 0 {
			t.Error(time.Since(started), log.String())
		}
	})
}

// Lists that hang hold a bounded number of goroutines, and clients beyond it are not kept waiting.
func TestQuestionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		dns := &fakeDNS{after: map[string]time.Duration{"1.2.0.192.bl.example": -1}}
		l := lists(t, dns, &log, Zone{Zone: "bl.example"})
		var all []*Query
		for range maxUnderway + 10 {
			all = append(all, l.Begin(t.Context(), netip.MustParseAddr(client)))
		}
		started := time.Now()
		if v := all[maxUnderway].Verdict(t.Context()); v.Err != nil || time.Since(started) != 0 {
			t.Error(v, time.Since(started))
		}
		if n := strings.Count(log.String(), "too many questions"); n != 1 {
			t.Errorf("said %d times", n)
		}
		for _, q := range all {
			q.Close()
		}
		if len(l.underway) != 0 {
			t.Error(len(l.underway))
		}
	})
}

// The domain of a list may hold a key, and what a list says is hostile.
func TestWhatIsSaid(t *testing.T) {
	const zone = "secretkey.dq.example"
	name := "1.2.0.192." + zone
	dns := &fakeDNS{a: map[string]string{name: "127.0.0.2"},
		txt: map[string]string{name: "\x1b[2J\u202eabc\x00é" + strings.Repeat("x", 5000)}}
	var log bytes.Buffer
	l := lists(t, dns, &log, Zone{Zone: zone, Name: "dq.example\r\n"})
	q := l.Begin(t.Context(), netip.MustParseAddr(client))
	v := q.Verdict(t.Context())
	q.Close()
	text := fmt.Sprint(v.Err, v.Marks, v.Err.(*ListedError).Told())
	if strings.Contains(text, "secret") || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) ||
		len(text) > 1000 || !strings.Contains(text, "listed by dq.example (127.0.0.2): ?[2J?abc??xxx") {
		t.Errorf("%q", text)
	}
	for _, failing := range []*fakeDNS{{fail: map[string]bool{name: true}}, {a: map[string]string{name: "127.0.0.1"}}} {
		q := lists(t, failing, &log, Zone{Zone: zone, Name: "dq.example"}).Begin(t.Context(), netip.MustParseAddr(client))
		q.Verdict(t.Context())
		q.Close()
	}
	if s := log.String(); !strings.Contains(s, "dq.example") || strings.Contains(s, "secret") {
		t.Error(s)
	}
}

// Trouble is said once in a while.
func TestTroubleIsSaidSometimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		l := lists(t, &fakeDNS{fail: map[string]bool{"1.2.0.192.bl.example": true}}, &log, Zone{Zone: "bl.example"})
		for range 3 {
			for range 10 {
				q := l.Begin(t.Context(), netip.MustParseAddr(client))
				q.Verdict(t.Context())
				q.Close()
			}
			<-time.After(time.Minute)
		}
		if n := strings.Count(log.String(), "server failure"); n != 3 {
			t.Errorf("%d times", n)
		}
	})
}

func TestNew(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	long := strings.Repeat("a123456789.", 18) + "example"
	for name, o := range map[string]Options{
		"no zones":  {Lookup: &fakeDNS{}, Log: log},
		"no lookup": {Zones: []Zone{{Zone: "bl.example"}}, Log: log},
		"no domain": {Zones: []Zone{{Zone: "bl example"}}, Lookup: &fakeDNS{}, Log: log},
		"too long":  {Zones: []Zone{{Zone: long}}, Lookup: &fakeDNS{}, Log: log},
	} {
		if l, err := New(o); err == nil || l != nil {
			t.Errorf("%s: %v", name, l)
		}
	}
}
