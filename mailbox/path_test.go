package mailbox_test

import (
	"errors"
	"strings"
	"testing"

	"mxbypass/mailbox"
)

// long makes a string of n octets that is valid in a local part.
func long(n int) string { return strings.Repeat("a", n) }

// longDomain makes a domain name of n octets.
func longDomain(n int) string {
	var b strings.Builder
	for b.Len()+64 <= n-2 {
		b.WriteString(long(63) + ".")
	}
	b.WriteString(long(n - b.Len()))
	return b.String()
}

func TestParsePath(t *testing.T) {
	for _, c := range []struct {
		path   string
		local  string
		domain string // in A-labels
		wire   string // "": the path itself
		utf8   bool
	}{
		{path: "u@d.example", local: "u", domain: "d.example"},
		{path: "U@D.Example", local: "U", domain: "d.example", wire: "U@d.example"},
		{path: "u@d.example.", local: "u", domain: "d.example", wire: "u@d.example"},
		{path: "u%d.example@mx.host.test", local: "u%d.example", domain: "mx.host.test"},
		{path: "u%d.example.@mx.host.test", local: "u%d.example.", domain: "mx.host.test",
			wire: `"u%d.example."@mx.host.test`},
		{path: `"u%d.example"@mx.host.test`, local: "u%d.example", domain: "mx.host.test",
			wire: "u%d.example@mx.host.test"},
		{path: `"a b"@d.example`, local: "a b", domain: "d.example"},
		{path: `"a\"b\\c\d"@d.example`, local: `a"b\cd`, domain: "d.example", wire: `"a\"b\\cd"@d.example`},
		{path: `"a..b"@d.example`, local: "a..b", domain: "d.example"},
		{path: `">"@d.example`, local: ">", domain: "d.example"},
		{path: "@x.example,@y.example:u%d@mx", local: "u%d", domain: "mx", wire: "u%d@mx"},
		{path: "d!u@mx", local: "d!u", domain: "mx"},
		{path: "Postmaster", local: "Postmaster", domain: ""},
		{path: "u@[192.0.2.1]", local: "u", domain: "[192.0.2.1]"},
		{path: "u@[ipv6:2001:DB8::1]", local: "u", domain: "[IPv6:2001:db8::1]", wire: "u@[IPv6:2001:db8::1]"},
		{path: "u@xn--tda.example", local: "u", domain: "xn--tda.example"},
		{path: "u@a_b.example", local: "u", domain: "a_b.example"},
		{path: "u@ab--cd.example", local: "u", domain: "ab--cd.example"},
		{path: "u@1and1.example", local: "u", domain: "1and1.example"},
		{path: "u@ü.example", local: "u", domain: "xn--tda.example", wire: "u@xn--tda.example", utf8: true},
		{path: "u@U\u0308.example", local: "u", domain: "xn--tda.example", wire: "u@xn--tda.example", utf8: true},
		{path: "u\u0308@d.example", local: "ü", domain: "d.example", wire: "ü@d.example", utf8: true},
		{path: "u％d@mx", local: "u％d", domain: "mx", utf8: true},
		{path: long(64) + "@d.example", local: long(64), domain: "d.example"},
		{path: "u@" + longDomain(252), local: "u", domain: longDomain(252)},
	} {
		t.Run(c.path, func(t *testing.T) {
			p, err := mailbox.ParsePath(c.path, c.utf8)
			if err != nil {
				t.Fatal(err)
			}
			if got := string(p.Address.Local); got != c.local {
				t.Errorf("local part %q, want %q", got, c.local)
			}
			if got := p.Address.Domain.ASCII(); got != c.domain {
				t.Errorf("domain %q, want %q", got, c.domain)
			}
			want := c.wire
			if want == "" {
				want = c.path
			}
			if got := p.Address.Wire(); got != want {
				t.Errorf("on the wire %q, want %q", got, want)
			}
			if p.Written != c.path {
				t.Errorf("written %q", p.Written)
			}
		})
	}
}

