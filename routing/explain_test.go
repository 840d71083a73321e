package routing_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mxbypass/mailbox"
	"mxbypass/routing"
	"mxbypass/routing/mx"
)

func TestExplain(t *testing.T) {
	o := rowWorld(t)
	o.MX = states{name("exemple.org"): {Kind: mx.External, Provider: "Google Workspace"}}
	r := router(t, o)
	for _, c := range []struct{ path, people, short string }{
		{"foobar+x%exemple.org@mx.host.test", `foobar+x%exemple.org@mx.host.test
  deliver to foobar@exemple.org in site cloud, tag x
  gateway mx.host.test
  MX state external, Google Workspace
    unfold     the last % splits foobar+x%exemple.org into mailbox foobar+x@exemple.org at gateway mx.host.test
    domain     exemple.org is hosted in site cloud, policy local
    directory  mailbox foobar@exemple.org, tag x
    mx         exemple.org is external (Google Workspace): bypassed
`, "deliver foobar@exemple.org (cloud) bypassing external Google Workspace"},
		{"u%x.test@mx.host.test", `u%x.test@mx.host.test
  refuse: domain not hosted here
  gateway mx.host.test
    unfold     the last % splits u%x.test into mailbox u@x.test at gateway mx.host.test
    domain     x.test is not hosted here, and a bypass address is never relayed
`, "refuse: domain not hosted here"},
		{"a%b%c@mx.host.test", `a%b%c@mx.host.test
  refuse: more than one hop in a bypass address
  gateway mx.host.test
    unfold     a%b%c at the gateway mx.host.test is refused: more than one hop in a bypass address
`, "refuse: more than one hop in a bypass address"},
		{"u@x.test", `u@x.test
  refuse: relay access denied
    domain     x.test is not hosted here, and the client may not submit mail for elsewhere
`, "refuse: relay access denied"},
		{"Postmaster", `Postmaster
  deliver to postmaster@own.host.test, the fallback postmaster mailbox
    postmaster mail to postmaster is always accepted: the fallback postmaster mailbox takes it
`, "deliver postmaster@own.host.test (the fallback postmaster mailbox)"},
		{"nobody@exemple.org", `nobody@exemple.org
  refuse: no such mailbox
    domain     exemple.org is hosted in site cloud, policy local
    directory  no mailbox or alias nobody@exemple.org
`, "refuse: no such mailbox"},
	} {
		route := r.Route(context.Background(), forward(t, c.path), anybody)
		if diff := cmp.Diff(c.people, explained(route)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.path, diff)
		}
		if got := route.Short(); got != c.short {
			t.Errorf("%s in short: %q, want %q", c.path, got, c.short)
		}
	}
}

// TestExplainAway: what leaves says where to, by which way and why.
func TestExplainAway(t *testing.T) {
	o, d := awayWorld(mailbox.External{})
	d.put(mailbox.Entry{Address: address(t, "both@local.test"), Copies: []mailbox.Address{address(t, "a@x.test")}})
	o.Returns = returns{name("srs.test")}
	r := router(t, o)
	for _, c := range []struct {
		path                string
		client              routing.Client
		people, short, json string
	}{
		{"v@x.test", trusted, `v@x.test
  relay to v@x.test by mx:x.test, submitted
    domain     x.test is not hosted here, and the client is trusted
    relay      it goes to the MX of x.test
`, "relay v@x.test (mx:x.test)", `[{"to":"v@x.test","hop":"mx:x.test","purpose":"submitted"}]`},
		{"v@split.test", anybody, `v@split.test
  relay to v@split.test by external:split.test, other half
    domain     split.test is hosted in site cloud, policy split
    directory  no mailbox or alias v@split.test
    policy     the policy is split: who has no mailbox here may have one with the other half
    verify     the other half takes mail for v@split.test
    relay      it goes to the MX of split.test, without the hosts that are ours
`, "relay v@split.test (external:split.test)",
			`[{"to":"v@split.test","hop":"external:split.test","purpose":"other half"}]`},
		{"both@local.test", anybody, `both@local.test
  deliver to both@local.test in site cloud
  relay to a@x.test by mx:x.test, redirected by both@local.test
    domain     local.test is hosted in site cloud, policy local
    directory  mailbox both@local.test
    directory  elsewhere a@x.test
    redirect   both@local.test sends its mail to a@x.test, by mx:x.test
`, "deliver both@local.test (cloud) a@x.test (mx:x.test)",
			`[{"to":"a@x.test","hop":"mx:x.test","purpose":"redirected","from":"both@local.test"}]`},
		{"return=v=x.test@srs.test", routing.Client{NullSender: true}, `return=v=x.test@srs.test
  relay to v@x.test by mx:x.test, return
    return     it stands for v@x.test, whose mail was redirected here: a report goes home like mail of a trusted client
    domain     x.test is not hosted here, and a report goes home
    relay      it goes to the MX of x.test
`, "relay v@x.test (mx:x.test)", `[{"to":"v@x.test","hop":"mx:x.test","purpose":"return"}]`},
	} {
		route := r.Route(context.Background(), forward(t, c.path), c.client)
		if diff := cmp.Diff(c.people, explained(route)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.path, diff)
		}
		if got := route.Short(); got != c.short {
			t.Errorf("%s in short: %q, want %q", c.path, got, c.short)
		}
		got, err := json.Marshal(route.Explanation().Outbound)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != c.json {
			t.Errorf("%s for machines: %s", c.path, got)
		}
	}
}

