package file

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"

	"mxbypass/mailbox"
	"mxbypass/mailbox/directory"
)

// contents is what a file says. It does not change.
type contents struct {
	domains map[mailbox.DomainName]mailbox.Domain
	entries map[mailbox.Address]mailbox.Entry // by the folded address
	secrets map[mailbox.Address]string        // hashes of passwords, by the folded address
}

var (
	_ mailbox.Directory = (*contents)(nil)
	_ mailbox.Secrets   = (*contents)(nil)
)

// Domain implements mailbox.Directory.
func (c *contents) Domain(_ context.Context, name mailbox.DomainName) (mailbox.Domain, error) {
	d, ok := c.domains[name]
	if !ok {
		return mailbox.Domain{}, fmt.Errorf("%s: %w", name, mailbox.ErrNoDomain)
	}
	return d, nil
}

// Entry implements mailbox.Directory.
func (c *contents) Entry(_ context.Context, a mailbox.Address) (mailbox.Entry, error) {
	e, ok := c.entries[a]
	if !ok {
		return mailbox.Entry{}, fmt.Errorf("%s: %w", a, mailbox.ErrNoMailbox)
	}
	return e, nil
}

// Secret implements mailbox.Secrets.
func (c *contents) Secret(_ context.Context, a mailbox.Address) (string, error) {
	if e, ok := c.entries[a]; !ok || len(e.Alias) > 0 {
		return "", fmt.Errorf("%s: %w", a, mailbox.ErrNoMailbox)
	}
	return c.secrets[a], nil
}

// read turns the text of a file into its contents. The error is Problems: everything that is wrong.
func read(name string, text []byte, rules directory.Rules) (*contents, error) {
	r := reader{
		document: document{name: name, text: bytes.TrimPrefix(text, []byte("\ufeff"))}, // some editors put one there
		rules:    rules,
		contents: contents{map[mailbox.DomainName]mailbox.Domain{}, map[mailbox.Address]mailbox.Entry{},
			map[mailbox.Address]string{}},
		at:     map[mailbox.Address]place{},
		copied: map[mailbox.Address]place{},
	}
	if root := r.parse(); root != nil {
		r.root(root)
		r.leads()
	}
	return &r.contents, r.err()
}

// place is where something stands, for problems that are only seen when everything is read.
type place struct {
	offset int
	key    string
}

type reader struct {
	document
	rules    directory.Rules
	contents contents
	at       map[mailbox.Address]place // entries by folded address; catch-alls by their domain alone
	copied   map[mailbox.Address]place // mailboxes with copies by folded address
	bad      bool                      // something with a name could not be read: others may lead to it
}

var domainKeys = []string{"name", "site", "mx", "external", "bypass", "disabled", "mailboxes", "disabled_mailboxes",
	"catch_all", "aliases", "copies", "passwords", "authentication", "upstreams"}

func (r *reader) root(root *value) {
	r.known(root, "", []string{"domain"})
	list, ok := root.fields["domain"]
	if !ok {
		return
	}
	if list.kind != unstable.Array {
		r.report(root.keyAt["domain"], "domain", "want a list of tables: write [[domain]] with two brackets")
		return
	}
	for _, item := range list.items {
		if item.kind != unstable.Table {
			r.report(item.offset, "domain", "want a table")
			continue
		}
		r.domain(item)
	}
}

// known reports the keys that nobody knows.
func (r *reader) known(table *value, prefix string, keys []string) {
	for _, k := range table.keys {
		if slices.Contains(keys, k) {
			continue
		}
		hint := "the keys are " + strings.Join(keys, ", ")
		if near := nearest(k, keys); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		r.report(table.keyAt[k], prefix+k, "unknown key; %s", hint)
	}
}

// nearest finds the key that was meant: the same letters, or one that starts like it or differs by the end.
func nearest(k string, keys []string) string {
	plain := func(s string) string { return strings.Trim(strings.ReplaceAll(strings.ToLower(s), "-", "_"), "_s") }
	for _, want := range keys {
		if a, b := plain(k), plain(want); len(a) > 1 && (strings.HasPrefix(a, b) || strings.HasPrefix(b, a)) {
			return want
		}
	}
	return ""
}

