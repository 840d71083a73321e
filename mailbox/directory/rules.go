package directory

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"mxbypass/mailbox"
	"mxbypass/mailbox/password"
)

// Rules are what the configuration says about names. The zero value allows every name that is safe.
type Rules struct {
	Delimiter string // between user and tag; no mailbox name may hold it; empty: no subaddresses
	// Separators returns the separators of bypass addresses under the gateway of that name; nil when it is no gateway.
	// A mailbox of such a domain could never be written to if its name held one.
	Separators func(mailbox.DomainName) []string
	// HasSite tells whether the configuration has that site; nil: any.
	HasSite func(string) bool
}

// Domain checks a domain by itself: whether its catch-all exists is [Rules.CatchAll]. The error wraps ErrInvalid.
func (r Rules) Domain(d mailbox.Domain) error {
	if err := mailbox.CheckDomainName(d.Name); err != nil {
		return Invalidf("domain %q: %w", d.Name.ASCII(), err)
	}
	if err := r.Site(d.Site); err != nil {
		return Invalidf("domain %s: %w", d.Name, err)
	}
	if !d.MX.Valid() {
		return Invalidf("domain %s: MX policy %q is none of auto, local, external, split", d.Name, d.MX)
	}
	if e := d.External; e.MX && !e.Host.IsZero() || !e.Host.IsZero() && (e.Host.Host.IsZero() || e.Host.Port == 0) {
		return Invalidf("domain %s: external is neither the MX nor a server", d.Name)
	}
	if !d.Authentication.Valid() {
		return Invalidf("domain %s: authentication %q is none of off, mark, enforce", d.Name, d.Authentication)
	}
	if _, err := mailbox.ParseUpstreams(d.Upstreams); err != nil {
		return Invalidf("domain %s: upstreams: %w", d.Name, err)
	}
	return nil
}

// Secret checks the hash of a password, which is no secret that the error tells. The error wraps ErrInvalid.
func (r Rules) Secret(of mailbox.Address, hash string) error {
	if err := password.Check(hash); err != nil {
		return Invalidf("the password of %s: %w", of, err)
	}
	return nil
}

// Site checks the name of a site.
func (r Rules) Site(name string) error {
	switch {
	case name == "":
		return errors.New("a domain needs a site")
	case name == mailbox.SitePostmaster || name != mailbox.Printable(name) || len(name) > 255:
		return fmt.Errorf("%q cannot be the name of a site", name)
	case r.HasSite != nil && !r.HasSite(name):
		return fmt.Errorf("the configuration has no site %q", name)
	}
	return nil
}

// Entry checks a mailbox or an alias by itself: what it leads to is [Rules.Targets]. The error wraps ErrInvalid.
func (r Rules) Entry(e mailbox.Entry) error {
	if err := r.name(e.Address); err != nil {
		return Invalidf("%s: %w", e.Address, err)
	}
	if len(e.Alias) == 0 {
		return list("mailbox", "copy", e.Address, e.Copies)
	}
	if e.Disabled {
		return Invalidf("alias %s: only a mailbox can be disabled", e.Address)
	}
	if len(e.Copies) > 0 {
		return Invalidf("alias %s: only a mailbox has copies: an alias leads to one more address", e.Address)
	}
	return list("alias", "target", e.Address, e.Alias)
}

// list checks what stands in the list of an alias or a mailbox.
func list(kind, item string, of mailbox.Address, targets []mailbox.Address) error {
	if len(targets) > mailbox.MaxAliasEntries {
		return Invalidf("%s %s leads to %d addresses, at most %d are allowed", kind, of, len(targets),
			mailbox.MaxAliasEntries)
	}
	seen := make(map[mailbox.Address]bool, len(targets))
	for _, to := range targets {
		key := to.Fold()
		if seen[key] {
			return Invalidf("%s %s has the %s %s twice", kind, of, item, to)
		}
		seen[key] = true
	}
	return nil
}

func (r Rules) name(a mailbox.Address) error {
	if err := mailbox.CheckMailboxName(a.Local); err != nil {
		return err
	}
	if r.Delimiter != "" && strings.Contains(string(a.Local), r.Delimiter) {
		return fmt.Errorf("%q is the delimiter of subaddresses: mail for them goes to the mailbox before it", r.Delimiter)
	}
	if r.Separators == nil {
		return nil
	}
	for _, s := range r.Separators(a.Domain) {
		if strings.Contains(string(a.Local), s) {
			return fmt.Errorf("%s is a gateway, where %q makes a bypass address", a.Domain, s)
		}
	}
	return nil
}

