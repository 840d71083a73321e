package inspect

import (
	"database/sql"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	_ "modernc.org/sqlite" // the driver "sqlite" of database/sql
)

// tree describes all that is below a folder.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			fmt.Fprintln(&b, path, info.Mode(), info.Size(), info.ModTime().UnixNano())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// put makes files and folders: a name that ends with a slash is a folder, one with "->" a link.
func put(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		from, to, link := strings.Cut(name, "->")
		path := filepath.Join(dir, from)
		var err error
		switch {
		case link:
			err = os.Symlink(filepath.Join(dir, to), path)
		case strings.HasSuffix(name, "/"):
			err = os.Mkdir(path, 0o700)
		default:
			err = os.WriteFile(path, []byte("text"), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestPlaces(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put(t, dir, "folder/", "file", "lost->nothing", "found->folder", "other->file")
	before := tree(t, dir)
	for _, c := range []struct {
		name                string
		folder, file, entry string // what is wrong
	}{
		{"folder", "", "is not a file", ""},
		{"folder/new", "", "", ""},
		{"folder/new/deep", "", "", "there is no folder"},
		{"found", "", "is not a file", ""},
		{"found/new", "", "", ""},
		{"file", "is not a folder", "", ""},
		{"other", "is not a folder", "", ""},
		{"file/new", "is not a folder", "is not a folder", "is not a folder"},
		{"file/new/deep", "is not a folder", "is not a folder", "there is no folder"},
		{"lost", "is a link to nothing", "is a link to nothing", ""},
		{"lost/new", "is a link to nothing", "is a link to nothing", "there is no folder"},
	} {
		path := filepath.Join(dir, c.name)
		for what, got := range map[string][2]any{
			"Folder": {Folder(path), c.folder}, "File": {File(path), c.file}, "Entry": {Entry(path), c.entry},
		} {
			if want := got[1]; fmt.Sprint(got[0]) != "<nil>" && want == "" || !strings.Contains(fmt.Sprint(got[0]), want.(string)) {
				t.Errorf("%s(%s): %v, want %q", what, c.name, got[0], want)
			}
		}
	}
	if after := tree(t, dir); after != before {
		t.Errorf("before\n%safter\n%s", before, after)
	}
}

// What counts is what this process may do, and not who owns it.
func TestForbidden(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "file", "database", "closed/")
	for _, err := range []error{
		os.Chmod(filepath.Join(dir, "file"), 0o400), os.Chmod(filepath.Join(dir, "closed"), 0o500),
		os.Chmod(filepath.Join(dir, "database"), 0),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	errs := make(chan map[string]error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		if os.Geteuid() == 0 {
			_, _ = unix.SetfsuidRetUid(65534) // who may do everything is not asked; it is for this thread only
		}
		_, sqlite := SQLite(filepath.Join(dir, "database"), false)
		errs <- map[string]error{
			"Folder": Folder(filepath.Join(dir, "closed")), "new": Folder(filepath.Join(dir, "closed", "new")),
			"File": File(filepath.Join(dir, "file")), "Entry": Entry(filepath.Join(dir, "closed", "new")), "SQLite": sqlite,
		}
	}()
	for what, err := range <-errs {
		if err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A database is read as it is, whether somebody has it open or not, and nothing is left beside it.
func TestSQLite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "a?b #.db")
	run := func(db *sql.DB, statements ...string) {
		t.Helper()
		for _, s := range statements {
			if _, err := db.ExecContext(t.Context(), s); err != nil {
				t.Fatal(s, err)
			}
		}
	}
	open := func(name string) *sql.DB {
		t.Helper()
		db, err := sql.Open("sqlite", name)
		if err != nil {
			t.Fatal(err)
		}
		return db
	}
	look := func(want int) {
		t.Helper()
		name, err := SQLite(path, true)
		if err != nil {
			t.Fatal(err)
		}
		db := open(name)
		var n int
		if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM t").Scan(&n); err != nil || n != want {
			t.Errorf("%d rows, want %d: %v", n, want, err)
		}
		if _, err := db.ExecContext(t.Context(), "DELETE FROM t"); err == nil {
			t.Error("it can be written")
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	names := func() string {
		t.Helper()
		found, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(found, "\n")
	}
	writer := open("file:" + strings.NewReplacer("?", "%3f", " ", "%20", "#", "%23").Replace(path))
	run(writer, "PRAGMA journal_mode = WAL", "CREATE TABLE t (x)", "INSERT INTO t VALUES (1)")
	before := names()
	look(1)
	run(writer, "INSERT INTO t VALUES (2)") // which is in the log alone
	look(2)
	if after := names(); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	closed := tree(t, dir)
	look(2)
	if after := tree(t, dir); after != closed {
		t.Errorf("before\n%safter\n%s", closed, after)
	}
	put(t, dir, filepath.Base(path)+"-shm/")
	if _, err := SQLite(path, false); err == nil {
		t.Error("a folder in the place of its index")
	}
}
