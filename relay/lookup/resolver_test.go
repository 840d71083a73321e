package lookup

import (
	"fmt"
	"testing"
	"time"

	"mxbypass/mailbox"
	"mxbypass/routing/mx"
)

// MX states and plans know what those who judge mail have asked for, and they know what is left of its TTL.
func TestResolver(t *testing.T) {
	t.Parallel()
	k := newKit(t, Options{})
	k.server.Add(t, "a.test. MX 10 host.test.", "host.test. A 192.0.2.1", "host.test. AAAA 2001:db8::1",
		"alias.test. CNAME host.test.")
	k.server.Fail("broken.test.", true)
	ctx, name := t.Context(), mailbox.MustDomainName
	if _, err := k.MX(ctx, "a.test"); err != nil {
		t.Fatal(err)
	}
	asked := k.server.Asked("a.test.")
	first := k.LookupMX(ctx, name("a.test"))
	if first.Outcome != mx.Found || len(first.Records) != 1 || first.Records[0].Host != name("host.test") || first.TTL <= 0 {
		t.Fatalf("%+v", first)
	}
	k.now.Add(10)
	if later := k.LookupMX(ctx, name("a.test")); later.TTL != first.TTL-10*time.Second {
		t.Errorf("10 seconds after %s: %s", first.TTL, later.TTL)
	}
	if n := k.server.Asked("a.test."); n != asked {
		t.Errorf("asked %d times, want %d", n, asked)
	}
	addrs := k.LookupAddr(ctx, name("alias.test"))
	if got := fmt.Sprintf("%v %s", addrs.Records, addrs.Alias); got != "[192.0.2.1 2001:db8::1] host.test" {
		t.Error(got)
	}
	if none := k.LookupMX(ctx, name("none.test")); none.Outcome != mx.NXDomain || none.Err != nil {
		t.Errorf("%+v", none)
	}
	if none := k.LookupMX(ctx, name("host.test")); none.Outcome != mx.NoData || none.Err != nil {
		t.Errorf("%+v", none)
	}
	if failed := k.LookupMX(ctx, name("broken.test")); failed.Outcome != mx.Failed || failed.Err == nil {
		t.Errorf("%+v", failed)
	}
	if zero := k.LookupAddr(ctx, mailbox.DomainName{}); zero.Outcome != mx.Failed || zero.Err == nil {
		t.Errorf("%+v", zero)
	}
}

// A word about DNSSEC counts from servers that the configuration trusts, for whoever asks and however often.
func TestResolverSecure(t *testing.T) {
	t.Parallel()
	for _, trusted := range []bool{true, false} {
		k := newKit(t, Options{Trusted: trusted})
		k.server.Add(t, "a.test. MX 1 a.test.", "a.test. A 192.0.2.1")
		k.server.Secure()
		for range 2 {
			hosts := k.LookupMX(t.Context(), mailbox.MustDomainName("a.test"))
			addrs := k.LookupAddr(t.Context(), mailbox.MustDomainName("a.test"))
			if hosts.Outcome != mx.Found || addrs.Outcome != mx.Found || hosts.Secure != trusted || addrs.Secure != trusted {
				t.Errorf("trusted %t: %+v, %+v", trusted, hosts, addrs)
			}
		}
	}
}
