package maildir

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"mxbypass/mailbox"
)

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, want string // want "": it is fine
		o          Options
	}{
		{"usual", "", Options{Path: dir + "/{domain}/{user}/Maildir"}},
		{"address", "", Options{Path: dir + "/{user}@{domain}/"}},
		{"root to be made", "", Options{Path: dir + "/a/b/{user}"}},
		{"single", "", Options{Path: dir + "/postmaster", Single: true}},
		{"relative", "not absolute", Options{Path: "{domain}/{user}"}},
		{"no user", "no {user}", Options{Path: dir + "/{domain}"}},
		{"no placeholder", "no {user}", Options{Path: dir}},
		{"single with one", "no placeholder", Options{Path: dir + "/{user}", Single: true}},
		{"unknown", "{usr} is not a placeholder", Options{Path: dir + "/{usr}/{user}"}},
		{"brace", "brace", Options{Path: dir + "/{user"}},
		{"brace closed", "brace", Options{Path: dir + "/user}"}},
		{"glued", "between", Options{Path: dir + "/{user}{domain}"}},
		{"ambiguous", "between", Options{Path: dir + "/{user}-{domain}"}},
		{"parent", "component", Options{Path: dir + "/../{user}"}},
		{"empty", "component", Options{Path: dir + "//{user}"}},
		{"file as root", "not a folder", Options{Path: file + "/{user}"}},
		{"sync", "sync is", Options{Path: dir + "/{user}", Sync: "never"}},
		{"file mode", "file mode", Options{Path: dir + "/{user}", FileMode: 0o700}},
		{"folder mode", "folder mode", Options{Path: dir + "/{user}", DirMode: 0o600}},
		{"owner", "owner", Options{Path: dir + "/{user}", Owner: &Owner{-2, 0}}},
		{"age", "age", Options{Path: dir + "/{user}", SweepAge: -1}},
	} {
		err := Check(c.o)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		if c.want == "" {
			continue
		}
		if s, err := New(c.o); err == nil {
			s.Close()
			t.Errorf("%s: New does not mind", c.name)
		}
	}
}

func TestSingle(t *testing.T) {
	o := Options{Path: t.TempDir() + "/state/postmaster", Single: true}
	s := open(t, o, newSeam(nil))
	if errs := deliver(t, s, message(body(10)), users(1)...); errs[0] != nil {
		t.Fatal(errs)
	}
	if got := in(t, o.Path, "new"); len(got) != 1 {
		t.Errorf("%d messages", len(got))
	}
}

// hostile draws what a directory should never hold, and what it should.
func hostile(t *rapid.T, label string) string {
	return rapid.OneOf(
		rapid.SampledFrom([]string{"", ".", "..", "../..", "/", "/etc/passwd", "a/../../b", "a\x00b", ".ssh", "a", "b.c",
			"ÄÖ",
			"{user}", "[127.0.0.1]", strings.Repeat("x", 300), "tmp", "new", "cur", "a@b", "A"}),
		rapid.String(),
	).Draw(t, label)
}

// TestNothingLeavesTheRoot: whatever the identity is, its Maildir is as deep below the root as the template says, and
// two identities have two Maildirs; or it is refused.
func TestNothingLeavesTheRoot(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		path := rapid.SampledFrom([]string{"/var/mail/{domain}/{user}/Maildir", "/srv/{user}@{domain}",
			"/m/{site}/d-{domain}/{user}.box", "/{user}@{domain}@{site}/.maildir"}).Draw(t, "template")
		tmpl, err := parseTemplate(path, false)
		if err != nil {
			t.Fatal(err)
		}
		identity := func(label string) (mailbox.Mailbox, bool) {
			m := mailbox.Mailbox{Site: hostile(t, label+" site")}
			m.Address.Local = mailbox.LocalPart(hostile(t, label+" local"))
			p, err := mailbox.ParsePath("x@"+hostile(t, label+" domain"), true)
			m.Address.Domain = p.Address.Domain
			return m, err == nil
		}
		a, _ := identity("a")
		b, _ := identity("b")
		one, err1 := tmpl.expand(a)
		two, err2 := tmpl.expand(b)
		for _, names := range [][]string{one, two} {
			full := filepath.Join(append([]string{tmpl.root}, names...)...)
			rel, err := filepath.Rel(tmpl.root, full)
			if names != nil && (err != nil || strings.Count(rel, "/")+1 != len(tmpl.parts) || strings.HasPrefix(rel, "..")) {
				t.Fatalf("%q is at %q", names, full)
			}
		}
		same := a.Address.Fold() == b.Address.Fold() && (a.Site == b.Site || !strings.Contains(path, "{site}"))
		if err1 == nil && err2 == nil && (filepath.Join(one...) == filepath.Join(two...)) != same {
			t.Fatalf("%v and %v are at %q and %q", a, b, one, two)
		}
	})
}

func TestEscapeHost(t *testing.T) {
	for in, want := range map[string]string{
		"mx.host.test": "mx.host.test", "a/b:c,d": `a\057b\072c\054d`, "": "localhost", "ü x": "__x",
	} {
		if got := escapeHost(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}

func TestNamesAreUnique(t *testing.T) {
	now := func() time.Time { return time.Unix(1, 0) }
	a, b, seen := newNamer("h", now), newNamer("h", now), map[string]bool{}
	for range 1000 {
		seen[a.name(1)], seen[b.name(1)] = true, true
	}
	if len(seen) != 2000 {
		t.Errorf("%d names", len(seen))
	}
}

func TestAtLeast(t *testing.T) {
	for release, want := range map[string]bool{
		"5.16.20": false, "5.17": true, "5.17-rc1": true, "6.1.0-18-amd64": true, "4.19.0": false, "5.4": false,
		"10.0": true, "": false, "x.y": false,
	} {
		if got := atLeast(release, 5, 17); got != want {
			t.Errorf("%s: %v", release, got)
		}
	}
}
