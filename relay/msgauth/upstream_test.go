package msgauth

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"mxbypass/mailbox"
	"mxbypass/routing/mx"
)

// The addresses of this test: the author's server, one that is nobody's, and servers of the two providers.
const (
	authorServer    = "192.0.2.1"
	stranger        = "192.0.2.66"
	googleServer    = "198.51.100.10"
	microsoftServer = "203.0.113.20"
)

// newUpstreamKit is a kit in which ours.test has its mail at Google, and microsoft.test at Microsoft.
func newUpstreamKit(t *testing.T) *kit {
	t.Helper()
	providers, err := mx.EmbeddedProviders()
	if err != nil {
		t.Fatal(err)
	}
	k := newKit(t, func(o *Options) {
		o.Providers = providers
		o.MXOf = func(_ context.Context, d mailbox.DomainName) mx.State {
			switch d.ASCII() {
			case "ours.test":
				return runBy("aspmx.l.google.com")
			case "microsoft.test":
				return runBy("microsoft-test.mail.protection.outlook.com")
			case "self.test":
				return mx.State{Domain: d, Kind: mx.Self, Hosts: []mx.Host{{Name: name("aspmx.l.google.com"), Ours: true}}}
			}
			return mx.State{Domain: d, Kind: mx.Unknown}
		}
	})
	k.author("author.test", "p=reject")
	k.dns.AddTXT("_spf.google.com.", "v=spf1 include:_netblocks.google.com ~all")
	k.dns.AddTXT("_netblocks.google.com.", "v=spf1 ip4:198.51.100.0/24 ~all")
	k.dns.AddTXT("spf.protection.outlook.com.", "v=spf1 ip4:203.0.113.0/24 -all")
	for _, sealer := range []string{"google.com", "microsoft.com", "stranger.test"} {
		k.publish("s", sealer, edKey(sealer), "")
	}
	return k
}

// shape reads a shape of testdata/shapes: what a provider puts on top of a message that it sends on, the address that it
// had the message from being {client}.
func shape(t *testing.T, provider, client string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/shapes/" + provider + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(b), "\r\n", "\n")
	return crlf(strings.ReplaceAll(text, "{client}", client))
}

// Mail that Google and Microsoft have taken and sent on, in the shapes that they give it.
func TestUpstreams(t *testing.T) {
	t.Parallel()
	k := newUpstreamKit(t)
	at := map[string]struct{ server, domain, spf, sealer, id string }{
		"google":    {googleServer, "ours.test", "_spf.google.com", "google.com", "mx.google.com"},
		"microsoft": {microsoftServer, "microsoft.test", "spf.protection.outlook.com", "microsoft.com", "mx.microsoft.com 1"},
	}
	good := signed(t, plainMessage, "author.test", edKey("author.test"))
	changed := strings.Replace(good, "Hello", "[External] Hello", 1)
	for _, c := range []struct {
		title, hop, reverse, message string
		seal                         string // results of a seal
		quarantine                   bool
		step                         string // of the explanation
	}{
		{title: "split delivery, SPF of the hop before", hop: authorServer, reverse: "x@author.test", message: plainMessage,
			step: "so SPF is judged for 192.0.2.1"},
		{title: "redirected with SRS", hop: authorServer, reverse: "SRS0=ab=QX=author.test=x@forward.test", message: plainMessage,
			step: "so DMARC pass for author.test by SPF of author.test"},
		{title: "signed, and the signature holds", hop: stranger, reverse: "x@elsewhere.test", message: good,
			step: "DMARC pass for author.test by DKIM of author.test"},
		{title: "signed, and changed on the way", hop: stranger, reverse: "x@elsewhere.test", message: changed,
			step: "not kept to: it was sent on by an upstream, which may have changed what author.test signed"},
		{title: "without a known sender", hop: authorServer, reverse: "", message: plainMessage,
			step: "not kept to: it was sent on by an upstream, and its sender at the hop before is not known"},
		{title: "forged when the upstream took it", hop: stranger, reverse: "x@author.test", message: plainMessage, quarantine: true,
			step: "so DMARC fail for author.test, which wants reject"},
		{title: "forged, and the sender is another", hop: stranger, reverse: "x@elsewhere.test", message: plainMessage,
			quarantine: true, step: "which would report to who did not write it"},
		{title: "sealed by the provider as from there", hop: stranger, reverse: "x@elsewhere.test", message: plainMessage,
			seal: "dmarc=pass (p=REJECT) header.from=author.test", step: "says that it came from there (ARC)"},
		{title: "sealed by the provider as forged", hop: stranger, reverse: "x@elsewhere.test", message: plainMessage,
			seal: "dmarc=fail (p=REJECT) header.from=author.test", quarantine: true, step: "ARC pass"},
	} {
		for provider, p := range at {
			t.Run(c.title+", "+provider, func(t *testing.T) {
				message := shape(t, provider, c.hop) + c.message
				if c.seal != "" {
					message = k.sealed(message, p.sealer, p.id+"; "+c.seal)
				}
				for _, upstream := range []string{"auto", p.spf} {
					d := mailbox.Domain{Name: name(p.domain), Upstreams: []string{upstream}}
					v := k.check(p.server, c.reverse, message, d)
					quarantine, err := v.For(d)
					steps := strings.Join(v.Steps(), "\n")
					if quarantine != c.quarantine || err != nil || !strings.Contains(steps, c.step) {
						t.Errorf("%s: %t, %v\n%s\n%s", upstream, quarantine, err, steps, v.Results)
					}
				}
			})
		}
	}
}

