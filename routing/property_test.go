package routing_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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
	hostForms  = append([]string{"srs.test", "MX.Test.", "D.TEST", "ü.test", "[127.0.0.1]", "[IPv6:::1]", "mx.test.d.test"}, hostWords...)
	localWords = []string{"u", "v", "postmaster", "info", "loop", "ü", "u+tag", "U", "d.test!u", "u=d.test", "a.b", "-",
		"return", "return=u=x.test", "return=u=d.test", "return=v!u=d.test", "return=return=u=x.test"}
	siteWords  = []string{"cloud", "vps"}
	separators = []string{"%", "=", "#"}
	policies   = []mailbox.MXPolicy{mailbox.PolicyAuto, mailbox.PolicyLocal, mailbox.PolicyExternal, mailbox.PolicySplit}
	kinds      = []mx.Kind{mx.Self, mx.External, mx.Mixed, mx.Null, mx.None, mx.Unknown}
)

var externals = []mailbox.External{{}, {MX: true}, {Host: mailbox.NextHop{Host: mailbox.MustDomainName("half.test"), Port: 25}}}

// drawnAnswers is the other half of every split domain, which answers as the dice say. It keeps to what it said.
type drawnAnswers struct {
	t    *rapid.T
	said map[routing.Probe]error
}

func (d drawnAnswers) Verify(_ context.Context, p routing.Probe) error {
	if err, ok := d.said[p]; ok {
		return err
	}
	d.said[p] = rapid.SampledFrom([]error{nil, nil, routing.ErrBackToSource, errDown,
		&mailbox.RemoteError{Code: 550, Enhanced: [3]int{5, 1, 1}, Command: "RCPT"},
		&mailbox.RemoteError{Code: 450, Command: "RCPT"}}).Draw(d.t, "answer of the other half")
	return d.said[p]
}

// says tells whether it was asked, and takes the mail.
func (d drawnAnswers) says(p routing.Probe) bool {
	err, asked := d.said[p]
	return asked && err == nil
}

// returns knows return addresses that are written "return=LOCAL=DOMAIN"; "return" alone is a forged one.
type returns struct{ domain mailbox.DomainName }

func (r returns) Domain() mailbox.DomainName { return r.domain }

