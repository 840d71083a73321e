package routing_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"mxbypass/mailbox"
	"mxbypass/routing"
	"mxbypass/routing/mx"
)

// awayWorld has a domain of every policy, in all ways to leave, and none of the addresses that are asked in it.
func awayWorld(external mailbox.External) (routing.Options, *directory) {
	d := newDirectory()
	for domain, policy := range map[string]mailbox.MXPolicy{
		"external.test": mailbox.PolicyExternal, "split.test": mailbox.PolicySplit, "auto.test": mailbox.PolicyAuto,
		"local.test": mailbox.PolicyLocal,
	} {
		d.add(mailbox.Domain{Name: name(domain), Site: "cloud", MX: policy, Bypass: true, External: external}, "u")
	}
	return routing.Options{
		Hostname: name("own.test"),
		Gateways: []routing.Gateway{{Host: name("mx.test"), Sites: everySite}},
		Resolver: resolver(d),
		MX:       states{name("auto.test"): {Kind: mx.External}},
		Verifier: answers{},
	}, d
}

// TestHops: by which way mail leaves, with and without a smarthost. What a client that is not trusted gets relayed is
// never a smarthost's.
func TestHops(t *testing.T) {
	byMX := mailbox.External{MX: true}
	byServer := mailbox.External{Host: mailbox.NextHop{Host: name("h.test"), Port: 2525}}
	for _, c := range []struct {
		external       mailbox.External
		path           string
		client         routing.Client
		direct, beside string // without a smarthost, and with one
	}{
		{byMX, "v@x.test", trusted, "mx:x.test", "smarthost"},
		{byMX, "v@[192.0.2.1]", trusted, "mx:[192.0.2.1]", "smarthost"},
		{mailbox.External{}, "v@external.test", trusted, "external:external.test", "smarthost"},
		{mailbox.External{}, "u@auto.test", trusted, "external:auto.test", "smarthost"},
		{mailbox.External{}, "v@split.test", trusted, "external:split.test", "smarthost"},
		{mailbox.External{}, "v@split.test", anybody, "external:split.test", "external:split.test"},
		{byMX, "v@external.test", trusted, "external:external.test", "external:external.test"},
		{byMX, "v@split.test", anybody, "external:split.test", "external:split.test"},
		{byServer, "u@external.test", trusted, "smtp://h.test:2525", "smtp://h.test:2525"},
		{byServer, "u@auto.test", trusted, "smtp://h.test:2525", "smtp://h.test:2525"},
		{byServer, "v@split.test", trusted, "smtp://h.test:2525", "smtp://h.test:2525"},
		{byServer, "v@split.test", anybody, "smtp://h.test:2525", "smtp://h.test:2525"},
	} {
		for smarthost, hop := range map[bool]string{false: c.direct, true: c.beside} {
			o, _ := awayWorld(c.external)
			o.Smarthost = smarthost
			route := router(t, o).Route(context.Background(), forward(t, c.path), c.client)
			want{hop: hop}.check(t, route)
			purpose := routing.Submitted
			if !c.client.Trusted {
				purpose = routing.OtherHalf
			}
			for _, out := range route.Outbound {
				if out.To.String() != c.path || out.Purpose != purpose || !out.From.IsNull() || out.Original != c.path {
					t.Errorf("%s: %+v", c.path, out)
				}
			}
		}
	}
}

// noting is an other half that answers what it is told to, and notes what it was asked.
type noting struct {
	answer error
	asked  []routing.Probe
}

func (n *noting) Verify(_ context.Context, p routing.Probe) error {
	n.asked = append(n.asked, p)
	return n.answer
}

