package relaying

import (
	"os"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"mxbypass/integration/peer"
)

// A smarthost that does not exist is a mistake in the file, told at the start with its line; a DNS that fails says
// nothing about it.
func TestUnresolvableSmarthost(t *testing.T) {
	w := start(t, settings{})
	must(t, w.Close())
	text, err := os.ReadFile(w.Config)
	must(t, err)
	with := strings.Replace(string(text), "[relay]\n", "[relay]\nsmarthost = \"smtp://nowhere.example:587\"\n", 1)
	must(t, os.WriteFile(w.Config, []byte(with), 0o644))
	out, ok := w.command("serve")
	if ok || !strings.Contains(out, "mxbypass.toml:") || !strings.Contains(out, "smarthost") || !strings.Contains(out, "nowhere.example") {
		t.Errorf("serve: %s", out)
	}
	w.dns.Break("nowhere.example.", dns.RcodeServerFailure)
	r, err := peer.StartRelay(w.Config, w.Addr)
	must(t, err)
	must(t, r.Close())
}

// All mail for elsewhere goes to the smarthost, whatever its MX records say.
func TestSmarthost(t *testing.T) {
	r := remoteAt(t, "127.0.0.1:0", nil)
	w := start(t, settings{relay: "smarthost = \"smtp://" + r.Addr + "\"", records: []string{
		"remote.example. IN MX 10 mx.remote.example.", "mx.remote.example. IN A 198.51.100.40",
	}})
	other := remote(t, "198.51.100.40", nil)
	w.submit("a@client.test", "b@remote.example", text)
	must(t, r.Await(1))
	w.empty()
	if n := len(other.Messages()); n != 0 {
		t.Errorf("%d messages by MX", n)
	}
}
