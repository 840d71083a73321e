package routing_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"mxbypass/mailbox"
	"mxbypass/routing"
	"mxbypass/routing/mx"
)

var (
	anybody = routing.Client{}
	trusted = routing.Client{Trusted: true}
	errDown = errors.New("the database is down")
)

// want is a decision as a table has it: a mailbox, a hop, or why there is neither.
type want struct {
	to  string
	hop string
	err error
}

func (w want) check(t *testing.T, route routing.Route) {
	t.Helper()
	if w.err != nil {
		if !errors.Is(route.Err, w.err) || len(route.Recipients) != 0 {
			t.Errorf("%s, want %v\n%s", route.Short(), w.err, explained(route))
		}
		return
	}
	if w.hop != "" {
		if route.Action != routing.Relay || route.Err != nil || len(route.Recipients) != 0 || len(route.Outbound) != 1 ||
			route.Outbound[0].Hop.String() != w.hop {
			t.Errorf("%s, want a relay by %s\n%s", route.Short(), w.hop, explained(route))
		}
		return
	}
	if route.Action != routing.Deliver || route.Err != nil || len(route.Recipients) != 1 ||
		route.Recipients[0].Mailbox.Address.Wire() != w.to {
		t.Errorf("%s, want %s\n%s", route.Short(), w.to, explained(route))
	}
}

func explained(r routing.Route) string {
	var b strings.Builder
	if err := routing.Explain(&b, r); err != nil {
		return err.Error()
	}
	return b.String()
}

// TestDecisions is the decision table of ARCHITECTURE.md.
func TestDecisions(t *testing.T) {
	here := want{to: "u@d.test"}
	no := want{err: mailbox.ErrNoMailbox}
	relay := want{hop: "external:d.test"}
	unknown := want{err: routing.ErrMXUnknown}
	for _, c := range []struct {
		policy                         mailbox.MXPolicy
		kind                           mx.Kind
		anybodyU, anybodyV             want // u has a mailbox, v has none
		trustedU, trustedV             want
		bypassU, bypassV, trustedBypas want
	}{
		{mailbox.PolicyLocal, mx.Self, here, no, here, no, here, no, here},
		{mailbox.PolicyLocal, mx.External, here, no, here, no, here, no, here},
		{mailbox.PolicyLocal, mx.Unknown, here, no, here, no, here, no, here},
		{mailbox.PolicyExternal, mx.Self, here, no, relay, relay, here, no, here},
		{mailbox.PolicyExternal, mx.External, here, no, relay, relay, here, no, here},
		{mailbox.PolicyExternal, mx.Unknown, here, no, relay, relay, here, no, here},
		{mailbox.PolicySplit, mx.Self, here, relay, here, relay, here, no, here},
		{mailbox.PolicySplit, mx.External, here, relay, here, relay, here, no, here},
		{mailbox.PolicySplit, mx.Unknown, here, relay, here, relay, here, no, here},
		{mailbox.PolicyAuto, mx.Self, here, no, here, no, here, no, here},
		{mailbox.PolicyAuto, mx.Mixed, here, no, here, no, here, no, here},
		{mailbox.PolicyAuto, mx.External, here, no, relay, relay, here, no, here},
		{mailbox.PolicyAuto, mx.Null, here, no, here, no, here, no, here},
		{mailbox.PolicyAuto, mx.None, here, no, here, no, here, no, here},
		{mailbox.PolicyAuto, mx.Unknown, here, unknown, here, unknown, here, no, here},
	} {
		t.Run(fmt.Sprintf("%s, MX %s", c.policy, c.kind), func(t *testing.T) {
			d := newDirectory()
			d.add(mailbox.Domain{Name: name("d.test"), Site: "cloud", MX: c.policy, Bypass: true}, "u")
			r := router(t, routing.Options{
				Hostname: name("own.test"),
				Gateways: []routing.Gateway{{Host: name("mx.test"), Sites: everySite}},
				Resolver: resolver(d),
				MX:       states{name("d.test"): {Kind: c.kind}},
				Verifier: answers{},
			})
			for _, q := range []struct {
				path   string
				client routing.Client
				want   want
			}{
				{"u@d.test", anybody, c.anybodyU},
				{"v@d.test", anybody, c.anybodyV},
				{"u@d.test", trusted, c.trustedU},
				{"v@d.test", trusted, c.trustedV},
				{"u%d.test@mx.test", anybody, c.bypassU},
				{"v%d.test@mx.test", anybody, c.bypassV},
				{"u%d.test@mx.test", trusted, c.trustedBypas},
				{"v%d.test@mx.test", trusted, c.bypassV},
			} {
				q.want.check(t, r.Route(context.Background(), forward(t, q.path), q.client))
			}
		})
	}
}