func TestParsePathRefuses(t *testing.T) {
	syntax, tooLong, needsUTF8 := mailbox.ErrSyntax, mailbox.ErrTooLong, mailbox.ErrNeedsUTF8
	for _, c := range []struct {
		path string
		err  error
		utf8 bool
	}{
		{path: "", err: syntax},
		{path: "u", err: syntax},
		{path: "u%d", err: syntax},
		{path: "@d.example", err: syntax},
		{path: "u@", err: syntax},
		{path: "u@.", err: syntax},
		{path: "u@d..", err: syntax},
		{path: "u@d..example", err: syntax},
		{path: "u@.d.example", err: syntax},
		{path: "u@-d.example", err: syntax},
		{path: "u@d-.example", err: syntax},
		{path: "u@d.example:25", err: syntax},
		{path: "u@d,x", err: syntax},
		{path: "u@d x", err: syntax},
		{path: "u@d%x", err: syntax},
		{path: "u@127.0.0.1", err: syntax},
		{path: "u@d@mx", err: syntax},
		{path: `"u@d"@mx`, err: syntax},
		{path: `"u\@d"@mx`, err: syntax},
		{path: `"a b"%d@mx`, err: syntax},
		{path: `""@d.example`, err: syntax},
		{path: `"u`, err: syntax},
		{path: `"u\`, err: syntax},
		{path: `"u"`, err: syntax},
		{path: `"u"x@d.example`, err: syntax},
		{path: `u"v"@d.example`, err: syntax},
		{path: `"postmaster"`, err: syntax},
		{path: "@x.example:postmaster", err: syntax},
		{path: ".u@d.example", err: syntax},
		{path: "u..@d.example", err: syntax},
		{path: "u..v@d.example", err: syntax},
		{path: ".@d.example", err: syntax},
		{path: "a b@d.example", err: syntax},
		{path: "a\\b@d.example", err: syntax},
		{path: "u%d:25@mx", err: syntax},
		{path: "u%d,x@mx", err: syntax},
		{path: "u%d/../x@mx", err: syntax},
		{path: "u%[1.2.3.4]@mx", err: syntax},
		{path: "(c)u@d.example", err: syntax},
		{path: "u@d.example(c)", err: syntax},
		{path: "<u@d.example>", err: syntax},
		{path: "@x", err: syntax},
		{path: "@x:", err: syntax},
		{path: "@x:@y:u@d", err: syntax},
		{path: "@x,y:u@d", err: syntax},
		{path: "@x,,@y:u@d", err: syntax},
		{path: "@[192.0.2.1]:u@d", err: syntax},
		{path: "u@[192.0.2.1", err: syntax},
		{path: "u@[192.0.2.1]x", err: syntax},
		{path: "u@[192.0.2.256]", err: syntax},
		{path: "u@[192.0.2.01]", err: syntax},
		{path: "u@[2001:db8::1]", err: syntax},
		{path: "u@[IPv6:192.0.2.1]", err: syntax},
		{path: "u@[IPv6:fe80::1%eth0]", err: syntax},
		{path: "u@[]", err: syntax},
		{path: "u@xn--a.example", err: syntax},
		{path: "u@xn--google-.example", err: syntax},
		{path: "u@xn--.example", err: syntax},
		{path: "u\x00@d.example", err: syntax},
		{path: "u\r@d.example", err: syntax},
		{path: "u\n@d.example", err: syntax},
		{path: "u\t@d.example", err: syntax},
		{path: "\"u\x7f\"@d.example", err: syntax},
		{path: "\"u\\\x00\"@d.example", err: syntax},
		{path: "u@d\x1b[2J.example", err: syntax},
		{path: "u\u0085@d.example", err: syntax, utf8: true},
		{path: "u\u2028@d.example", err: syntax, utf8: true},
		{path: "u\ufffd@d.example", err: syntax, utf8: true},
		{path: "u\ufffe@d.example", err: syntax, utf8: true},
		{path: "u\xff@d.example", err: syntax, utf8: true},
		{path: "\"u\\ü\"@d.example", err: syntax, utf8: true},
		{path: "a\u037eb@d.example", err: syntax, utf8: true}, // form C makes it a semicolon
		{path: "po\u017ftmaster", err: syntax, utf8: true},    // the long s folds to an s
		{path: "u@d。。example", err: syntax, utf8: true},
		{path: "u@d.example。", err: syntax, utf8: true},
		{path: "u@d％x.example", err: syntax, utf8: true},
		{path: "u@d＠x.example", err: syntax, utf8: true},
		{path: "u@［192.0.2.1］", err: syntax, utf8: true},
		{path: "u@\u00ad.example", err: syntax, utf8: true},
		{path: "ü@d.example", err: needsUTF8},
		{path: "u@ü.example", err: needsUTF8},
		{path: "u\xff@d.example", err: needsUTF8},
		{path: "@ü.example:u@d.example", err: needsUTF8},
		{path: long(65) + "@d.example", err: tooLong},
		{path: `"` + long(65) + `"@d.example`, err: tooLong},
		{path: strings.Repeat("%", 65) + "@d.example", err: tooLong},
		{path: strings.Repeat("%", 300) + "@d.example", err: tooLong},
		{path: "u@" + longDomain(253), err: tooLong},
		{path: "@" + longDomain(250) + ":u@d", err: tooLong},
		{path: "u@" + long(64) + ".example", err: syntax},
		// Short as U-labels, too long as A-labels.
		{path: long(64) + "@" + strings.Repeat("ü.", 25) + "example", err: tooLong, utf8: true},
	} {
		t.Run(c.path, func(t *testing.T) {
			p, err := mailbox.ParsePath(c.path, c.utf8)
			if !errors.Is(err, c.err) {
				t.Errorf("%+v, %v; want %v", p, err, c.err)
			}
		})
	}
}

func TestParseReversePath(t *testing.T) {
	for _, c := range []struct{ path, wire string }{
		{"", ""},
		{"v%x@mx.host.test", "v%x@mx.host.test"},
		{`"u@d"@x.example`, `"u@d"@x.example`},
		{"root@192.0.2.1", "root@192.0.2.1"},
		{"@a.example:u@x.example", "u@x.example"},
	} {
		p, err := mailbox.ParseReversePath(c.path, false)
		if err != nil || p.Address.Wire() != c.wire {
			t.Errorf("%q: %q, %v; want %q", c.path, p.Address.Wire(), err, c.wire)
		}
		if p.Address.IsNull() != (c.path == "") {
			t.Errorf("%q: null %v", c.path, p.Address.IsNull())
		}
	}
	for _, path := range []string{"u", "@", "u@", `""`, "\x00"} {
		if p, err := mailbox.ParseReversePath(path, false); !errors.Is(err, mailbox.ErrSyntax) {
			t.Errorf("%q: %+v, %v", path, p, err)
		}
	}
}

func TestParseAddress(t *testing.T) {
	a, err := mailbox.ParseAddress(" Foobar@Exämple.org ")
	if want := "Foobar@xn--exmple-cua.org"; err != nil || a.Wire() != want {
		t.Errorf("%q, %v; want %q", a.Wire(), err, want)
	}
	for _, s := range []string{"", " ", "foobar", "Postmaster", "u@[192.0.2.1]", "@x:u@d", "<u@d>", "u@d x@d"} {
		if a, err := mailbox.ParseAddress(s); !errors.Is(err, mailbox.ErrSyntax) {
			t.Errorf("%q: %v, %v", s, a, err)
		}
	}
}

func TestCutPath(t *testing.T) {
	for _, c := range []struct{ args, path, rest string }{
		{"<u@d>", "u@d", ""},
		{"<>", "", ""},
		{"  <u@d>  SIZE=1 BODY=8BITMIME", "u@d", "SIZE=1 BODY=8BITMIME"},
		{`<"a> b"@d> SIZE=1`, `"a> b"@d`, "SIZE=1"},
		{`<"a\">"@d>`, `"a\">"@d`, ""},
		{`<"a\\"@d> X`, `"a\\"@d`, "X"},
		{"u%d@mx SIZE=1", "u%d@mx", "SIZE=1"},
		{"<a<b@d>", "a<b@d", ""}, // for ParsePath to refuse
	} {
		path, rest, err := mailbox.CutPath(c.args)
		if err != nil || path != c.path || rest != c.rest {
			t.Errorf("%q: %q, %q, %v", c.args, path, rest, err)
		}
	}
	for _, args := range []string{
		"", " ", "<", "<u@d", "u@d>", `<"u@d>`, `<"u\">`, "<u@d>x", "<u@d>>", "<<u@d>>", `"a b"@d`, "<u@d>\tX", "<u\r@d>",
		"<u@d> X=\x00", "u@d\x7f",
	} {
		if path, rest, err := mailbox.CutPath(args); !errors.Is(err, mailbox.ErrSyntax) {
			t.Errorf("%q: %q, %q, %v", args, path, rest, err)
		}
	}
}
