package msgauth

import (
	"slices"
	"strings"
	"testing"

	"mxbypass/relay/header"
)

// Whoever is shown as an author is one that is judged, in whatever way the field is written, or broken.
func TestAuthors(t *testing.T) {
	t.Parallel()
	for from, want := range map[string]string{
		"From: a@good.test":                                    "good.test",
		"From: A <a@good.test>, b@bad.test":                    "good.test bad.test",
		"From: \"a@bad.test\" <a@good.test>":                   "good.test", // a name, as RFC 5322 has it
		"From: Group: a@good.test, b@bad.test;":                "good.test bad.test",
		"From: a@good.test (<b@bad.test>)":                     "good.test",
		"From: a@bücher.test":                                  "xn--bcher-kva.test",
		"From: \"x, y\" (c) <a(c)@(d)bad.test>":                "bad.test",
		"From: a (;) @ bad (c(\\)), <b@good.test>) . test":     "bad.test",
		"From: a@bad.test (not closed <b@good.test>":           "good.test",
		"From: <a@bad.test> <b@good.test>":                     "bad.test good.test",
		"From: a@bad.test, <b@good.test>, @":                   "bad.test good.test",
		"From: a@bad.test; <b@good.test>":                      "bad.test good.test",
		"From: \"A, b@other.test\" <a@good.test>,":             "good.test",
		"From: A, of b@other.test <a@good.test>":               "good.test",
		"From: a@other.test <a@good.test>":                     "good.test", // written by many who mean a name
		"From: a@bad.test, <b@good.test>\r\nFrom: c@good.test": "bad.test good.test",
		"From: =?utf-8?b?PGFAYmFkLnRlc3Q+?=":                   "bad.test",
		"From: =?windows-1252?q?=E9_=3Ca=40bad=2Etest=3E?=":    "bad.test",
		"From: =?utf-8?q?a=40other=2Etest?= <a@good.test>,":    "good.test",
		"From: a@bad.test\xff":                                 "bad.test",
		"From: a@bad.test' x":                                  "bad.test",
		"From: a@bad.test.,":                                   "bad.test",
		"From: <@x.test:a@bad.test>":                           "x.test bad.test",
		"From: \"<a@bad.test>\"":                               "bad.test",
		"From: \"a@bad.test":                                   "bad.test",
		"From: a@b.test, a@c.test, a@d.test, a@e.test":         "b.test c.test d.test e.test",
		"From: undisclosed:;":                                  "",
		"From: =?x?y?z?= =?utf-8?b?@":                          "",
		"From: (":                                              "",
		"From: a\\":                                            "",
		"From:":                                                "",
		"To: a@bad.test":                                       "",
	} {
		a := authorsOf(read(t, from+"\r\n\r\n"))
		var got []string
		for _, d := range a.domains {
			got = append(got, d.ASCII())
		}
		if strings.Join(got, " ") != want || a.unknown() != (want == "") {
			t.Errorf("%q: %q, unknown: %t", from, got, a.unknown())
		}
	}
}

// A field that can be read has the authors that RFC 5322 gives it; any other one has no more than are judged.
func FuzzAuthors(f *testing.F) {
	for _, s := range []string{"a@b.test", "A <a@b.test>, c@d.test", "\"(\\\" <a@b.test>", "(\\)( a@b.test", "=?utf-8?b?PGFAYmFkLnRlc3Q+?=",
		"<a@b.test> <c@d.test>,;", "a @ b . test"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if strings.ContainsAny(value, "\r\n") {
			return
		}
		h := read(t, "From: "+value+"\r\n\r\n")
		a := authorsOf(h)
		if len(a.domains) > maxFrom {
			t.Fatalf("%q: %v", value, a)
		}
		addresses, err := header.From(h)
		for _, from := range addresses[:min(len(addresses), maxFrom)] {
			if err == nil && !slices.Contains(a.domains, from.Domain) {
				t.Errorf("%q: %s is not judged", value, from.Domain)
			}
		}
	})
}
