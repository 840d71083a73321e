package sqldir_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"mxbypass/mailbox"
	"mxbypass/mailbox/directory"
	"mxbypass/mailbox/directory/sqldir"
)

const (
	hash  = "$2y$05$hrGZkC1hCkJLC27TUB5vde2u8pczuCjO5ngp7ub7xXz0IQfkuIoN2"
	other = "{CRYPT}$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e"
)

// wantSecret wants the hash, and an entry that says whether there is one.
func wantSecret(t *testing.T, d *sqldir.Directory, a, want string) {
	t.Helper()
	got, err := d.Secret(t.Context(), address(a).Fold())
	if err != nil || got != want {
		t.Errorf("%s: %q, %v", a, got, err)
	}
	e, err := d.Entry(t.Context(), address(a).Fold())
	if err != nil || e.Password != (want != "") {
		t.Errorf("%s: %+v, %v", a, e, err)
	}
}

func TestSecrets(t *testing.T) {
	d, path := filled(t, start)
	ctx := t.Context()
	relay := open(t, path)
	wantSecret(t, relay, "box@one.test", "")
	wantErr(t, d.SetSecret(ctx, address("BOX@one.test"), hash), nil)
	wantSecret(t, d, "box@one.test", hash)
	// Another process sees it at once; what it remembers of the mailbox is younger than half a second.
	if got, err := relay.Secret(ctx, address("box@one.test")); err != nil || got != hash {
		t.Errorf("%q, %v", got, err)
	}
	wantErr(t, d.SetSecret(ctx, address("box@one.test"), other), nil)
	wantSecret(t, d, "box@one.test", other)

	// What is refused changes nothing.
	for _, bad := range []string{"plain", "$1$a$b", "$argon2id$v=19$m=1,t=1,p=1$a$b", hash + "x"} {
		wantErr(t, d.SetSecret(ctx, address("box@one.test"), bad), directory.ErrInvalid)
	}
	wantErr(t, d.SetSecret(ctx, address("info@one.test"), hash), directory.ErrInvalid)
	wantErr(t, d.SetSecret(ctx, address("info@one.test"), ""), directory.ErrInvalid)
	wantErr(t, d.SetSecret(ctx, address("none@one.test"), hash), mailbox.ErrNoMailbox)
	wantSecret(t, d, "box@one.test", other)
	for _, none := range []string{"info@one.test", "none@one.test", "a@none.test"} {
		_, err := d.Secret(ctx, address(none))
		wantErr(t, err, mailbox.ErrNoMailbox)
	}

	// Changes of something else leave it alone, until there is no mailbox any more.
	wantErr(t, d.SetEntry(ctx, address("box@one.test"), func(e *mailbox.Entry) error {
		e.Disabled, e.Password = true, false
		return nil
	}), nil)
	wantSecret(t, d, "box@one.test", other)
	wantErr(t, d.AddEntry(ctx, mailbox.Entry{Address: address("late@one.test"), Password: true}), nil)
	wantSecret(t, d, "late@one.test", "")
	wantErr(t, d.SetSecret(ctx, address("late@one.test"), hash), nil)
	alias := func(to ...mailbox.Address) func(*mailbox.Entry) error {
		return func(e *mailbox.Entry) error { e.Alias, e.Copies = to, nil; return nil }
	}
	wantErr(t, d.SetEntry(ctx, address("late@one.test"), alias(address("box@one.test"))), nil)
	wantErr(t, d.SetEntry(ctx, address("late@one.test"), alias()), nil)
	wantSecret(t, d, "late@one.test", "")
	wantErr(t, d.SetSecret(ctx, address("box@one.test"), ""), nil)
	wantSecret(t, d, "box@one.test", "")
}

// Passwords are not for everybody on the machine.
func TestSecretsAreNotForEverybody(t *testing.T) {
	d, path := filled(t, start)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	wantErr(t, d.SetSecret(t.Context(), address("box@one.test"), hash), directory.ErrInvalid)
	for _, keepGoing := range []bool{false, true} {
		_, _, err := importText(t, d, "address,password\nx@one.test,\ny@one.test,"+hash+"\n", keepGoing)
		wantErr(t, err, directory.ErrInvalid)
	}
	wantContents(t, d, startContents...)
	wantErr(t, d.SetSecret(t.Context(), address("box@one.test"), ""), nil)
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	wantErr(t, d.SetSecret(t.Context(), address("box@one.test"), hash), nil)
}

