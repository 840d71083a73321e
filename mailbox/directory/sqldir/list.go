package sqldir

import (
	"context"
	"errors"
	"iter"

	"mxbypass/mailbox"
)

// Domains implements directory.Reader. It reads while it is listed: nothing is kept in memory.
func (d *Directory) Domains(ctx context.Context) iter.Seq2[mailbox.Domain, error] {
	return func(yield func(mailbox.Domain, error) bool) {
		rows, err := d.db.Load().pool.QueryContext(ctx, selectDomain+" ORDER BY name")
		if err != nil {
			yield(mailbox.Domain{}, unavailable(err))
			return
		}
		defer rows.Close() //nolint:errcheck // everything was read, or nobody wants it
		for rows.Next() {
			domain, err := scanDomain(rows)
			if err != nil {
				yield(mailbox.Domain{}, unavailable(err))
				return
			}
			if !yield(domain, nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(mailbox.Domain{}, unavailable(err))
		}
	}
}

// Entries implements directory.Reader. It reads while it is listed.
func (d *Directory) Entries(ctx context.Context, domain mailbox.DomainName) iter.Seq2[mailbox.Entry, error] {
	query, args := selectEntry, []any(nil)
	if !domain.IsZero() {
		query, args = query+" WHERE e.domain = ?", []any{domain.ASCII()}
	}
	query += " ORDER BY e.domain, e.local, t.position"
	return func(yield func(mailbox.Entry, error) bool) {
		if err := d.eachEntry(ctx, query, args, yield); err != nil && !errors.Is(err, errEnough) {
			yield(mailbox.Entry{}, unavailable(err))
		}
	}
}

// errEnough: whoever lists wants no more.
var errEnough = errors.New("enough")

func (d *Directory) eachEntry(ctx context.Context, query string, args []any,
	yield func(mailbox.Entry, error) bool) error {
	rows, err := d.db.Load().pool.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // everything was read, or nobody wants it
	give := func(s *entryScanner) error {
		entry, err := s.finish()
		if err != nil {
			return err
		}
		if !yield(entry, nil) {
			return errEnough
		}
		return nil
	}
	s := new(entryScanner)
	for rows.Next() {
		next, err := s.scan(rows)
		if err != nil {
			return err
		}
		if next == nil {
			continue
		}
		if err := give(s); err != nil {
			return err
		}
		s = next
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if !s.started {
		return nil
	}
	return give(s)
}
