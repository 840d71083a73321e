package relaying

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"mxbypass/integration/peer"
)

// The queue commands work while the relay runs, and while it does not.
func TestQueueCommands(t *testing.T) {
	port, err := peer.FreePort()
	must(t, err)
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	s := settings{dir: t.TempDir()}
	w := toRemote(t, addr, s)
	for i := range 4 {
		w.submit(fmt.Sprintf("a%d@client.test", i), "b@remote.example", fmt.Sprintf("Subject: number %d\r\n\r\nx\r\n", i))
	}
	good := func(args ...string) string {
		t.Helper()
		out, ok := w.command(append([]string{"queue"}, args...)...)
		if !ok {
			t.Fatalf("queue %v: %s", args, out)
		}
		return out
	}
	id := func(sender string) string {
		t.Helper()
		var listed []struct {
			ID string `json:"id"`
		}
		out := good("list", "--sender", sender, "--json")
		for d := json.NewDecoder(strings.NewReader(out)); d.More(); { // a line for each message
			listed = append(listed, struct {
				ID string `json:"id"`
			}{})
			must(t, d.Decode(&listed[len(listed)-1]))
		}
		if len(listed) != 1 {
			t.Fatalf("%s: %s", sender, out)
		}
		return listed[0].ID
	}
	running := func() {
		t.Helper()
		if out := good("cat", id("a1@client.test")); !strings.Contains(out, "Subject: number 1") {
			t.Errorf("cat: %s", out)
		}
		good("hold", id("a2@client.test"))
		if out := good("list", "--state", "held"); !strings.Contains(out, "a2@client.test") || strings.Contains(out, "a1@client.test") {
			t.Errorf("held: %s", out)
		}
		good("release", "--sender", "a2@client.test")
		if out := good("list", "--state", "held"); strings.Contains(out, "a2@client.test") {
			t.Errorf("held: %s", out)
		}
	}
	w.until("the reason in the list", func() bool { return strings.Contains(good("list"), "refused") })
	running()
	good("remove", "--yes", id("a3@client.test"))
	must(t, w.Close())
	running()
	good("hold", "--sender", "a0@client.test")
	w = toRemote(t, addr, s)
	r := remoteAt(t, addr, nil)
	good("retry", "--domain", "remote.example")
	must(t, r.Await(2)) // at once, although the next attempt was minutes away
	good("release", "--all")
	good("retry", "--all")
	must(t, r.Await(3))
	w.empty()
}
