package relaying

import (
	"strings"
	"testing"

	"github.com/miekg/dns"
)

const text = "Subject: hello\r\n\r\n.dots\r\nand more\r\n"

// Mail of a trusted client follows the MX records, byte for byte; a stranger's does not.
func TestPlainMailFollowsTheMX(t *testing.T) {
	w := start(t, settings{records: []string{"remote.example. IN MX 10 mx.remote.example.", "mx.remote.example. IN A 198.51.100.1"}})
	r := remote(t, "198.51.100.1", nil)
	wantReply(t, w.send("127.0.0.2", "a@client.test", "b@remote.example", text), "550 5.7.1 ")
	w.submit("a@client.test", "b@remote.example", text)
	must(t, r.Await(1))
	m := r.Messages()[0]
	if m.From != "a@client.test" || len(m.To) != 1 || m.To[0] != "b@remote.example" || !strings.HasSuffix(m.Content, text) ||
		!strings.HasPrefix(m.Content, "Received: from client.test ([127.0.0.1])\r\n\tby mx.host.test with ESMTP id ") {
		t.Errorf("%+v", m)
	}
	w.empty()
}

// Dead first MX, hosts that are none, an address family that is dead: the next one gets the mail.
func TestNextHost(t *testing.T) {
	for name, records := range map[string][]string{
		"the first is dead":       {"remote.example. IN MX 10 dead.remote.example.", "dead.remote.example. IN A 198.51.100.99"},
		"the first has no name":   {"remote.example. IN MX 10 nothing.remote.example."},
		"the first has no port":   {"remote.example. IN MX 10 closed.remote.example.", "closed.remote.example. IN A 198.51.100.8"},
		"an alias":                {"remote.example. IN CNAME other.example.", "other.example. IN MX 5 mx.remote.example."},
		"IPv6 is dead":            {"remote.example. IN MX 20 mx.remote.example.", "mx.remote.example. IN AAAA 2001:db8::99"},
		"no MX":                   {"remote.example. IN A 198.51.100.2"},
		"an address of IPv6 only": {"remote.example. IN MX 10 six.remote.example.", "six.remote.example. IN AAAA 2001:db8::2"},
	} {
		t.Run(name, func(t *testing.T) {
			if name != "no MX" && name != "an alias" {
				records = append(records, "remote.example. IN MX 20 mx.remote.example.")
			}
			w := start(t, settings{records: append(records, "mx.remote.example. IN A 198.51.100.2"), queue: `connect_timeout = "2s"`})
			r := remote(t, "198.51.100.2", nil)
			if strings.Contains(name, "no port") {
				host(t, "198.51.100.8")
			}
			if strings.Contains(name, "only") {
				host(t, "2001:db8::2")
				r = remoteAt(t, "[2001:db8::2]:25", nil)
			}
			w.submit("a@client.test", "b@remote.example", text)
			must(t, r.Await(1))
			w.empty()
		})
	}
}

// What DNS says for good comes back at once; what it cannot say waits.
func TestNoHost(t *testing.T) {
	for name, c := range map[string]struct {
		records []string
		status  string
	}{
		"null MX":           {[]string{"remote.example. IN MX 0 ."}, "Status: 5.1.10"},
		"no such domain":    {nil, "Status: 5.1.2"},
		"it loops":          {[]string{"remote.example. IN MX 10 mx.host.test.", "remote.example. IN MX 20 worse.example.", "worse.example. IN A 198.51.100.3"}, "Status: 5.4.6"},
		"nobody has a name": {[]string{"remote.example. IN MX 10 nothing.remote.example."}, "Status: 5.4.4"},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, settings{records: c.records})
			w.submit("foobar@exemple.org", "b@remote.example", text)
			report := w.mailAt("foobar@exemple.org", 1)[0]
			if !strings.Contains(report, c.status) || !strings.Contains(report, "b@remote.example") {
				t.Errorf("the report:\n%s", report)
			}
			w.empty()
		})
	}
	t.Run("DNS fails", func(t *testing.T) {
		w := start(t, settings{queue: `retry_first = "1s"`, records: []string{"remote.example. IN MX 10 mx.remote.example.",
			"mx.remote.example. IN A 198.51.100.3"}})
		w.dns.Break("remote.example. MX", dns.RcodeServerFailure)
		w.submit("foobar@exemple.org", "b@remote.example", text)
		w.until("the reason in the list", func() bool {
			out, _ := w.command("queue", "list")
			return strings.Contains(out, "SERVFAIL")
		})
		r := remote(t, "198.51.100.3", nil)
		w.dns.Break("remote.example. MX", dns.RcodeSuccess)
		must(t, r.Await(1))
		w.empty()
		if n := len(w.inbox("foobar@exemple.org")); n != 0 {
			t.Errorf("%d reports of mail that was delivered", n)
		}
	})
}
