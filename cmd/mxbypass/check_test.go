package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	_ "modernc.org/sqlite" // the driver "sqlite" of database/sql
)

// soundConfig is a configuration with nothing wrong in it; DIR is the folder of the case.
const soundConfig = `hostname = "mx.host.test"
state_dir = "DIR/state"
[[listener]]
address = "unix:DIR/socket"
[[gateway]]
host = "mx.host.test"
sites = ["*"]
[[site]]
name = "cloud"
store = "maildir"
path = "DIR/mail/{domain}/{user}"
[dns]
servers = ["127.0.0.1:9"]
[directory]
path = "DIR/directory.toml"
`

const (
	soundDirectory = "[[domain]]\nname = \"exemple.org\"\nsite = \"cloud\"\nmailboxes = [\"foobar\"]\n"
	certsConfig    = "[[certificate]]\ncert = \"DIR/mx.pem\"\nkey = \"DIR/mx.key\"\n"
	sqliteConfig   = "driver = \"sqlite\"\npath = \"DIR/directory.db\""
	filePath       = `path = "DIR/directory.toml"`
)

// brokenCase is a configuration that is broken in some way, and what is to be said of it.
type brokenCase struct {
	name  string
	from  string            // of soundConfig; empty: to is appended
	to    string            //
	files map[string]string // below the folder; a name that ends with a slash is a folder, and one that ends with "!" everybody's
	sql   map[string]string // databases, and what is done in them
	want  []string          // parts of the lines, in their order; none: nothing is wrong
}

