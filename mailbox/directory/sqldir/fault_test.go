package sqldir_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"mxbypass/mailbox"
	"mxbypass/mailbox/directory"
	"mxbypass/mailbox/directory/sqldir"
)

func TestOpenFails(t *testing.T) {
	dir := t.TempDir()
	_, old := filled(t, start)
	newer := filepath.Join(dir, "newer.db")
	execute(t, newer, "CREATE TABLE schema_version (version INTEGER); INSERT INTO schema_version VALUES (1000)")
	foreign := filepath.Join(dir, "foreign.db")
	execute(t, foreign, "CREATE TABLE address_book (name TEXT)")
	empty := filepath.Join(dir, "empty.db")
	text := filepath.Join(dir, "text.db")
	for path, content := range map[string]string{empty: "", text: strings.Repeat("this is no database\n", 100)} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	missing := filepath.Join(dir, "missing.db")
	for path, want := range map[string]string{
		old:     "",
		newer:   "schema version 1000",
		foreign: "not a directory of mxbypass",
		empty:   "nothing in this database",
		text:    "not a database",
		missing: "no such file",
		dir:     "a folder",
	} {
		o := options(path)
		o.Create = false
		d, err := sqldir.Open(t.Context(), o)
		if err == nil {
			err = d.Close()
		} else if want != "" && strings.Contains(err.Error(), want) && !strings.Contains(err.Error(), "\n") {
			continue
		}
		if err != nil || want != "" {
			t.Errorf("%s: %v, want %q in one line", filepath.Base(path), err, want)
		}
	}
	if _, err := os.Stat(missing); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a database was made:", err)
	}
	if _, err := sqldir.Open(t.Context(), options(filepath.Join(dir, "none", "x.db"))); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// execute runs statements on a database that is nobody's, in the usual journal mode.
