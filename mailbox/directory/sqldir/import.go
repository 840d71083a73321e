package sqldir

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"mxbypass/mailbox"
	"mxbypass/mailbox/directory"
)

const (
	batchRows     = 200  // mailboxes in one statement
	progressEvery = 5000 // lines
)

// errBadLines rolls the transaction back.
var errBadLines = errors.New("bad lines")

// Import implements directory.Editor. What aliases and catch-alls lead to may stand anywhere in the source: they are
// checked when everything is in.
func (d *Directory) Import(ctx context.Context, from directory.Source, o directory.ImportOptions) (
	directory.Report, error) {
	var report directory.Report
	err := d.change(ctx, func(t *tx) error {
		i := importer{tx: t, o: o, path: d.o.Path}
		err := i.run(ctx, from)
		report = i.report
		if err == nil && report.Bad > 0 && !o.KeepGoing {
			return errBadLines
		}
		return err
	})
	switch {
	case errors.Is(err, errBadLines):
		return report, directory.Invalidf("%d of %d lines are bad, nothing was imported", report.Bad,
			report.Lines)
	case err != nil:
		return report, err
	}
	if err := d.tidy(ctx); err != nil { // everything is imported all the same
		d.o.Log.Warn("the journal of the directory stays long", "path", d.o.Path, "error", err)
	}
	return report, nil
}

// tidy puts a long journal into the database, so that no reader has to look through it.
func (d *Directory) tidy(ctx context.Context) error {
	w, err := d.openWriter(ctx)
	if err != nil {
		return d.classify(err)
	}
	// The answer tells whether a reader was in the way. Then SQLite does it later.
	if _, err := w.ExecContext(ctx, "PRAGMA wal_checkpoint(PASSIVE)"); err != nil {
		return d.classify(err)
	}
	return nil
}

type importer struct {
	*tx
	o       directory.ImportOptions
	report  directory.Report
	path    string
	private bool // passwords may be put there

	domain    mailbox.Domain // of the row before
	batch     []directory.Row
	args      []any
	leads     []lead
	catchAlls []lead
	elsewhere map[string]bool // domains that are not here and that something leads to; nil: nobody has looked yet
	arrived   []lead          // those of them that were made
}

// lead is something that leads somewhere, whose targets have to be looked for when everything is in.
type lead struct {
	line  int
	from  mailbox.Address // folded; without local part: all that leads into the domain, or its catch-all
	alias bool            // not a mailbox with copies
}

func (i *importer) run(ctx context.Context, from directory.Source) error {
	for row, err := range from {
		if err != nil {
			return err
		}
		if i.report.Lines++; i.o.Progress != nil && i.report.Lines%progressEvery == 0 {
			i.o.Progress(i.report.Lines)
		}
		if row.Err != nil {
			i.bad(row.Line, row.Err)
			continue
		}
		if err := i.row(ctx, row); err != nil {
			return err
		}
	}
	if err := i.flush(ctx); err != nil {
		return err
	}
	if err := i.checkLeads(ctx); err != nil {
		return err
	}
	if err := i.checkArrived(ctx); err != nil {
		return err
	}
	if err := i.checkCatchAlls(ctx); err != nil {
		return err
	}
	if i.o.Progress != nil {
		i.o.Progress(i.report.Lines)
	}
	return nil
}

func (i *importer) bad(line int, err error) {
	i.report.Bad++
	if i.o.Bad != nil {
		i.o.Bad(line, err)
	}
}

// row imports one row that could be read, or says that it is bad. The error ends the import.
func (i *importer) row(ctx context.Context, row directory.Row) error {
	alone := row.Entry.Address.Local == ""
	if row.Secret != "" && !i.private {
		if err := private(i.path); err != nil {
			return err
		}
		i.private = true
	}
	if !alone {
		if err := i.rules.Entry(row.Entry); err != nil {
			return i.badOr(row.Line, err)
		}
	}
	if err := i.enter(ctx, row, alone); err != nil || alone {
		return i.badOr(row.Line, err)
	}
	if len(targets(row.Entry)) == 0 {
		if i.batch = append(i.batch, row); len(i.batch) == batchRows {
			return i.flush(ctx)
		}
		return nil
	}
	if err := i.insertEntry(ctx, row.Entry, row.Secret); err != nil {
		return i.badOr(row.Line, taken(err, row.Entry))
	}
	l := lead{row.Line, row.Entry.Address.Fold(), len(row.Entry.Alias) > 0}
	*i.count(l)++
	i.leads = append(i.leads, l)
	return nil
}

