package mailbox_test

import (
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"mxbypass/mailbox"
)

// oddities are what the corpora of all targets start from.
var oddities = []string{
	"u@d.example", "U%D.example.@MX.host.test", `"a b%d"@mx`, `"u\"\\>"@d`, "@x,@y:u%d@mx", "u@[IPv6:2001:db8::1]",
	"Postmaster", "po\u017ftmaster", "a\u037eb@d", "\u212a@\u212a.example", "u@xn--tda.example", "u@ü.example",
	"u\u0308@d。example", "u@ab--cd.example", "u\xff@d", "u\x00@d", "u\u2028@d", "a\u202eb@d",
}

// FuzzPath: whatever a client sends, parsing ends, what comes out holds no control character, and printing it and parsing
// that again gives the same address.
func FuzzPath(f *testing.F) {
	for _, s := range oddities {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, raw string, smtputf8 bool) {
		for name, parse := range map[string]func(string, bool) (mailbox.Path, error){
			"forward": mailbox.ParsePath, "reverse": mailbox.ParseReversePath,
		} {
			p, err := parse(raw, smtputf8)
			if err != nil {
				if !errors.Is(err, mailbox.ErrSyntax) && !errors.Is(err, mailbox.ErrTooLong) &&
					!errors.Is(err, mailbox.ErrNeedsUTF8) {
					t.Fatalf("%s path %q: %v is none of ours", name, raw, err)
				}
				continue
			}
			wire := p.Address.Wire()
			mustBeClean(t, raw, p.Written, string(p.Address.Local), wire, p.Address.Header(), p.Address.String())
			if len(wire)+2 > mailbox.MaxPath || len(p.Address.Local) > mailbox.MaxLocalPart {
				t.Fatalf("%s path %q: longer than it may be: %q", name, raw, wire)
			}
			if !smtputf8 && (p.Address.NeedsUTF8() || strings.ContainsFunc(wire, notASCII)) {
				t.Fatalf("%s path %q: not ASCII: %q", name, raw, wire)
			}
			again, err := parse(wire, p.Address.NeedsUTF8())
			if err != nil || again.Address != p.Address {
				t.Fatalf("%s path %q: %+v prints as %q, which is %+v, %v", name, raw, p.Address, wire, again.Address, err)
			}
			if folded := p.Address.Fold(); folded.Fold() != folded {
				t.Fatalf("%s path %q: folds twice: %q", name, raw, folded.Local)
			}
			// As a client would send it: the path is cut out of the command as it was.
			path, rest, err := mailbox.CutPath("<" + wire + "> SIZE=1")
			if err != nil || path != wire || rest != "SIZE=1" {
				t.Fatalf("%s path %q: %q is cut to %q, %q, %v", name, raw, wire, path, rest, err)
			}
		}
	})
}

// FuzzCutPath: nothing is lost or invented between the path and the parameters, and no control byte gets through.
func FuzzCutPath(f *testing.F) {
	for _, s := range oddities {
		f.Add("<" + s + "> SIZE=1")
		f.Add(s + " SIZE=1")
	}
	f.Fuzz(func(t *testing.T, args string) {
		path, rest, err := mailbox.CutPath(args)
		if err != nil {
			if !errors.Is(err, mailbox.ErrSyntax) {
				t.Fatalf("%q: %v is not ours", args, err)
			}
			return
		}
		if strings.ContainsFunc(args, isC0) {
			t.Fatalf("%q: a control byte got through", args)
		}
		without := strings.NewReplacer("<", "", ">", "", " ", "")
		if without.Replace(path+rest) != without.Replace(args) {
			t.Fatalf("%q: cut to %q and %q", args, path, rest)
		}
		if strings.HasPrefix(rest, " ") {
			t.Fatalf("%q: the parameters %q start with a space", args, rest)
		}
	})
}

// FuzzDomainName: every name has one spelling that we keep, and the form for people leads back to it.
func FuzzDomainName(f *testing.F) {
	for _, s := range oddities {
		_, domain, _ := strings.Cut(s, "@")
		f.Add(domain)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		d, err := mailbox.ParseDomainName(raw)
		if err != nil {
			return
		}
		mustBeClean(t, raw, d.ASCII(), d.Unicode())
		if strings.ContainsFunc(d.ASCII(), notASCII) || d.ASCII() != strings.ToLower(d.ASCII()) || d.IsLiteral() ||
			d.IsZero() || strings.ContainsAny(d.ASCII(), "@%<>\"\\ :,/[]") {
			t.Fatalf("%q: kept as %q", raw, d.ASCII())
		}
		for _, form := range []string{d.ASCII(), d.Unicode(), d.ASCII() + ".", strings.ToUpper(d.ASCII())} {
			if again, err := mailbox.ParseDomainName(form); err != nil || again != d {
				t.Fatalf("%q: %q is spelled %q, which is %q, %v", raw, d.ASCII(), form, again.ASCII(), err)
			}
		}
	})
}

func mustBeClean(t *testing.T, raw string, printed ...string) {
	t.Helper()
	for _, s := range printed {
		if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
			t.Fatalf("%q: prints as %q", raw, s)
		}
	}
}

func isC0(r rune) bool { return r < 0x20 || r == 0x7f }

func notASCII(r rune) bool { return r >= utf8.RuneSelf }