// What the superuser makes for the relay belongs to the relay, whose folder it is in, and is for nobody else.
func TestWhoseDatabase(t *testing.T) {
	folder := t.TempDir()
	owner := os.Geteuid()
	if owner == 0 {
		owner = 65534
	}
	if err := os.Chown(folder, owner, -1); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "directory.db")
	d := open(t, path)
	if _, _, err := importText(t, d, start, false); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(folder)
	if err != nil || len(files) < 2 {
		t.Fatalf("%v, %v: the write-ahead log is beside it", files, err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		if of := info.Sys().(*syscall.Stat_t).Uid; int(of) != owner || info.Mode() != 0o600 {
			t.Errorf("%s belongs to %d, not to %d, with the mode %v", f.Name(), of, owner, info.Mode())
		}
	}
}

// A database that cannot answer is no "no password".
func TestSecretsThatCannotBeRead(t *testing.T) {
	d, path := filled(t, start)
	wantErr(t, d.SetSecret(t.Context(), address("box@one.test"), hash), nil)
	d.StopWatching()
	execute(t, path, "ALTER TABLE entry RENAME COLUMN password TO gone")
	got, err := d.Secret(t.Context(), address("box@one.test"))
	if got != "" || !errors.Is(err, mailbox.ErrUnavailable) || errors.Is(err, mailbox.ErrNoMailbox) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestTrustOfDomains(t *testing.T) {
	d, path := filled(t, start)
	ctx := t.Context()
	one := mailbox.MustDomainName("one.test")
	set := func(policy mailbox.Authentication, upstreams ...string) error {
		return d.SetDomain(ctx, one, func(d *mailbox.Domain) error {
			d.Authentication, d.Upstreams = policy, upstreams
			return nil
		})
	}
	wantErr(t, set("maybe"), directory.ErrInvalid)
	wantErr(t, set("", "auto", "192.0.2.1/24"), directory.ErrInvalid)
	wantErr(t, set(mailbox.AuthenticationEnforce, "auto", "192.0.2.0/24", "_spf.google.com"), nil)
	got, err := open(t, path).Domain(ctx, one)
	if err != nil || got.Authentication != mailbox.AuthenticationEnforce ||
		!slices.Equal(got.Upstreams, []string{"auto", "192.0.2.0/24", "_spf.google.com"}) {
		t.Errorf("%+v, %v", got, err)
	}
	for column, bad := range map[string]string{"authentication": "maybe", "upstreams": "auto auto"} {
		wantErr(t, set(""), nil)
		wantErr(t, d.Writer(ctx, "UPDATE domain SET "+column+" = '"+bad+"'"), nil)
		_, err := open(t, path).Domain(ctx, one)
		wantErr(t, err, mailbox.ErrUnavailable)
		wantErr(t, d.Writer(ctx, "UPDATE domain SET "+column+" = ''"), nil)
	}
}

func TestImportOfSecretsAndTrust(t *testing.T) {
	d, _ := filled(t, start)
	text := "address,site,copies,password,authentication,upstreams\n" +
		"a@new.test,cloud,," + hash + ",enforce,auto 192.0.2.1\n" +
		"b@new.test,,x@away.test," + other + ",,\n" +
		"c@new.test,,,,enforce,auto 192.0.2.1/32\n"
	if bad, report, err := importText(t, d, text, false); err != nil || report.Mailboxes != 3 {
		t.Fatal(bad, report, err)
	}
	wantSecret(t, d, "a@new.test", hash)
	wantSecret(t, d, "b@new.test", other)
	wantSecret(t, d, "c@new.test", "")
	got, err := d.Domain(t.Context(), mailbox.MustDomainName("new.test"))
	if err != nil || got.Authentication != mailbox.AuthenticationEnforce ||
		!slices.Equal(got.Upstreams, []string{"auto", "192.0.2.1/32"}) {
		t.Errorf("%+v, %v", got, err)
	}
	bad, _, err := importText(t, d, "address,authentication,upstreams\nd@new.test,off,\ne@new.test,,auto\n", false)
	wantErr(t, err, directory.ErrInvalid)
	if bad[2] != `domain new.test has the authentication "enforce", the line says "off"` ||
		bad[3] != "domain new.test has other upstreams than the line says" {
		t.Error(bad)
	}
}

// A database of the version before has neither, and takes both.
func TestVersion2Migrates(t *testing.T) {
	path := version1(t)
	execute(t, path, `ALTER TABLE domain ADD COLUMN external TEXT NOT NULL DEFAULT '';
		ALTER TABLE entry ADD COLUMN copies INTEGER NOT NULL DEFAULT 0;
		UPDATE domain SET external = 'mx' WHERE name = 'two.test';
		UPDATE schema_version SET version = 2`)
	d := open(t, path)
	want := slices.Clone(version1Contents)
	want[1] += " external=mx"
	wantContents(t, d, want...)
	wantSecret(t, d, "box@one.test", "")
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	wantErr(t, d.SetSecret(t.Context(), address("box@one.test"), hash), nil)
	wantSecret(t, d, "box@one.test", hash)
}
