package msgauth

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"mxbypass/relay/msgauth/signature"
)

func tag(name, value string) signature.Tag { return signature.Tag{Name: name, Value: value} }

// What a signature is worth, by what is wrong with it.
func TestDKIM(t *testing.T) {
	t.Parallel()
	k := newKit(t, func(o *Options) { o.Now = func() time.Time { return time.Unix(1_800_000_000, 0) } })
	ed := edKey("author.test")
	k.publish("s", "author.test", ed, "")
	k.publish("s", "sub.author.test", ed, "")
	k.publish("strict", "author.test", ed, "t=y:s; ")
	k.publish("web", "author.test", ed, "s=web; ")
	k.publish("sha1", "author.test", ed, "h=sha1; ")
	k.dns.AddTXT("revoked._domainkey.author.test.", "v=DKIM1; k=ed25519; p=")
	k.dns.AddTXT("text._domainkey.author.test.", "hello")
	k.dns.AddTXT("short._domainkey.author.test.", shortKey)
	k.dns.Fail("down._domainkey.author.test.", true)
	sign := func(tags ...signature.Tag) string { return signed(t, plainMessage, "author.test", ed, tags...) }
	for title, c := range map[string]struct{ message, value, why string }{
		"good":               {sign(), "pass", ""},
		"good for a while":   {sign(tag("x", "1800000001"), tag("t", "1")), "pass", ""},
		"expired":            {sign(tag("x", "1799999999")), "neutral", "expired"},
		"header changed":     {strings.Replace(sign(), "Subject: one", "Subject: two", 1), "fail", "the header has changed"},
		"body changed":       {strings.Replace(sign(), "Hello", "Hullo", 1), "fail", "the body has changed"},
		"no key":             {sign(tag("s", "missing")), "permerror", "there is no key"},
		"revoked":            {sign(tag("s", "revoked")), "permerror", "revoked"},
		"text":               {sign(tag("s", "text")), "permerror", "key record"},
		"DNS down":           {sign(tag("s", "down")), "temperror", "cannot be looked up"},
		"short":              {sign(tag("s", "short"), tag("a", "rsa-sha256")), "policy", "512 bits"},
		"SHA-1":              {sign(tag("a", "rsa-sha1")), "policy", "rsa-sha1"},
		"a part of the body": {sign(tag("l", "2")), "policy", "only a part"},
		"key for others":     {sign(tag("s", "web")), "permerror", "not for mail"},
		"key for SHA-1":      {sign(tag("s", "sha1")), "fail", ""},
		"version":            {sign(tag("v", "2")), "permerror", "v="},
		"From not signed":    {sign(tag("h", "to:subject")), "neutral", "From is not signed"},
		"query":              {sign(tag("q", "dns/txt:other")), "pass", ""},
		"other query":        {sign(tag("q", "other")), "permerror", "q="},
		"identity":           {sign(tag("i", "a@sub.author.test")), "pass", ""},
		"strange identity":   {sign(tag("i", "a@other.test")), "permerror", "i="},
		"likely identity":    {sign(tag("i", "a@notauthor.test")), "permerror", "i="},
		"strict key":         {sign(tag("s", "strict"), tag("i", "@author.test")), "pass", ""},
		"strict key, below":  {sign(tag("s", "strict"), tag("i", "@sub.author.test")), "permerror", "subdomains"},
		"no signature":       {"DKIM-Signature: nonsense\r\n" + plainMessage, "neutral", "malformed"},
		"a name too long":    {sign(tag("s", strings.Repeat("x", 300))), "neutral", "s="},
	} {
		results, left, err := k.checkDKIM(t.Context(), read(t, c.message), nil)
		if err != nil || len(results) != 1 || left != 0 {
			t.Fatal(title, results, left, err)
		}
		if r := results[0]; r.value != c.value || !strings.Contains(r.why, c.why) {
			t.Errorf("%s: %s %s", title, r.value, r.why)
		}
	}
}

// shortKey is the record of an RSA key of 512 bits.
const shortKey = "v=DKIM1; k=rsa; p=MEgCQQDXEJ/LwADsRCsFTEUpfMdd84xvTQtfEjVtzQf7YCGGKSGcO/3UYKl3" +
	"YiL0/ffaBKtOld+OPnv4AXiOVrwZS7yRAgMBAAE="

