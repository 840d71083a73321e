package msgauth

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"

	"mxbypass/mailbox"
	"mxbypass/relay/header"
	"mxbypass/relay/msgauth/signature"
)

const plainMessage = "From: Author <a@author.test>\r\nTo: b@ours.test\r\nSubject: one\r\n\r\nHello\r\n"

// author puts a domain into DNS that sends from 192.0.2.1, signs, and wants everything else refused.
func (k *kit) author(domain, policy string) {
	k.dns.Add(k.t, domain+". TXT \"v=spf1 ip4:192.0.2.1 -all\"", domain+". A 192.0.2.1")
	k.dns.AddTXT("_dmarc."+domain+".", "v=DMARC1; "+policy)
	k.publish("s", domain, edKey(domain), "")
}

// What DMARC makes of a message that comes directly.
func TestDirect(t *testing.T) {
	t.Parallel()
	k := newKit(t, nil)
	k.author("author.test", "p=reject")
	k.author("soft.test", "p=quarantine")
	k.author("watching.test", "p=none")
	k.author("testing.test", "p=reject; t=y")
	k.author("part.test", "p=reject; pct=0")
	k.author("strict.test", "p=reject; adkim=s; aspf=s")
	k.author("other.test", "p=reject")
	k.publish("s", "mail.author.test", edKey("mail.author.test"), "")
	k.publish("s", "down.test", edKey("down.test"), "")
	k.dns.AddTXT("_dmarc.down.test.", "v=DMARC1; p=reject")
	k.dns.Fail("s._domainkey.down.test.", true)
	k.dns.Fail("_dmarc.broken.test.", true)

	from := func(addresses string) string { return strings.Replace(plainMessage, "a@author.test", addresses, 1) }
	const good, bad = "192.0.2.1", "192.0.2.66"
	for _, c := range []struct {
		title, client, reverse, message string
		quarantine                      bool
		err                             error
		results                         string // is in the field
	}{
		{"SPF", good, "x@author.test", plainMessage, false, nil, "dmarc=pass (p=reject by SPF of author.test) header.from=author.test"},
		{"SPF of another", good, "x@other.test", plainMessage, false, ErrRejected, "dmarc=fail (p=reject) header.from=author.test"},
		{"nothing", bad, "x@author.test", plainMessage, false, ErrRejected, "spf=fail smtp.mailfrom=x@author.test"},
		{"DKIM", bad, "x@other.test", signed(t, plainMessage, "author.test", edKey("author.test")), false, nil,
			"by DKIM of author.test"},
		{"DKIM of a host", bad, "", signed(t, plainMessage, "mail.author.test", edKey("mail.author.test")), false, nil,
			"header.d=mail.author.test"},
		{"DKIM of another", bad, "", signed(t, plainMessage, "other.test", edKey("other.test")), false, ErrRejected, "dkim=pass"},
		{"changed", bad, "", strings.Replace(signed(t, plainMessage, "author.test", edKey("author.test")), "Hello", "Hallo", 1), false,
			ErrRejected, `dkim=fail reason="the body has changed"`},
		{"quarantine", bad, "", from("a@soft.test"), true, nil, "dmarc=fail (p=quarantine)"},
		{"none", bad, "", from("a@watching.test"), false, nil, "dmarc=fail (p=none)"},
		{"t=y", bad, "", from("a@testing.test"), true, nil, "dmarc=fail (p=reject)"},
		{"pct=0", bad, "", from("a@part.test"), true, nil, "dmarc=fail (p=reject)"},
		{"strict, SPF", good, "x@strict.test", from("a@strict.test"), false, nil, "dmarc=pass"},
		{"strict, subdomain", bad, "", signed(t, from("a@sub.strict.test"), "strict.test", edKey("strict.test")), false,
			ErrRejected, "dmarc=fail"},
		{"no record", bad, "", from("a@nobody.test"), false, nil, "dmarc=none header.from=nobody.test"},
		{"no record in DNS", bad, "", from("a@broken.test"), false, ErrUnsure, "dmarc=temperror"},
		{"no key in DNS", bad, "", signed(t, from("a@down.test"), "down.test", edKey("down.test")), false, ErrUnsure, "dkim=temperror"},
		{"two authors, one of them true", good, "x@other.test", from("a@other.test>, <b@author.test"), false, ErrRejected,
			"dmarc=fail (p=reject) header.from=author.test"},
		{"two fields", bad, "x@watching.test", "From: a@watching.test\r\n" + plainMessage, false, ErrRejected, "header.from=author.test"},
		{"a field that cannot be read", bad, "", strings.Replace(plainMessage, "Author <", "Author, of @ <", 1), false, ErrRejected,
			"header.from=author.test"},
		{"too many authors", good, "", from("a@a.test>, <a@b.test>, <a@c.test>, <a@d.test>, <a@author.test"), true, nil, "dmarc=none"},
		{"no author", bad, "", "To: b@ours.test\r\n\r\n", true, nil, `dmarc=permerror reason="no domain in the From field"`},
		{"a literal", bad, "", from("a@[192.0.2.1]"), false, nil, "dmarc=none"},
	} {
		t.Run(c.title, func(t *testing.T) {
			v := k.check(c.client, c.reverse, c.message, hosted())
			quarantine, err := v.For(hosted())
			if quarantine != c.quarantine || !errors.Is(err, c.err) {
				t.Errorf("%t, %v; %s", quarantine, err, v.Steps())
			}
			field := strings.Join(strings.Fields(string(v.Results)), " ")
			if !strings.Contains(field, c.results) {
				t.Errorf("%s\nwithout %s", field, c.results)
			}
			for _, d := range []mailbox.Authentication{mailbox.AuthenticationMark, mailbox.AuthenticationOff} {
				if q, err := v.For(mailbox.Domain{Name: name("ours.test"), Authentication: d}); q || err != nil {
					t.Errorf("%s: %t, %v", d, q, err)
				}
			}
			if _, ok := errors.AsType[*Rejection](err); ok != (c.err == ErrRejected) {
				t.Errorf("%T", err)
			}
		})
	}
}

