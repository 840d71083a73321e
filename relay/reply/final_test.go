package reply

import (
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"mxbypass/mailbox"
	"mxbypass/routing"
	"mxbypass/routing/mx"
)

func address(s string) mailbox.Address {
	a, err := mailbox.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

// route is one that delivers; gateway may be empty, and box where it goes.
func route(written, gateway string, boxes ...string) routing.Route {
	p, err := mailbox.ParsePath(written, true)
	if err != nil {
		panic(err)
	}
	r := routing.Route{Action: routing.Deliver, Path: p}
	if gateway != "" {
		r.Gateway = mailbox.MustDomainName(gateway)
	}
	for _, b := range boxes {
		a := address(b)
		r.Recipients = append(r.Recipients, mailbox.Recipient{Mailbox: mailbox.Mailbox{Address: a}, Delivered: a})
	}
	return r
}

func past(r routing.Route, provider string) routing.Route {
	r.Bypassed = &mx.State{Kind: mx.External, Provider: provider}
	return r
}

const id = "01JTEST"

func TestFinal(t *testing.T) {
	bypass := route("foobar%exemple.org@mx.host.test", "mx.host.test", "foobar@exemple.org")
	plain := route("contact@exemple.org", "", "contact@exemple.org")
	alias := route("info%exemple.org@mx.host.test", "mx.host.test", "secret@exemple.org")
	group := route("all@exemple.org", "", "secret1@exemple.org", "secret2@exemple.org")
	full := fmt.Errorf("x: %w", mailbox.ErrOverQuota)
	gone := &mailbox.RemoteError{Code: 550, Enhanced: [3]int{5, 1, 1}, Text: "gone", Command: "RCPT"}
	tests := []struct {
		name    string
		results []Result
		want    string // lines joined by " / "
	}{
		{"one", []Result{{past(bypass, "Google Workspace"), nil, false}},
			"250 2.0.0 delivered to foobar@exemple.org, bypassing Google Workspace, id 01JTEST"},
		{"provider not known", []Result{{past(bypass, ""), nil, false}},
			"250 2.0.0 delivered to foobar@exemple.org, bypassing the external MX, id 01JTEST"},
		{"nothing bypassed", []Result{{plain, nil, false}}, "250 2.0.0 delivered to contact@exemple.org, id 01JTEST"},
		{"an alias keeps its secret", []Result{{alias, nil, false}},
			"250 2.0.0 delivered to <info%exemple.org@mx.host.test>, id 01JTEST"},
		{"several mailboxes keep theirs", []Result{{group, nil, false}}, "250 2.0.0 delivered to <all@exemple.org>, id 01JTEST"},
		{"three", []Result{{past(bypass, "OVH"), nil, false}, {past(bypass, "OVH"), nil, false}, {past(alias, "OVH"), nil, false}},
			"250 2.0.0 delivered to 3 mailboxes, bypassing OVH, id 01JTEST"},
		{"different MX", []Result{{past(bypass, "OVH"), nil, false}, {plain, nil, false}},
			"250 2.0.0 delivered to 2 mailboxes, id 01JTEST"},
		{"queued", []Result{{plain, nil, true}}, "250 2.0.0 queued for contact@exemple.org, id 01JTEST"},
		{"queued, nothing is bypassed", []Result{{past(bypass, "OVH"), nil, true}},
			"250 2.0.0 queued for foobar@exemple.org, id 01JTEST"},
		{"two queued", []Result{{plain, nil, true}, {alias, nil, true}}, "250 2.0.0 queued for 2 recipients, id 01JTEST"},
		{"one of each", []Result{{plain, nil, false}, {alias, nil, true}, {group, nil, true}},
			"250 2.0.0 delivered to 1 mailbox, queued for 2 recipients, id 01JTEST"},
		{"one fails", []Result{{bypass, full, false}},
			"452 4.2.2 foobar@exemple.org: the mailbox is full, id 01JTEST"},
		{"one temporary of two", []Result{{plain, ErrHeldBack, false}, {bypass, full, false}},
			"452 4.2.2 not delivered to foobar@exemple.org: the mailbox is full / try again for all recipients, id 01JTEST"},
		{"temporary before final", []Result{{plain, gone, false}, {bypass, full, false}, {alias, nil, false}},
			"452 4.2.2 not delivered to foobar@exemple.org: the mailbox is full / try again for all recipients, id 01JTEST"},
		{"all held back", []Result{{plain, ErrHeldBack, false}, {bypass, ErrHeldBack, false}},
			"451 4.3.0 not delivered to contact@exemple.org: held back with another recipient, try again later / " +
				"not delivered to foobar@exemple.org: held back with another recipient, try again later / " +
				"try again for all recipients, id 01JTEST"},
		{"some have it", []Result{{plain, gone, false}, {bypass, nil, false}},
			"550 5.1.1 delivered to foobar@exemple.org / " +
				"not delivered to contact@exemple.org: the mailbox server said: gone / " +
				"do not send it again to those who have it, id 01JTEST"},
		{"nobody has it", []Result{{plain, gone, false}, {bypass, gone, false}},
			"550 5.1.1 not delivered to contact@exemple.org: the mailbox server said: gone / " +
				"not delivered to foobar@exemple.org: the mailbox server said: gone / " +
				"not delivered to any recipient, id 01JTEST"},
		{"no recipients", nil, "554 5.5.1 no valid recipients"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Final(id, tt.results).String(); got != tt.want {
				t.Errorf("\n%s instead of\n%s", got, tt.want)
			}
		})
	}
}