// TestActions: an answer that may change is never final, and the other way round.
func TestActions(t *testing.T) {
	r := router(t, rowWorld(t))
	for path, action := range map[string]routing.Action{
		"u%exemple.org@mx.host.test":      routing.Deliver,
		"nobody%exemple.org@mx.host.test": routing.Refuse,
		"u%x.test@mx.host.test":           routing.Refuse,
		"u@x.test":                        routing.Relay,
	} {
		if route := r.Route(context.Background(), forward(t, path), trusted); route.Action != action {
			t.Errorf("%s: %s, want %s", path, route.Short(), action)
		}
	}
}

// TestBypassed: a bypass address tells past whose MX it went, and a plain one does not.
func TestBypassed(t *testing.T) {
	o := rowWorld(t)
	o.MX = states{name("exemple.org"): {Kind: mx.External, Provider: "Google Workspace"}}
	r := router(t, o)
	route := r.Route(context.Background(), forward(t, "u%exemple.org@mx.host.test"), anybody)
	if b := route.Bypassed; b == nil || b.Kind != mx.External || b.Provider != "Google Workspace" {
		t.Errorf("bypassed %+v", b)
	}
	if route.Gateway != name("mx.host.test") {
		t.Errorf("gateway %q", route.Gateway)
	}
	route = r.Route(context.Background(), forward(t, "u@exemple.org"), anybody)
	if route.Bypassed != nil || !route.Gateway.IsZero() {
		t.Errorf("a plain address bypassed %+v by %q", route.Bypassed, route.Gateway)
	}
}

// TestDNSIsNotAskedForPermission: a bypass address is delivered while DNS says nothing at all.
func TestDNSIsNotAskedForPermission(t *testing.T) {
	o := rowWorld(t)
	o.MX, o.Patience = silent{}, time.Millisecond
	r := router(t, o)
	route := r.Route(context.Background(), forward(t, "u%exemple.org@mx.host.test"), anybody)
	want{to: "u@exemple.org"}.check(t, route)
	if route.Bypassed != nil {
		t.Errorf("bypassed %+v, which DNS never told", route.Bypassed)
	}
}

// TestFailedDNSIsBypassed: that the lookup failed is an answer, too.
func TestFailedDNSIsBypassed(t *testing.T) {
	o := rowWorld(t)
	o.MX = states{name("exemple.org"): {Kind: mx.Unknown}}
	route := router(t, o).Route(context.Background(), forward(t, "u%exemple.org@mx.host.test"), anybody)
	want{to: "u@exemple.org"}.check(t, route)
	if b := route.Bypassed; b == nil || b.Kind != mx.Unknown {
		t.Errorf("bypassed %+v", b)
	}
}

// TestMailboxHereNeedNotWaitForDNS: with policy auto, for a client that is not trusted.
func TestMailboxHereNeedNotWaitForDNS(t *testing.T) {
	d := newDirectory()
	d.add(mailbox.Domain{Name: name("d.test"), Site: "cloud", MX: mailbox.PolicyAuto}, "u")
	r := router(t, routing.Options{Hostname: name("own.test"), Resolver: resolver(d), MX: silent{},
		Patience: time.Millisecond})
	want{to: "u@d.test"}.check(t, r.Route(context.Background(), forward(t, "u@d.test"), anybody))
}

// TestRefusalsDoNotAskDNS: who guesses at addresses causes no lookups.
func TestRefusalsDoNotAskDNS(t *testing.T) {
	o := rowWorld(t)
	o.MX = unasked{t}
	r := router(t, o)
	for _, path := range []string{"nobody%exemple.org@mx.host.test", "u%x.test@mx.host.test", "u@x.test",
		"u%exemple.org@vps42.host.test", "u@mx.host.test", "a%b%c@mx.host.test"} {
		if route := r.Route(context.Background(), forward(t, path), anybody); route.Action != routing.Refuse {
			t.Errorf("%s: %s", path, route.Short())
		}
	}
}

func TestDisabled(t *testing.T) {
	o := rowWorld(t)
	d := newDirectory()
	d.add(mailbox.Domain{Name: name("off.test"), Site: "cloud", MX: mailbox.PolicyLocal, Bypass: true, Disabled: true}, "u")
	d.add(mailbox.Domain{Name: name("on.test"), Site: "cloud", MX: mailbox.PolicyLocal, Bypass: true}, "u")
	d.put(mailbox.Entry{Address: address(t, "locked@on.test"), Disabled: true})
	d.put(mailbox.Entry{Address: address(t, "postmaster@on.test"), Disabled: true})
	o.Resolver = resolver(d)
	r := router(t, o)
	for _, path := range []string{"u%off.test@mx.host.test", "u@off.test", "nobody@off.test", "locked@on.test",
		"locked%on.test@mx.host.test"} {
		route := r.Route(context.Background(), forward(t, path), anybody)
		want{err: mailbox.ErrDisabled}.check(t, route)
		if route.Action != routing.Defer {
			t.Errorf("%s: %s", path, route.Action)
		}
	}
	for _, path := range []string{"postmaster@off.test", "postmaster%off.test@mx.host.test", "postmaster@on.test"} {
		want{to: "postmaster@own.host.test"}.check(t, r.Route(context.Background(), forward(t, path), anybody))
	}
}

