package queue

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net/url"
	"path/filepath"

	"modernc.org/sqlite"
)

// dsn names the database with what SQLite is to be told first.
func dsn(path string, pragmas ...string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	q := url.Values{"mode": {"rw"}, "_pragma": pragmas} // rw: never make one
	return (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String()
}

// readerDSN: SQLite itself refuses to write by these connections. They open the file for writing all the same, because a
// reader of a database in WAL mode writes to the index beside it.
func readerDSN(path string) string {
	return dsn(path, "busy_timeout(5000)", "query_only(1)", "wal_autocheckpoint(0)")
}

// writerDSN: a commit that returned is on disk. Checkpoints are made when the writer says so.
func writerDSN(path string) string {
	return dsn(path, "busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "wal_autocheckpoint(0)",
		"journal_size_limit(134217728)", "cache_size(-32768)", "temp_store(MEMORY)")
}

// adminDSN is for commands, which make checkpoints of their own: no relay may run.
func adminDSN(path string) string {
	return dsn(path, "busy_timeout(30000)", "synchronous(FULL)", "wal_autocheckpoint(1000)")
}

// session is a connection that writes. It speaks to the driver itself: database/sql costs about as much for a short
// statement as SQLite does. Only one goroutine uses it.
type session struct {
	conn       driver.Conn
	statements map[string]*statement
}

type statement struct {
	prepared driver.Stmt
	args     []driver.NamedValue
}

func openSession(ctx context.Context, name string) (*session, error) {
	connector, err := sqlite.NewConnector(name)
	if err != nil {
		return nil, err
	}
	conn, err := connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &session{conn: conn, statements: map[string]*statement{}}, nil
}

func (s *session) close() error {
	var errs []error
	for _, st := range s.statements {
		errs = append(errs, st.prepared.Close())
	}
	return errors.Join(append(errs, s.conn.Close())...)
}

// prepare gives the statement with its arguments, which are int64, string, []byte or nil.
func (s *session) prepare(query string, args []any) (*statement, error) {
	st := s.statements[query]
	if st == nil {
		prepared, err := s.conn.Prepare(query)
		if err != nil {
			return nil, err
		}
		st = &statement{prepared: prepared, args: make([]driver.NamedValue, len(args))}
		for i := range st.args {
			st.args[i].Ordinal = i + 1
		}
		s.statements[query] = st
	}
	for i, a := range args {
		st.args[i].Value = a
	}
	return st, nil
}

// exec runs a statement and returns how many rows it changed.
func (s *session) exec(query string, args ...any) (int64, error) {
	st, err := s.prepare(query, args)
	if err != nil {
		return 0, err
	}
	done, err := st.prepared.(driver.StmtExecContext).ExecContext(context.Background(), st.args)
	if err != nil {
		return 0, err
	}
	return done.RowsAffected()
}

// query calls row for each row of the answer. What row is given is good until it returns.
func (s *session) query(query string, row func([]driver.Value) error, args ...any) (err error) {
	st, err := s.prepare(query, args)
	if err != nil {
		return err
	}
	rows, err := st.prepared.(driver.StmtQueryContext).QueryContext(context.Background(), st.args)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	values := make([]driver.Value, len(rows.Columns()))
	for {
		switch err := rows.Next(values); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := row(values); err != nil {
			return err
		}
	}
}

// integer asks for one number; false: there is no row, or no number in it.
func (s *session) integer(query string, args ...any) (n int64, ok bool, err error) {
	err = s.query(query, func(row []driver.Value) error {
		n, ok = row[0].(int64)
		return nil
	}, args...)
	return n, ok, err
}

// pagesWritten gives the pages that went to the write-ahead log since it was asked last.
func (s *session) pagesWritten() int64 {
	n, _, err := s.conn.(sqlite.DBStatus).Status(sqlite.DBStatusCacheWrite, true)
	if err != nil {
		return 0
	}
	return int64(n)
}

// checkpoint copies the write-ahead log into the database. It tells whether all of it was copied.
func (s *session) checkpoint(query string) (whole bool, err error) {
	err = s.query(query, func(row []driver.Value) error {
		busy, _ := row[0].(int64)
		frames, _ := row[1].(int64)
		copied, _ := row[2].(int64)
		whole = busy == 0 && frames == copied
		return nil
	})
	return whole, err
}

const (
	checkpointPassive = "PRAGMA wal_checkpoint(PASSIVE)" // waits for nobody
	checkpointRestart = "PRAGMA wal_checkpoint(RESTART)" // waits until no reader needs the log
	// checkpointTruncate is checkpointRestart, and leaves an empty file.
	checkpointTruncate = "PRAGMA wal_checkpoint(TRUNCATE)"
)