// TestExplainMX: what DNS says is said whatever the decision is.
func TestExplainMX(t *testing.T) {
	d := newDirectory()
	d.add(mailbox.Domain{Name: name("d.test"), Site: "cloud", MX: mailbox.PolicyAuto, Bypass: true}, "u")
	for _, c := range []struct {
		state         mx.State
		plain, bypass string
	}{
		{mx.State{Kind: mx.Self}, "d.test is self: its mail is kept here", "d.test is self: there is nothing to bypass"},
		{mx.State{Kind: mx.Mixed}, "d.test is mixed: its mail is kept here", "d.test is mixed: bypassed"},
		{mx.State{Kind: mx.Null},
			"d.test has a null MX and says that it accepts no mail: what is kept here is served all the same",
			"d.test has a null MX: bypassed"},
		{mx.State{Kind: mx.None}, "d.test has no MX: its mail is kept here", "d.test has no MX: bypassed"},
		{mx.State{Kind: mx.Unknown},
			"d.test has an unknown MX state, because DNS failed: only a mailbox that is here can be told",
			"d.test has an unknown MX state: bypassed"},
		{mx.State{Kind: mx.Unknown, Err: errors.Join(errors.New("127.0.0.1:53: SERVFAIL"), errors.New("[::1]:53: \x1btimeout"))},
			"d.test has an unknown MX state (127.0.0.1:53: SERVFAIL; [::1]:53: \ufffdtimeout), because DNS failed: " +
				"only a mailbox that is here can be told",
			"d.test has an unknown MX state (127.0.0.1:53: SERVFAIL; [::1]:53: \ufffdtimeout): bypassed"},
		{mx.State{Kind: mx.External, Provider: "Gandi", Stale: true},
			"d.test is external (Gandi) by an answer past its time: its mail is kept elsewhere, but for mailboxes that are here",
			"d.test is external (Gandi) by an answer past its time: bypassed"},
	} {
		r := router(t, routing.Options{
			Hostname: name("own.test"),
			Gateways: []routing.Gateway{{Host: name("mx.test"), Sites: everySite}},
			Resolver: resolver(d),
			MX:       states{name("d.test"): c.state},
		})
		for path, want := range map[string]string{"u@d.test": c.plain, "u%d.test@mx.test": c.bypass} {
			route := r.Route(context.Background(), forward(t, path), anybody)
			var got []string
			for _, s := range route.Steps {
				if s.Rule == "mx" {
					got = append(got, s.Detail())
				}
			}
			if len(got) != 1 || got[0] != want {
				t.Errorf("%s, MX %s: %q, want %q", path, c.state.Kind, got, want)
			}
		}
	}
}

