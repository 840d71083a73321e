package trust

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"

	"mxbypass/integration/peer"
)

// REQUIRETLS (RFC 8689) is announced under TLS alone, kept in the queue, and kept to: the next server has to be known,
// and has to keep it as well.
func TestRequireTLS(t *testing.T) {
	t.Parallel()
	there, err := peer.NewCA(t.TempDir())
	must(t, err)
	cert, err := there.Issue("localhost", "127.0.0.1")
	must(t, err)
	keeps, err := peer.StartRemote("127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert.Certificate}})
	must(t, err)
	t.Cleanup(func() { keeps.Close() })
	plain, relay := outbox(t)
	for _, c := range []struct {
		name, relay string
		remote      *peer.Remote
		arrives     bool
	}{
		{"kept", fmt.Sprintf("smarthost = \"smtp://localhost:%s\"\nsmarthost_tls = \"required\"\nsmarthost_ca_file = %q", portOf(keeps.Addr), there.File), keeps, true},
		{"no TLS", relay, plain, false},
	} {
		w := start(t, settings{relay: c.relay, records: []string{"localhost. 60 IN A 127.0.0.1"}, more: "[queue]\nretry_first = \"1s\""})
		s := w.user("foobar@exemple.org")
		before := len(c.remote.Messages())
		w.say(s, "MAIL FROM:<foobar@exemple.org> REQUIRETLS", "250")
		w.say(s, "RCPT TO:<someone@remote.example>", "250")
		w.say(s, "DATA", "354")
		must(t, s.Send("From: foobar@exemple.org\r\nSubject: secret\r\n\r\nHello.\r\n.\r\n"))
		reply, err := s.Reply()
		must(t, err)
		wantReply(t, reply, "250 2.0.0 queued")
		if c.arrives {
			must(t, c.remote.Await(before+1))
			if m := c.remote.Messages()[before]; !m.TLS || !m.Mail.RequireTLS {
				t.Errorf("%s: %+v", c.name, m)
			}
			continue
		}
		must(t, peer.Until(soon, "the report", func() bool { return len(w.inbox("foobar@exemple.org")) > 0 }))
		if m := w.inbox("foobar@exemple.org")[0]; !strings.Contains(m, "5.7.") || len(c.remote.Messages()) > before {
			t.Errorf("%s: %s", c.name, m)
		}
	}
	w := start(t, settings{})
	w.say(w.from("192.0.2.1"), "MAIL FROM:<a@client.test> REQUIRETLS", "530 5.7.10 ")
}