// TestOtherHalf: what the other half says, and what the client is told.
func TestOtherHalf(t *testing.T) {
	said := func(code int, enhanced [3]int, command string) error {
		return fmt.Errorf("asked: %w", &mailbox.RemoteError{Code: code, Enhanced: enhanced, Text: "in their words",
			Host: "half.test", Command: command})
	}
	client := routing.Client{Addr: netip.MustParseAddr("192.0.2.7")}
	for _, c := range []struct {
		answer error
		action routing.Action
		err    error
	}{
		{nil, routing.Relay, nil},
		{said(550, [3]int{5, 1, 1}, "RCPT"), routing.Refuse, mailbox.ErrNoMailbox},
		{said(550, [3]int{}, "RCPT"), routing.Refuse, mailbox.ErrNoMailbox},
		{said(501, [3]int{5, 1, 3}, "RCPT"), routing.Refuse, mailbox.ErrNoMailbox},
		{said(556, [3]int{5, 1, 10}, "RCPT"), routing.Refuse, mailbox.ErrNoMailbox},
		{said(450, [3]int{4, 2, 1}, "RCPT"), routing.Defer, routing.ErrOtherHalf},
		{said(550, [3]int{5, 7, 1}, "RCPT"), routing.Defer, routing.ErrOtherHalf},
		{said(503, [3]int{5, 5, 1}, "RCPT"), routing.Defer, routing.ErrOtherHalf},
		{said(550, [3]int{5, 1, 1}, "MAIL"), routing.Defer, routing.ErrOtherHalf},
		{said(554, [3]int{}, "connect"), routing.Defer, routing.ErrOtherHalf},
		{routing.ErrBackToSource, routing.Refuse, routing.ErrBackToSource},
		{fmt.Errorf("asked: %w", routing.ErrBackToSource), routing.Refuse, routing.ErrBackToSource},
		{errDown, routing.Defer, routing.ErrOtherHalf},
		{context.DeadlineExceeded, routing.Defer, routing.ErrOtherHalf},
		{mailbox.ErrNoMailbox, routing.Defer, routing.ErrOtherHalf}, // no server said so
	} {
		half := &noting{answer: c.answer}
		o, _ := awayWorld(mailbox.External{})
		o.Verifier = half
		route := router(t, o).Route(context.Background(), forward(t, "v@split.test"), client)
		if route.Action != c.action || !errors.Is(route.Err, c.err) || len(route.Recipients) != 0 {
			t.Errorf("%v: %s", c.answer, explained(route))
		}
		var remote *mailbox.RemoteError
		if route.Action == routing.Defer && (errors.As(route.Err, &remote) || errors.Is(route.Err, mailbox.ErrNoMailbox)) {
			t.Errorf("%v: deferred, with what a reply would take for final: %v", c.answer, route.Err)
		}
		if errors.As(c.answer, &remote) && !strings.Contains(explained(route), "in their words") {
			t.Errorf("not explained:\n%s", explained(route))
		}
		probe := routing.Probe{To: address(t, "v@split.test"), Client: client.Addr,
			Hop: routing.Hop{Kind: routing.HopExternal, Domain: name("split.test")}}
		if !slices.Equal(half.asked, []routing.Probe{probe}) {
			t.Errorf("asked %+v", half.asked)
		}
	}
}

// TestOtherHalfIsNotAsked: by whom it need not be known, and for whom it must not be.
func TestOtherHalfIsNotAsked(t *testing.T) {
	half := &noting{}
	o, _ := awayWorld(mailbox.External{})
	o.Verifier = half
	r := router(t, o)
	for _, c := range []struct {
		path   string
		client routing.Client
		want   want
	}{
		{"u@split.test", anybody, want{to: "u@split.test"}},
		{"u@split.test", trusted, want{to: "u@split.test"}},
		{"v@split.test", trusted, want{hop: "external:split.test"}},
		{"v%split.test@mx.test", anybody, want{err: mailbox.ErrNoMailbox}},
		{"v%split.test@mx.test", trusted, want{err: mailbox.ErrNoMailbox}},
		{"postmaster@split.test", anybody, want{to: "postmaster@own.test"}},
		// What the other half, which may relay for us, could read a route in.
		{"v%x.test@split.test", anybody, want{err: mailbox.ErrNoMailbox}},
		{"x.test!v@split.test", anybody, want{err: mailbox.ErrNoMailbox}},
		{`"v%x.test"@split.test`, anybody, want{err: mailbox.ErrNoMailbox}},
		{"v%x.test@split.test", trusted, want{hop: "external:split.test"}},
		{"v@external.test", anybody, want{err: mailbox.ErrNoMailbox}},
		{"v@auto.test", anybody, want{err: mailbox.ErrNoMailbox}},
	} {
		c.want.check(t, r.Route(context.Background(), forward(t, c.path), c.client))
	}
	if len(half.asked) != 0 {
		t.Errorf("asked %+v", half.asked)
	}
	o.Verifier = nil
	route := router(t, o).Route(context.Background(), forward(t, "v@split.test"), anybody)
	want{err: routing.ErrOtherHalf}.check(t, route)
	route = r.Presuming().Route(context.Background(), forward(t, "v@split.test"), anybody)
	want{hop: "external:split.test"}.check(t, route)
	if !strings.Contains(explained(route), "would be asked") || len(half.asked) != 0 {
		t.Errorf("asked %+v\n%s", half.asked, explained(route))
	}
}