func (r returns) Reverse(local mailbox.LocalPart) (mailbox.Address, error) {
	rest, ok := strings.CutPrefix(string(local), "return")
	if !ok {
		return mailbox.Address{}, routing.ErrNotRewritten
	}
	at := strings.LastIndexByte(rest, '=')
	if at < 1 {
		return mailbox.Address{}, routing.ErrBadReturn
	}
	domain, err := mailbox.ParseDomainName(rest[at+1:])
	if err != nil {
		return mailbox.Address{}, routing.ErrBadReturn
	}
	return mailbox.Address{Local: mailbox.LocalPart(rest[1:at]), Domain: domain}, nil
}

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
			External: rapid.SampledFrom(externals).Draw(t, "external"),
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
			case 2:
				e.Copies = []mailbox.Address{anyMailbox("copy")}
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
	o.Smarthost = rapid.Bool().Draw(t, "smarthost")
	if rapid.IntRange(0, 3).Draw(t, "verifier") > 0 {
		o.Verifier = drawnAnswers{t, map[routing.Probe]error{}}
	}
	if rapid.Bool().Draw(t, "returns") {
		o.Returns = returns{name(rapid.SampledFrom([]string{"srs.test", "mx.test", "d.test"}).Draw(t, "return domain"))}
	}
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
// directory (or the postmaster's), or a refusal or deferral. Mail of a client that is not trusted leaves only to what the
// directory names, to the very address that was asked in a split domain, whose other half said yes, and home to whom a
// return address stands for; mail to a bypass address only to what the directory names.
func TestNeverAnOpenRelay(t *testing.T) {
	outcomes := map[string]int{}
	for range 20 {
		rapid.Check(t, func(t *rapid.T) { checkWorld(t, outcomes) })
	}
	// The property says nothing unless every kind of answer was met.
	for _, outcome := range []string{
		"no path", "bypass deliver ", "bypass refuse no_mailbox", "bypass refuse not_hosted", "bypass refuse bypass_off", "bypass refuse not_served",
		"bypass defer disabled", "bypass defer unavailable", "plain refuse nested", "plain refuse syntax", "plain deliver ",
		"plain refuse no_mailbox", "plain refuse not_gateway", "plain refuse relay_denied", "plain relay ", "plain defer other_half",
		"plain refuse back_to_source", "plain refuse return_only", "plain refuse bad_return", "bypass relay ",
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
	client := routing.Client{Trusted: rapid.Bool().Draw(t, "trusted"), NullSender: rapid.Bool().Draw(t, "null sender")}
	for range 10 {
		path, err := mailbox.ParsePath(drawPath(t, o, d), true)
		if err != nil {
			outcomes["no path"]++
			continue
		}
		route := r.Route(context.Background(), path, client)
		home, back := whoseReturn(o, path.Address)
		_, bypass, unfolding := gateways.Unfold(mailbox.Path{Address: home})
		checkGuarantee(t, route, d, o, client, bypass || unfolding != nil)
		bypass = bypass && !back
		kind := "plain "
		if bypass {
			kind = "bypass "
			other := r.Route(context.Background(), path, routing.Client{Trusted: !client.Trusted, NullSender: client.NullSender})
			if got, want := explained(other), explained(route); got != want {
				t.Fatalf("trust changes what becomes of %q:\n%s\n%s", path.Written, got, want)
			}
		}
		outcomes[kind+string(route.Action)+" "+route.Explanation().Reason]++
	}
}

// whoseReturn gives whom a return address stands for; other addresses, and bad return addresses, stand for themselves.
func whoseReturn(o routing.Options, a mailbox.Address) (home mailbox.Address, back bool) {
	if o.Returns == nil || a.Domain != o.Returns.Domain() {
		return a, false
	}
	home, err := o.Returns.Reverse(a.Local)
	if err != nil {
		home = a
	}
	return home, !errors.Is(err, routing.ErrNotRewritten)
}

func checkGuarantee(t *rapid.T, route routing.Route, d *directory, o routing.Options, client routing.Client, bypass bool) {
	fail := func(why string) {
		t.Fatalf("%s: %q, %+v: %s\n%s", why, route.Path.Written, client, route.Short(), explained(route))
	}
	switch route.Action {
	case routing.Deliver:
		if len(route.Recipients) == 0 || route.Err != nil {
			fail("a delivery to nobody")
		}
	case routing.Relay:
		if len(route.Outbound) == 0 || len(route.Recipients) > 0 || route.Err != nil {
			fail("a relay to nobody")
		}
	case routing.Refuse, routing.Defer:
		if len(route.Recipients)+len(route.Outbound) != 0 || route.Err == nil {
			fail("a refusal that is none")
		}
	default:
		fail("no action")
	}
	for _, to := range route.Recipients {
		if !d.has(to.Mailbox) {
			fail("no mailbox of the directory")
		}
	}
	for _, out := range route.Outbound {
		if why := entitled(out, route, d, o, client, bypass); why != "" {
			fail(why)
		}
	}
	if !bypass && (route.Bypassed != nil || !route.Gateway.IsZero()) {
		fail("a bypass that is none")
	}
	if len(route.Steps) == 0 && !errors.Is(route.Err, mailbox.ErrSyntax) {
		fail("no explanation")
	}
}

// entitled says why mail may not leave in this way; empty: it may.
func entitled(out routing.Outbound, route routing.Route, d *directory, o routing.Options, client routing.Client, bypass bool) string {
	asked := route.Path.Address
	switch out.Purpose {
	case routing.Redirected:
		e, ok := d.entries[out.From.Fold()]
		if !ok || !slices.Contains(append(slices.Clone(e.Alias), e.Copies...), out.To) {
			return "a redirection that the directory does not name"
		}
		return ""
	case routing.OtherHalf:
		if d.domains[asked.Domain].MX != mailbox.PolicySplit || out.To != asked || out.Hop.Kind == routing.HopSmarthost ||
			!o.Verifier.(drawnAnswers).says(routing.Probe{To: out.To, Hop: out.Hop}) {
			return "no other half that takes it"
		}
		if strings.ContainsAny(string(asked.Local), "%!") {
			return "a route for the other half to follow"
		}
	case routing.ReturnHome:
		home, err := o.Returns.Reverse(asked.Local)
		if err != nil || out.To != home || !client.NullSender {
			return "nobody's home"
		}
	case routing.Submitted:
		if !client.Trusted || out.To != asked {
			return "an open relay"
		}
	default:
		return "no purpose"
	}
	if bypass {
		return "a bypass address that is relayed"
	}
	return ""
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
