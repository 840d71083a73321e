package routing_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"mxbypass/mailbox"
	"mxbypass/routing"
	"mxbypass/routing/mx"
)

// Small vocabularies, so that what is drawn meets again: as domain, gateway, inner and outer host alike.
var (
	hostWords  = []string{"d.test", "sub.d.test", "mx.test", "vps.test", "own.test", "x.test", "localhost", "xn--tda.test"}
	hostForms  = append([]string{"MX.Test.", "D.TEST", "ü.test", "[127.0.0.1]", "[IPv6:::1]", "mx.test.d.test"}, hostWords...)
	localWords = []string{"u", "v", "postmaster", "info", "loop", "ü", "u+tag", "U", "d.test!u", "u=d.test", "a.b", "-"}
	siteWords  = []string{"cloud", "vps"}
	separators = []string{"%", "=", "#"}
	policies   = []mailbox.MXPolicy{mailbox.PolicyAuto, mailbox.PolicyLocal, mailbox.PolicyExternal, mailbox.PolicySplit}
	kinds      = []mx.Kind{mx.Self, mx.External, mx.Mixed, mx.Null, mx.None, mx.Unknown}
)

// drawWorld draws a directory, gateways and MX states.
func drawWorld(t *rapid.T) (routing.Options, *directory) {
	d := newDirectory()
	hosted := rapid.SliceOfNDistinct(rapid.SampledFrom(hostWords), 0, 5, rapid.ID).Draw(t, "domains")
	anyMailbox := func(label string) mailbox.Address {
		return mailbox.Address{
			Local:  mailbox.LocalPart(rapid.SampledFrom(localWords).Draw(t, label)),
			Domain: name(rapid.SampledFrom(hostWords).Draw(t, label)),
		}
	}
	for _, h := range hosted {
		domain := mailbox.Domain{
			Name:     name(h),
			Site:     rapid.SampledFrom(siteWords).Draw(t, "site"),
			MX:       rapid.SampledFrom(policies).Draw(t, "policy"),
			Bypass:   rapid.IntRange(0, 3).Draw(t, "bypass") > 0,
			Disabled: rapid.IntRange(0, 7).Draw(t, "disabled") == 0,
		}
		if rapid.IntRange(0, 3).Draw(t, "catch-all") == 0 {
			domain.CatchAll = anyMailbox("catch-all")
		}
		d.add(domain)
		for _, l := range rapid.SliceOfDistinct(rapid.SampledFrom(localWords), rapid.ID).Draw(t, "mailboxes") {
			e := mailbox.Entry{Address: mailbox.Address{Local: mailbox.LocalPart(l), Domain: domain.Name}}
			switch rapid.IntRange(0, 7).Draw(t, "entry") {
			case 0:
				e.Disabled = true
			case 1:
				e.Alias = []mailbox.Address{anyMailbox("target"), anyMailbox("target")}
			}
			d.put(e)
		}
	}
	if rapid.IntRange(0, 15).Draw(t, "down") == 0 {
		d.err = errDown
	}
	o := routing.Options{Hostname: name("own.test"), Resolver: resolver(d), Patience: time.Hour}
	for _, h := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"mx.test", "vps.test", "own.test", "d.test"}), 0, 3,
		rapid.ID).Draw(t, "gateways") {
		o.Gateways = append(o.Gateways, routing.Gateway{
			Host:       name(h),
			Sites:      rapid.SampledFrom([][]string{{"*"}, {"cloud"}, {"vps"}, siteWords}).Draw(t, "sites"),
			Separators: rapid.SampledFrom([][]string{nil, {"%"}, {"="}, separators}).Draw(t, "separators"),
		})
	}
	if rapid.Bool().Draw(t, "postmaster") {
		o.Postmaster = anyMailbox("postmaster")
	}
	dns := states{}
	for _, h := range hostWords {
		dns[name(h)] = mx.State{Kind: rapid.SampledFrom(kinds).Draw(t, "MX"), Provider: "Google Workspace"}
	}
	o.MX = dns
	return o, d
}

// drawPath draws a forward-path as a client may write it: mostly an address that has to do with the world, sometimes
// anything.
func drawPath(t *rapid.T, o routing.Options, d *directory) string {
	word := func(words []string, better []string) string {
		if len(better) > 0 && rapid.IntRange(0, 3).Draw(t, "hit") > 0 {
			words = better
		}
		return rapid.SampledFrom(words).Draw(t, "word")
	}
	var gateways, hosted []string
	for _, g := range o.Gateways {
		gateways = append(gateways, g.Host.ASCII())
	}
	for _, h := range hostWords {
		if _, ok := d.domains[name(h)]; ok {
			hosted = append(hosted, h)
		}
	}
	local := func() string { return word(localWords, nil) }
	separator := func() string { return word(separators, separators[:1]) }
	switch rapid.SampledFrom([]int{0, 0, 1, 1, 1, 2, 3, 4}).Draw(t, "shape") {
	case 0:
		return local() + "@" + word(hostForms, hosted)
	case 1:
		return local() + separator() + word(hostForms, hosted) + "@" + word(hostForms, gateways)
	case 2:
		return local() + separator() + word(hostForms, hosted) + separator() + word(hostForms, hosted) + "@" +
			word(hostForms, gateways)
	case 3:
		return fmt.Sprintf("@%s:\"%s%s%s\"@%s", word(hostForms, nil), local(), separator(), word(hostForms, hosted),
			word(hostForms, gateways))
	}
	return rapid.StringOfN(rapid.RuneFrom([]rune(`u%=#@.,:<>"\[]!+ümxdtes`)), 1, 40, -1).Draw(t, "anything")
}