// TestRedirects: where the directory sends mail on, for everybody and under every spelling.
func TestRedirects(t *testing.T) {
	o, d := awayWorld(mailbox.External{MX: true})
	put := func(local string, alias, copies []string) {
		e := mailbox.Entry{Address: address(t, local+"@local.test")}
		for _, s := range alias {
			e.Alias = append(e.Alias, address(t, s))
		}
		for _, s := range copies {
			e.Copies = append(e.Copies, address(t, s))
		}
		d.put(e)
	}
	put("away", []string{"a@x.test"}, nil)
	put("team", []string{"u@local.test", "a@x.test", "away@local.test", "b@y.test"}, nil)
	put("copied", nil, []string{"a@x.test", "v@split.test"})
	put("gateway", []string{"u%local.test@mx.test"}, nil)
	put("own", []string{"u@own.test"}, nil)
	for _, c := range []struct{ local, want string }{
		{"away", "a@x.test by mx:x.test from away"},
		{"team", "u@local.test, a@x.test by mx:x.test from team, b@y.test by mx:y.test from team"},
		{"copied", "copied@local.test, a@x.test by mx:x.test from copied, v@split.test by external:split.test from copied"},
		{"gateway", "unavailable"},
		{"own", "unavailable"},
	} {
		for _, path := range []string{c.local + "@local.test", c.local + "%local.test@mx.test"} {
			for _, client := range []routing.Client{anybody, trusted} {
				route := router(t, o).Route(context.Background(), forward(t, path), client)
				var got []string
				for _, to := range route.Recipients {
					got = append(got, to.Mailbox.Address.String())
				}
				for _, out := range route.Outbound {
					if out.Purpose != routing.Redirected || out.Original != path {
						t.Errorf("%s: %+v", path, out)
					}
					got = append(got, fmt.Sprintf("%s by %s from %s", out.To, out.Hop, out.From.Local))
				}
				action := routing.Deliver
				switch {
				case route.Err != nil:
					action, got = routing.Defer, append(got, route.Explanation().Reason)
				case len(route.Recipients) == 0:
					action = routing.Relay
				}
				if s := strings.Join(got, ", "); s != c.want || route.Action != action {
					t.Errorf("%s: %s\n%s", path, s, explained(route))
				}
			}
		}
	}
	o.Smarthost = true
	route := router(t, o).Route(context.Background(), forward(t, "copied@local.test"), anybody)
	if len(route.Outbound) != 2 || route.Outbound[0].Hop.String() != "smarthost" ||
		route.Outbound[1].Hop.String() != "external:split.test" {
		t.Errorf("with a smarthost:\n%s", explained(route))
	}
}

// redirecting is a resolver that sends the mail for everybody on to many.
type redirecting struct {
	mailbox.Resolver
	many int
}

func (r redirecting) Resolve(_ context.Context, d mailbox.Domain, l mailbox.LocalPart) (mailbox.Resolution, error) {
	var res mailbox.Resolution
	for i := range r.many {
		res.Redirects = append(res.Redirects, mailbox.Redirect{
			To:   mailbox.Address{Local: mailbox.LocalPart(fmt.Sprintf("u%d", i)), Domain: name("x.test")},
			From: mailbox.Address{Local: l, Domain: d.Name},
		})
	}
	return res, nil
}

