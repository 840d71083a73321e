package trust

import (
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"mxbypass/integration/peer"
)

// enforcing are the domains with more lines for exemple.org, in front of its tables.
func enforcing(lines string) string {
	return strings.Replace(theDomains, "mailboxes", lines+"\nmailboxes", 1)
}

const byFrom = "From: A <a@%[1]s>\r\nSubject: hello\r\nDate: Wed, 25 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@%[1]s>\r\n\r\nHello.\r\n"

// spoofable is DNS with domains that want forgeries rejected, put aside, and only reported.
var spoofable = []string{
	peer.TXT("reject.example", "v=spf1 ip4:192.0.2.1 -all"), peer.TXT("_dmarc.reject.example", "v=DMARC1; p=reject; sp=quarantine"),
	peer.TXT("aside.example", "v=spf1 ip4:192.0.2.1 -all"), peer.TXT("_dmarc.aside.example", "v=DMARC1; p=quarantine"),
	peer.TXT("watch.example", "v=spf1 ip4:192.0.2.1 -all"), peer.TXT("_dmarc.watch.example", "v=DMARC1; p=none"),
	peer.TXT("sub.reject.example", "v=spf1 ip4:192.0.2.1 -all"),
	peer.TXT("news.example", "v=spf1 ip4:192.0.2.66 -all"),
}

// A domain that enforces refuses what the owner of the From wants refused, and marks what he wants put aside; one that
// marks takes everything, and says what it is.
func TestDMARC(t *testing.T) {
	t.Parallel()
	w := start(t, settings{records: spoofable, domains: enforcing("authentication = \"enforce\"") + `[[domain]]
name = "marked.example"
site = "cloud"
mx = "local"
mailboxes = ["foobar"]
[[domain]]
name = "off.example"
site = "cloud"
mx = "local"
mailboxes = ["foobar"]
authentication = "off"
`})
	for _, c := range []struct {
		client, from, header string
		want                 string
		dmarc                string
		aside                bool
	}{
		{"192.0.2.1", "a@reject.example", "reject.example", "250 ", "pass", false},
		{"192.0.2.66", "a@reject.example", "reject.example", "550 5.7.1 ", "", false},
		{"192.0.2.66", "a@news.example", "reject.example", "550 5.7.1 ", "", false}, // SPF holds for somebody else
		{"192.0.2.66", "a@reject.example", "sub.reject.example", "250 ", "fail", true},
		{"192.0.2.1", "a@reject.example", "sub.reject.example", "250 ", "pass", false}, // relaxed alignment
		{"192.0.2.66", "a@aside.example", "aside.example", "250 ", "fail", true},
		{"192.0.2.66", "a@watch.example", "watch.example", "250 ", "fail", false},
		{"192.0.2.66", "a@nothing.example", "nothing.example", "250 ", "none", false},
		{"192.0.2.66", "", "reject.example", "550 5.7.1 ", "", false},
	} {
		reply := w.send(c.client, c.from, box, fmt.Sprintf(byFrom, c.header))
		if !strings.HasPrefix(reply, c.want) {
			t.Errorf("%+v: %s", c, reply)
			continue
		}
		if c.want[0] == '5' {
			continue
		}
		m := w.got(c.client, c.from, fmt.Sprintf(byFrom, c.header))
		wantResult(t, m, "dmarc", c.dmarc)
		if aside := len(fields(m, "X-Mxbypass-Quarantine")) > 0; aside != c.aside {
			t.Errorf("%+v: put aside: %v", c, aside)
		}
	}
	forged := fmt.Sprintf(byFrom, "reject.example")
	for domain, results := range map[string]int{"marked.example": 1, "off.example": 0} {
		wantReply(t, w.send("192.0.2.66", "a@reject.example", "foobar@"+domain, forged), "250 ")
		m := w.inbox("foobar@" + domain)[0]
		if n := len(fields(m, "Authentication-Results")); n != results {
			t.Errorf("%s: %d results in\n%s", domain, n, m)
		}
		if domain == "marked.example" {
			wantResult(t, m, "dmarc", "fail")
		}
	}
	// One message for several: the one who enforces is the one who refuses.
	c := w.from("192.0.2.66")
	w.say(c, "MAIL FROM:<a@reject.example>", "250")
	w.say(c, "RCPT TO:<foobar@marked.example>", "250")
	w.say(c, "RCPT TO:<foobar@exemple.org>", "250")
	w.say(c, "DATA", "354")
	must(t, c.Send(forged+".\r\n"))
	reply, err := c.Reply()
	must(t, err)
	if reply[0] == '4' || len(w.inbox("foobar@marked.example")) != 2 && reply[0] == '2' {
		t.Errorf("for two: %s", reply)
	}
	// DNS fails: who enforces waits until it tells, who marks does not.
	w.dns.Break("_dmarc.late.example. TXT", dns.RcodeServerFailure)
	w.dns.Break("late.example. TXT", dns.RcodeServerFailure)
	late := fmt.Sprintf(byFrom, "late.example")
	wantReply(t, w.send("192.0.2.66", "a@late.example", box, late), "451 4.7.0 ")
	wantReply(t, w.send("192.0.2.66", "a@late.example", "foobar@marked.example", late), "250 ")
	// Users and trusted clients are not judged, and nobody believes what a user says of that.
	s := w.user("foobar@exemple.org")
	claims := "Authentication-Results: MX.host.test (c) 1; dmarc=pass\r\nX-Mxbypass-Quarantine: no\r\n"
	reply, err = s.Message("foobar@exemple.org", "contact@exemple.org", claims+fmt.Sprintf(strings.Replace(byFrom, "a@", "foobar@", 1), "exemple.org"))
	must(t, err)
	wantReply(t, reply, "250 ")
	if m := w.inbox("contact@exemple.org")[0]; len(fields(m, "Authentication-Results"))+len(fields(m, "X-Mxbypass-Quarantine")) > 0 {
		t.Errorf("a user was judged:\n%s", m)
	}
	wantReply(t, w.send("127.0.0.9", "a@reject.example", box, forged), "250 ")
}

// The reverse name of a client is believed when it leads back.
func TestReverseNames(t *testing.T) {
	t.Parallel()
	w := start(t, settings{})
	for address, name := range map[string]string{"192.0.2.1": "mail.client.test", "192.0.2.2": "mail.client.test"} {
		record, err := peer.PTR(address, name)
		must(t, err)
		must(t, w.dns.Add(record))
	}
	must(t, w.dns.Add("mail.client.test. 60 IN A 192.0.2.1"))
	for address, want := range map[string]string{"192.0.2.1": "pass", "192.0.2.2": "fail"} {
		wantResult(t, w.got(address, "a@client.test", text), "iprev", want)
	}
}
