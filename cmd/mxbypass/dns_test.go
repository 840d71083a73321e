package main

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"mxbypass/configs"
	"mxbypass/mailbox"
	"mxbypass/relay/lookup"
	"mxbypass/relay/lookup/dnstest"
	"mxbypass/routing/mx"
)

const cachesConfig = `hostname = "mx.host.test"
[[listener]]
address = "127.0.0.1:2525"
[[gateway]]
host = "mx.host.test"
sites = ["*"]
[[site]]
name = "cloud"
store = "lmtp"
address = "unix:/run/lmtp"
[dns]
servers = ["127.0.0.1:9"]
timeout = "50ms"
`

func parseConfig(t *testing.T, text string) *configs.Config {
	t.Helper()
	c, err := configs.Parse("mxbypass.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// used is what a configuration asks DNS by.
type used struct {
	states  *mx.Cache
	lookups *lookup.Client
	release func()
}

// use takes what a configuration asks DNS by, as a start or a reload does.
func use(t *testing.T, keep *shared, text string) used {
	t.Helper()
	a := newAssembly(parseConfig(t, text), keep, slog.New(slog.DiscardHandler))
	a.hostname = mailbox.MustDomainName("mx.host.test")
	a.lookAtDNS()
	if err := a.err(); err != nil {
		t.Fatal(err)
	}
	return used{a.states, a.lookups, func() {
		t.Helper()
		if err := a.opened.close(); err != nil {
			t.Error(err)
		}
	}}
}

// A reload keeps client and cache while nothing about DNS changes; the last user closes the cache.
func TestDNSOverReloads(t *testing.T) {
	var keep shared
	first := use(t, &keep, cachesConfig)
	same := use(t, &keep, cachesConfig+"[log]\nlevel = \"debug\"\n")
	if same.states != first.states || same.lookups != first.lookups {
		t.Error("a change that is not about DNS has cost what was learnt")
	}
	for _, change := range []struct {
		from, to string
		lookups  bool // it is about what DNS says, and not only about who we are
	}{
		{`timeout = "50ms"`, `timeout = "60ms"`, true},
		{`timeout = "50ms"`, "timeout = \"50ms\"\nvalidating = true", true},
		{`timeout = "50ms"`, "timeout = \"50ms\"\ncache_entries = 10", true},
		{`timeout = "50ms"`, "timeout = \"50ms\"\nstale = \"1h\"", false},
		{`"127.0.0.1:9"`, `"127.0.0.1:10"`, true},
		{`host = "mx.host.test"`, `host = "mx2.host.test"`, false},
		{`hostname = "mx.host.test"`, "hostname = \"mx.host.test\"\naddresses = [\"192.0.2.1\"]", false},
	} {
		other := use(t, &keep, strings.Replace(cachesConfig, change.from, change.to, 1))
		if other.states == first.states || (other.lookups == first.lookups) == change.lookups {
			t.Errorf("%s: what was learnt with %s is believed: states %t, answers %t", change.to, change.from,
				other.states == first.states, other.lookups == first.lookups)
		}
		other.release()
	}
	again := use(t, &keep, cachesConfig)
	if again.states != first.states || again.lookups != first.lookups { // as after a reload that has failed
		t.Error("what is in use is forgotten")
	}
	first.release()
	again.release()
	same.release()

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	closed := first.states.State(ctx, mailbox.MustDomainName("exemple.org"))
	if closed.Kind != mx.Unknown || !strings.Contains(closed.Err.Error(), "closed") {
		t.Errorf("after the last release: %+v", closed)
	}
	again = use(t, &keep, cachesConfig)
	if again.states == first.states {
		t.Error("a closed cache is used again")
	}
	again.release()
}

// Who judges, who asks lists, who routes and who sends know what one of them has asked for, also after a reload; and what
// another server has said, or who was not trusted, is not believed after a change.
func TestOneDNSClient(t *testing.T) {
	var keep shared
	servers := map[string]*dnstest.Server{"first": dnstest.New(t), "second": dnstest.New(t)}
	for _, s := range servers {
		s.Add(t, "d.test. MX 10 host.test.", "host.test. A 192.0.2.1")
		s.Secure()
	}
	config := func(server, more string) string {
		text := strings.Replace(cachesConfig, "127.0.0.1:9", servers[server].Addr, 1)
		return strings.Replace(text, `"50ms"`, "\"10s\"\n"+more, 1)
	}
	asked := func(server string) int { return servers[server].Asked("d.test.") + servers[server].Asked("host.test.") }
	// all asks what a message and its way ask. The answer is whether a rule for TLS could be built on it.
	all := func(u used) bool {
		t.Helper()
		domain, host := mailbox.MustDomainName("d.test"), mailbox.MustDomainName("host.test")
		if state := u.states.State(t.Context(), domain); state.Kind != mx.External {
			t.Errorf("%+v", state)
		}
		if hosts, err := u.lookups.MX(t.Context(), "d.test"); err != nil || len(hosts) != 1 {
			t.Error(hosts, err)
		}
		if _, err := u.lookups.Addr(t.Context(), "host.test"); err != nil {
			t.Error(err)
		}
		plan, addrs := u.lookups.LookupMX(t.Context(), domain), u.lookups.LookupAddr(t.Context(), host)
		if plan.Outcome != mx.Found || addrs.Outcome != mx.Found || plan.Secure != addrs.Secure {
			t.Errorf("%+v, %+v", plan, addrs)
		}
		return plan.Secure
	}
	first := use(t, &keep, config("first", ""))
	if all(first) {
		t.Error("a server that is not trusted was believed")
	}
	if n := asked("first"); n != 3 { // MX, A and AAAA
		t.Errorf("one message has cost %d questions", n)
	}
	reloaded := use(t, &keep, config("first", "")+"[log]\nlevel = \"debug\"\n")
	first.release()
	all(reloaded)
	if n := asked("first"); n != 3 {
		t.Errorf("after a reload: %d questions", n)
	}
	trusting := use(t, &keep, config("first", "validating = true"))
	reloaded.release()
	if !all(trusting) {
		t.Error("what was said before the servers were trusted is still told")
	}
	if n := asked("first"); n != 6 {
		t.Errorf("trusted from now on: %d questions", n)
	}
	other := use(t, &keep, config("second", ""))
	trusting.release()
	if all(other) {
		t.Error("what was said by a server that was trusted counts for one that is not")
	}
	if first, second := asked("first"), asked("second"); first != 6 || second != 3 {
		t.Errorf("another server: %d and %d questions", first, second)
	}
	other.release()
}
