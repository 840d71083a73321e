package routing_test

import (
	"errors"
	"strings"
	"testing"

	"mxbypass/mailbox"
	"mxbypass/routing"
)

func TestNewGatewaysRefuses(t *testing.T) {
	literal := forward(t, "u@[192.0.2.1]").Address.Domain
	good := routing.Gateway{Host: name("mx.test"), Sites: everySite}
	for why, list := range map[string][]routing.Gateway{
		"no host name":     {{Sites: everySite}},
		"address literals": {{Host: literal, Sites: everySite}},
		"localhost":        {{Host: name("localhost"), Sites: everySite}},
		"twice":            {good, good},
		"serves no site":   {{Host: name("mx.test")}},
		`separator "+"`:    {{Host: name("mx.test"), Sites: everySite, Separators: []string{"+"}}},
		`separator "."`:    {{Host: name("mx.test"), Sites: everySite, Separators: []string{"%", "."}}},
		`separator "!"`:    {{Host: name("mx.test"), Sites: everySite, Separators: []string{"!"}}},
		`separator "@"`:    {{Host: name("mx.test"), Sites: everySite, Separators: []string{"@"}}},
		`separator ""`:     {{Host: name("mx.test"), Sites: everySite, Separators: []string{""}}},
		`separator "=at="`: {{Host: name("mx.test"), Sites: everySite, Separators: []string{"=at="}}},
		`separator "％"`:    {good, {Host: name("b.test"), Sites: everySite, Separators: []string{"％"}}},
	} {
		if _, err := routing.NewGateways(list); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", why, err)
		}
	}
	if _, err := routing.NewGateways([]routing.Gateway{{}, {Host: name("localhost")}}); err == nil ||
		strings.Count(err.Error(), "gateway ") < 2 {
		t.Errorf("not every mistake is named: %v", err)
	}
}

// FuzzUnfold: a local part of a client is unfolded at most once, to parts that need no quotes and hold no separator, and
// joined again they are what was written.
func FuzzUnfold(f *testing.F) {
	for _, local := range []string{
		"u%d.example", "u=d.example", "u%d.example.", "U%XN--TDA.example", "a%b%c", "%", "u%", "%d", "a b%d", "u%[1.2.3.4]",
		"u%d=x", "u＝d", "u%ü.example", "u%d%00", "..%d", "u+tag%d.example",
	} {
		f.Add(local, "%=")
		f.Add(local, "#")
	}
	host := name("mx.test")
	f.Fuzz(func(t *testing.T, raw, separators string) {
		local, err := mailbox.ParseLocalPart(raw)
		if err != nil {
			return
		}
		gateways, err := routing.NewGateways([]routing.Gateway{
			{Host: host, Sites: everySite, Separators: strings.Split(separators, "")},
		})
		if err != nil {
			return
		}
		path := mailbox.Path{Address: mailbox.Address{Local: local, Domain: host}}
		b, ok, err := gateways.Unfold(path)
		if separators == "" {
			separators = routing.DefaultSeparator
		}
		folded := strings.ContainsAny(string(local), separators)
		if folded != (ok || err != nil) {
			t.Fatalf("%q with %q: %v, %v", local, separators, ok, err)
		}
		if err != nil && !errors.Is(err, mailbox.ErrSyntax) && !errors.Is(err, mailbox.ErrTooLong) &&
			!errors.Is(err, routing.ErrNested) {
			t.Fatalf("%q: %v is none of ours", local, err)
		}
		if !ok {
			return
		}
		if err != nil || !b.Local.IsDotString() || strings.ContainsAny(string(b.Local), separators+"%@") ||
			b.Domain.IsZero() || b.Domain.IsLiteral() || b.Gateway() != host {
			t.Fatalf("%q with %q: %+v, %v", local, separators, b, err)
		}
		rest, found := strings.CutPrefix(string(local), string(b.Local))
		if !found || rest == "" || !strings.Contains(separators, rest[:1]) {
			t.Fatalf("%q with %q: local part %q", local, separators, b.Local)
		}
		if inner, err := mailbox.ParseDomainName(rest[1:]); err != nil || inner != b.Domain {
			t.Fatalf("%q with %q: domain %q", local, separators, b.Domain)
		}
		// Once is all: what came out is an ordinary address of the gateway.
		again, ok, err := gateways.Unfold(mailbox.Path{Address: mailbox.Address{Local: b.Local, Domain: host}})
		if ok || err != nil {
			t.Fatalf("%q with %q: unfolds a second time to %+v, %v", local, separators, again, err)
		}
	})
}
