package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"mxbypass/configs"
	"mxbypass/mailbox"
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

// A reload keeps the cache while nothing about DNS changes; the last user closes it.
func TestMXCaches(t *testing.T) {
	var caches mxCaches
	acquire := func(text string) *mxCache {
		t.Helper()
		c, err := caches.acquire(parseConfig(t, text))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	release := func(c *mxCache) {
		t.Helper()
		if err := c.release(); err != nil {
			t.Error(err)
		}
	}
	first := acquire(cachesConfig)
	same := acquire(cachesConfig + "[log]\nlevel = \"debug\"\n")
	if same.Cache != first.Cache {
		t.Error("a change that is not about DNS has cost the cache")
	}
	for _, change := range [][2]string{
		{`timeout = "50ms"`, `timeout = "60ms"`},
		{`"127.0.0.1:9"`, `"127.0.0.1:10"`},
		{`host = "mx.host.test"`, `host = "mx2.host.test"`},
		{`hostname = "mx.host.test"`, "hostname = \"mx.host.test\"\naddresses = [\"192.0.2.1\"]"},
	} {
		other := acquire(strings.Replace(cachesConfig, change[0], change[1], 1))
		if other.Cache == first.Cache {
			t.Errorf("%s: what was learnt with %s is still believed", change[1], change[0])
		}
		release(other)
	}
	again := acquire(cachesConfig)
	if again.Cache != first.Cache { // as after a reload that has failed
		t.Error("the cache in use is forgotten")
	}
	release(first)
	release(again)
	release(same)

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	closed := first.State(ctx, mailbox.MustDomainName("exemple.org"))
	if closed.Kind != mx.Unknown || !strings.Contains(closed.Err.Error(), "closed") {
		t.Errorf("after the last release: %+v", closed)
	}
	again = acquire(cachesConfig)
	if again.Cache == first.Cache {
		t.Error("a closed cache is used again")
	}
	release(again)
}