// The same message means something else to a domain of which the client is no upstream, and the field that both get is
// about the client.
func TestUpstreamOfOne(t *testing.T) {
	t.Parallel()
	k := newUpstreamKit(t)
	message := shape(t, "google", authorServer) + plainMessage
	upstream, other := hosted("auto"), mailbox.Domain{Name: name("other.test")}
	v := k.check(googleServer, "x@author.test", message, upstream, other)
	if q, err := v.For(upstream); q || err != nil {
		t.Error(q, err)
	}
	if _, err := v.For(other); !errors.Is(err, ErrRejected) {
		t.Error(err)
	}
	if !strings.Contains(string(v.Results), "spf=fail smtp.mailfrom=x@author.test") {
		t.Errorf("%s", v.Results)
	}
	v = k.check(googleServer, "x@author.test", message, upstream)
	field := strings.Join(strings.Fields(string(v.Results)), " ")
	if !strings.Contains(field, "spf=pass (for 192.0.2.1, from where the upstream 198.51.100.10 had it)") {
		t.Errorf("%s", v.Results)
	}
}

// Who is an upstream, and who is not.
func TestWhoIsUpstream(t *testing.T) {
	t.Parallel()
	k := newUpstreamKit(t)
	message := "Received: from a (a [192.0.2.1]) by up.test; date\r\n" + plainMessage
	k.dns.AddTXT("spf.up.test.", "v=spf1 ip4:203.0.113.0/24 -all")
	k.dns.Fail("spf.down.test.", true)
	for _, c := range []struct {
		client   string
		upstream []string
		domain   string
		err      error
	}{
		{"203.0.113.5", []string{"203.0.113.0/24"}, "ours.test", nil},
		{"203.0.113.5", []string{"198.51.100.0/24", "spf.up.test"}, "ours.test", nil},
		{"203.0.113.5", []string{"198.51.100.0/24"}, "ours.test", ErrRejected},
		{"203.0.113.5", nil, "ours.test", ErrRejected},
		{"203.0.113.5", []string{"spf.nobody.test"}, "ours.test", ErrRejected},
		{"203.0.113.5", []string{"spf.down.test"}, "ours.test", ErrUnsure},
		{"203.0.113.5", []string{"spf.down.test", "spf.up.test"}, "ours.test", nil},
		{"203.0.113.5", []string{"auto"}, "ours.test", ErrRejected},
		{googleServer, []string{"auto"}, "self.test", ErrRejected},
		{googleServer, []string{"auto"}, "unknown.test", ErrUnsure},
		{"192.0.2.66", []string{"not valid"}, "ours.test", ErrRejected},
	} {
		d := mailbox.Domain{Name: name(c.domain), Upstreams: c.upstream}
		v := k.check(c.client, "x@author.test", message, d)
		if q, err := v.For(d); q || !errors.Is(err, c.err) {
			t.Errorf("%s of %v: %t, %v; %q", c.client, c.upstream, q, err, v.Steps())
		}
	}
}

