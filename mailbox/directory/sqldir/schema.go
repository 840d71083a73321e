package sqldir

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// migrations bring a database from one version to the next; the first makes it. A migration that was released never
// changes.
//
// Addresses are kept as they are written, and again folded as the key. A target's and a catch-all's domain stands beside
// it, so that what leads into a domain is found without reading everything.
var migrations = []string{`
CREATE TABLE schema_version (version INTEGER NOT NULL);
CREATE TABLE domain (
	name             TEXT NOT NULL PRIMARY KEY,
	site             TEXT NOT NULL,
	mx               TEXT NOT NULL,
	bypass           INTEGER NOT NULL,
	disabled         INTEGER NOT NULL,
	catch_all        TEXT NOT NULL,
	catch_all_key    TEXT NOT NULL,
	catch_all_domain TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX domain_catch_all ON domain (catch_all_domain, catch_all_key) WHERE catch_all_domain <> '';
CREATE TABLE entry (
	domain   TEXT NOT NULL REFERENCES domain (name) ON DELETE CASCADE,
	local    TEXT NOT NULL,
	written  TEXT NOT NULL,
	alias    INTEGER NOT NULL,
	disabled INTEGER NOT NULL,
	PRIMARY KEY (domain, local)
) WITHOUT ROWID;
CREATE TABLE target (
	domain    TEXT NOT NULL,
	local     TEXT NOT NULL,
	position  INTEGER NOT NULL,
	address   TEXT NOT NULL,
	key       TEXT NOT NULL,
	to_domain TEXT NOT NULL,
	PRIMARY KEY (domain, local, position),
	FOREIGN KEY (domain, local) REFERENCES entry (domain, local) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX target_to ON target (to_domain, key);
`, `
-- By which way external mail of the domain leaves, as mailbox.ParseExternal reads it.
ALTER TABLE domain ADD COLUMN external TEXT NOT NULL DEFAULT '';
-- Whether a mailbox has targets: its copies. Those of most have none, and for them nobody looks.
ALTER TABLE entry ADD COLUMN copies INTEGER NOT NULL DEFAULT 0;
`, `
-- What happens to mail of the domain that fails DMARC; empty: as the configuration says.
ALTER TABLE domain ADD COLUMN authentication TEXT NOT NULL DEFAULT '';
-- Who forwards mail for the domain, as mailbox.ParseUpstreams writes them, with spaces between them.
ALTER TABLE domain ADD COLUMN upstreams TEXT NOT NULL DEFAULT '';
-- The hash of a mailbox's password, as mailbox/password verifies it; empty: none.
ALTER TABLE entry ADD COLUMN password TEXT NOT NULL DEFAULT '';
`}

// errNotOurs: the file is a database, with something else in it.
var errNotOurs = errors.New("this is not a directory of mxbypass")

// schemaVersion returns the version of the database; 0 when there is nothing in it.
func schemaVersion(ctx context.Context, db interface {
	QueryRowContext(context.Context, string, ...any) *sql.Row
}) (int, error) {
	var tables, ours int
	row := db.QueryRowContext(ctx, "SELECT count(*), coalesce(sum(name = 'schema_version'), 0) FROM sqlite_master")
	if err := row.Scan(&tables, &ours); err != nil {
		return 0, err
	}
	switch {
	case tables == 0:
		return 0, nil
	case ours == 0:
		return 0, errNotOurs
	}
	var version int
	if err := db.QueryRowContext(ctx, "SELECT version FROM schema_version").Scan(&version); err != nil {
		return 0, err
	}
	if version > len(migrations) {
		return 0, fmt.Errorf("the database has schema version %d, this mxbypass knows up to %d: use a newer mxbypass",
			version, len(migrations))
	}
	return version, nil
}

// migrate brings the database to the newest version, in one transaction.
func migrate(ctx context.Context, w *sql.DB) error {
	tx, err := w.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit there is nothing to roll back
	version, err := schemaVersion(ctx, tx)
	if err != nil {
		return err
	}
	if version == len(migrations) {
		return nil // another process was faster
	}
	for _, m := range migrations[version:] {
		if _, err := tx.ExecContext(ctx, m); err != nil {
			return fmt.Errorf("migration from schema version %d: %w", version, err)
		}
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM schema_version"); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO schema_version VALUES (?)", len(migrations)); err != nil {
		return err
	}
	return tx.Commit()
}
