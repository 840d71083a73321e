package queue

import (
	"context"
	"database/sql"
	"errors"
	"sync"
)

// reader asks the database. What is asked often is prepared once for each connection.
type reader struct {
	db *sql.DB

	mu       sync.Mutex
	prepared map[string]*sql.Stmt
}

func openReader(path string, most int) (*reader, error) {
	db, err := openPool(readerDSN(path), most)
	if err != nil {
		return nil, err
	}
	return &reader{db: db, prepared: map[string]*sql.Stmt{}}, nil
}

func (r *reader) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for _, st := range r.prepared {
		errs = append(errs, st.Close())
	}
	clear(r.prepared)
	return errors.Join(append(errs, r.db.Close())...)
}

// statement is for queries whose text is written in this package: there are not many.
func (r *reader) statement(ctx context.Context, query string) (*sql.Stmt, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if st := r.prepared[query]; st != nil {
		return st, nil
	}
	st, err := r.db.PrepareContext(ctx, query)
	if err == nil {
		r.prepared[query] = st
	}
	return st, err
}

// each calls row for each row of the answer, whatever is in it; false ends it.
func (r *reader) each(ctx context.Context, query string, row func(*record) bool, args ...any) (err error) {
	st, err := r.statement(ctx, query)
	if err != nil {
		return classify(err)
	}
	rows, err := st.QueryContext(ctx, args...)
	if err != nil {
		return classify(err)
	}
	return eachRow(rows, row)
}

func eachRow(rows *sql.Rows, row func(*record) bool) (err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	pointers := make([]any, len(columns))
	for rows.Next() {
		values := make([]any, len(columns))
		for i := range values {
			pointers[i] = &values[i]
		}
		if err := rows.Scan(pointers...); err != nil {
			return err
		}
		if !row(&record{values: values}) {
			return nil
		}
	}
	return classify(rows.Err())
}

// numbers reads up to three columns of numbers.
func (r *reader) numbers(ctx context.Context, query string, args ...any) (all [][3]int64, err error) {
	damage := error(nil)
	err = r.each(ctx, query, func(row *record) bool {
		var n [3]int64
		for i := range row.values {
			n[i] = row.integer("what should be one")
		}
		damage = row.err
		all = append(all, n)
		return damage == nil
	}, args...)
	return all, errors.Join(err, damage)
}
