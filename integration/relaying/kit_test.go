package relaying

import (
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mxbypass/integration/peer"
)

// patience is how long something may take that is about to happen, on a busy machine.
const patience = 60 * time.Second

// world is a relay with the DNS that it asks. Clients from 127.0.0.1 are trusted, those from other addresses are not.
type world struct {
	*peer.Relay
	t   *testing.T
	dir string
	dns *peer.DNS
}

// settings of a relay. What is left empty is as the kit has it.
type settings struct {
	dir     string   // default: a new temporary folder
	records []string // of DNS
	domains string   // of the file directory
	queue   string   // lines of [queue]
	relay   string   // lines of [relay]
	limits  string   // lines of [limits]
	sites   string   // replaces the site "cloud"
	lookups string   // lines of [dns]
	more    string   // tables
	wrapper []string // a program that runs the relay, such as strace
}

const theDomains = `[[domain]]
name = "exemple.org"
site = "cloud"
mx = "local"
mailboxes = ["foobar", "contact"]
`

// start runs a relay and ends it with the test.
func start(t *testing.T, s settings) *world {
	t.Helper()
	if s.dir == "" {
		s.dir = t.TempDir()
	}
	d, err := peer.StartDNS(s.records...)
	must(t, err)
	t.Cleanup(func() { d.Close() })
	w := &world{t: t, dir: s.dir, dns: d}
	w.run(s)
	return w
}

// run starts the relay, also once more after it was killed.
func (w *world) run(s settings) {
	w.t.Helper()
	port, err := peer.FreePort()
	must(w.t, err)
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	if s.domains == "" {
		s.domains = theDomains
	}
	if s.sites == "" {
		s.sites = fmt.Sprintf("[[site]]\nname = \"cloud\"\nstore = \"maildir\"\npath = %q\n", w.dir+"/mail/{domain}/{user}/Maildir")
	}
	config := filepath.Join(w.dir, "mxbypass.toml")
	must(w.t, os.WriteFile(filepath.Join(w.dir, "directory.toml"), []byte(s.domains), 0o644))
	must(w.t, os.WriteFile(config, []byte(fmt.Sprintf(`hostname = "mx.host.test"
state_dir = %[1]q
shutdown_timeout = "5s"

[[listener]]
address = "0.0.0.0:%[2]d"

[[gateway]]
host = "mx.host.test"
sites = ["*"]

[dns]
servers = [%[3]q]
timeout = "2s"
%[9]s

[clients]
trusted_networks = ["127.0.0.1/32"]

[limits]
%[4]s

[relay]
%[5]s

[queue]
%[6]s

[directory]
driver = "file"
path = %[7]q

%[8]s

%[10]s
`, filepath.Join(w.dir, "state"), port, w.dns.Addr, s.limits, s.relay, s.queue, filepath.Join(w.dir, "directory.toml"), s.sites,
		s.lookups, s.more)), 0o644))
	r, err := peer.StartRelay(config, addr, s.wrapper...)
	must(w.t, err)
	w.Relay = r
	w.t.Cleanup(func() {
		select {
		case <-r.Done(): // the test has ended it, and has looked at how
		default:
			if err := r.Close(); err != nil {
				w.t.Error(err)
			}
		}
		if w.t.Failed() || strings.Contains(r.Output(), "DATA RACE") {
			w.t.Errorf("the relay's log:\n%s", r.Output())
		}
	})
}

// host makes an address of 198.51.100.0/24 (or 2001:db8::/64) a host, until the test ends.
func host(t *testing.T, address string) {
	t.Helper()
	add := []string{"addr", "add", address, "dev", "hosts"}
	if strings.Contains(address, ":") {
		add = append(add, "nodad")
	}
	must(t, ip(add...))
	t.Cleanup(func() { _ = ip("addr", "del", address, "dev", "hosts") }) // some tests cut it off themselves
}

// cut takes a host away: what is sent to it is lost.
func cut(t *testing.T, address string) {
	t.Helper()
	must(t, ip("addr", "del", address, "dev", "hosts"))
}

// remote starts a mail server at port 25 of an address that becomes a host.
func remote(t *testing.T, address string, config *tls.Config) *peer.Remote {
	t.Helper()
	host(t, address)
	return remoteAt(t, address+":25", config)
}

func remoteAt(t *testing.T, addr string, config *tls.Config) *peer.Remote {
	t.Helper()
	r, err := peer.StartRemote(addr, config)
	must(t, err)
	t.Cleanup(func() { r.Close() })
	return r
}

// send sends one message from a client at an address and returns the final reply, or the first refusal.
func (w *world) send(client, from, to, content string) string {
	w.t.Helper()
	c, _, err := peer.DialSMTPFrom(client, w.Addr)
	must(w.t, err)
	defer c.Close()
	_, err = c.Cmd("EHLO client.test")
	must(w.t, err)
	reply, err := c.Message(from, to, content)
	must(w.t, err)
	return reply
}

// submit sends one message from a trusted client, and wants it queued.
func (w *world) submit(from, to, content string) {
	w.t.Helper()
	wantReply(w.t, w.send("127.0.0.1", from, to, content), "250 2.0.0 queued for ")
}

// command runs mxbypass with the relay's configuration and gives its output and whether it succeeded.
func (w *world) command(args ...string) (string, bool) {
	out, err := exec.Command(racing, append(args, "-c", w.Config)...).CombinedOutput()
	return string(out), err == nil
}

// until waits for something.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	must(w.t, peer.Until(patience, what, ok))
}

// empty waits until nothing is queued.
func (w *world) empty() {
	w.t.Helper()
	w.until("an empty queue", func() bool {
		out, ok := w.command("queue", "stats", "--json")
		return ok && strings.Contains(out, `"messages": 0`)
	})
}

// inbox is the content of every message in the new folder of a mailbox, oldest first.
func (w *world) inbox(address string) []string {
	w.t.Helper()
	user, domain, _ := strings.Cut(address, "@")
	return inboxAt(w.t, filepath.Join(w.dir, "mail", domain, user, "Maildir"))
}

func inboxAt(t *testing.T, maildir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(maildir, "new", "*"))
	must(t, err)
	slices.Sort(files)
	var all []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		must(t, err)
		all = append(all, string(b))
	}
	return all
}

// mailAt waits for n messages in a mailbox.
func (w *world) mailAt(address string, n int) []string {
	w.t.Helper()
	var all []string
	w.until(fmt.Sprintf("%d messages for %s", n, address), func() bool {
		all = w.inbox(address)
		return len(all) >= n
	})
	return all
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantReply fails unless a reply starts as it should.
func wantReply(t *testing.T, reply, prefix string) {
	t.Helper()
	if !strings.HasPrefix(reply, prefix) {
		t.Fatalf("reply %q, want %s…", reply, prefix)
	}
}
