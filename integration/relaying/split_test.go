package relaying

import (
	"fmt"
	"strings"
	"testing"

	"mxbypass/integration/peer"
)

// A domain whose one half lives here and the other one at a server elsewhere.
const splitDomain = `[[domain]]
name = "exemple.org"
site = "cloud"
mx = "split"
mailboxes = ["foobar"]
`

func splitWorld(t *testing.T, domains string) (*world, *peer.Remote) {
	w := start(t, settings{domains: domains, records: []string{
		"exemple.org. IN MX 10 mx.provider.test.", "mx.provider.test. IN A 198.51.100.20",
	}})
	r := remote(t, "198.51.100.20", nil)
	host(t, "198.51.101.7")  // a stranger
	host(t, "198.51.100.77") // the provider's network
	return w, r
}

const stranger, neighbour = "198.51.101.7", "198.51.100.77"

// sendFrom sends to the relay from an address that is no loopback one.
func (w *world) sendFrom(client, from, to, content string) string {
	w.t.Helper()
	addr := client + w.Addr[strings.LastIndexByte(w.Addr, ':'):] // it listens on every address
	c, _, err := peer.DialSMTPFrom(client, addr)
	must(w.t, err)
	defer c.Close()
	_, err = c.Cmd("EHLO client.test")
	must(w.t, err)
	reply, err := c.Message(from, to, content)
	must(w.t, err)
	return reply
}

func TestSplitAsksTheOtherHalf(t *testing.T) {
	w, r := splitWorld(t, splitDomain)
	r.Refuse("nobody@exemple.org", "550 5.1.1 no such user here")
	r.Refuse("busy@exemple.org", "450 4.2.1 come back later")

	wantReply(t, w.sendFrom(stranger, "a@client.test", "foobar@exemple.org", text), "250 2.0.0 delivered to foobar@exemple.org")
	wantReply(t, w.sendFrom(stranger, "a@client.test", "theirs@exemple.org", text), "250 2.0.0 queued for ")
	must(t, r.Await(1))
	if m := r.Messages()[0]; m.To[0] != "theirs@exemple.org" || m.From != "a@client.test" ||
		!strings.Contains(m.Content, "X-Mxbypass-Relayed: theirs@exemple.org by mx.host.test\r\n") {
		t.Errorf("%+v", m)
	}
	wantReply(t, w.sendFrom(stranger, "a@client.test", "nobody@exemple.org", text), "550 5.1.1 ")
	wantReply(t, w.sendFrom(stranger, "a@client.test", "busy@exemple.org", text), "450 ")
	// Never back to the network that it comes from.
	wantReply(t, w.sendFrom(neighbour, "a@client.test", "theirs@exemple.org", text), "554 5.4.6 ")
	// A trusted client's mail is not held up by questions.
	w.submit("foobar@exemple.org", "nobody@exemple.org", text)
	w.empty()
	if mail := strings.Join(w.mailAt("foobar@exemple.org", 2), "\n"); !strings.Contains(mail, "no such user here") {
		t.Errorf("no report:\n%s", mail)
	}
	// Answers are kept, the good ones and the bad ones.
	before, _ := r.Sessions()
	wantReply(t, w.sendFrom(stranger, "a@client.test", "nobody@exemple.org", text), "550 5.1.1 ")
	if after, _ := r.Sessions(); after != before {
		t.Errorf("asked again: %d sessions, then %d", before, after)
	}
	must(t, r.Close())
	cut(t, "198.51.100.20")
	wantReply(t, w.sendFrom(stranger, "a@client.test", "else@exemple.org", text), "450 ")
}

// The classic trap: everything unknown is sent to the other side, by both sides.
func TestSplitCatchAllTrap(t *testing.T) {
	t.Run("there", func(t *testing.T) {
		w, r := splitWorld(t, splitDomain)
		wantReply(t, w.sendFrom(stranger, "a@client.test", "nobody@exemple.org", text), "250 2.0.0 queued for ")
		must(t, r.Await(1))
		// Their catch-all knows nobody either and sends it to us, from a network that is not that of their MX.
		back := r.Messages()[0].Content
		wantReply(t, w.sendFrom(stranger, "a@client.test", "nobody@exemple.org", back), "554 5.4.6 ")
		w.empty()
		if n := len(r.Messages()); n != 1 {
			t.Errorf("%d messages at the other half", n)
		}
	})
	t.Run("here", func(t *testing.T) {
		w, r := splitWorld(t, splitDomain+`catch_all = "foobar@exemple.org"`+"\n")
		wantReply(t, w.sendFrom(stranger, "a@client.test", "nobody@exemple.org", text), "250 2.0.0 delivered to ")
		if n, _ := r.Sessions(); n != 0 {
			t.Errorf("%d sessions at the other half", n)
		}
		wantReply(t, w.sendFrom(stranger, "a@client.test", "nobody@exemple.org", w.inbox("foobar@exemple.org")[0]), "554 5.4.6 ")
	})
}

// Where the external mail of a domain goes: its MX without us, or a server.
func TestExternalHop(t *testing.T) {
	r := remoteAt(t, "127.0.0.1:0", nil)
	w := start(t, settings{
		domains: fmt.Sprintf(`[[domain]]
name = "fixed.example"
site = "cloud"
mx = "external"
external = "smtp://%s"
mailboxes = ["foobar"]

[[domain]]
name = "mixed.example"
site = "cloud"
mx = "external"
external = "mx"
mailboxes = ["foobar"]
`, r.Addr),
		records: []string{
			"mixed.example. IN MX 5 mx.host.test.", "mixed.example. IN MX 10 mx.provider.test.", "mx.provider.test. IN A 198.51.100.20",
		},
	})
	provider := remote(t, "198.51.100.20", nil)
	w.submit("a@client.test", "foobar@fixed.example", text)
	must(t, r.Await(1))
	w.submit("a@client.test", "foobar@mixed.example", text) // although our own name has the better preference
	must(t, provider.Await(1))
	// For everybody else the mailbox here is what there is.
	wantReply(t, w.send("127.0.0.2", "a@client.test", "foobar@fixed.example", text), "250 2.0.0 delivered to ")
	wantReply(t, w.send("127.0.0.2", "a@client.test", "nobody@fixed.example", text), "550 5.1.1 ")
	// A bypass address is always inbound, for whomever.
	wantReply(t, w.send("127.0.0.1", "a@client.test", "foobar%fixed.example@mx.host.test", text), "250 2.0.0 delivered to ")
	wantReply(t, w.send("127.0.0.1", "a@client.test", "b%remote.example@mx.host.test", text), "550 5.7.1 ")
	w.empty()
}
