package sqldir_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"mxbypass/mailbox"
	"mxbypass/mailbox/directory/sqldir"
)

var version1Contents = []string{
	"one.test cloud auto *box@one.test",
	"two.test vps42 split",
	"Box@one.test",
	"info@one.test >box@one.test >other@two.test",
	"other@two.test disabled",
}

// version1 makes a database of the first version.
func version1(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("testdata/version1.sql")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "version1.db")
	execute(t, path, string(text))
	return path
}

// A database of the first version has what it had, and takes what came later. A relay that may not make one brings an
// old one up to date as well.
func TestVersion1Migrates(t *testing.T) {
	path := version1(t)
	o := options(path)
	o.Create = false
	d, err := sqldir.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	wantContents(t, d, version1Contents...)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = open(t, path)
	ctx := t.Context()
	wantErr(t, d.AddEntry(ctx, copied("kept@one.test", "x@away.test", "other@two.test")), nil)
	wantErr(t, d.SetDomain(ctx, mailbox.MustDomainName("one.test"), func(d *mailbox.Domain) error {
		d.External.MX = true
		return nil
	}), nil)
	want := append([]string{"one.test cloud auto external=mx *box@one.test"}, version1Contents[1:4]...)
	wantContents(t, open(t, path), append(want, "kept@one.test +x@away.test +other@two.test", version1Contents[4])...)
}

// Several who open an old database at once migrate it once.
func TestManyMigrate(t *testing.T) {
	path := version1(t)
	var opening sync.WaitGroup
	for range 4 {
		opening.Go(func() {
			d, err := sqldir.Open(t.Context(), options(path))
			if err != nil {
				t.Error(err)
				return
			}
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	opening.Wait()
	wantContents(t, open(t, path), version1Contents...)
}

// A migration that fails half-way leaves the database as it was.
func TestMigrationThatFails(t *testing.T) {
	path := version1(t)
	execute(t, path, "ALTER TABLE entry ADD COLUMN copies INTEGER") // in the way of the second statement
	if d, err := sqldir.Open(t.Context(), options(path)); err == nil {
		t.Fatal("migrated past what was in the way", d.Close())
	}
	execute(t, path, "ALTER TABLE entry DROP COLUMN copies")
	wantContents(t, open(t, path), version1Contents...)
}

// A backup of an old version takes the place of the database while a relay runs.
func TestReplacedByVersion1(t *testing.T) {
	_, path := filled(t, start)
	d, look := watched(t, path)
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		if err := os.Rename(name, name+".old"); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(version1(t), path); err != nil {
		t.Fatal(err)
	}
	look()
	wantContents(t, d, version1Contents...)
	if e, err := d.Entry(t.Context(), address("info@one.test")); err != nil || len(e.Alias) != 2 {
		t.Error(e, err)
	}
}