// Targets checks what an alias or the copies of a mailbox lead to in the directory d, which already has it: every target
// in a hosted domain exists, unless it is kept by the other half of its domain, no other is at a gateway or at what cannot
// be the domain of mail, and none leads back. The error wraps ErrInvalid when the entry is at fault; others are of the
// directory.
func (r Rules) Targets(ctx context.Context, d mailbox.Directory, a mailbox.Address) error {
	return r.leads(ctx, d, a)
}

// CatchAll checks that the catch-all of a domain, if it has one, is a mailbox or alias of d. Errors as for Alias.
func (r Rules) CatchAll(ctx context.Context, d mailbox.Directory, of mailbox.Domain) error {
	if of.CatchAll.IsNull() {
		return nil
	}
	if err := r.leads(ctx, d, of.CatchAll); err != nil {
		return fmt.Errorf("catch-all of %s: %w", of.Name, err)
	}
	return nil
}

// leads resolves an address as the relay does, as if nothing was disabled and no domain had a catch-all.
func (r Rules) leads(ctx context.Context, d mailbox.Directory, a mailbox.Address) error {
	probe := &probe{d: d}
	got, err := r.resolve(ctx, probe, a)
	if err == nil && probe.copies {
		// The relay passes over a copy that leads back. Who wrote it did not mean it.
		probe.asAliases = true
		if _, err = r.resolve(ctx, probe, a); errors.Is(err, mailbox.ErrAliasLoop) {
			err = fmt.Errorf("%s: %w: a copy leads back to where it comes from", a, mailbox.ErrAliasLoop)
		}
	}
	switch {
	case probe.failed != nil:
		return probe.failed
	case errors.Is(err, mailbox.ErrUnavailable):
		// The directory did answer: this says of a target that it is not there.
		return Invalidf("%s", strings.Replace(err.Error(), mailbox.ErrUnavailable.Error()+": ", "", 1))
	case err != nil:
		return Invalidf("%w", err)
	}
	for _, away := range got.Redirects {
		if err := r.elsewhere(away.To.Domain); err != nil {
			return Invalidf("%s leads to %s: %w", away.From, away.To, err)
		}
	}
	return nil
}

func (r Rules) resolve(ctx context.Context, d mailbox.Directory, a mailbox.Address) (mailbox.Resolution, error) {
	resolver := mailbox.Resolver{Directory: d, Delimiter: r.Delimiter}
	domain, err := resolver.Domain(ctx, a.Domain)
	if err != nil {
		return mailbox.Resolution{}, err
	}
	return resolver.Resolve(ctx, domain, a.Local)
}

// elsewhere checks the domain of a target that is not here.
func (r Rules) elsewhere(d mailbox.DomainName) error {
	if mailbox.CheckDomainName(d) != nil {
		return fmt.Errorf("%s is not hosted here, and mail for elsewhere needs a domain with at least two labels", d)
	}
	if r.Separators != nil && r.Separators(d) != nil {
		return fmt.Errorf("%s is a gateway: name the mailbox itself", d)
	}
	return nil
}

// probe is a directory in which everything is enabled. It keeps the error of a directory that cannot answer, and whether
// a mailbox had copies. With asAliases, such a mailbox is an alias to its copies.
type probe struct {
	d         mailbox.Directory
	failed    error
	copies    bool
	asAliases bool
}

func (p *probe) Domain(ctx context.Context, name mailbox.DomainName) (mailbox.Domain, error) {
	d, err := p.d.Domain(ctx, name)
	if err != nil && !errors.Is(err, mailbox.ErrNoDomain) {
		p.failed = err
	}
	d.Disabled, d.CatchAll = false, mailbox.Address{}
	return d, err
}

func (p *probe) Entry(ctx context.Context, a mailbox.Address) (mailbox.Entry, error) {
	e, err := p.d.Entry(ctx, a)
	if err != nil && !errors.Is(err, mailbox.ErrNoMailbox) {
		p.failed = err
	}
	e.Disabled = false
	if len(e.Copies) > 0 {
		p.copies = true
		if p.asAliases {
			e.Alias, e.Copies = e.Copies, nil
		}
	}
	return e, err
}
