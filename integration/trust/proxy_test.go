package trust

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"mxbypass/integration/peer"
)

// HAProxy stands in front and says who connects, in both forms: by that client is judged who is trusted, what SPF says, and
// what Received tells. From anybody else such a header is an unknown command.
func TestHAProxy(t *testing.T) {
	t.Parallel()
	remote, relay := outbox(t)
	w := start(t, settings{relay: relay, records: []string{peer.TXT("client.test", "v=spf1 ip4:127.0.0.8 -all")}})
	for i, version := range []int{1, 2} {
		port, err := peer.FreePort()
		must(t, err)
		front := fmt.Sprintf("127.0.0.1:%d", port)
		h, err := peer.StartHAProxy(t.TempDir(), peer.Proxied{From: front, To: w.proxied, Version: version})
		must(t, err)
		t.Cleanup(func() { h.Close() })
		for client, want := range map[string]string{"127.0.0.8": "550 5.7.1 ", "127.0.0.9": "250 2.0.0 queued"} {
			c, _, err := peer.DialSMTPFrom(client, front)
			must(t, err)
			w.say(c, "EHLO client.test", "250")
			reply, err := c.Message("a@client.test", "someone@remote.example", text)
			must(t, err)
			wantReply(t, reply, want)
			c.Close()
		}
		must(t, remote.Await(i+1))
		c, _, err := peer.DialSMTPFrom("127.0.0.8", front)
		must(t, err)
		if _, err := c.Cmd("EHLO client.test"); err != nil {
			t.Fatal(err)
		}
		_, err = c.StartTLS(w.client(), "client.test") // through the proxy
		must(t, err)
		reply, err := c.Message("a@client.test", box, text)
		must(t, err)
		wantReply(t, reply, "250 2.0.0 ")
		c.Close()
		all := w.inbox("foobar@exemple.org")
		m := all[len(all)-1]
		wantResult(t, m, "spf", "pass")
		if r := fields(m, "Received")[0]; !strings.Contains(r, "127.0.0.8") || !strings.Contains(r, "ESMTPS") {
			t.Errorf("Received: %s", r)
		}
	}
	// The header from somebody who is no proxy.
	c, _, err := peer.DialSMTP("tcp", w.Addr)
	must(t, err)
	defer c.Close()
	w.say(c, "PROXY TCP4 127.0.0.9 192.0.2.25 40000 25", "5")
	w.say(c, "EHLO client.test", "250")
	reply, err := c.Message("a@client.test", "someone@remote.example", text)
	must(t, err)
	wantReply(t, reply, "550 5.7.1 ")
	// A proxy that says nothing, or nothing sensible, is not served: its clients would have its name.
	for _, raw := range []string{"EHLO client.test\r\n", "PROXY TCP4 nonsense\r\n", "PROXY UNKNOWN\r\n"} {
		c, err := net.Dial("tcp", w.proxied)
		must(t, err)
		_, err = c.Write([]byte(raw))
		must(t, err)
		buf := make([]byte, 512)
		if n, err := c.Read(buf); err == nil && strings.HasPrefix(string(buf[:n]), "220") && !strings.HasPrefix(raw, "PROXY UNKNOWN") {
			t.Errorf("%q: %q", raw, buf[:n])
		}
		c.Close()
	}
}