var brokenCases = []brokenCase{
	{name: "nothing"},
	{name: "certificates", to: certsConfig},
	{name: "everything on", to: certsConfig + "[greylist]\nenabled = true\n[transport]\ntlsrpt_contact = \"tls@host.test\"\n" +
		"[[filter]]\nname = \"f\"\naddress = \"unix:/nowhere\"\n[relay]\nsrs_domain = \"srs.host.test\"\n" +
		"srs_key_file = \"DIR/key\"\n", files: map[string]string{"key": strings.Repeat("k", 32)}},
	{name: "SQLite", from: filePath, to: sqliteConfig, files: map[string]string{"directory.db": "empty"},
		want: []string{`:16:8: key "directory.path": directory `}},
	{name: "no database", from: filePath, to: sqliteConfig,
		want: []string{`no such file or directory (mxbypass domain add makes it)`}},
	{name: "a newer database", from: filePath, to: sqliteConfig, sql: map[string]string{
		"directory.db": "CREATE TABLE schema_version (version INTEGER); INSERT INTO schema_version VALUES (999)"},
		want: []string{"use a newer mxbypass"}},
	{name: "somebody else's database", from: filePath, to: sqliteConfig,
		sql: map[string]string{"directory.db": "CREATE TABLE t (x)"}, want: []string{`key "directory.path"`}},
	{name: "keys and files", to: "[limts]\nx = 1\n" + strings.Replace(certsConfig, "mx.key", "none.key", 1),
		want: []string{`:17:1: key "limts.x": unknown key`, `:20:7: key "certificate.key": "`}},
	{name: "a wrong key is not looked at as well", from: `"DIR/state"`, to: `"state"`,
		want: []string{`key "state_dir": "state": want an absolute path`}},
	{name: "a key that does not fit", to: strings.Replace(certsConfig, "mx.key", "other.key", 1),
		want: []string{`key "certificate.cert": "`}},
	{name: "everybody's key", to: strings.Replace(certsConfig, "mx.key", "open.key!", 1),
		files: map[string]string{"open.key!": "k"}, want: []string{`key "certificate.key": "`}},
	{name: "authorities", to: "[tls]\nclient_ca_file = \"DIR/directory.toml\"\n[transport]\nca_file = \"DIR/none\"\n",
		want: []string{`:17:18: key "tls.client_ca_file": "`, `:19:11: key "transport.ca_file": "`}},
	{name: "ACME", to: "[acme]\nnames = [\"mx.host.test\"]\nagree = true\nca_file = \"DIR/directory.toml\"\n",
		files: map[string]string{"state/acme": ""},
		want:  []string{`:2:13: key "state_dir": `, `key "acme.ca_file": "`}},
	{name: "secrets", to: "[relay]\nsmarthost = \"smtp://127.0.0.1\"\nsmarthost_user = \"u\"\n" +
		"smarthost_password_file = \"DIR/empty\"\nsmarthost_ca_file = \"DIR/empty\"\nsrs_domain = \"srs.host.test\"\n" +
		"srs_key_file = \"DIR/everybodys!\"\n", files: map[string]string{"empty": "", "everybodys!": "0123456789abcdef"},
		want: []string{`:19:27: key "relay.smarthost_password_file": "`, `:20:21: key "relay.smarthost_ca_file": "`,
			`chmod 600`}},
	{name: "a short secret", to: "[relay]\nsrs_domain = \"srs.host.test\"\nsrs_key_file = \"DIR/key\"\n",
		files: map[string]string{"key": "short\n"}, want: []string{"a key has at least 16 characters"}},
	{name: "mail in a file", files: map[string]string{"mail": ""}, want: []string{`:11:8: key "site.path": `}},
	{name: "state in a file", files: map[string]string{"state": ""}, want: []string{`:2:13: key "state_dir": `}},
	{name: "all of the state", to: "[greylist]\nenabled = true\n[transport]\ntlsrpt_contact = \"tls@host.test\"\n" +
		"[[filter]]\nname = \"f\"\naddress = \"unix:/nowhere\"\n",
		files: map[string]string{"state/lock/": "", "state/ledger/": "", "state/queue": "", "state/spool": "",
			"state/postmaster": "", "state/greylist.db/": "", "state/mta-sts": "", "state/tlsrpt": "", "state/filters": ""},
		want: []string{"/lock is not a file", "/ledger is not a file", "/spool is not a folder", "/queue is not a folder",
			"/postmaster is not", "/greylist.db is not a file", "/filters is not a folder", "/mta-sts is not a folder", "/tlsrpt is not a folder"}},
	{name: "a queue that is a folder", files: map[string]string{"state/queue/queue.db/": ""},
		want: []string{"queue.db: this is a folder"}},
	{name: "a queue that is none", files: map[string]string{"state/queue/queue.db": strings.Repeat("no database", 1000)},
		want: []string{"this is no database"}},
	{name: "a newer queue", files: map[string]string{"state/queue/": ""}, sql: map[string]string{
		"state/queue/queue.db": "CREATE TABLE queue_state (version INTEGER); INSERT INTO queue_state VALUES (999)"},
		want: []string{"use a newer mxbypass"}},
	{name: "no directory", from: "directory.toml", to: "none.toml", want: []string{`key "directory.path": `}},
	{name: "a wrong directory", files: map[string]string{"directory.toml": "[[domain]]\nname = \"exemple.org\"\nsite = \"nowhere\"\n" +
		"mailboxes = [1]\n"}, want: []string{"/directory.toml:3:", "/directory.toml:4:"}},
	{name: "everybody's passwords", files: map[string]string{"directory.toml!": soundDirectory +
		"[domain.passwords]\nfoobar = \"$6$abcdefgh$" + strings.Repeat("a", 86) + "\"\n"}, want: []string{"chmod 640"}},
	{name: "a site that is not known", from: `store = "maildir"`, to: `store = "none"`, want: []string{`key "site.store"`}},
	{name: "sockets", from: `address = "unix:DIR/socket"`, to: "address = \"unix:DIR/none/s\"\n[[listener]]\n" +
		"address = \"unix:DIR/directory.toml\"", want: []string{":4:11: key \"listener.address\": there is no folder",
		":6:11: key \"listener.address\": "}},
}

