package mailbox_test

import (
	"testing"

	"mxbypass/mailbox"
)

func TestAddressPrints(t *testing.T) {
	domain := mailbox.MustDomainName("exämple.org")
	for _, c := range []struct {
		address      mailbox.Address
		wire, String string
		utf8         bool
	}{
		{mailbox.Address{}, "", "<>", false},
		{mailbox.Address{Local: "postmaster"}, "postmaster", "postmaster", false},
		{mailbox.Address{Local: "u", Domain: domain}, "u@xn--exmple-cua.org", "u@xn--exmple-cua.org", false},
		{mailbox.Address{Local: "a b", Domain: domain}, `"a b"@xn--exmple-cua.org`, `"a b"@xn--exmple-cua.org`, false},
		{mailbox.Address{Local: "ü", Domain: domain}, "ü@xn--exmple-cua.org", "ü@xn--exmple-cua.org", true},
		// Text that would run backwards in a terminal.
		{mailbox.Address{Local: "a\u202eb", Domain: domain}, "a\u202eb@xn--exmple-cua.org",
			"a\ufffdb@xn--exmple-cua.org", true},
	} {
		if got := c.address.Wire(); got != c.wire {
			t.Errorf("on the wire %q, want %q", got, c.wire)
		}
		if got := c.address.Header(); got != c.wire {
			t.Errorf("in a header %q, want %q", got, c.wire)
		}
		if got := c.address.String(); got != c.String {
			t.Errorf("for people %q, want %q", got, c.String)
		}
		if got := c.address.NeedsUTF8(); got != c.utf8 {
			t.Errorf("%q: needs UTF-8: %v", c.wire, got)
		}
	}
}

func TestFold(t *testing.T) {
	for in, want := range map[mailbox.LocalPart]mailbox.LocalPart{
		"foobar":      "foobar",
		"FooBar+Tag":  "foobar+tag",
		"Ü":           "ü",
		"U\u0308":     "ü",
		"\u212aelvin": "kelvin",
		"stra\u1e9ee": "straße",
		"Δ":           "δ",
	} {
		if got := in.Fold(); got != want {
			t.Errorf("%q folds to %q, want %q", in, got, want)
		}
	}
}

func TestDomainNames(t *testing.T) {
	for in, want := range map[string]struct{ ascii, unicode string }{
		"EXEMPLE.org.":           {"exemple.org", "exemple.org"},
		"ÜBER.example":           {"xn--ber-goa.example", "über.example"},
		"straße.example":         {"xn--strae-oqa.example", "straße.example"},
		"d。example":              {"d.example", "d.example"},
		"\u212a.example":         {"k.example", "k.example"},
		"XN--TDA.a_b":            {"xn--tda.a_b", "ü.a_b"},
		"r3---sn-x.example":      {"r3---sn-x.example", "r3---sn-x.example"},
		"localhost":              {"localhost", "localhost"},
		"xn--ls8h.example":       {"xn--ls8h.example", "💩.example"},
		"xn--fiq228c.xn--55qx5d": {"xn--fiq228c.xn--55qx5d", "中文.公司"},
	} {
		d, err := mailbox.ParseDomainName(in)
		if err != nil || d.ASCII() != want.ascii || d.Unicode() != want.unicode || d.String() != want.ascii {
			t.Errorf("%q: %q, %q, %v", in, d.ASCII(), d.Unicode(), err)
		}
		if d.IsLiteral() || d.IsZero() {
			t.Errorf("%q: literal or zero", in)
		}
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain ~ text":     "plain ~ text",
		"ünï":              "ünï",
		"a\r\nb\x00\x1b[m": "a\ufffd\ufffdb\ufffd\ufffd[m",
		"\x7f\u0085":       "\ufffd\ufffd",
		"\u202e\u200b":     "\ufffd\ufffd",
		"a\xffb":           "a\ufffdb",
		"\u2028":           "\ufffd",
	} {
		if got := mailbox.Printable(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
