package file

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"mxbypass/mailbox"
	"mxbypass/mailbox/directory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var rules = directory.Rules{
	Delimiter: "+",
	HasSite:   func(s string) bool { return s == "cloud" || s == "vps42" },
	Separators: func(d mailbox.DomainName) []string {
		if d.ASCII() == "mx.host.test" {
			return []string{"%"}
		}
		return nil
	},
}

// contract is the file of the documentation, and every other key.
const contract = `
[[domain]]
name      = "exemple.org"
site      = "cloud"
mx        = "auto"                    # auto | local | external | split
bypass    = true
mailboxes = ["foobar", "contact"]
catch_all = ""                        # a mailbox address, or empty
[domain.aliases]
info = ["contact@exemple.org"]

[[domain]]
name = "Bücher.test"
site = "vps42"
mx = "split"
bypass = false
disabled = true
mailboxes = [
  "Box", # with a comment
  "sick",
]
disabled_mailboxes = ["SICK"]
catch_all = "box@bücher.test"
external = "smtp://[2001:db8::25]:2525"
aliases = { "john.doe" = ["foobar@exemple.org", "info+tag@exemple.org"], away = ["x@away.test", "nobody@bücher.test"] }
[domain.copies]
BOX = ["john.doe@bücher.test", "y@elsewhere.test"]
`

