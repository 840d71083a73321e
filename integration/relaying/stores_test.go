package relaying

import (
	"fmt"
	"strings"
	"testing"

	"mxbypass/integration/peer"
)

// One store is down: who has a mailbox in the other one gets the mail at once, the rest waits here.
func TestStoreDown(t *testing.T) {
	port, err := peer.FreePort()
	must(t, err)
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	dir := t.TempDir()
	s := settings{
		dir: dir,
		domains: theDomains + `
[[domain]]
name = "vps.example"
site = "vps"
mx = "local"
mailboxes = ["b"]
`,
		sites: fmt.Sprintf("[[site]]\nname = \"cloud\"\nstore = \"maildir\"\npath = %q\n"+
			"[[site]]\nname = \"vps\"\nstore = \"smtp\"\naddress = %q\n", dir+"/mail/{domain}/{user}/Maildir", addr),
		queue: "retry_first = \"1s\"\nretry_max = \"1s\"",
	}
	two := []string{"EHLO client.test", "MAIL FROM:<a@client.test>", "RCPT TO:<foobar@exemple.org>", "RCPT TO:<b@vps.example>", "DATA"}
	t.Run("queue", func(t *testing.T) {
		w := start(t, s)
		last := w.converse(append(two, "Subject: both\r\n\r\nx\r\n.")...)
		wantReply(t, last, "250 2.0.0 delivered to 1 mailbox, queued for 1 recipient")
		if n := len(w.inbox("foobar@exemple.org")); n != 1 {
			t.Errorf("%d messages", n)
		}
		// Alone it stays with the client: nobody has it.
		wantReply(t, w.send("127.0.0.1", "a@client.test", "b@vps.example", text), "451 ")
		r := remoteAt(t, addr, nil)
		must(t, r.Await(1))
		if m := r.Messages()[0]; m.To[0] != "b@vps.example" || !strings.Contains(m.Content, "Subject: both") {
			t.Errorf("%+v", m)
		}
		w.empty()
		if n := len(w.inbox("foobar@exemple.org")); n != 1 {
			t.Errorf("%d messages", n)
		}
		must(t, r.Close())
	})
	t.Run("refuse", func(t *testing.T) {
		s := s
		s.dir, s.relay = t.TempDir(), `store_failure = "refuse"`
		w := start(t, s)
		c, _, err := peer.DialSMTP("tcp", w.Addr)
		must(t, err)
		defer c.Close()
		for _, line := range two {
			_, err := c.Cmd(line)
			must(t, err)
		}
		reply, err := c.Cmd("Subject: both\r\n\r\nx\r\n.")
		must(t, err)
		wantReply(t, reply, "451")
		if n := len(w.inbox("foobar@exemple.org")); n != 0 {
			t.Errorf("%d messages", n)
		}
	})
}
