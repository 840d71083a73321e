package file

import (
	"github.com/pelletier/go-toml/v2/unstable"

	"mxbypass/mailbox"
)

// judged reads how mail for the domain is judged.
func (r *reader) judged(table *value, d *mailbox.Domain) {
	if policy, ok := r.str(table, "authentication", false); ok {
		if d.Authentication = mailbox.Authentication(policy); !d.Authentication.Valid() {
			r.report(table.fields["authentication"].offset, "domain.authentication",
				"%q: want off, mark or enforce, or nothing for what the configuration says", policy)
		}
	}
	f, ok := table.fields["upstreams"]
	if !ok {
		return
	}
	for _, item := range r.strings(f, "domain.upstreams") {
		all, err := mailbox.ParseUpstreams(append(d.Upstreams, item.text))
		if err != nil {
			r.report(item.offset, "domain.upstreams", "%v", err)
			continue
		}
		d.Upstreams = all
	}
}

// passwords gives the mailboxes that were read before the hashes of their passwords. No problem shows a hash.
func (r *reader) passwords(table *value, domain mailbox.DomainName) {
	f, ok := table.fields["passwords"]
	if !ok {
		return
	}
	if f.kind != unstable.Table {
		r.report(f.offset, "domain.passwords", "want a table: [domain.passwords]")
		return
	}
	for _, user := range f.keys {
		hash, p := f.fields[user], place{f.keyAt[user], "domain.passwords." + user}
		switch hash.kind {
		case unstable.String:
			r.password(user, hash, p, domain)
		case unstable.Table:
			r.report(p.offset, p.key, "a name with a dot is written in quotes: \"%s.…\" = \"…\"", user)
		default:
			r.report(hash.offset, p.key, "want a string in quotes")
		}
	}
}

func (r *reader) password(user string, hash *value, p place, domain mailbox.DomainName) {
	key := mailbox.Address{Local: mailbox.LocalPart(user), Domain: domain}.Fold()
	e, ok := r.contents.entries[key]
	switch {
	case !ok && r.bad: // its name may be what could not be read
		return
	case !ok:
		r.report(p.offset, p.key, "%q is not in mailboxes: name it there as well", user)
		return
	case len(e.Alias) > 0:
		r.report(p.offset, p.key, "%s is an alias: only a mailbox has a password", e.Address)
		return
	case e.Password:
		r.report(p.offset, p.key, "%s has a password already: keep one", e.Address)
		return
	}
	if err := r.rules.Secret(e.Address, hash.text); err != nil {
		r.report(hash.offset, p.key, "%v", err)
	}
	e.Password = true
	r.contents.entries[key], r.contents.secrets[key] = e, hash.text
}