func TestContract(t *testing.T) {
	c, err := read("directory.toml", []byte(contract), rules)
	if err != nil {
		t.Fatal(err)
	}
	d := &Directory{}
	d.current.Store(c)
	var got []string
	for d, err := range d.Domains(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, d.Name.Unicode()+" "+d.Site+" "+string(d.MX)+" "+d.CatchAll.String()+" "+d.External.String())
		if !d.Bypass != d.Disabled {
			t.Errorf("%+v", d)
		}
	}
	for _, domain := range []string{"exemple.org", "bücher.test"} {
		for e, err := range d.Entries(t.Context(), mailbox.MustDomainName(domain)) {
			if err != nil {
				t.Fatal(err)
			}
			line := string(e.Address.Local)
			for _, to := range e.Alias {
				line += " >" + to.Wire()
			}
			for _, to := range e.Copies {
				line += " +" + to.Wire()
			}
			if e.Disabled {
				line += " disabled"
			}
			got = append(got, line)
		}
	}
	want := []string{
		"exemple.org cloud auto <> ",
		"bücher.test vps42 split box@xn--bcher-kva.test smtp://[2001:db8::25]:2525",
		"contact", "foobar", "info >contact@exemple.org",
		"away >x@away.test >nobody@xn--bcher-kva.test",
		"Box +john.doe@xn--bcher-kva.test +y@elsewhere.test", "john.doe >foobar@exemple.org >info+tag@exemple.org",
		"sick disabled",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Each file has the problems that stand below it, all of them, in order.
func TestBadFiles(t *testing.T) {
	const head = "[[domain]]\nname=\"d.test\"\nsite=\"cloud\"\n" // three lines
	for text, want := range map[string][]string{
		"[[domain]\n":                    {"1:9: not TOML"},
		"x = 1\nx = 2\n":                 {"2:1: not TOML"},
		"\xff":                           {"1:1: not UTF-8"},
		"[domain]\nname=\"d.test\"\n":    {`1:2: key "domain": want a list of tables`},
		"domain = [1]\n":                 {`1:11: key "domain": want a table`},
		"[[domains]]\n":                  {`1:3: key "domains": unknown key; did you mean "domain"?`},
		"[[domain]]\n":                   {`1:3: key "domain.name": is missing`},
		"[[domain]]\nname=\"d.test\"\n":  {`1:3: key "domain.site": is missing`},
		"[[domain]]\nname=7\nsite=\"x\"": {`2:6: key "domain.name": want a string`},
		"[[domain]]\nname=\"localhost\"\nsite=\"x\"": {
			`2:6: key "domain.name": "localhost": invalid address: a hosted domain has at least two labels`,
			`3:6: key "domain.site": the configuration has no site "x"`,
		},
		"[[domain]]\nname=\"a..b\"\nsite=\"cloud\"": {`2:6: key "domain.name": "a..b": invalid address`},
		head + "\n" + head:                          {`6:6: key "domain.name": domain d.test is there twice`},
		head + "mx=\"never\"\nbypass=\"yes\"\ndisabled=1\nmailbox=[]\n": {
			`4:4: key "domain.mx": "never": want auto, local, external or split`,
			`5:8: key "domain.bypass": want true or false`,
			`6:10: key "domain.disabled": want true or false`,
			`7:1: key "domain.mailbox": unknown key; did you mean "mailboxes"?`,
		},
		head + `mailboxes=["a", "A", "b/c", "..", "u+t", ""]`: {
			`4:17: key "domain.mailboxes": A@d.test is a mailbox already`,
			`4:22: key "domain.mailboxes": b/c@d.test: invalid address: a mailbox name has no "/"`,
			`4:29: key "domain.mailboxes": "..`,
			`4:35: key "domain.mailboxes": u+t@d.test: "+" is the delimiter`,
			`4:42: key "domain.mailboxes": "": invalid address: empty local part`,
		},
		head + "mailboxes=\"a\"\n":           {`4:11: key "domain.mailboxes": want a list of strings`},
		head + "disabled_mailboxes=[\"a\"]":  {`4:21: key "domain.disabled_mailboxes": "a" is not in mailboxes`},
		head + "catch_all=\"x@d.test\"":      {`4:11: key "domain.catch_all": catch-all of d.test: x@d.test`},
		head + "catch_all=\"x\"":             {`4:11: key "domain.catch_all": "x": invalid address`},
		head + "catch_all=\"x@abroad.test\"": {`4:11: key "domain.catch_all": catch-all of d.test: abroad.test`},
		head + "aliases=[]":                  {`4:1: key "domain.aliases": want a table`},
		head + "mailboxes=[\"a\"]\n[domain.aliases]\na=[\"a@d.test\"]\nx=[\"no@d.test\"]\ny=[\"x@abroad\"]\n" +
			"l=[\"m@d.test\"]\nm=[\"l@d.test\"]\nt=[\"a@d.test\",\"A@d.test\"]\n": {
			`6:1: key "domain.aliases.a": a@d.test is a mailbox already`,
			`7:1: key "domain.aliases.x": alias x@d.test: it leads to no@d.test, which does not exist`,
			`8:1: key "domain.aliases.y": y@d.test leads to x@abroad: abroad is not hosted here`,
			`9:1: key "domain.aliases.l": alias l@d.test: alias m@d.test: l@d.test: alias loop`,
			`10:1: key "domain.aliases.m": alias m@d.test: alias l@d.test: m@d.test: alias loop`,
			`11:1: key "domain.aliases.t": alias t@d.test has the target A@d.test twice`,
		},
		head + "[domain.aliases]\njohn.doe=[\"a@d.test\"]\nb=[]\nc=\"x@d.test\"\nd=[\"x\", 1]\n": {
			`5:1: key "domain.aliases.john": a name with a dot is written in quotes`,
			`6:1: key "domain.aliases.b": an alias leads to one address at least`,
			`7:3: key "domain.aliases.c": want a list of strings`,
			`8:4: key "domain.aliases.d": "x": invalid address`,
			`8:`,
		},
		head + "external=\"lmtp://x.test\"": {
			`4:10: key "domain.external": "lmtp://x.test": invalid address: unknown scheme "lmtp": want "mx", "smtp://`,
		},
		head + "mx=\"split\"\nexternal=\"MX\"": {`5:10: key "domain.external": "MX": invalid address: no scheme: want "mx",`},
		head + "external=true":                 {`4:10: key "domain.external": want a string in quotes`},
		head + "mailboxes=[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\"]\n" +
			"aliases={l=[\"a@d.test\"],m=[\"c%d.test@mx.host.test\"]}\n[domain.copies]\n" +
			"a=[\"l@d.test\"]\nb=[\"B@d.test\"]\nc=[\"no@d.test\"]\nd=[\"e@d.test\",\"E@d.test\"]\nD=[\"x@y.test\"]\n" +
			"e=[\"c%d.test@mx.host.test\"]\nf=[\"b@d.test\"]\nl=[\"x@y.test\"]\nz=[\"a@d.test\"]\n": {
			`5:10: key "domain.aliases.l": l@d.test: alias loop: a copy leads back to where it comes from`,
			`5:25: key "domain.aliases.m": m@d.test leads to c%d.test@mx.host.test: mx.host.test is a gateway`,
			`7:1: key "domain.copies.a": a@d.test: alias loop: a copy leads back to where it comes from`,
			`8:1: key "domain.copies.b": b@d.test: alias loop: a copy leads back to where it comes from`,
			`9:1: key "domain.copies.c": copies of c@d.test: it leads to no@d.test, which does not exist`,
			`10:1: key "domain.copies.d": mailbox d@d.test has the copy E@d.test twice`,
			`10:1: key "domain.copies.d": e@d.test leads to c%d.test@mx.host.test: mx.host.test is a gateway`,
			`11:1: key "domain.copies.D": d@d.test has copies already: keep one list`,
			`12:1: key "domain.copies.e": e@d.test leads to c%d.test@mx.host.test: mx.host.test is a gateway`,
			`13:1: key "domain.copies.f": f@d.test: alias loop: a copy leads back to where it comes from`,
			`14:1: key "domain.copies.l": l@d.test is an alias: one more address there does the same`,
			`15:1: key "domain.copies.z": "z" is not in mailboxes: name it there as well`,
		},
		head + "copies=1": {`4:8: key "domain.copies": want a table: [domain.copies]`},
		head + "mailboxes=[\"a\",\"b\",\"j.d\"]\n[domain.copies]\na=[]\nb=\"x@y.test\"\nj.d=[\"x@y.test\"]\n": {
			`6:1: key "domain.copies.a": a mailbox without copies is not named here`,
			`7:3: key "domain.copies.b": want a list of strings`,
			`8:1: key "domain.copies.j": a name with a dot is written in quotes: "j.…" = […]`,
		},
		"[[domain]]\nname=\"mx.host.test\"\nsite=\"cloud\"\nmailboxes=[\"a%b\"]": {
			`4:12: key "domain.mailboxes": a%b@mx.host.test: mx.host.test is a gateway`,
		},
	} {
		_, err := read("x.toml", []byte(text), rules)
		var got Problems
		if !errors.As(err, &got) || len(got) != len(want) {
			t.Errorf("%q has\n%v\nwant\n%s", text, err, strings.Join(want, "\n"))
			continue
		}
		for i, p := range got {
			if !strings.HasPrefix(p.Error(), "x.toml:"+want[i]) {
				t.Errorf("%q has\n%v\nwant\n%s", text, p, want[i])
			}
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	// A new file under the old name, as editors do: it is another one, whatever the clock says.
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "directory.toml")
	write(t, path, contract)
	var log bytes.Buffer
	d, err := Open(Options{Path: path, Rules: rules, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil { // the test looks by itself: check is what the goroutine does
		t.Fatal(err)
	}
	has := func(local string) {
		t.Helper()
		a := mailbox.Address{Local: mailbox.LocalPart(local), Domain: mailbox.MustDomainName("exemple.org")}
		if _, err := d.Entry(t.Context(), a); err != nil {
			t.Error(err)
		}
	}
	said := func(want int) {
		t.Helper()
		if got := strings.Count(log.String(), "\n"); got != want {
			t.Errorf("%d lines in the log, want %d:\n%s", got, want, log.String())
		}
		log.Reset()
	}
	d.check()
	said(0)
	write(t, path, strings.ReplaceAll(contract, `["foobar", "contact"]`, `["foobar", "contact", "new"]`))
	d.check()
	has("new")
	said(1)

	write(t, path, "[[domain]]\nname = 1\nnome = 2\n")
	d.check()
	said(2)
	d.check()
	said(0)
	has("new")
	if err := d.Reload(); err == nil {
		t.Error("a broken file was taken")
	}
	has("new")

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	d.check()
	said(1)
	d.check()
	said(0)
	has("new")

	write(t, path, contract)
	d.check()
	said(1)
	gone := mailbox.Address{Local: "new", Domain: mailbox.MustDomainName("exemple.org")}
	if _, err := d.Entry(t.Context(), gone); !errors.Is(err, mailbox.ErrNoMailbox) {
		t.Error(err)
	}
}

func TestOpenFails(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(Options{Path: filepath.Join(dir, "none.toml")}); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := Open(Options{Path: dir}); err == nil {
		t.Error("a folder was taken")
	}
	large := filepath.Join(dir, "large.toml")
	f, err := os.Create(large)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(maxSize+1), f.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Path: large}); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Error(err)
	}
}

// Whatever the file holds: no panic, and it has problems with places in the file, or contents that keep the rules.
func FuzzRead(f *testing.F) {
	f.Add([]byte(contract))
	f.Add([]byte("domain=[{name=\"d.test\",site=\"cloud\",aliases={a=[\"b@d.test\"]},mailboxes=[\"b\"]}]"))
	f.Add([]byte("[[domain]]\nname=\"d.test\"\nsite=\"cloud\"\nexternal=\"mx\"\n" +
		"mailboxes=[\"a\"]\n[domain.copies]\na=[\"x@y.test\"]\n"))
	f.Add([]byte(secret))
	f.Add([]byte("[[domain]]\nname=\"d.test\"\nsite=\"cloud\"\naliases.a=[\"a@d.test\"]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := read("x.toml", text, rules)
		if err != nil {
			var problems Problems
			if !errors.As(err, &problems) {
				t.Fatal(err)
			}
			lines := bytes.Count(text, []byte("\n")) + 1
			for _, p := range problems {
				if p.Line < 1 || p.Line > lines || p.Column < 1 || strings.ContainsAny(p.Error(), "\n\x1b\x00") {
					t.Fatalf("%+q of %d lines", p, lines)
				}
			}
			return
		}
		for key, e := range c.entries {
			if e.Address.Fold() != key || rules.Entry(e) != nil || rules.Targets(t.Context(), c, key) != nil {
				t.Fatalf("%v under %v", e, key)
			}
			if _, err := c.Domain(t.Context(), key.Domain); err != nil {
				t.Fatal(err)
			}
		}
		for key, hash := range c.secrets {
			if e, ok := c.entries[key]; !ok || !e.Password || len(e.Alias) > 0 || rules.Secret(key, hash) != nil {
				t.Fatalf("%q of %v", hash, e)
			}
		}
		for name, d := range c.domains {
			if d.Name != name || rules.Domain(d) != nil {
				t.Fatalf("%+v", d)
			}
		}
	})
}