// TestManyRedirects are told in few lines.
func TestManyRedirects(t *testing.T) {
	o, d := awayWorld(mailbox.External{})
	o.Resolver = redirecting{resolver(d), mailbox.MaxAliasEntries}
	route := router(t, o).Route(context.Background(), forward(t, "all@local.test"), anybody)
	if route.Action != routing.Relay || len(route.Outbound) != mailbox.MaxAliasEntries || len(route.Steps) > 30 {
		t.Errorf("%d targets in %d steps: %s", len(route.Outbound), len(route.Steps), route.Short())
	}
	if short := route.Short(); !strings.Contains(short, " and 997 more") {
		t.Errorf("in short: %q", short)
	}
}

// TestReturns: reports go home once, as mail of a trusted client would; nothing else is let through.
func TestReturns(t *testing.T) {
	report, trustedReport := routing.Client{NullSender: true}, routing.Client{Trusted: true, NullSender: true}
	for _, domain := range []string{"srs.test", "mx.test", "local.test"} { // a name of its own, a gateway, a hosted domain
		o, _ := awayWorld(mailbox.External{})
		o.Returns, o.Verifier = returns{name(domain)}, unverified{t}
		r := router(t, o)
		for _, c := range []struct {
			local  string
			client routing.Client
			want   want
		}{
			{"return=v=x.test", report, want{hop: "mx:x.test"}},
			{"return=v=x.test", trustedReport, want{hop: "mx:x.test"}},
			{"return=v=x.test", anybody, want{err: routing.ErrReturnOnly}},
			{"return=v=x.test", trusted, want{err: routing.ErrReturnOnly}},
			{"return", report, want{err: routing.ErrBadReturn}},
			{"return", trusted, want{err: routing.ErrBadReturn}},
			{"return=u=local.test", report, want{to: "u@local.test"}},
			{"return=v=local.test", report, want{err: mailbox.ErrNoMailbox}},
			{"return=u=external.test", report, want{hop: "external:external.test"}},
			{"return=v=split.test", report, want{hop: "external:split.test"}},
			{"return=v%x.test=split.test", report, want{err: mailbox.ErrNoMailbox}},
			{"return=x.test!v=external.test", report, want{err: mailbox.ErrNoMailbox}},
			{"return=u%local.test=mx.test", report, want{to: "u@local.test"}},
			{"return=v%x.test=mx.test", report, want{err: routing.ErrNotHosted}},
			{"postmaster", anybody, want{to: "postmaster@own.test"}},
			{"v", anybody, want{err: mailbox.ErrNoMailbox}},
			{"v", trusted, want{err: mailbox.ErrNoMailbox}},
		} {
			path := mailbox.Path{Address: mailbox.Address{Local: mailbox.LocalPart(c.local), Domain: name(domain)},
				Written: c.local + "@" + domain}
			route := r.Route(context.Background(), path, c.client)
			c.want.check(t, route)
			for _, out := range route.Outbound {
				if out.Purpose != routing.ReturnHome || !strings.HasPrefix(c.local, "return="+string(out.To.Local)+"=") {
					t.Errorf("%s: %+v", c.local, out)
				}
			}
		}
		// Not a second time.
		path := forward(t, "return=return=u=x.test="+domain+"@"+domain)
		route := r.Route(context.Background(), path, report)
		if route.Action != routing.Refuse || len(route.Outbound)+len(route.Recipients) != 0 {
			t.Errorf("unwrapped twice:\n%s", explained(route))
		}
	}
}

// unverified fails the test when it is asked.
type unverified struct{ t *testing.T }

func (u unverified) Verify(_ context.Context, p routing.Probe) error {
	u.t.Errorf("asked about %s", p.To)
	return errDown
}

// brokenReturns cannot tell.
type brokenReturns struct{ returns }

func (brokenReturns) Reverse(mailbox.LocalPart) (mailbox.Address, error) {
	return mailbox.Address{}, errDown
}

func TestReturnsThatCannotTell(t *testing.T) {
	o, _ := awayWorld(mailbox.External{})
	o.Returns = brokenReturns{returns{name("srs.test")}}
	route := router(t, o).Route(context.Background(), forward(t, "u@srs.test"), routing.Client{NullSender: true})
	if route.Action != routing.Defer || !errors.Is(route.Err, errDown) {
		t.Errorf("%s", route.Short())
	}
	o.Returns = returns{}
	if _, err := routing.NewRouter(o); err == nil {
		t.Error("a return domain without a name is taken")
	}
}
