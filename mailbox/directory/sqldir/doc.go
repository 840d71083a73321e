// Package sqldir is the directory in SQLite.
//
// It is live: what another process commits (the commands do) is seen by a running relay without a reload. What the
// directory does not know is never answered from the cache; what it knows is, for at most [maxStale] after it changed:
// a watcher asks SQLite many times a second whether anybody has committed (PRAGMA data_version) and whether the file is
// still the same one, and a commit makes everything in the cache too old. When the watcher falls behind, the cache is not
// used. The cache is bounded by its number of entries, and it holds only what exists, so that a search for names that do
// not cannot push out those that do.
//
// One query answers one question (an entry and its targets come together), so that no answer is half of before and half
// of after a change. A database that cannot answer gives an error that wraps mailbox.ErrUnavailable.
//
// Readers are a small pool of connections; the writer is one more, opened by the first change. The database is in WAL
// mode: readers and the writer do not wait for each other. The writer syncs at every commit.
package sqldir