func TestForRoute(t *testing.T) {
	refused := func(written string, err error) routing.Route {
		r := route(written, "")
		r.Action, r.Err = routing.Refuse, err
		return r
	}
	relayed := refused("u@elsewhere.example", nil)
	relayed.Action = routing.Relay
	tests := []struct {
		r    routing.Route
		want string
	}{
		{route("u@exemple.org", "", "u@exemple.org"), "250 2.1.5 OK"},
		{refused("u%x.example@mx.host.test", routing.ErrNotHosted),
			"550 5.7.1 <u%x.example@mx.host.test>: the domain is not hosted here: a bypass address never relays"},
		{refused("nobody@exemple.org", mailbox.ErrNoMailbox), "550 5.1.1 <nobody@exemple.org>: no such mailbox here"},
		{relayed, "250 2.1.5 OK"},
		{refused("u@exemple.org", nil), "451 4.3.0 <u@exemple.org>: " + unknown.text},
	}
	for _, tt := range tests {
		if got := ForRoute(tt.r).String(); got != tt.want {
			t.Errorf("\n%s instead of\n%s", got, tt.want)
		}
	}
}

func TestLined(t *testing.T) {
	r := Reply{550, [3]int{5, 1, 1}, "a\nb\nc"}
	if got := r.Lined(); got != "5.1.1 a\n5.1.1 b\nc" {
		t.Errorf("%q", got)
	}
	r.Text = "a"
	if got := r.Lined(); got != "a" {
		t.Errorf("%q", got)
	}
}

// TestWhoNamesTheMailbox: only when the client wrote nothing else.
func TestWhoNamesTheMailbox(t *testing.T) {
	tests := []struct {
		r    routing.Route
		want string
	}{
		{route("FooBar%EXEMPLE.org@mx.host.test", "mx.host.test", "foobar@exemple.org"), "foobar@exemple.org"},
		{route("foobar=exemple.org@mx.host.test", "mx.host.test", "foobar@exemple.org"), "foobar@exemple.org"},
		{route("foobar+tag%exemple.org@mx.host.test", "mx.host.test", "foobar+tag@exemple.org"), "foobar+tag@exemple.org"},
		{route("foobar%exemple.org@mx.host.test", "mx.host.test", "foobar@other.example"),
			"<foobar%exemple.org@mx.host.test>"},
		{route("foobarx%exemple.org@mx.host.test", "mx.host.test", "foobar@exemple.org"),
			"<foobarx%exemple.org@mx.host.test>"},
		{route("foobar@mx.host.test", "mx.host.test", "foobar@exemple.org"), "<foobar@mx.host.test>"},
		{route("foobar%exemple.org@exemple.org", "", "foobar@exemple.org"), "<foobar%exemple.org@exemple.org>"},
		{route("anything@exemple.org", "", "catchall@exemple.org"), "<anything@exemple.org>"},
		{route("Postmaster", "", "admin@host.test"), "<Postmaster>"},
	}
	for _, tt := range tests {
		if got := who(tt.r); got != tt.want {
			t.Errorf("%s: %s instead of %s", tt.r.Path.Written, got, tt.want)
		}
	}
}

// TestRepliesFitTheWire: whatever happened to whomever, a reply can be sent as it is.
func TestRepliesFitTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var results []Result
		for range rapid.IntRange(0, 40).Draw(t, "results") {
			r := routing.Route{Action: routing.Deliver}
			r.Path.Written = rapid.StringN(0, 250, 250).Draw(t, "path")
			if rapid.Bool().Draw(t, "bypass") {
				r = past(r, rapid.String().Draw(t, "provider"))
			}
			var err error
			switch rapid.IntRange(0, 3).Draw(t, "outcome") {
			case 1:
				err = &mailbox.RemoteError{
					Code:    rapid.IntRange(-1000, 1000).Draw(t, "code"),
					Text:    rapid.String().Draw(t, "text"),
					Command: rapid.SampledFrom([]string{"connect", "RCPT", "end of data"}).Draw(t, "command"),
				}
				err.(*mailbox.RemoteError).Enhanced[0] = rapid.IntRange(-9, 9).Draw(t, "class")
				err.(*mailbox.RemoteError).Enhanced[1] = rapid.Int().Draw(t, "subject")
			case 2:
				err = rapid.SampledFrom(table).Draw(t, "row").err
			case 3:
				err = fmt.Errorf("%s", rapid.String().Draw(t, "unknown"))
			}
			results = append(results, Result{r, err, false})
			check(t, Each(id, results[len(results)-1]))
			r.Action, r.Err = routing.Refuse, err
			check(t, ForRoute(r))
		}
		check(t, Final(id, results))
	})
}

func check(t *rapid.T, r Reply) {
	class := r.Code / 100
	if r.Code < 200 || r.Code > 559 || class == 3 || r.Enhanced[0] != class || r.Enhanced[1] < 0 || r.Enhanced[1] > 999 {
		t.Fatalf("codes of %v", r)
	}
	lines := strings.Split(r.Lined(), "\n")
	if len(lines) > maxLines {
		t.Fatalf("%d lines", len(lines))
	}
	for _, line := range lines {
		if len("550 5.7.10 "+line+"\r\n") > 512 || !utf8.ValidString(line) {
			t.Fatalf("line %q", line)
		}
		for _, c := range line {
			if !unicode.IsGraphic(c) {
				t.Fatalf("%q in line %q", c, line)
			}
		}
	}
}