func (r *reader) domain(table *value) {
	r.known(table, "domain.", domainKeys)
	d := mailbox.Domain{MX: mailbox.PolicyAuto, Bypass: true}
	name, ok := r.str(table, "name", true)
	if !ok {
		r.bad = true
		return
	}
	at := table.fields["name"].offset
	var err error
	if d.Name, err = mailbox.ParseDomainName(name); err != nil {
		r.report(at, "domain.name", "%q: %v", name, err)
		r.bad = true
		return
	}
	if _, ok := r.contents.domains[d.Name]; ok {
		r.report(at, "domain.name", "domain %s is there twice: keep one [[domain]] for it", d.Name)
		return
	}
	if site, ok := r.str(table, "site", true); ok {
		d.Site = site
		if err := r.rules.Site(site); err != nil {
			r.report(table.fields["site"].offset, "domain.site", "%v", err)
		}
	}
	if mx, ok := r.str(table, "mx", false); ok {
		if d.MX = mailbox.MXPolicy(mx); !d.MX.Valid() {
			r.report(table.fields["mx"].offset, "domain.mx", "%q: want auto, local, external or split", mx)
		}
	}
	if way, ok := r.str(table, "external", false); ok {
		if d.External, err = mailbox.ParseExternal(way); err != nil {
			r.report(table.fields["external"].offset, "domain.external", "%q: %v", way, err)
		}
	}
	r.judged(table, &d)
	r.boolean(table, "bypass", &d.Bypass)
	r.boolean(table, "disabled", &d.Disabled)
	if all, ok := r.str(table, "catch_all", false); ok && all != "" {
		p := place{table.fields["catch_all"].offset, "domain.catch_all"}
		if d.CatchAll, err = mailbox.ParseAddress(all); err != nil {
			r.report(p.offset, p.key, "%q: %v", all, err)
		} else {
			r.at[mailbox.Address{Domain: d.Name}] = p
		}
	}
	if err := mailbox.CheckDomainName(d.Name); err != nil {
		r.report(at, "domain.name", "%q: %v", name, err)
	}
	r.contents.domains[d.Name] = d
	r.mailboxes(table, d.Name)
	r.aliases(table, d.Name)
	r.copies(table, d.Name)
	r.passwords(table, d.Name)
}

// str returns a string field; when it is not there or no string, ok is false, and that is reported if it is a mistake.
func (r *reader) str(table *value, key string, required bool) (s string, ok bool) {
	f, there := table.fields[key]
	switch {
	case !there && required:
		r.report(table.offset, "domain."+key, "is missing: a domain needs it")
	case !there:
	case f.kind != unstable.String:
		r.report(f.offset, "domain."+key, "want a string in quotes")
	default:
		return f.text, true
	}
	return "", false
}

func (r *reader) boolean(table *value, key string, into *bool) {
	f, there := table.fields[key]
	if !there {
		return
	}
	if f.kind != unstable.Bool {
		r.report(f.offset, "domain."+key, "want true or false")
		return
	}
	*into = f.text == "true"
}

// strings returns the items of a list that are strings, and reports the others.
func (r *reader) strings(f *value, key string) []*value {
	if f.kind != unstable.Array {
		r.report(f.offset, key, `want a list of strings: ["…", "…"]`)
		r.bad = true
		return nil
	}
	var items []*value
	for _, item := range f.items {
		if item.kind != unstable.String {
			r.report(item.offset, key, "want a string in quotes")
			r.bad = true
			continue
		}
		items = append(items, item)
	}
	return items
}

func (r *reader) mailboxes(table *value, domain mailbox.DomainName) {
	if f, ok := table.fields["mailboxes"]; ok {
		for _, item := range r.strings(f, "domain.mailboxes") {
			r.entry(item.text, place{item.offset, "domain.mailboxes"}, domain, nil)
		}
	}
	f, ok := table.fields["disabled_mailboxes"]
	if !ok {
		return
	}
	for _, item := range r.strings(f, "domain.disabled_mailboxes") {
		key := mailbox.Address{Local: mailbox.LocalPart(item.text), Domain: domain}.Fold()
		e, ok := r.contents.entries[key]
		if !ok {
			r.report(item.offset, "domain.disabled_mailboxes", "%q is not in mailboxes: name it there as well", item.text)
			continue
		}
		e.Disabled = true
		r.contents.entries[key] = e
	}
}

