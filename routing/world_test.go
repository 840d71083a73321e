package routing_test

import (
	"context"
	"errors"
	"testing"

	"mxbypass/mailbox"
	"mxbypass/routing"
	"mxbypass/routing/mx"
)

// directory is a mailbox.Directory in memory.
type directory struct {
	domains map[mailbox.DomainName]mailbox.Domain
	entries map[mailbox.Address]mailbox.Entry
	err     error // when set, it cannot answer
}

func newDirectory() *directory {
	return &directory{
		domains: map[mailbox.DomainName]mailbox.Domain{},
		entries: map[mailbox.Address]mailbox.Entry{},
	}
}

func (d *directory) Domain(_ context.Context, name mailbox.DomainName) (mailbox.Domain, error) {
	if d.err != nil {
		return mailbox.Domain{}, d.err
	}
	if domain, ok := d.domains[name]; ok {
		return domain, nil
	}
	return mailbox.Domain{}, mailbox.ErrNoDomain
}

func (d *directory) Entry(_ context.Context, a mailbox.Address) (mailbox.Entry, error) {
	if d.err != nil {
		return mailbox.Entry{}, d.err
	}
	if e, ok := d.entries[a.Fold()]; ok {
		return e, nil
	}
	return mailbox.Entry{}, mailbox.ErrNoMailbox
}

// add makes a domain with mailboxes.
func (d *directory) add(domain mailbox.Domain, locals ...mailbox.LocalPart) {
	d.domains[domain.Name] = domain
	for _, l := range locals {
		d.put(mailbox.Entry{Address: mailbox.Address{Local: l, Domain: domain.Name}})
	}
}

func (d *directory) put(e mailbox.Entry) { d.entries[e.Address.Fold()] = e }

// states are MX states by domain; other domains have no MX.
type states map[mailbox.DomainName]mx.State

func (s states) State(_ context.Context, d mailbox.DomainName) mx.State {
	state, ok := s[d]
	if !ok {
		state.Kind = mx.None
	}
	state.Domain = d
	return state
}

// silent is a DNS that never answers: only the end of the context ends a question.
type silent struct{}

func (silent) State(ctx context.Context, d mailbox.DomainName) mx.State {
	<-ctx.Done()
	return mx.State{Domain: d, Kind: mx.Unknown, Err: ctx.Err()}
}

// unasked fails the test when it is asked.
type unasked struct{ t *testing.T }

func (u unasked) State(_ context.Context, d mailbox.DomainName) mx.State {
	u.t.Errorf("DNS was asked for %s", d)
	return mx.State{Domain: d, Kind: mx.Unknown, Err: errors.New("unasked")}
}

// answers is the other half of every split domain: it takes mail for all but these, by what it answers.
type answers map[string]error

func (a answers) Verify(_ context.Context, p routing.Probe) error { return a[p.To.String()] }

func name(s string) mailbox.DomainName { return mailbox.MustDomainName(s) }

func address(t testing.TB, s string) mailbox.Address {
	t.Helper()
	a, err := mailbox.ParseAddress(s)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return a
}

func forward(t testing.TB, s string) mailbox.Path {
	t.Helper()
	p, err := mailbox.ParsePath(s, true)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return p
}

func router(t testing.TB, o routing.Options) *routing.Router {
	t.Helper()
	r, err := routing.NewRouter(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func resolver(d mailbox.Directory) mailbox.Resolver {
	return mailbox.Resolver{Directory: d, Delimiter: "+"}
}

var everySite = []string{routing.EverySite}