// Of many signatures those in the name of the author are looked at, and the rest is bounded.
func TestManySignatures(t *testing.T) {
	t.Parallel()
	k := newKit(t, nil)
	k.author("author.test", "p=reject")
	message := signed(t, plainMessage, "author.test", edKey("author.test"))
	for i := range 30 {
		domain := fmt.Sprintf("list%d.test", i)
		k.publish("s", domain, edKey(domain), "")
		message = signed(t, message, domain, edKey(domain))
	}
	v := k.check(stranger, "", message, hosted())
	if _, err := v.For(hosted()); err != nil {
		t.Error(err)
	}
	if n := strings.Count(string(v.Results), "dkim="); n != maxSignatures {
		t.Errorf("%d results", n)
	}
	if steps := strings.Join(v.Steps(), "\n"); !strings.Contains(steps, "23 more signatures were not verified") {
		t.Error(steps)
	}
}

// What another implementation signs is valid here, in all forms.
func TestOthersSign(t *testing.T) {
	t.Parallel()
	k := newKit(t, nil)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	k.publish("r", "author.test", rsaKey, "")
	k.publish("e", "author.test", edKey("author.test"), "")
	messages := []string{
		plainMessage, strings.Replace(plainMessage, "\r\nHello\r\n", "\r\n", 1), plainMessage + "\r\n\r\n", plainMessage + " a \t b  \r\n .\r\n",
		"Subject:\t folded\r\n  and   spaced \r\nFROM :a@author.test\r\n\r\n\r\n\r\n body" + strings.Repeat("long line ", 2000) + "\r\n",
	}
	forms := []dkim.Canonicalization{dkim.CanonicalizationSimple, dkim.CanonicalizationRelaxed}
	for i, message := range messages {
		for selector, key := range map[string]crypto.Signer{"r": rsaKey, "e": edKey("author.test")} {
			for _, header := range forms {
				for _, body := range forms {
					var b bytes.Buffer
					if err := dkim.Sign(&b, strings.NewReader(message), &dkim.SignOptions{
						Domain: "author.test", Selector: selector, Signer: key, HeaderCanonicalization: header, BodyCanonicalization: body,
					}); err != nil {
						t.Fatal(err)
					}
					results, _, err := k.checkDKIM(t.Context(), read(t, b.String()), nil)
					if err != nil || len(results) != 1 || results[0].value != "pass" {
						t.Errorf("message %d, %s, %s/%s: %+v, %v", i, selector, header, body, results, err)
					}
				}
			}
		}
	}
}

// huge is a content that is not in memory.
type huge struct {
	head string
	line string
	n    int
}

func (h huge) Size() int64       { return int64(len(h.head) + h.n*len(h.line)) }
func (h huge) Buffers() [][]byte { return nil }
func (h huge) NewReader() io.Reader {
	return io.MultiReader(strings.NewReader(h.head), &repeated{[]byte(h.line), h.n, nil})
}

type repeated struct {
	line []byte
	n    int
	rest []byte
}

func (r *repeated) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		if r.n == 0 {
			return 0, io.EOF
		}
		r.n--
		r.rest = r.line
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// A body is never in memory whole.
func TestMemoryOfHugeMessages(t *testing.T) {
	k := newKit(t, nil)
	k.author("author.test", "p=reject")
	signedHead, _, _ := strings.Cut(signed(t, plainMessage, "author.test", edKey("author.test")), "\r\n\r\n")
	content := huge{signedHead + "\r\n\r\n", strings.Repeat("0123456789 ", 90) + "\r\n", 32 << 10} // 32 MiB
	k.check("192.0.2.1", "a@author.test", signedHead+"\r\n\r\n", hosted())                         // what is kept afterwards
	allocated := testing.AllocsPerRun(1, func() {
		v, err := k.Check(t.Context(), &Message{Client: netip.MustParseAddr("192.0.2.1"), Reverse: address("a@author.test"), Content: content, ID: "id"})
		if err != nil || !strings.Contains(string(v.Results), `reason="the body has changed"`) {
			t.Error(v, err)
		}
	})
	if allocated > 20_000 {
		t.Errorf("%.0f allocations", allocated)
	}
}
