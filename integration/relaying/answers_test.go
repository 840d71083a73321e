package relaying

import (
	"fmt"
	"strings"
	"testing"

	"mxbypass/integration/peer"
)

// toRemote is a relay whose mail for remote.example goes to a server on loopback.
func toRemote(t *testing.T, addr string, s settings) *world {
	if s.domains == "" {
		s.domains = theDomains
	}
	s.domains += fmt.Sprintf(`
[[domain]]
name = "remote.example"
site = "cloud"
mx = "external"
external = "smtp://%s"
`, addr)
	return start(t, s)
}

// Each recipient has an answer of its own: one is delivered, one comes back, one is tried again.
func TestEachRecipient(t *testing.T) {
	r := remoteAt(t, "127.0.0.1:0", nil)
	w := toRemote(t, r.Addr, settings{queue: `retry_first = "1s"`})
	r.Refuse("gone@remote.example", "550 5.1.1 he left, \"for good\"")
	r.Refuse("busy@remote.example", "451 4.2.0 greylisted")
	c, _, err := peer.DialSMTP("tcp", w.Addr)
	must(t, err)
	defer c.Close()
	for _, line := range []string{"EHLO client.test", "MAIL FROM:<foobar@exemple.org>", "RCPT TO:<good@remote.example>",
		"RCPT TO:<gone@remote.example>", "RCPT TO:<busy@remote.example>", "DATA"} {
		reply, err := c.Cmd(line)
		must(t, err)
		if reply[0] > '3' {
			t.Fatalf("%s: %s", line, reply)
		}
	}
	reply, err := c.Cmd("Subject: three\r\n\r\nx\r\n.")
	must(t, err)
	wantReply(t, reply, "250 2.0.0 queued for 3 recipients")
	must(t, r.Await(1))
	if m := r.Messages()[0]; len(m.To) != 1 || m.To[0] != "good@remote.example" {
		t.Errorf("%+v", m)
	}
	report := w.mailAt("foobar@exemple.org", 1)[0]
	if !strings.Contains(report, "gone@remote.example") || !strings.Contains(report, `he left, "for good"`) ||
		strings.Contains(report, "busy@remote.example") {
		t.Errorf("the report:\n%s", report)
	}
	w.until("the words of the server in the list", func() bool {
		out, _ := w.command("queue", "list")
		return strings.Contains(out, "greylisted") && strings.Contains(out, "busy@remote.example")
	})
	r.Refuse("busy@remote.example", "")
	must(t, r.Await(2))
	w.empty()
}

// smtp-sink in all its misbehaviours: the message is not lost, and arrives once the server is well again.
func TestMisbehaviour(t *testing.T) {
	for name, options := range map[string][]string{
		"5xx greeting":        {"-f", "CONNECT"},
		"4xx greeting":        {"-r", "CONNECT"},
		"hangs up on connect": {"-q", "CONNECT"},
		"4xx EHLO and HELO":   {"-r", "EHLO,HELO"},
		"hangs up on EHLO":    {"-q", "EHLO"},
		"4xx MAIL":            {"-r", "MAIL"},
		"hangs up on MAIL":    {"-q", "MAIL"},
		"4xx RCPT":            {"-r", "RCPT"},
		"hangs up on RCPT":    {"-q", "RCPT"},
		"4xx DATA":            {"-r", "DATA"},
		"hangs up on DATA":    {"-q", "DATA"},
		"4xx end of data":     {"-r", "."},
		"hangs up at the end": {"-q", "."},
		"421 at MAIL":         {"-Q", "MAIL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port, err := peer.FreePort()
			must(t, err)
			addr := fmt.Sprintf("127.0.0.1:%d", port)
			sink, err := peer.StartSink(addr, options...)
			must(t, err)
			t.Cleanup(func() { sink.Close() })
			w := toRemote(t, addr, settings{queue: "retry_first = \"1s\"\nretry_max = \"1s\""})
			w.submit("foobar@exemple.org", "b@remote.example", text)
			w.until("a failed attempt in the list", func() bool {
				out, ok := w.command("queue", "list", "--json")
				return ok && strings.Contains(out, `"failure"`)
			})
			must(t, sink.Close())
			r := remoteAt(t, addr, nil)
			must(t, r.Await(1))
			if m := r.Messages()[0]; !strings.HasSuffix(m.Content, text) {
				t.Errorf("%q", m.Content)
			}
			w.empty()
			if n := len(w.inbox("foobar@exemple.org")); n != 0 {
				t.Errorf("%d reports", n)
			}
			if strings.Contains(name, "at the end") {
				w.until("the doubt in the log", func() bool { return strings.Contains(w.Output(), "may have been delivered") })
			}
		})
	}
}

// A server that hangs at some stage holds its own mail, and nobody else's.
func TestHangingServer(t *testing.T) {
	for _, stage := range []string{"connect", "ehlo", "mail", "rcpt", "data", "."} {
		t.Run(stage, func(t *testing.T) {
			t.Parallel()
			good := remoteAt(t, "127.0.0.1:0", nil)
			port, err := peer.FreePort()
			must(t, err)
			addr := fmt.Sprintf("127.0.0.1:%d", port)
			sink, err := peer.StartSink(addr, "-W", stage+":3600")
			must(t, err)
			t.Cleanup(func() { sink.Close() })
			w := toRemote(t, good.Addr, settings{domains: theDomains + fmt.Sprintf(`
[[domain]]
name = "hanging.example"
site = "cloud"
mx = "external"
external = "smtp://%s"
`, addr), queue: "connections = 25\nconnections_per_destination = 20"})
			for range 40 {
				w.submit("a@client.test", "b@hanging.example", text)
			}
			w.submit("a@client.test", "b@remote.example", text)
			must(t, good.Await(1))
		})
	}
}