// The results as a whole, and their explanation.
func TestResults(t *testing.T) {
	t.Parallel()
	k := newKit(t, nil)
	k.author("author.test", "p=reject")
	k.dns.Add(t, "1.2.0.192.in-addr.arpa. PTR author.test.")
	v := k.check("192.0.2.1", "x@author.test", signed(t, plainMessage, "author.test", edKey("author.test")), hosted())
	field := string(v.Results)
	start := strings.Index(field, "header.b=") // the only thing that changes with the key
	for strings.HasPrefix(field[start:], "header.b=") {
		end := strings.IndexAny(field[start:], ";\r")
		field = field[:start] + "header.b" + field[start+end:]
	}
	want := "Authentication-Results: mx.host.test;\r\n\tiprev=pass (author.test) policy.iprev=192.0.2.1;\r\n" +
		"\tspf=pass smtp.mailfrom=x@author.test;\r\n\tdkim=pass header.d=author.test header.s=s header.a=ed25519-sha256\r\n\theader.b" +
		";\r\n\tarc=none;\r\n\tdmarc=pass (p=reject by DKIM of author.test) header.from=author.test\r\n"
	if got := strings.ReplaceAll(field, " header.b", "\r\n\theader.b"); got != want && field != want {
		t.Errorf("%q\nwant\n%q", field, want)
	}
	steps := strings.Join(v.Steps(), "\n")
	wantSteps := "iprev pass author.test\nSPF pass for author.test (matched ip)\nDKIM pass author.test\n" +
		"DMARC pass for author.test by DKIM of author.test"
	if steps != wantSteps {
		t.Errorf("%q", steps)
	}
	if text(t, v.Content) != signed(t, plainMessage, "author.test", edKey("author.test")) {
		t.Error("the content has changed")
	}
}