// count is where the report counts what leads somewhere.
func (i *importer) count(l lead) *int {
	if l.alias {
		return &i.report.Aliases
	}
	return &i.report.Mailboxes
}

// badOr counts an error that is about the row, and returns any other.
func (i *importer) badOr(line int, err error) error {
	for _, of := range []error{directory.ErrInvalid, directory.ErrExists, mailbox.ErrNoDomain} {
		if errors.Is(err, of) {
			i.bad(line, err)
			return nil
		}
	}
	return err
}

// taken tells that the key was there before.
func taken(err error, e mailbox.Entry) error {
	if isConstraint(err) {
		return fmt.Errorf("%s %w", e.Address, directory.ErrExists)
	}
	return err
}

func isConstraint(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_CONSTRAINT
}

// enter makes i.domain the domain of the row. It makes the domain when it is missing.
func (i *importer) enter(ctx context.Context, row directory.Row, alone bool) error {
	name := row.Entry.Address.Domain
	if i.domain.Name != name {
		domain, err := i.Domain(ctx, name)
		if errors.Is(err, mailbox.ErrNoDomain) {
			return i.makeDomain(ctx, row)
		}
		if err != nil {
			return err
		}
		i.domain = domain
	}
	if alone {
		return fmt.Errorf("domain %s %w", name, directory.ErrExists)
	}
	return agrees(row, i.domain)
}

func agrees(row directory.Row, d mailbox.Domain) error {
	switch {
	case row.Site != "" && row.Site != d.Site:
		return directory.Invalidf("domain %s is in site %q, the line says %.80q", d.Name, d.Site, row.Site)
	case row.MX != "" && row.MX != d.MX:
		return directory.Invalidf("domain %s has the MX policy %q, the line says %q", d.Name, d.MX, row.MX)
	case row.External != mailbox.External{} && row.External != d.External:
		return directory.Invalidf("domain %s has external %q, the line says %q", d.Name, d.External, row.External)
	case row.Bypass != nil && *row.Bypass != d.Bypass:
		return directory.Invalidf("domain %s has bypass %v, the line says %v", d.Name, d.Bypass, *row.Bypass)
	case row.Authentication != "" && row.Authentication != d.Authentication:
		return directory.Invalidf("domain %s has the authentication %q, the line says %q", d.Name, d.Authentication,
			row.Authentication)
	case len(row.Upstreams) > 0 && !slices.Equal(row.Upstreams, d.Upstreams):
		return directory.Invalidf("domain %s has other upstreams than the line says", d.Name)
	case !row.CatchAll.IsNull() && row.CatchAll.Fold() != d.CatchAll.Fold():
		return directory.Invalidf("domain %s has another catch-all than %s", d.Name, row.CatchAll)
	}
	return nil
}

func (i *importer) makeDomain(ctx context.Context, row directory.Row) error {
	d := mailbox.Domain{
		Name: row.Entry.Address.Domain, Site: row.Site, MX: row.MX, Bypass: true, Disabled: row.Disabled,
		CatchAll: row.CatchAll, External: row.External,
		Authentication: row.Authentication, Upstreams: row.Upstreams,
	}
	if d.Site == "" {
		return fmt.Errorf("%s: %w, and the line names no site to make it in", d.Name, mailbox.ErrNoDomain)
	}
	if d.MX == "" {
		d.MX = mailbox.PolicyAuto
	}
	if row.Bypass != nil {
		d.Bypass = *row.Bypass
	}
	if err := i.rules.Domain(d); err != nil {
		return err
	}
	if err := i.arrives(ctx, row.Line, d.Name); err != nil {
		return err
	}
	if err := i.insertDomain(ctx, d); err != nil {
		return err
	}
	i.report.Domains++
	i.domain = d
	if !d.CatchAll.IsNull() {
		i.catchAlls = append(i.catchAlls, lead{line: row.Line, from: mailbox.Address{Domain: d.Name}})
	}
	return nil
}