func TestExplanationJSON(t *testing.T) {
	o := rowWorld(t)
	o.MX = states{name("exemple.org"): {Kind: mx.External, Provider: "Gandi"}}
	route := router(t, o).Route(context.Background(), forward(t, "u+x%exemple.org@mx.host.test"), anybody)
	e := route.Explanation()
	if len(e.Steps) != len(route.Steps) {
		t.Errorf("%d steps of %d", len(e.Steps), len(route.Steps))
	}
	e.Steps = e.Steps[:1]
	got, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"address":"u+x%exemple.org@mx.host.test","action":"deliver","gateway":"mx.host.test",` +
		`"bypassed":{"state":"external","provider":"Gandi"},"recipients":[{"mailbox":"u@exemple.org","site":"cloud",` +
		`"tag":"x","delivered_to":"u+x@exemple.org"}],"steps":[{"rule":"unfold","detail":"the last % splits ` +
		`u+x%exemple.org into mailbox u+x@exemple.org at gateway mx.host.test"}]}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestReasons: every error has a word of its own, and what is not known is not available.
func TestReasons(t *testing.T) {
	for err, want := range map[error]string{
		mailbox.ErrNoMailbox: "no_mailbox", mailbox.ErrSyntax: "syntax", mailbox.ErrTooLong: "too_long",
		mailbox.ErrDisabled: "disabled", mailbox.ErrAliasLoop: "alias_loop", mailbox.ErrUnavailable: "unavailable",
		routing.ErrNotHosted: "not_hosted", routing.ErrBypassOff: "bypass_off", routing.ErrNotServed: "not_served", routing.ErrNotGateway: "not_gateway",
		routing.ErrNested: "nested", routing.ErrRelayDenied: "relay_denied", routing.ErrOtherHalf: "other_half",
		routing.ErrBackToSource: "back_to_source", routing.ErrReturnOnly: "return_only", routing.ErrBadReturn: "bad_return",
		routing.ErrMXUnknown: "mx_unknown", errDown: "unavailable",
	} {
		if got := (routing.Route{Err: err}).Explanation().Reason; got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}

// TestShownIsPrintable: whatever the directory, DNS and the client say, people see text.
func TestShownIsPrintable(t *testing.T) {
	o := rowWorld(t)
	whole := o.Resolver.(mailbox.Resolver)
	evil := "\x1b[2J\r\n\u202e\xff"
	o.Resolver = talking{whole, evil}
	o.MX = states{name("exemple.org"): {Kind: mx.External, Provider: evil}}
	r := router(t, o)
	for _, path := range []string{"u+a\u202eb%exemple.org@mx.host.test", "nobody\u202e@exemple.org", "u@exemple.org"} {
		route := r.Route(context.Background(), forward(t, path), anybody)
		text, err := json.Marshal(route.Explanation())
		if err != nil {
			t.Fatal(err)
		}
		for _, shown := range []string{explained(route), route.Short(), string(text)} {
			if shown = strings.ReplaceAll(shown, "\n", ""); mailbox.Printable(shown) != shown {
				t.Errorf("%s: %q", path, shown)
			}
		}
		for _, to := range route.Recipients {
			if mailbox.Printable(to.Original) != to.Original {
				t.Errorf("original %q", to.Original)
			}
		}
	}
}

// talking is a resolver that says things.
type talking struct {
	mailbox.Resolver
	says string
}

func (r talking) Resolve(ctx context.Context, d mailbox.Domain, l mailbox.LocalPart) (mailbox.Resolution, error) {
	res, err := r.Resolver.Resolve(ctx, d, l)
	res.Steps = append(res.Steps, r.says)
	if err != nil {
		err = errors.Join(err, errors.New(r.says))
	}
	return res, err
}

// TestLongExplanation: an alias for many is told in few lines.
func TestLongExplanation(t *testing.T) {
	o := rowWorld(t)
	d := newDirectory()
	d.add(mailbox.Domain{Name: name("d.test"), Site: "cloud", MX: mailbox.PolicyLocal, Bypass: true})
	all := mailbox.Entry{Address: address(t, "all@d.test")}
	for range 100 {
		a := mailbox.Address{Local: "u" + mailbox.LocalPart(strings.Repeat("x", len(all.Alias)%60)), Domain: name("d.test")}
		d.put(mailbox.Entry{Address: a})
		all.Alias = append(all.Alias, a)
	}
	d.put(all)
	o.Resolver = resolver(d)
	route := router(t, o).Route(context.Background(), forward(t, "all%d.test@mx.host.test"), anybody)
	if len(route.Recipients) != 60 {
		t.Fatalf("%d recipients", len(route.Recipients))
	}
	if len(route.Steps) > 30 || !strings.Contains(explained(route), "steps more") {
		t.Errorf("%d steps", len(route.Steps))
	}
	if short := route.Short(); !strings.Contains(short, " and 57 more") {
		t.Errorf("in short: %q", short)
	}
}
