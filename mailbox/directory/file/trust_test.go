package file

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mxbypass/mailbox"
)

const (
	head   = "[[domain]]\nname=\"d.test\"\nsite=\"cloud\"\n" // three lines
	hash   = "$2y$05$hrGZkC1hCkJLC27TUB5vde2u8pczuCjO5ngp7ub7xXz0IQfkuIoN2"
	secret = head + "mailboxes=[\"Box\",\"j.d\",\"open\"]\nauthentication=\"enforce\"\n" +
		"upstreams=[\"auto\",\"192.0.2.1\",\"_SPF.Google.com\"]\naliases={info=[\"box@d.test\"]}\n" +
		"[domain.passwords]\nbOX=\"" + hash + "\"\n\"j.d\"=\"{BLF-CRYPT}" + hash + "\"\n"
)

func boxAt(local string) mailbox.Address {
	return mailbox.Address{Local: mailbox.LocalPart(local), Domain: mailbox.MustDomainName("d.test")}
}

func TestPasswordsAndTrust(t *testing.T) {
	c, err := read("directory.toml", []byte(secret), rules)
	if err != nil {
		t.Fatal(err)
	}
	for local, want := range map[string]string{"box": hash, "j.d": "{BLF-CRYPT}" + hash, "open": ""} {
		got, err := c.Secret(t.Context(), boxAt(local))
		if err != nil || got != want {
			t.Errorf("%s: %q, %v", local, got, err)
		}
		if e, err := c.Entry(t.Context(), boxAt(local)); err != nil || e.Password != (want != "") {
			t.Errorf("%s: %+v, %v", local, e, err)
		}
	}
	for _, local := range []string{"info", "none"} {
		if _, err := c.Secret(t.Context(), boxAt(local)); !errors.Is(err, mailbox.ErrNoMailbox) {
			t.Errorf("%s: %v", local, err)
		}
	}
	d, err := c.Domain(t.Context(), boxAt("").Domain)
	want := []string{"auto", "192.0.2.1/32", "_spf.google.com"}
	if err != nil || d.Authentication != mailbox.AuthenticationEnforce || !slices.Equal(d.Upstreams, want) {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestBadPasswordsAndTrust(t *testing.T) {
	const boxes = head + "mailboxes=[\"a\",\"j.d\"]\naliases={i=[\"a@d.test\"]}\n"
	for text, want := range map[string][]string{
		head + "authentication=\"maybe\"": {`4:16: key "domain.authentication": "maybe": want off, mark or enforce`},
		head + "authentication=1":         {`4:16: key "domain.authentication": want a string`},
		head + "upstreams=\"auto\"":       {`4:11: key "domain.upstreams": want a list of strings`},
		head + "upstreams=[\"auto\", \"x\", \"auto\", 1, \"192.0.2.1/24\"]": {
			`4:20: key "domain.upstreams": "x": invalid address: want a network`,
			`4:25: key "domain.upstreams": invalid address: auto is there twice`,
			`4:33: key "domain.upstreams": want a string in quotes`,
			`4:36: key "domain.upstreams": "192.0.2.1/24": invalid address: there are bits beside the network`,
		},
		head + "passwords=[]":         {`4:1: key "domain.passwords": want a table: [domain.passwords]`},
		boxes + "passwords={b=\"x\"}": {`6:12: key "domain.passwords.b": "b" is not in mailboxes`},
		boxes + "[domain.passwords]\na=\"geheim\"\nA=\"" + hash + "\"\ni=\"" + hash + "\"\nj.d=\"" + hash + "\"\n\"j.d\"=7\n": {
			`7:3: key "domain.passwords.a": the password of a@d.test: not a usable password hash: want argon2id`,
			`8:1: key "domain.passwords.A": a@d.test has a password already: keep one`,
			`9:1: key "domain.passwords.i": i@d.test is an alias: only a mailbox has a password`,
			`10:1: key "domain.passwords.j": a name with a dot is written in quotes: "j.…" = "…"`,
			`11:`,
		},
		// What the first mistake may be the cause of is not reported.
		head + "mailboxes=[1]\n[domain.passwords]\na=\"" + hash + "\"\n": {`4:`},
	} {
		_, err := read("x.toml", []byte(text), rules)
		var got Problems
		if !errors.As(err, &got) || len(got) != len(want) {
			t.Errorf("%q has\n%v\nwant\n%s", text, err, strings.Join(want, "\n"))
			continue
		}
		for i, p := range got {
			if !strings.HasPrefix(p.Error(), "x.toml:"+want[i]) || strings.Contains(p.Error(), "geheim") ||
				strings.Contains(p.Error(), hash) {
				t.Errorf("%q has\n%v\nwant\n%s", text, p, want[i])
			}
		}
	}
}

// Passwords are not for everybody on the machine. What was read before stays, until the mode is mended.
func TestPasswordsAreNotForEverybody(t *testing.T) {
	path := filepath.Join(t.TempDir(), "directory.toml")
	chmod := func(mode os.FileMode) {
		t.Helper()
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	write(t, path, contract)
	chmod(0o644)
	var log bytes.Buffer
	d, err := Open(Options{Path: path, Rules: rules, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil { // the test looks by itself
		t.Fatal(err)
	}
	write(t, path, secret)
	for _, mode := range []os.FileMode{0o644, 0o602, 0o604} {
		chmod(mode)
		if err := d.Reload(); err == nil || !strings.Contains(err.Error(), "everybody may read or change it") {
			t.Errorf("%04o: %v", mode, err)
		}
	}
	d.check()
	d.check()
	if got := strings.Count(log.String(), "everybody may read"); got != 1 {
		t.Error(log.String())
	}
	if _, err := d.Secret(t.Context(), boxAt("box")); !errors.Is(err, mailbox.ErrNoMailbox) {
		t.Error(err)
	}
	chmod(0o640)
	d.check()
	if got, err := d.Secret(t.Context(), boxAt("box")); err != nil || got != hash {
		t.Errorf("%q, %v", got, err)
	}
	if strings.Contains(log.String(), hash) {
		t.Error("a hash is in the log")
	}
}