// arrives remembers a domain that something led to before it was here.
func (i *importer) arrives(ctx context.Context, line int, name mailbox.DomainName) error {
	if i.elsewhere == nil {
		const away = "SELECT DISTINCT '', to_domain FROM target WHERE to_domain NOT IN (SELECT name FROM domain)"
		found, err := i.addresses(ctx, away)
		if err != nil {
			return err
		}
		i.elsewhere = make(map[string]bool, len(found))
		for _, a := range found {
			i.elsewhere[a.Domain.ASCII()] = true
		}
	}
	if i.elsewhere[name.ASCII()] {
		i.arrived = append(i.arrived, lead{line: line, from: mailbox.Address{Domain: name}})
	}
	return nil
}

// flush inserts the batch. A statement that fails changes nothing, and then the rows are inserted one by one to find
// those that are there already.
func (i *importer) flush(ctx context.Context) error {
	if len(i.batch) == 0 {
		return nil
	}
	defer func() { i.batch = i.batch[:0] }()
	i.args = i.args[:0]
	for _, row := range i.batch {
		i.args = entryColumns(i.args, row.Entry, row.Secret)
	}
	query := insertEntry + strings.Repeat(insertValues+", ", len(i.batch)-1) + insertValues
	_, err := i.exec(ctx, query, i.args...)
	if err == nil {
		i.report.Mailboxes += len(i.batch)
		return nil
	}
	if !isConstraint(err) {
		return err
	}
	for _, row := range i.batch {
		if err := i.insertEntry(ctx, row.Entry, row.Secret); err != nil {
			if err := i.badOr(row.Line, taken(err, row.Entry)); err != nil {
				return err
			}
			continue
		}
		i.report.Mailboxes++
	}
	return nil
}

// checkLeads takes back the aliases and the mailboxes with copies that lead nowhere, until all that are left lead
// somewhere: one that is taken back may have been a target.
func (i *importer) checkLeads(ctx context.Context) error {
	for again := true; again; {
		again = false
		var good []lead
		for _, l := range i.leads {
			err := i.rules.Targets(ctx, i, l.from)
			if err == nil {
				good = append(good, l)
				continue
			}
			if err := i.badOr(l.line, err); err != nil {
				return err
			}
			if err := i.deleteEntry(ctx, l.from); err != nil {
				return err
			}
			*i.count(l)--
			again = true
		}
		i.leads = good
	}
	return nil
}

// checkArrived checks what led into the domains that were made. A domain is not taken back for it, because of all that
// came with it: the import ends.
func (i *importer) checkArrived(ctx context.Context) error {
	for _, l := range i.arrived {
		err := i.checkInto(ctx, l.from.Domain)
		if err == nil {
			continue
		}
		if bad := i.badOr(l.line, err); bad != nil || i.o.KeepGoing {
			return err
		}
	}
	return nil
}

func (i *importer) checkCatchAlls(ctx context.Context) error {
	for _, l := range i.catchAlls {
		d, err := i.Domain(ctx, l.from.Domain)
		if err != nil {
			return err
		}
		err = i.rules.CatchAll(ctx, i, d)
		if err == nil {
			continue
		}
		if i.o.KeepGoing && errors.Is(err, directory.ErrInvalid) {
			err = fmt.Errorf("%w; the domain is made without", err)
		}
		if err := i.badOr(l.line, err); err != nil {
			return err
		}
		d.CatchAll = mailbox.Address{}
		if err := i.updateDomain(ctx, d); err != nil {
			return err
		}
	}
	return nil
}
