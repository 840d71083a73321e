package sqldir

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"mxbypass/mailbox"
	"mxbypass/mailbox/directory"
)

// change runs do in one transaction of the writer: all of it happens, or nothing.
func (d *Directory) change(ctx context.Context, do func(*tx) error) error {
	w, err := d.openWriter(ctx)
	if err != nil {
		return d.classify(err)
	}
	begun, err := w.BeginTx(ctx, nil)
	if err != nil {
		return d.classify(err)
	}
	defer begun.Rollback() //nolint:errcheck // after Commit there is nothing to roll back
	t := &tx{tx: begun, rules: d.o.Rules, statements: map[string]*sql.Stmt{}}
	if err := do(t); err != nil {
		return d.classify(err)
	}
	if err := begun.Commit(); err != nil {
		return d.classify(err)
	}
	d.age.changed()
	return nil
}

// tx is a transaction of the writer, and the directory as it will be when it is committed.
type tx struct {
	tx         *sql.Tx
	rules      directory.Rules
	statements map[string]*sql.Stmt
}

var (
	_ mailbox.Directory = (*tx)(nil)
	_ mailbox.Secrets   = (*tx)(nil)
)

// prepared keeps a statement until the transaction ends, which closes it.
func (t *tx) prepared(ctx context.Context, query string) (*sql.Stmt, error) {
	if s, ok := t.statements[query]; ok {
		return s, nil
	}
	s, err := t.tx.PrepareContext(ctx, query)
	if err == nil {
		t.statements[query] = s
	}
	return s, err
}

// exec returns how many rows were changed.
func (t *tx) exec(ctx context.Context, query string, args ...any) (int64, error) {
	s, err := t.prepared(ctx, query)
	if err != nil {
		return 0, err
	}
	done, err := s.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	return done.RowsAffected()
}

// addresses reads the addresses that a query gives as two columns, folded local part and domain.
func (t *tx) addresses(ctx context.Context, query string, args ...any) (found []mailbox.Address, err error) {
	rows, err := t.tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var local, domain string
		if err := rows.Scan(&local, &domain); err != nil {
			return nil, err
		}
		name, err := mailbox.ParseDomainName(domain)
		if err != nil {
			return nil, fmt.Errorf("damaged domain %q: %v", domain, err)
		}
		found = append(found, mailbox.Address{Local: mailbox.LocalPart(local), Domain: name})
	}
	return found, rows.Err()
}

// Domain implements mailbox.Directory.
func (t *tx) Domain(ctx context.Context, name mailbox.DomainName) (mailbox.Domain, error) {
	s, err := t.prepared(ctx, selectDomain+" WHERE name = ?")
	if err != nil {
		return mailbox.Domain{}, err
	}
	d, err := scanDomain(s.QueryRowContext(ctx, name.ASCII()))
	if errors.Is(err, sql.ErrNoRows) {
		err = fmt.Errorf("%s: %w", name, mailbox.ErrNoDomain)
	}
	return d, err
}

// Entry implements mailbox.Directory.
func (t *tx) Entry(ctx context.Context, a mailbox.Address) (mailbox.Entry, error) {
	s, err := t.prepared(ctx, selectEntry+oneEntryOnly)
	if err != nil {
		return mailbox.Entry{}, err
	}
	rows, err := s.QueryContext(ctx, a.Domain.ASCII(), string(a.Local))
	if err != nil {
		return mailbox.Entry{}, err
	}
	e, err := oneEntry(rows)
	if errors.Is(err, sql.ErrNoRows) {
		err = fmt.Errorf("%s: %w", a, mailbox.ErrNoMailbox)
	}
	return e, err
}

func (t *tx) insertDomain(ctx context.Context, d mailbox.Domain) error {
	_, err := t.exec(ctx, `INSERT INTO domain (name, site, mx, bypass, disabled, catch_all, catch_all_key,
		catch_all_domain, external, authentication, upstreams) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, domainColumns(d)...)
	return err
}

func (t *tx) updateDomain(ctx context.Context, d mailbox.Domain) error {
	_, err := t.exec(ctx, `UPDATE domain SET site = ?2, mx = ?3, bypass = ?4, disabled = ?5, catch_all = ?6,
		catch_all_key = ?7, catch_all_domain = ?8, external = ?9, authentication = ?10,
		upstreams = ?11 WHERE name = ?1`, domainColumns(d)...)
	return err
}

func domainColumns(d mailbox.Domain) []any {
	all := []any{"", "", ""}
	if !d.CatchAll.IsNull() {
		all = []any{d.CatchAll.Wire(), d.CatchAll.Fold().Wire(), d.CatchAll.Domain.ASCII()}
	}
	columns := append([]any{d.Name.ASCII(), d.Site, string(d.MX), d.Bypass, d.Disabled}, all...)
	return append(columns, d.External.String(), string(d.Authentication), strings.Join(d.Upstreams, " "))
}

// Secret implements mailbox.Secrets.
func (t *tx) Secret(ctx context.Context, a mailbox.Address) (string, error) {
	s, err := t.prepared(ctx, selectSecret)
	if err != nil {
		return "", err
	}
	hash, err := scanSecret(s.QueryRowContext(ctx, a.Domain.ASCII(), string(a.Local)))
	if errors.Is(err, sql.ErrNoRows) {
		err = fmt.Errorf("%s: %w", a, mailbox.ErrNoMailbox)
	}
	return hash, err
}

func (t *tx) setSecret(ctx context.Context, a mailbox.Address, hash string) error {
	_, err := t.exec(ctx, "UPDATE entry SET password = ? WHERE domain = ? AND local = ?", hash, a.Domain.ASCII(),
		string(a.Local))
	return err
}

// insertEntry inserts an entry with the hash of its password.
func (t *tx) insertEntry(ctx context.Context, e mailbox.Entry, secret string) error {
	if _, err := t.exec(ctx, insertEntry+insertValues, entryColumns(nil, e, secret)...); err != nil {
		return err
	}
	return t.insertTargets(ctx, e)
}

const (
	insertEntry  = "INSERT INTO entry (domain, local, written, alias, copies, disabled, password) VALUES "
	insertValues = "(?, ?, ?, ?, ?, ?, ?)"
)

func entryColumns(into []any, e mailbox.Entry, secret string) []any {
	return append(into, e.Address.Domain.ASCII(), string(e.Address.Local.Fold()), string(e.Address.Local),
		len(e.Alias) > 0, len(e.Copies) > 0, e.Disabled, secret)
}

// targets is what an alias leads to, or the copies of a mailbox.
func targets(e mailbox.Entry) []mailbox.Address {
	if len(e.Alias) > 0 {
		return e.Alias
	}
	return e.Copies
}

func (t *tx) insertTargets(ctx context.Context, e mailbox.Entry) error {
	key := e.Address.Fold()
	for i, to := range targets(e) {
		_, err := t.exec(ctx, "INSERT INTO target (domain, local, position, address, key, to_domain) "+
			"VALUES (?, ?, ?, ?, ?, ?)", key.Domain.ASCII(), string(key.Local), i, to.Wire(), to.Fold().Wire(),
			to.Domain.ASCII())
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) deleteEntry(ctx context.Context, a mailbox.Address) error {
	key := a.Fold()
	n, err := t.exec(ctx, "DELETE FROM entry WHERE domain = ? AND local = ?", key.Domain.ASCII(), string(key.Local))
	if err == nil && n == 0 {
		err = fmt.Errorf("%s: %w", a, mailbox.ErrNoMailbox)
	}
	return err
}