// TestNeverAnOpenRelay is the guarantee: for any directory, gateways, client and path, the route is a mailbox of the
// directory (or the postmaster's), or a refusal or deferral; a relay only for plain addresses, and then only for trusted
// clients or for the other half of a hosted domain.
func TestNeverAnOpenRelay(t *testing.T) {
	outcomes := map[string]int{}
	for range 20 {
		rapid.Check(t, func(t *rapid.T) { checkWorld(t, outcomes) })
	}
	// The property says nothing unless every kind of answer was met.
	for _, outcome := range []string{
		"no path", "bypass deliver ", "bypass refuse no_mailbox", "bypass refuse not_hosted", "bypass refuse bypass_off", "bypass refuse not_served",
		"bypass defer disabled", "bypass defer unavailable", "plain refuse nested", "plain refuse syntax", "plain deliver ",
		"plain refuse no_mailbox", "plain refuse not_gateway", "plain refuse relay_denied", "plain defer cannot_relay",
		"plain defer mx_unknown", "plain defer disabled", "plain defer unavailable",
	} {
		if outcomes[outcome] == 0 {
			t.Errorf("never met: %q", outcome)
		}
	}
	t.Log(outcomes)
}

// checkWorld draws a world and some paths, and counts what became of them.
func checkWorld(t *rapid.T, outcomes map[string]int) {
	o, d := drawWorld(t)
	r, err := routing.NewRouter(o)
	if err != nil {
		t.Fatal(err)
	}
	gateways, err := routing.NewGateways(o.Gateways)
	if err != nil {
		t.Fatal(err)
	}
	client := routing.Client{Trusted: rapid.Bool().Draw(t, "trusted")}
	for range 10 {
		path, err := mailbox.ParsePath(drawPath(t, o, d), true)
		if err != nil {
			outcomes["no path"]++
			continue
		}
		route := r.Route(context.Background(), path, client)
		_, bypass, unfolding := gateways.Unfold(path)
		checkGuarantee(t, route, d, client, bypass || unfolding != nil)
		kind := "plain "
		if bypass {
			kind = "bypass "
			other := r.Route(context.Background(), path, routing.Client{Trusted: !client.Trusted})
			if got, want := explained(other), explained(route); got != want {
				t.Fatalf("trust changes what becomes of %q:\n%s\n%s", path.Written, got, want)
			}
		}
		outcomes[kind+string(route.Action)+" "+route.Explanation().Reason]++
	}
}

func checkGuarantee(t *rapid.T, route routing.Route, d *directory, client routing.Client, bypass bool) {
	fail := func(why string) {
		t.Fatalf("%s: %q, %+v: %s\n%s", why, route.Path.Written, client, route.Short(), explained(route))
	}
	switch route.Action {
	case routing.Deliver:
		if len(route.Recipients) == 0 || route.Err != nil {
			fail("a delivery to nobody")
		}
		for _, to := range route.Recipients {
			if !d.has(to.Mailbox) {
				fail("no mailbox of the directory")
			}
		}
	case routing.Refuse, routing.Defer:
		if len(route.Recipients) != 0 || route.Err == nil {
			fail("a refusal that is none")
		}
	default:
		fail("an action that this version does not have")
	}
	if errors.Is(route.Err, routing.ErrCannotRelay) {
		domain, hosted := d.domains[route.Path.Address.Domain]
		split := hosted && domain.MX == mailbox.PolicySplit
		if bypass || !client.Trusted && !split {
			fail("a relay")
		}
	}
	if !bypass && (route.Bypassed != nil || !route.Gateway.IsZero()) {
		fail("a bypass that is none")
	}
	if len(route.Steps) == 0 && !errors.Is(route.Err, mailbox.ErrSyntax) {
		fail("no explanation")
	}
}

// has tells whether this is a mailbox that takes mail, in its site, or the fallback mailbox.
func (d *directory) has(m mailbox.Mailbox) bool {
	if m.Site == mailbox.SitePostmaster {
		return m.Address == mailbox.Address{Local: "postmaster", Domain: name("own.test")}
	}
	domain, ok := d.domains[m.Address.Domain]
	e, found := d.entries[m.Address.Fold()]
	return ok && found && d.err == nil && domain.Site == m.Site && !domain.Disabled && !e.Disabled && len(e.Alias) == 0
}
