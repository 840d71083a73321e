package queue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// The tables, and what keeps the cost of one message the same however many wait:
//
//   - A message has an ID of ours that is never used again, a row for each recipient, and its content in chunks under
//     IDs that follow from its own.
//   - An item that waits is in the index of its destination by its time, and in that of what is to be watched; one that
//     somebody works on, or that is put aside, is in neither, but in a small index of its own.
//   - A destination is due not later than the first of its mail, and not before until. Being due too early costs a look
//     and is mended by it; so the row is hardly ever written.
//   - A message that comes in several commits is an orphan until the last of them.
//
// Times are microseconds since 1970. NULL in a text is "none", in recipient.reverse "that of the message", in
// recipient.original "as the address".
const schema1 = `
CREATE TABLE queue_state (
	version  INTEGER NOT NULL,
	epoch    INTEGER NOT NULL,
	next_row INTEGER NOT NULL
);
CREATE TABLE message (
	id       INTEGER NOT NULL PRIMARY KEY,
	name     TEXT NOT NULL,
	created  INTEGER NOT NULL,
	reverse  TEXT NOT NULL,
	flags    INTEGER NOT NULL,
	size     INTEGER NOT NULL,
	ret      TEXT,
	envid    TEXT,
	received BLOB NOT NULL
);
CREATE INDEX message_name ON message (name);
CREATE TABLE recipient (
	message       INTEGER NOT NULL,
	n             INTEGER NOT NULL,
	destination   INTEGER NOT NULL,
	state         INTEGER NOT NULL,
	lease         INTEGER NOT NULL,
	doubt         INTEGER NOT NULL,
	attempts      INTEGER NOT NULL,
	due           INTEGER NOT NULL,
	notice        INTEGER NOT NULL,
	expires       INTEGER NOT NULL,
	watch         INTEGER NOT NULL,
	notify        INTEGER NOT NULL,
	address       TEXT NOT NULL,
	purpose       TEXT NOT NULL,
	mailbox       TEXT,
	tag           TEXT,
	reverse       TEXT,
	mark          TEXT,
	original      TEXT,
	orcpt         TEXT,
	last_time     INTEGER,
	last_host     TEXT,
	last_command  TEXT,
	last_code     INTEGER,
	last_enhanced INTEGER,
	last_text     TEXT,
	PRIMARY KEY (message, n)
) WITHOUT ROWID;
CREATE INDEX recipient_due ON recipient (destination, due) WHERE state = 0 AND lease = 0;
CREATE INDEX recipient_watch ON recipient (watch) WHERE state = 0 AND lease = 0;
CREATE INDEX recipient_lease ON recipient (destination, lease) WHERE lease <> 0;
CREATE INDEX recipient_aside ON recipient (destination, state, lease) WHERE state <> 0;
CREATE TABLE chunk (
	id   INTEGER NOT NULL PRIMARY KEY,
	crc  INTEGER NOT NULL,
	data BLOB NOT NULL
);
CREATE TABLE orphan (message INTEGER NOT NULL PRIMARY KEY);
CREATE TABLE destination (
	id            INTEGER PRIMARY KEY AUTOINCREMENT,
	name          TEXT NOT NULL UNIQUE,
	due           INTEGER NOT NULL,
	until         INTEGER NOT NULL,
	failures      INTEGER NOT NULL,
	last_time     INTEGER,
	last_host     TEXT,
	last_command  TEXT,
	last_code     INTEGER,
	last_enhanced INTEGER,
	last_text     TEXT
);
CREATE INDEX destination_due ON destination (due);
INSERT INTO queue_state VALUES (0, 0, 1);
`

// schema2: how the connection of a failure was encrypted. An older mxbypass does not know flagRequireTLS either, and must
// not send such mail.
const schema2 = `
ALTER TABLE recipient ADD COLUMN last_tls TEXT;
ALTER TABLE destination ADD COLUMN last_tls TEXT;
`

// migrations bring a database from one version to the next; the first makes it. A migration that was released never
// changes.
func migrations() []string { return []string{schema1, schema2} }

// The values of recipient.state. Who works on an item is told by its lease.
const (
	stateWaiting int64 = iota
	stateHeld
	stateQuarantined
)

// The bits of message.flags.
const (
	flagUTF8 int64 = 1 << iota
	flagUTF8Header
	flagEightBit
	flagRequireTLS
)

const (
	// chunkSize is the length of the chunks of a content; the last one is shorter.
	chunkSize = 64 << 10
	// chunkBits is how many bits of a chunk's ID are its number; the others are the message.
	chunkBits = 20
	// maxContent is the longest content that so many chunks hold.
	maxContent = chunkSize << chunkBits

	// pageSize is that of SQLite. Between 4 and 32 KiB nothing was gained or lost that could be measured: large ones suit
	// contents, small ones rows that are changed here and there.
	pageSize = 8 << 10
)

func firstChunk(row int64) int64 { return row << chunkBits }
func lastChunk(row int64) int64  { return (row+1)<<chunkBits - 1 }

var (
	errNotOurs = errors.New("this database is not a queue of mxbypass: move it away, or set another state folder")
	errEmpty   = errors.New("there is nothing in this database")
)

// schemaVersion returns the version of the database; 0 when there is nothing in it.
func schemaVersion(ctx context.Context, db interface {
	QueryRowContext(context.Context, string, ...any) *sql.Row
}) (int, error) {
	var tables, ours int
	row := db.QueryRowContext(ctx, "SELECT count(*), coalesce(sum(name = 'queue_state'), 0) FROM sqlite_master")
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
	if err := db.QueryRowContext(ctx, "SELECT version FROM queue_state").Scan(&version); err != nil {
		return 0, err
	}
	if newest := len(migrations()); version > newest {
		return 0, fmt.Errorf("the queue has schema version %d, this mxbypass knows up to %d: use a newer mxbypass",
			version, newest)
	}
	return version, nil
}

// migrate brings the database to the newest version, in one transaction.
func migrate(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit there is nothing to roll back
	version, err := schemaVersion(ctx, tx)
	if err != nil {
		return err
	}
	for i, m := range migrations()[version:] {
		if _, err := tx.ExecContext(ctx, m); err != nil {
			return fmt.Errorf("migration from schema version %d: %w", version+i, err)
		}
	}
	if _, err := tx.ExecContext(ctx, "UPDATE queue_state SET version = ?", len(migrations())); err != nil {
		return err
	}
	return tx.Commit()
}