// TestDirectoryDown: unknown is never "no", and the postmaster of our own names is there all the same.
func TestDirectoryDown(t *testing.T) {
	o := rowWorld(t)
	d := newDirectory()
	d.err = errDown
	o.Resolver, o.Postmaster = resolver(d), address(t, "u@exemple.org")
	r := router(t, o)
	for _, client := range []routing.Client{anybody, trusted} {
		for _, path := range []string{"u%exemple.org@mx.host.test", "u@exemple.org", "u@x.test", "u@mx.host.test",
			"u%x.test@mx.host.test", "postmaster@exemple.org", "postmaster%exemple.org@mx.host.test",
			"u%hosted.test@hosted.test"} {
			route := r.Route(context.Background(), forward(t, path), client)
			want{err: errDown}.check(t, route)
			if route.Action != routing.Defer {
				t.Errorf("%s: %s", path, route.Action)
			}
		}
		for _, path := range []string{"Postmaster", "postmaster@mx.host.test", "postmaster@own.host.test",
			"postmaster%mx.host.test@mx.host.test"} {
			want{to: "postmaster@own.host.test"}.check(t, r.Route(context.Background(), forward(t, path), client))
		}
		for _, path := range []string{"a%b%c@mx.host.test", "u%exemple.org@[127.0.0.1]"} {
			if route := r.Route(context.Background(), forward(t, path), client); route.Action != routing.Refuse {
				t.Errorf("%s needs no directory: %s", path, route.Short())
			}
		}
	}
}

// TestConfiguredPostmaster takes the mail of every postmaster who has no mailbox, and of no other.
func TestConfiguredPostmaster(t *testing.T) {
	o := rowWorld(t)
	o.Postmaster = address(t, "foobar@exemple.org")
	r := router(t, o)
	for path, to := range map[string]string{
		"Postmaster":                            "foobar@exemple.org",
		"postmaster@mx.host.test":               "foobar@exemple.org",
		"postmaster@exemple.org":                "foobar@exemple.org",
		"postmaster%customer.test@mx.host.test": "foobar@exemple.org",
		"postmaster@catch.test":                 "u@catch.test",
	} {
		want{to: to}.check(t, r.Route(context.Background(), forward(t, path), anybody))
	}
	o.Postmaster = address(t, "gone@exemple.org")
	want{to: "postmaster@own.host.test"}.check(t,
		router(t, o).Route(context.Background(), forward(t, "Postmaster"), anybody))
}

// emptyResolver breaks the contract: it finds a mailbox and does not say which.
type emptyResolver struct{ mailbox.Resolver }

func (emptyResolver) Resolve(context.Context, mailbox.Domain, mailbox.LocalPart) (mailbox.Resolution, error) {
	return mailbox.Resolution{}, nil
}

// vanishing loses the domain between two questions.
type vanishing struct{ mailbox.Resolver }

func (vanishing) Resolve(context.Context, mailbox.Domain, mailbox.LocalPart) (mailbox.Resolution, error) {
	return mailbox.Resolution{}, mailbox.ErrNoDomain
}

func TestResolverThatBreaksItsWordIsTemporary(t *testing.T) {
	o := rowWorld(t)
	whole := o.Resolver.(mailbox.Resolver)
	for _, broken := range []routing.Resolver{emptyResolver{whole}, vanishing{whole}} {
		o.Resolver = broken
		route := router(t, o).Route(context.Background(), forward(t, "u%exemple.org@mx.host.test"), anybody)
		want{err: mailbox.ErrUnavailable}.check(t, route)
		if route.Action != routing.Defer {
			t.Errorf("%s", route.Short())
		}
	}
}

func TestPathWithoutDomain(t *testing.T) {
	r := router(t, rowWorld(t))
	for _, local := range []mailbox.LocalPart{"", "u", "u%exemple.org"} {
		route := r.Route(context.Background(), mailbox.Path{Address: mailbox.Address{Local: local}}, trusted)
		want{err: mailbox.ErrSyntax}.check(t, route)
	}
}

func TestNewRouterRefuses(t *testing.T) {
	for wrong, change := range map[string]func(*routing.Options){
		"no hostname":       func(o *routing.Options) { o.Hostname = mailbox.DomainName{} },
		"no resolver":       func(o *routing.Options) { o.Resolver = nil },
		"no MX states":      func(o *routing.Options) { o.MX = nil },
		"negative patience": func(o *routing.Options) { o.Patience = -1 },
		"a bad gateway":     func(o *routing.Options) { o.Gateways = []routing.Gateway{{}} },
	} {
		o := rowWorld(t)
		change(&o)
		if r, err := routing.NewRouter(o); err == nil || r != nil {
			t.Errorf("%s: %v, %v", wrong, r, err)
		}
	}
}