// What the check finds wrong is what serve finds wrong, line for line; what it finds right, serve takes. Neither of them
// leaves anything behind where something is wrong.
func TestCheckIsServe(t *testing.T) {
	all := t.TempDir()
	for i, c := range brokenCases {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(all, strconv.Itoa(i)) // a socket in it has little room for its name
			file := filepath.Join(dir, "mxbypass.toml")
			c.lay(t, dir)
			before := treeOf(t, dir)
			check, checkCode := runCheck(file)
			if after := treeOf(t, dir); after != before {
				t.Errorf("the check has changed\n%sto\n%s", before, after)
			}
			serve, serveCode := runServe(t.Context(), file)
			if check != serve || checkCode != serveCode {
				t.Errorf("check: %d\n%sserve: %d\n%s", checkCode, check, serveCode, serve)
			}
			if len(c.want) == 0 {
				if check != "" || checkCode != exitOK {
					t.Errorf("%d\n%s", checkCode, check)
				}
				return
			}
			lines := strings.Split(strings.TrimSuffix(check, "\n"), "\n")
			if checkCode != exitConfig || len(lines) != len(c.want) {
				t.Fatalf("exit code %d, want %d lines:\n%s", checkCode, len(c.want), check)
			}
			for i, want := range c.want {
				if !strings.Contains(lines[i], want) {
					t.Errorf("line %d: %s\nwant %s", i+1, lines[i], want)
				}
			}
			if after := treeOf(t, dir); after != before {
				t.Errorf("serve has changed\n%sto\n%s", before, after)
			}
		})
	}
}

// lay puts everything into the folder.
func (c *brokenCase) lay(t *testing.T, dir string) {
	t.Helper()
	text := soundConfig + c.to
	if c.from != "" {
		text = strings.Replace(soundConfig, c.from, c.to, 1)
	}
	files := map[string]string{"mxbypass.toml": strings.ReplaceAll(text, "DIR", dir)}
	if _, ok := c.files["directory.toml!"]; !ok {
		files["directory.toml"] = soundDirectory
	}
	for name, text := range c.files {
		files[name] = text
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(path, 0o700); err != nil {
				t.Fatal(err)
			}
			continue
		}
		mode := fs.FileMode(0o600)
		if plain, everybodys := strings.CutSuffix(path, "!"); everybodys {
			mode = 0o644
			if name == "directory.toml!" {
				path = plain
			}
		}
		if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
	}
	for name, statements := range c.sql {
		db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.ExecContext(t.Context(), statements); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"mx", "other"} {
		if err := writeCertificate(filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key"), name+".host.test"); err != nil {
			t.Fatal(err)
		}
	}
}

// runCheck gives the mistakes that the check finds, without warnings, and its exit code.
func runCheck(file string) (mistakes string, code int) {
	var out, errOut bytes.Buffer
	code = newApp(strings.NewReader(""), &out, &errOut).run([]string{"config", "check", "-c", file})
	if (out.Len() > 0) != (code == exitOK) {
		return fmt.Sprintf("exit code %d, and %q", code, &out), code
	}
	return withoutLines(errOut.String(), ": warning: "), code
}

var errServes = errors.New("it serves")

// runServe gives what serve says before it serves, without its log, and its exit code. It is ended as soon as it serves.
func runServe(ctx context.Context, file string) (mistakes string, code int) {
	var out, errOut bytes.Buffer
	a := newApp(strings.NewReader(""), &out, &errOut)
	a.configFile = file
	if err := a.serveFile(ctx, nil, func() error { return errServes }); !errors.Is(err, errServes) {
		code = a.report(err)
	}
	return withoutLines(errOut.String(), "time="), code
}

func withoutLines(text, mark string) string {
	var kept strings.Builder
	for line := range strings.Lines(text) {
		if !strings.Contains(line, mark) {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// treeOf describes all that is below a folder, with what is in it.
func treeOf(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		var text []byte
		if info.Mode().IsRegular() {
			text, err = os.ReadFile(path)
		}
		fmt.Fprintf(&b, "%s %s %d %s %.40q\n", path, info.Mode(), len(text), info.ModTime(), text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