// Received fields are followed as far as the upstream has written them, and no further.
func TestHopBefore(t *testing.T) {
	t.Parallel()
	k := newUpstreamKit(t)
	const inside = "Received: from in (in [10.0.0.1]) by up.test; date\r\n"
	received := func(addr string) string { return fmt.Sprintf("Received: from a (a [%s]) by up.test; date\r\n", addr) }
	for title, c := range map[string]struct{ received, want string }{
		"the first":               {received("192.0.2.1"), "192.0.2.1"},
		"after steps inside":      {inside + "Received: by up.test; date\r\n" + received("192.0.2.1"), "192.0.2.1"},
		"after hosts of its own":  {received("203.0.113.9") + received("192.0.2.1"), "192.0.2.1"},
		"not what the sender put": {received("192.0.2.66") + received("192.0.2.1"), "192.0.2.66"},
		"nothing":                 {"", "invalid IP"},
		"inside only":             {inside + inside, "invalid IP"},
		"too many":                {strings.Repeat(inside, maxHops) + received("192.0.2.1"), "invalid IP"},
	} {
		u := k.upstreamsOf(t.Context(), hosted("203.0.113.0/24"))
		got, _ := k.hopBefore(t.Context(), u, read(t, c.received+plainMessage))
		if got.String() != c.want {
			t.Errorf("%s: %s", title, got)
		}
	}
}

// Seals count of sealers that are trusted, by configuration or as those of the upstream; and only what they vouch for.
func TestSealers(t *testing.T) {
	t.Parallel()
	k := newUpstreamKit(t)
	trusting := newUpstreamKit(t)
	trusting.o.Sealers = []mailbox.DomainName{name("stranger.test")}
	const pass = "mx.stranger.test; dmarc=pass header.from=author.test"
	for _, c := range []struct {
		title, sealer, results string
		kit                    *kit
		want                   error
	}{
		{"trusted", "stranger.test", pass, trusting, nil},
		{"not trusted", "stranger.test", pass, k, ErrRejected},
		{"an upstream's, from elsewhere", "google.com", pass, k, ErrRejected},
		{"DKIM of the author", "stranger.test", "x; dkim=pass header.i=@author.test", trusting, nil},
		{"SPF of the author", "stranger.test", "x; spf=pass smtp.mailfrom=a@author.test", trusting, nil},
		{"DKIM of another", "stranger.test", "x; dkim=pass header.d=other.test; spf=pass smtp.mailfrom=other.test", trusting, ErrRejected},
		{"DMARC of another", "stranger.test", "x; dmarc=pass header.from=other.test", trusting, ErrRejected},
		{"DMARC of nobody", "stranger.test", "x; dmarc=pass", trusting, ErrRejected},
		{"failed", "stranger.test", "x; dmarc=fail header.from=author.test; dkim=fail header.d=author.test", trusting, ErrRejected},
		{"nothing", "stranger.test", "x; none", trusting, ErrRejected},
	} {
		v := c.kit.check(stranger, "x@other.test", c.kit.sealed(plainMessage, c.sealer, c.results), hosted())
		if q, err := v.For(hosted()); q || !errors.Is(err, c.want) {
			t.Errorf("%s: %t, %v; %q", c.title, q, err, v.Steps())
		}
		if v.Chain.Instances != 1 || !strings.Contains(string(v.Results), "arc=pass (i=1 sealed by "+c.sealer+")") {
			t.Errorf("%s: %s", c.title, v.Results)
		}
	}
	changed := strings.Replace(trusting.sealed(plainMessage, "stranger.test", pass), "Hello", "Hallo", 1)
	v := trusting.check(stranger, "", changed, hosted())
	if _, err := v.For(hosted()); !errors.Is(err, ErrRejected) || !strings.Contains(string(v.Results), "arc=fail") {
		t.Error(err, string(v.Results))
	}
}
