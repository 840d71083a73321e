package sqldir

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"

	"mxbypass/mailbox"
)

const (
	selectDomain = "SELECT name, site, mx, external, bypass, disabled, catch_all, authentication, " +
		"upstreams FROM domain"
	// An entry with its targets: one row for each of them, or one row with NULL.
	selectEntry = `SELECT e.domain, e.local, e.written, e.alias, e.copies, e.disabled,
		e.password <> '', t.address FROM entry e
		LEFT JOIN target t ON (e.alias OR e.copies) AND t.domain = e.domain AND t.local = e.local`
	selectSecret = "SELECT alias, password FROM entry WHERE domain = ? AND local = ?"
	oneEntryOnly = " WHERE e.domain = ? AND e.local = ? ORDER BY t.position"
)

// Domain implements mailbox.Directory.
func (d *Directory) Domain(ctx context.Context, name mailbox.DomainName) (mailbox.Domain, error) {
	return d.caches.domains.get(ctx, name)
}

// Entry implements mailbox.Directory.
func (d *Directory) Entry(ctx context.Context, address mailbox.Address) (mailbox.Entry, error) {
	return d.caches.entries.get(ctx, address)
}

// Secret implements mailbox.Secrets. It asks the database each time: a password that was changed is so at once, and
// hashes stay out of the cache.
func (d *Directory) Secret(ctx context.Context, a mailbox.Address) (string, error) {
	db, err := d.current()
	if err != nil {
		return "", err
	}
	hash, err := scanSecret(db.secret.QueryRowContext(ctx, a.Domain.ASCII(), string(a.Local)))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return "", fmt.Errorf("%s: %w", a, mailbox.ErrNoMailbox)
	case err != nil:
		return "", unavailable(err)
	}
	return hash, nil
}

// scanSecret reads a row of selectSecret; sql.ErrNoRows when there is none, or an alias.
func scanSecret(row scanner) (hash string, err error) {
	var alias bool
	if err = row.Scan(&alias, &hash); err == nil && alias {
		err = sql.ErrNoRows
	}
	return hash, err
}

// current returns the open database, after having made sure that it still is the file under its path: one that was
// removed or replaced keeps answering, with what is no longer true.
func (d *Directory) current() (*database, error) {
	db := d.db.Load()
	info, err := os.Stat(d.o.Path)
	if err != nil {
		return nil, unavailable(err)
	}
	if !os.SameFile(info, db.info) {
		return nil, unavailable(errors.New("the database was replaced and is being opened"))
	}
	return db, nil
}

func (d *Directory) loadDomain(ctx context.Context, name mailbox.DomainName) (mailbox.Domain, error) {
	db, err := d.current()
	if err != nil {
		return mailbox.Domain{}, err
	}
	got, err := scanDomain(db.domain.QueryRowContext(ctx, name.ASCII()))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return mailbox.Domain{}, fmt.Errorf("%s: %w", name, mailbox.ErrNoDomain)
	case err != nil:
		return mailbox.Domain{}, unavailable(err)
	}
	return got, nil
}

func (d *Directory) loadEntry(ctx context.Context, a mailbox.Address) (mailbox.Entry, error) {
	db, err := d.current()
	if err != nil {
		return mailbox.Entry{}, err
	}
	rows, err := db.entry.QueryContext(ctx, a.Domain.ASCII(), string(a.Local))
	if err != nil {
		return mailbox.Entry{}, unavailable(err)
	}
	entry, err := oneEntry(rows)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return mailbox.Entry{}, fmt.Errorf("%s: %w", a, mailbox.ErrNoMailbox)
	case err != nil:
		return mailbox.Entry{}, unavailable(err)
	}
	return entry, nil
}

// oneEntry reads and closes rows; sql.ErrNoRows when there are none.
func oneEntry(rows *sql.Rows) (got mailbox.Entry, err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	var s entryScanner
	none := true
	for rows.Next() {
		_, err := s.scan(rows)
		if err != nil {
			return mailbox.Entry{}, err
		}
		none = false
	}
	if err := rows.Err(); err != nil {
		return mailbox.Entry{}, err
	}
	if none {
		return mailbox.Entry{}, sql.ErrNoRows
	}
	return s.finish()
}