// Fields in our name are taken away, those of others stay; signatures are over what came.
func TestClaimsAreRemoved(t *testing.T) {
	t.Parallel()
	k := newKit(t, nil)
	k.author("author.test", "p=reject")
	message := "Authentication-Results: (x) \"MX.host.test\" 1;\r\n\tdmarc=pass header.from=author.test\r\n" + plainMessage
	message = signed(t, message, "author.test", edKey("author.test"),
		signature.Tag{Name: "h", Value: "from:to:subject:authentication-results"})
	message = "authentication-results : other.test; none\r\nX-Mxbypass-Quarantine: x\r\nx-mxbypass-listed: y\r\n" + message
	for _, d := range []mailbox.Domain{hosted(), {Name: name("ours.test"), Authentication: mailbox.AuthenticationOff}} {
		v := k.check("192.0.2.66", "", message, d)
		got := text(t, v.Content)
		if strings.Contains(got, "MX.host.test") || !strings.Contains(got, "other.test; none") ||
			strings.Contains(got, QuarantineField) || strings.Contains(got, "x-mxbypass-listed") || !strings.HasSuffix(got, plainMessage) {
			t.Errorf("%q", got)
		}
		if (v.Results == nil) != (d.Authentication == mailbox.AuthenticationOff) {
			t.Errorf("%q", v.Results)
		}
		if v.Results != nil && !strings.Contains(string(v.Results), "dkim=pass") {
			t.Errorf("%q", v.Results)
		}
		if _, err := v.For(d); err != nil {
			t.Error(err)
		}
	}
}

func TestOff(t *testing.T) {
	t.Parallel()
	k := newKit(t, func(o *Options) { o.Policy = mailbox.AuthenticationOff })
	k.author("author.test", "p=reject")
	for _, domains := range [][]mailbox.Domain{nil, {hosted()}} {
		v := k.check("192.0.2.66", "x@author.test", plainMessage, domains...)
		if v.Results != nil || v.Steps() != nil || k.dns.Asked("author.test.") != 0 {
			t.Errorf("%q %q", v.Results, v.Steps())
		}
		if q, err := v.For(hosted()); q || err != nil {
			t.Error(q, err)
		}
	}
	// One domain that wants to know is enough, and only that one is served by it.
	enforcing := mailbox.Domain{Name: name("strict.test"), Authentication: mailbox.AuthenticationEnforce}
	v := k.check("192.0.2.66", "x@author.test", plainMessage, hosted(), enforcing)
	if _, err := v.For(enforcing); !errors.Is(err, ErrRejected) || v.Results == nil {
		t.Error(err)
	}
	if q, err := v.For(hosted()); q || err != nil {
		t.Error(q, err)
	}
}

// broken is a content that cannot be read to its end.
type broken struct{ memory }

func (b broken) Buffers() [][]byte    { return nil }
func (b broken) NewReader() io.Reader { return io.MultiReader(b.memory.NewReader(), failing{}) }

type failing struct{}

var errDisk = errors.New("disk")

func (failing) Read([]byte) (int, error) { return 0, errDisk }

func TestCheckErrors(t *testing.T) {
	t.Parallel()
	k := newKit(t, func(o *Options) { o.MaxHeader = 600 })
	k.author("author.test", "p=reject")
	m := &Message{Client: netip.MustParseAddr("192.0.2.1"), Content: memory(strings.Repeat("X: y\r\n", 200)), Hello: "x"}
	if _, err := k.Check(t.Context(), m); !errors.Is(err, header.ErrTooBig) {
		t.Error(err)
	}
	m.Content = broken{memory(signed(t, plainMessage, "author.test", edKey("author.test")))}
	if _, err := k.Check(t.Context(), m); !errors.Is(err, errDisk) {
		t.Error(err)
	}
	m.Content = memory(plainMessage)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := k.Check(ctx, m); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := New(Options{}); err == nil {
		t.Error("a checker of nothing")
	}
}

// A checker that has no more time says what it does not know, and does not fail.
func TestTimeout(t *testing.T) {
	t.Parallel()
	k := newKit(t, func(o *Options) { o.Timeout = 1 })
	k.author("author.test", "p=reject")
	v := k.check("192.0.2.1", "x@author.test", signed(t, plainMessage, "author.test", edKey("author.test")), hosted())
	for _, want := range []string{"spf=temperror", "dkim=temperror", "dmarc=temperror", "iprev=temperror"} {
		if !strings.Contains(string(v.Results), want) {
			t.Errorf("no %s in %s", want, v.Results)
		}
	}
	if _, err := v.For(hosted()); !errors.Is(err, ErrUnsure) {
		t.Error(err)
	}
}
