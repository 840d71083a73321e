-- A directory as schema version 1 left it.
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
INSERT INTO schema_version VALUES (1);
INSERT INTO domain VALUES ('one.test', 'cloud', 'auto', 1, 0, 'box@one.test', 'box@one.test', 'one.test');
INSERT INTO domain VALUES ('two.test', 'vps42', 'split', 0, 1, '', '', '');
INSERT INTO entry VALUES ('one.test', 'box', 'Box', 0, 0);
INSERT INTO entry VALUES ('one.test', 'info', 'info', 1, 0);
INSERT INTO entry VALUES ('two.test', 'other', 'other', 0, 1);
INSERT INTO target VALUES ('one.test', 'info', 0, 'box@one.test', 'box@one.test', 'one.test');
INSERT INTO target VALUES ('one.test', 'info', 1, 'other@two.test', 'other@two.test', 'two.test');