func (r *reader) aliases(table *value, domain mailbox.DomainName) {
	r.lists(table, "aliases", "an alias leads to one address at least",
		func(name string, p place, targets []mailbox.Address) { r.entry(name, p, domain, targets) })
}

// copies gives the mailboxes that were read before what they have as copies.
func (r *reader) copies(table *value, domain mailbox.DomainName) {
	r.lists(table, "copies", "a mailbox without copies is not named here",
		func(name string, p place, targets []mailbox.Address) {
			key := mailbox.Address{Local: mailbox.LocalPart(name), Domain: domain}.Fold()
			e, ok := r.contents.entries[key]
			switch {
			case !ok:
				r.report(p.offset, p.key, "%q is not in mailboxes: name it there as well", name)
				return
			case len(e.Alias) > 0:
				r.report(p.offset, p.key, "%s is an alias: one more address there does the same", e.Address)
				return
			case len(e.Copies) > 0:
				r.report(p.offset, p.key, "%s has copies already: keep one list", e.Address)
				return
			}
			e.Copies = targets
			if err := r.rules.Entry(e); err != nil {
				r.report(p.offset, p.key, "%v", err)
			}
			r.contents.entries[key] = e
			r.copied[key] = p
		})
}

// lists reads a table of lists of addresses, one for each name.
func (r *reader) lists(table *value, name, empty string, each func(string, place, []mailbox.Address)) {
	f, ok := table.fields[name]
	if !ok {
		return
	}
	if f.kind != unstable.Table {
		r.report(f.offset, "domain."+name, "want a table: [domain.%s]", name)
		return
	}
	for _, user := range f.keys {
		list, p := f.fields[user], place{f.keyAt[user], "domain." + name + "." + user}
		if list.kind == unstable.Table {
			r.report(p.offset, p.key, "a name with a dot is written in quotes: \"%s.…\" = […]", user)
			r.bad = true
			continue
		}
		targets := r.targets(list, p)
		if len(targets) == 0 {
			if len(list.items) == 0 && list.kind == unstable.Array {
				r.report(list.offset, p.key, "%s", empty)
			}
			r.bad = true
			continue
		}
		each(user, p, targets)
	}
}

func (r *reader) targets(list *value, p place) []mailbox.Address {
	var targets []mailbox.Address
	for _, item := range r.strings(list, p.key) {
		to, err := mailbox.ParseAddress(item.text)
		if err != nil {
			r.report(item.offset, p.key, "%q: %v", item.text, err)
			r.bad = true
			continue
		}
		targets = append(targets, to)
	}
	return targets
}

func (r *reader) entry(name string, p place, domain mailbox.DomainName, targets []mailbox.Address) {
	local, err := mailbox.ParseLocalPart(name)
	if err != nil {
		r.report(p.offset, p.key, "%q: %v", name, err)
		r.bad = true
		return
	}
	e := mailbox.Entry{Address: mailbox.Address{Local: local, Domain: domain}, Alias: targets}
	key := e.Address.Fold()
	if old, ok := r.contents.entries[key]; ok {
		is := "mailbox"
		if len(old.Alias) > 0 {
			is = "alias"
		}
		r.report(p.offset, p.key, "%s is a %s already: keep one of the two", e.Address, is)
		return
	}
	if err := r.rules.Entry(e); err != nil {
		r.report(p.offset, p.key, "%v", err)
	}
	r.contents.entries[key], r.at[key] = e, p
}

// leads checks what aliases, copies and catch-alls lead to. When something with a name could not be read, that is mended
// first: otherwise what leads to it would be called wrong as well.
func (r *reader) leads() {
	if r.bad {
		return
	}
	ctx := context.Background() // nobody waits: everything is in memory
	for key, e := range r.contents.entries {
		p, ok := r.copied[key]
		if len(e.Alias) > 0 {
			p, ok = r.at[key], true
		}
		if !ok {
			continue
		}
		if err := r.rules.Targets(ctx, &r.contents, key); err != nil {
			r.report(p.offset, p.key, "%v", err)
		}
	}
	for d := range maps.Values(r.contents.domains) {
		if err := r.rules.CatchAll(ctx, &r.contents, d); err != nil {
			p := r.at[mailbox.Address{Domain: d.Name}]
			r.report(p.offset, p.key, "%v", err)
		}
	}
}
