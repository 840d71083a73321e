package trust

import (
	"testing"

	"mxbypass/integration/peer"
)

// Who comes again too early is refused again, in whatever order; whoever is known otherwise is not asked to come again.
func TestGreylist(t *testing.T) {
	t.Parallel()
	w := start(t, settings{
		records: []string{"1.100.51.198.wl.test. 60 IN A 127.0.0.5"},
		more: `[greylist]
enabled = true
delay = "1h"
[[dnslist]]
zone = "wl.test"
action = "allow"
`,
	})
	for range 3 {
		wantReply(t, w.send("192.0.2.1", "a@client.test", box, text), "451 4.7.1 ")
		wantReply(t, w.send("192.0.2.1", "", "contact@exemple.org", text), "451 4.7.1 ")
		wantReply(t, w.send("2001:db8::1", "a@client.test", box, text), "451 4.7.1 ")
	}
	// One recipient that has to wait does not keep the sender from others.
	c := w.from("192.0.2.1")
	w.say(c, "MAIL FROM:<a@client.test>", "250")
	w.say(c, "RCPT TO:<"+box+">", "451 4.7.1 ")
	w.say(c, "RCPT TO:<postmaster@mx.host.test>", "250")
	w.say(c, "RCPT TO:<nobody@exemple.org>", "550 5.1.1 ") // for good, now as later
	w.say(c, "DATA", "354")
	must(t, c.Send(text+".\r\n"))
	reply, err := c.Reply()
	must(t, err)
	wantReply(t, reply, "250 ")
	wantReply(t, w.send("198.51.100.1", "a@client.test", box, text), "250 ") // a list knows it
	wantReply(t, w.send("127.0.0.9", "a@client.test", box, text), "250 ")    // it is trusted
	s, _, err := peer.DialSMTPFrom("127.0.0.8", w.Addr)
	must(t, err)
	defer s.Close()
	w.say(s, "EHLO client.test", "250")
	_, err = s.StartTLS(w.client(), "client.test")
	must(t, err)
	reply, err = s.Login("contact@exemple.org", password)
	must(t, err)
	wantReply(t, reply, "235 ")
	reply, err = s.Message("contact@exemple.org", box, "From: contact@exemple.org\r\n\r\nHello.\r\n")
	must(t, err)
	wantReply(t, reply, "250 ")
	if n := len(w.inbox("foobar@exemple.org")); n != 3 {
		t.Errorf("%d messages", n)
	}
}