func execute(t *testing.T, path, statements string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.ExecContext(t.Context(), statements)
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// unknown asks for what is there and what is not, and wants to hear neither yes nor no.
func unknown(t *testing.T, d *sqldir.Directory) {
	t.Helper()
	for _, a := range []string{"box@one.test", "nobody@one.test", "x@none.test"} {
		_, err := d.Entry(t.Context(), address(a))
		_, err2 := d.Domain(t.Context(), address(a).Domain)
		for _, err := range []error{err, err2} {
			if !errors.Is(err, mailbox.ErrUnavailable) || errors.Is(err, mailbox.ErrNoMailbox) ||
				errors.Is(err, mailbox.ErrNoDomain) {
				t.Errorf("%s: %v, want %v", a, err, mailbox.ErrUnavailable)
			}
		}
	}
	for _, err := range d.Domains(t.Context()) {
		wantErr(t, err, mailbox.ErrUnavailable)
	}
}

func TestRemovedAndReplacedDatabase(t *testing.T) {
	_, path := filled(t, start)
	d, look := watched(t, path)
	if _, err := d.Entry(t.Context(), address("box@one.test")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	if err := d.Check(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	d.FallBehind()
	_, err := d.Entry(t.Context(), address("box@one.test"))
	wantErr(t, err, mailbox.ErrUnavailable)
	_, err = d.Entry(t.Context(), address("nobody@one.test"))
	wantErr(t, err, mailbox.ErrUnavailable)

	// Another one takes its place, as when a backup is put back.
	other, otherPath := filled(t, "address,site\nother@one.test,cloud\n")
	if err := other.Writer(t.Context(), "PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		t.Fatal(err)
	}
	for _, beside := range []string{"-wal", "-shm"} {
		if err := os.Remove(path + beside); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if err := os.Rename(otherPath, path); err != nil {
		t.Fatal(err)
	}
	_, err = d.Entry(t.Context(), address("other@one.test"))
	wantErr(t, err, mailbox.ErrUnavailable) // not before it was opened
	look()
	if _, err := d.Entry(t.Context(), address("other@one.test")); err != nil {
		t.Error(err)
	}
	_, err = d.Entry(t.Context(), address("box@one.test"))
	wantErr(t, err, mailbox.ErrNoMailbox)
}

func TestDamagedDatabase(t *testing.T) {
	editor, path := filled(t, start)
	if err := editor.Writer(t.Context(), "PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		t.Fatal(err)
	}
	d, _ := watched(t, path)
	d.FallBehind()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range content {
		content[i] = 0xa5
	}
	if err := os.WriteFile(path, content, 0o600); err != nil { // the same file, with nonsense in it
		t.Fatal(err)
	}
	unknown(t, d)
}

// Rows that somebody wrote by hand, past all rules, are no answer.
func TestDamagedRows(t *testing.T) {
	d, _ := filled(t, start)
	ctx := t.Context()
	for _, statement := range []string{
		"PRAGMA foreign_keys = 0",
		"UPDATE domain SET mx = 'maybe' WHERE name = 'one.test'",
		"UPDATE domain SET catch_all = 'nonsense' WHERE name = 'two.test'",
		"UPDATE domain SET external = 'lmtp://x.test' WHERE name = 'mx.host.test'",
		"UPDATE entry SET written = 'other' WHERE local = 'box'",
		"UPDATE target SET address = 'no address' WHERE position = 1",
		"UPDATE entry SET alias = 1 WHERE local = 'gate'",
		"UPDATE entry SET copies = 1 WHERE local IN ('upper', 'far')",
	} {
		if err := d.Writer(ctx, statement); err != nil {
			t.Fatal(statement, err)
		}
	}
	for _, name := range []string{"one.test", "two.test", "mx.host.test"} {
		_, err := d.Domain(ctx, mailbox.MustDomainName(name))
		wantErr(t, err, mailbox.ErrUnavailable)
	}
	for _, a := range []string{"box@one.test", "info@one.test", "gate@mx.host.test", "upper@one.test", "far@one.test",
		"kept@two.test"} {
		_, err := d.Entry(ctx, address(a))
		wantErr(t, err, mailbox.ErrUnavailable)
	}
}

// A change that cannot be written changes nothing, says why, and the next one works.
func TestChangesThatCannotBeWritten(t *testing.T) {
	for name, c := range map[string]struct {
		fault, mend string
		want        error
	}{
		"read-only": {"PRAGMA query_only = 1", "PRAGMA query_only = 0", directory.ErrReadOnly},
		"disk full": {"PRAGMA max_page_count = 1", "PRAGMA max_page_count = 1000000", mailbox.ErrNoSpace},
	} {
		t.Run(name, func(t *testing.T) {
			d, path := filled(t, start)
			relay := open(t, path)
			if err := d.Writer(t.Context(), c.fault); err != nil {
				t.Fatal(err)
			}
			_, _, err := importText(t, d, "address,site\n"+manyMailboxes(3000), true)
			wantErr(t, err, c.want)
			wantContents(t, relay, startContents...)
			if err := d.Writer(t.Context(), c.mend); err != nil {
				t.Fatal(err)
			}
			if err := d.AddEntry(t.Context(), mailboxOf("new@one.test")); err != nil {
				t.Error(err)
			}
			if _, err := relay.Entry(t.Context(), address("new@one.test")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestLockedDatabase(t *testing.T) {
	_, path := filled(t, start)
	d := open(t, path)
	other := open(t, path)
	if err := other.Writer(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	// Readers do not wait for a writer.
	if _, err := d.Entry(t.Context(), address("box@one.test")); err != nil {
		t.Error(err)
	}
	// A second writer does, for as long as it likes.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.AddEntry(ctx, mailboxOf("new@one.test")); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := other.Writer(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := d.AddEntry(t.Context(), mailboxOf("new@one.test")); err != nil {
		t.Error(err)
	}
}

// Who stops waiting hears that the answer is not known; those who wait on hear the answer.
func TestAskerWhoGoesAway(t *testing.T) {
	_, path := filled(t, start)
	d := open(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 50 {
		_, err := d.Entry(ctx, address("nobody@one.test"))
		if !errors.Is(err, mailbox.ErrUnavailable) && !errors.Is(err, mailbox.ErrNoMailbox) {
			t.Error(err)
		}
		_, err = d.Entry(t.Context(), address("nobody@one.test"))
		wantErr(t, err, mailbox.ErrNoMailbox)
	}
}

func TestImportThatIsCutShort(t *testing.T) {
	d, path := filled(t, start)
	failure := errors.New("input/output error")
	source := func(yield func(directory.Row, error) bool) {
		if yield(directory.Row{Line: 2, Entry: mailboxOf("new@one.test")}, nil) {
			yield(directory.Row{Line: 3}, failure)
		}
	}
	_, err := d.Import(t.Context(), source, directory.ImportOptions{KeepGoing: true})
	wantErr(t, err, failure)
	wantContents(t, open(t, path), startContents...)
}

// SQLite makes files beside the database: who cannot is told which folder it is.
func TestFolderThatCannotBeWritten(t *testing.T) {
	_, path := filled(t, start)
	copied := filepath.Join(t.TempDir(), "directory.db")
	execute(t, path, "VACUUM INTO '"+copied+"'")
	execute(t, copied, "PRAGMA journal_mode = WAL")
	folder := filepath.Dir(copied)
	for name, mode := range map[string]os.FileMode{copied: 0o666, folder: 0o555, filepath.Dir(folder): 0o755} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	defer asNobody(t)()
	d, err := sqldir.Open(t.Context(), options(copied))
	if err == nil {
		t.Error(d.Close())
	}
	wantErr(t, err, directory.ErrReadOnly)
	if text := fmt.Sprint(err); !strings.Contains(text, "the folder "+folder+": change its owner or its mode") {
		t.Errorf("%q", text)
	}
}

// asNobody takes from this thread what root may do with all files, until the function is called that it returns.
func asNobody(t *testing.T) func() {
	if os.Geteuid() != 0 {
		return func() {}
	}
	runtime.LockOSThread()
	if err := syscall.Setfsuid(65534); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := syscall.Setfsuid(0); err != nil {
			t.Fatal(err)
		}
		runtime.UnlockOSThread()
	}
}
