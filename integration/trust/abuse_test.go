package trust

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"mxbypass/integration/peer"
)

// spray is how many addresses connect, each once. A test of package guard has a million of them.
const spray = 200_000

// A spray of addresses takes no memory: with the second half of them the relay is as large as with the first. Who had used
// up a limit before it is still known after it.
func TestSpray(t *testing.T) {
	t.Parallel()
	// The race detector remembers every connection.
	plain := filepath.Join(t.TempDir(), "mxbypass")
	if out, err := exec.Command("go", "build", "-o", plain, "mxbypass/cmd/mxbypass").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	w := start(t, settings{
		binary: plain,
		abuse:  `host_unknown_rate = "5/1d"` + "\n" + `slow_from = 100`,
		more:   "[log]\nlevel = \"error\"",
	})
	guessing := func() string {
		c := w.from("198.51.100.7")
		defer c.Close()
		w.say(c, "MAIL FROM:<a@client.test>", "250")
		for i := range 5 {
			if _, err := c.Cmd(fmt.Sprintf("RCPT TO:<guess%d@exemple.org>", i)); err != nil {
				t.Fatal(err)
			}
		}
		reply, err := c.Cmd("RCPT TO:<foobar@exemple.org>")
		must(t, err)
		return reply
	}
	wantReply(t, guessing(), "450 4.7.1 ")
	var sizes [2]int
	for half := range sizes {
		sprayed(t, w.proxied, half*spray/2, spray/2)
		sizes[half] = resident(t, w.Cmd.Process.Pid)
	}
	if grown := sizes[1] - sizes[0]; grown > 16<<10 {
		t.Errorf("%v KiB: it grows by %d", sizes, grown)
	}
	wantReply(t, guessing(), "450 4.7.1 ")
	wantReply(t, w.send("198.51.100.9", "a@client.test", box, text), "250 ")
}