type scanner interface{ Scan(into ...any) error }

func scanDomain(row scanner) (mailbox.Domain, error) {
	var d mailbox.Domain
	var name, mx, external, all, upstreams string
	err := row.Scan(&name, &d.Site, &mx, &external, &d.Bypass, &d.Disabled, &all, &d.Authentication, &upstreams)
	if err != nil {
		return mailbox.Domain{}, err
	}
	if d.Name, err = mailbox.ParseDomainName(name); err != nil {
		return mailbox.Domain{}, fmt.Errorf("damaged domain %q: %v", name, err)
	}
	if d.MX = mailbox.MXPolicy(mx); !d.MX.Valid() {
		return mailbox.Domain{}, fmt.Errorf("damaged domain %s: MX policy %q", name, mx)
	}
	if d.External, err = mailbox.ParseExternal(external); err != nil {
		return mailbox.Domain{}, fmt.Errorf("damaged domain %s: external %q: %v", name, external, err)
	}
	if !d.Authentication.Valid() {
		return mailbox.Domain{}, fmt.Errorf("damaged domain %s: authentication %q", name, d.Authentication)
	}
	if d.Upstreams, err = mailbox.ParseUpstreams(strings.Fields(upstreams)); err != nil {
		return mailbox.Domain{}, fmt.Errorf("damaged domain %s: upstreams: %v", name, err)
	}
	if all != "" {
		if d.CatchAll, err = mailbox.ParseAddress(all); err != nil {
			return mailbox.Domain{}, fmt.Errorf("damaged domain %s: catch-all %q: %v", name, all, err)
		}
	}
	return d, nil
}

// entryScanner puts an entry together from its rows, which come one after the other.
type entryScanner struct {
	domain, local string
	written       string
	alias, copies bool
	entry         mailbox.Entry
	targets       []mailbox.Address
	started       bool
}

// scan reads a row. A row of another entry than before starts the next one: s is then complete.
func (s *entryScanner) scan(rows *sql.Rows) (next *entryScanner, err error) {
	var row entryScanner
	var to sql.NullString
	err = rows.Scan(&row.domain, &row.local, &row.written, &row.alias, &row.copies, &row.entry.Disabled,
		&row.entry.Password, &to)
	if err != nil {
		return nil, err
	}
	into := s
	if !s.started {
		*s, s.started = row, true
	} else if row.local != s.local || row.domain != s.domain {
		row.started = true
		next, into = &row, &row
	}
	if to.Valid {
		target, err := mailbox.ParseAddress(to.String)
		if err != nil {
			return nil, fmt.Errorf("damaged entry %s@%s: target %q: %v", row.local, row.domain, to.String, err)
		}
		into.targets = append(into.targets, target)
	}
	return next, nil
}

// finish gives the entry, if its rows make sense.
func (s *entryScanner) finish() (mailbox.Entry, error) {
	var err error
	if s.entry.Address.Domain, err = mailbox.ParseDomainName(s.domain); err != nil {
		return mailbox.Entry{}, fmt.Errorf("damaged entry in domain %q: %v", s.domain, err)
	}
	s.entry.Address.Local, err = mailbox.ParseLocalPart(s.written)
	if err != nil || string(s.entry.Address.Local.Fold()) != s.local {
		return mailbox.Entry{}, fmt.Errorf("damaged entry %q in domain %s", s.written, s.domain)
	}
	switch {
	case s.alias && s.copies:
		return mailbox.Entry{}, fmt.Errorf("damaged entry %s@%s: an alias with copies", s.local, s.domain)
	case (s.alias || s.copies) != (len(s.targets) > 0):
		return mailbox.Entry{}, fmt.Errorf("damaged entry %s@%s: no targets", s.local, s.domain)
	case s.alias:
		s.entry.Password = false
		s.entry.Alias = s.targets
	default:
		s.entry.Copies = s.targets
	}
	return s.entry, nil
}