// sprayed connects from so many addresses, all of networks of their own, through the listener for proxies.
func sprayed(t *testing.T, addr string, from, count int) {
	t.Helper()
	var clients sync.WaitGroup
	const workers = 16
	for worker := range workers {
		clients.Go(func() {
			for i := from + worker; i < from+count; i += workers {
				if err := visit(addr, fmt.Sprintf("11.%d.%d.%d", i>>16&255, i>>8&255, i&255), i); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	clients.Wait()
}

// visit is a connection that sees its greeting and goes.
func visit(addr, client string, i int) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	header := fmt.Sprintf("PROXY TCP4 %s 192.0.2.25 40000 25\r\n", client)
	if i%2 == 1 {
		header = fmt.Sprintf("PROXY TCP6 2001:db8:%x:%x::%d 2001:db8::25 40000 25\r\n", i>>16&0xffff, i&0xffff, i&255)
	}
	if _, err := c.Write([]byte(header)); err != nil {
		return err
	}
	_, err = bufio.NewReaderSize(c, 64).ReadString('\n')
	_ = c.(*net.TCPConn).SetLinger(0) // nothing is left of it in the system, of which there would soon be very many
	return err
}

// resident is the memory of a process, in KiB.
func resident(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); f[0] == "VmRSS:" {
			n, err := strconv.Atoi(f[1])
			must(t, err)
			return n
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// Passwords are guessed slowly, each time from another network: the name is locked, for the right password as well, and
// nothing tells that there is such a name. Its owner goes on from where he always comes from.
func TestSlowGuessing(t *testing.T) {
	t.Parallel()
	w := start(t, settings{abuse: "login_failures = \"3/1d\"\nhost_login_failures = \"100/1d\"\nlogin_lock = \"1d\"\nlogin_slowest = \"50ms\""})
	from := 0
	login := func(address, name, password string) string {
		c := w.from(address)
		defer c.Close()
		_, err := c.StartTLS(w.client(), "client.test")
		must(t, err)
		reply, err := c.Login(name, password)
		must(t, err)
		return reply
	}
	elsewhere := func() string { // a network that was not there before
		from++
		return fmt.Sprintf("203.%d.113.1", from)
	}
	wantReply(t, login("192.0.2.1", "foobar@exemple.org", password), "235 ")
	said := map[string]string{}
	for _, name := range []string{"foobar@exemple.org", "nobody@exemple.org"} {
		for range 6 {
			said[name] += login(elsewhere(), name, "guess") + "\n"
		}
	}
	if a, b := said["foobar@exemple.org"], said["nobody@exemple.org"]; a != b || strings.Count(a, "535 5.7.8 ") < 3 {
		t.Errorf("a name that is there:\n%sone that is not:\n%s", a, b)
	}
	if reply := login(elsewhere(), "foobar%exemple.org", password); strings.HasPrefix(reply, "235") {
		t.Errorf("the name is not locked: %s", reply)
	}
	wantReply(t, login("192.0.2.2", "foobar@exemple.org", password), "235 ")
	wantReply(t, login(elsewhere(), "contact@exemple.org", password), "235 ")
}

// What clients do over time: guessing recipients, connecting, speaking too early, calling themselves what they are not.
func TestManners(t *testing.T) {
	t.Parallel()
	w := start(t, settings{
		abuse:  "host_unknown_rate = \"3/1d\"\nhost_connection_rate = \"5/1d\"\nslow_from = 100",
		limits: "greeting_delay = \"100ms\"",
	})
	for _, hello := range []string{"mx.host.test", "192.0.2.1", "[192.0.2.25]"} {
		c, _, err := peer.DialProxied(w.proxied, "198.51.100.1")
		must(t, err)
		reply, err := c.Cmd("EHLO " + hello)
		must(t, err)
		if strings.HasPrefix(reply, "250") { // then it is told at the first recipient
			w.say(c, "MAIL FROM:<a@client.test>", "250")
			reply, err = c.Cmd("RCPT TO:<foobar@exemple.org>")
			must(t, err)
		}
		if hello != "[192.0.2.25]" && !strings.HasPrefix(reply, "5") || hello == "[192.0.2.25]" && !strings.HasPrefix(reply, "250") {
			t.Errorf("EHLO %s: %s", hello, reply)
		}
		c.Close()
	}
	for i := range 6 {
		c, greeting, err := peer.DialProxied(w.proxied, "198.51.100.2")
		must(t, err)
		if want := map[bool]string{true: "220 ", false: "421 4.7."}[i < 5]; !strings.HasPrefix(greeting, want) {
			t.Errorf("connection %d: %s", i, greeting)
		}
		c.Close()
	}
	early, err := net.Dial("tcp", w.proxied)
	must(t, err)
	defer early.Close()
	fmt.Fprint(early, "PROXY TCP4 198.51.100.3 192.0.2.25 40000 25\r\nEHLO client.test\r\n")
	reply, err := bufio.NewReader(early).ReadString('\n')
	must(t, err)
	wantReply(t, reply, "5")
	c := w.from("198.51.100.4")
	w.say(c, "MAIL FROM:<a@client.test>", "250")
	for i := range 3 {
		w.say(c, fmt.Sprintf("RCPT TO:<guess%d@exemple.org>", i), "550 5.1.1 ")
	}
	for _, to := range []string{"guess@exemple.org", "foobar@exemple.org"} {
		w.say(c, "RCPT TO:<"+to+">", "450 4.7.1 ")
	}
	wantReply(t, w.send("198.51.100.5", "a@client.test", box, text), "250 ")
}

// Lists in DNS refuse, allow and mark; one that does not answer stops nothing. A greylist has strangers come again, once.
func TestLists(t *testing.T) {
	t.Parallel()
	w := start(t, settings{
		records: []string{
			"1.100.51.198.bl.test. 60 IN A 127.0.0.2", "2.100.51.198.bl.test. 60 IN A 127.0.0.2", "2.100.51.198.wl.test. 60 IN A 127.0.0.5",
			"3.100.51.198.bl.test. 60 IN A 127.255.255.254", // it does not serve us
		},
		more: `[greylist]
enabled = true
delay = "1s"
[[dnslist]]
zone = "bl.test"
[[dnslist]]
zone = "wl.test"
action = "allow"
`,
	})
	wantReply(t, w.send("198.51.100.1", "a@client.test", box, text), "5")
	wantReply(t, w.send("198.51.100.2", "a@client.test", box, text), "250 ")
	for client, sender := range map[string]string{"198.51.100.3": "ann@client.test", "198.51.100.4": "bob@client.test"} {
		wantReply(t, w.send(client, sender, box, text), "451 4.7.1 ")
		reply := ""
		must(t, peer.Until(soon, "the end of the delay", func() bool {
			reply = w.send(client, sender, box, text)
			return !strings.HasPrefix(reply, "451")
		}))
		wantReply(t, reply, "250 ")
	}
	must(t, w.Close())
	w.run(w.Config, w.Addr)
	wantReply(t, w.send("198.51.100.4", "bob@client.test", box, text), "250 ")
	wantReply(t, w.send("198.51.100.4", "new@client.test", box, text), "451 4.7.1 ")
}
