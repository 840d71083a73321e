package trust

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mxbypass/integration/peer"
)

// world is a relay with certificates, and the DNS that it asks. It listens as a server for the world does, for proxies
// that say who the client is, and for users. Clients from 127.0.0.9 are trusted.
type world struct {
	*peer.Relay
	t   *testing.T
	dir string
	dns *peer.DNS
	ca  *peer.CA

	binary                           string // of settings
	proxied, submission, submissions string // addresses of the other listeners
}

// settings of a relay. What is left empty is as the kit has it.
type settings struct {
	records  []string // of DNS
	domains  string   // of the file directory
	listener string   // lines of the two listeners for the world
	relay    string   // lines of [relay]
	abuse    string   // lines of [abuse]
	limits   string   // lines of [limits]
	tls      string   // lines of [tls]
	binary   string   // another build; default: racing
	more     string   // tables
}

// The password of foobar@exemple.org and of her colleague, "correct horse", as openssl passwd -6 has it: cheaper than
// ours, as most tests are about something else.
const (
	password = "correct horse"
	hash     = "$6$abcdefgh$yIZAF3gQPvtKZO/9qOJKffAKKbtS3ef3qmwyugk4uWVjX8YZf/GV3A8SkFxEPY0T56CcilGrHKLffBsp6dLMG."
)

const theDomains = `[[domain]]
name = "exemple.org"
site = "cloud"
mx = "local"
mailboxes = ["foobar", "contact"]
[domain.aliases]
info = ["foobar@exemple.org"]
[domain.passwords]
foobar = "` + hash + `"
contact = "` + hash + `"
`

// box is the bypass address of a mailbox.
const box = "foobar%exemple.org@mx.host.test"

// text is a message that says everything that it should.
const text = "From: Ann <a@client.test>\r\nTo: foobar@exemple.org\r\nSubject: hello\r\nDate: Wed, 25 Nov 2026 10:00:00 +0000\r\n" +
	"Message-ID: <1@client.test>\r\n\r\nHello.\r\n"

// start runs a relay and ends it with the test.
func start(t *testing.T, s settings) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), binary: s.binary}
	var err error
	w.dns, err = peer.StartDNS(s.records...)
	must(t, err)
	t.Cleanup(func() { w.dns.Close() })
	w.ca, err = peer.NewCA(w.dir)
	must(t, err)
	cert, err := w.ca.Issue("mx.host.test", "localhost", "127.0.0.1")
	must(t, err)
	var addrs [4]string
	for i := range addrs {
		port, err := peer.FreePort()
		must(t, err)
		addrs[i] = fmt.Sprintf("127.0.0.1:%d", port)
	}
	w.proxied, w.submission, w.submissions = addrs[1], addrs[2], addrs[3]
	config, directory := filepath.Join(w.dir, "mxbypass.toml"), filepath.Join(w.dir, "directory.toml")
	must(t, os.WriteFile(directory, []byte(cmp.Or(s.domains, theDomains)), 0o600))
	listener := func(addr, lines string) string { return fmt.Sprintf("[[listener]]\naddress = %q\n%s\n", addr, lines) }
	must(t, os.WriteFile(config, []byte(`hostname = "mx.host.test"
state_dir = "`+w.dir+`/state"
shutdown_timeout = "5s"
`+listener(addrs[0], s.listener)+listener(addrs[1], "proxy_networks = [\"127.0.0.0/8\"]\n"+s.listener)+
		listener(addrs[2], "protocol = \"submission\"")+listener(addrs[3], "protocol = \"submission\"\ntls = \"implicit\"")+`
[[gateway]]
host = "mx.host.test"
sites = ["*"]
[[site]]
name = "cloud"
store = "maildir"
path = "`+w.dir+`/mail/{domain}/{user}/Maildir"
[[certificate]]
cert = "`+cert.CertFile+`"
key = "`+cert.KeyFile+`"
[dns]
servers = ["`+w.dns.Addr+`"]
timeout = "2s"
[clients]
trusted_networks = ["127.0.0.9/32"]
[directory]
driver = "file"
path = "`+directory+`"
[tls]
`+s.tls+`
[limits]
`+s.limits+`
[relay]
`+s.relay+`
[abuse]
`+cmp.Or(s.abuse, `exempt_networks = ["127.0.0.0/8", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"]
login_slowest = "10ms"`)+`
`+s.more+"\n"), 0o600))
	w.run(config, addrs[0])
	return w
}

// run starts the relay of a configuration, also once more after it was ended.
func (w *world) run(config, addr string) {
	w.t.Helper()
	r, err := peer.StartBinary(cmp.Or(w.binary, racing), config, addr)
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

// command runs mxbypass with the relay's configuration, and wants it to succeed.
func (w *world) command(stdin string, args ...string) string {
	w.t.Helper()
	cmd := exec.Command(racing, append(args, "-c", w.Config)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("mxbypass %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// client is the configuration of a client that believes the relay's authority alone.
func (w *world) client() *tls.Config {
	return &tls.Config{ServerName: "mx.host.test", RootCAs: w.ca.Pool}
}

// from opens a session of a client at an address, which has said EHLO.
func (w *world) from(address string) *peer.SMTP {
	w.t.Helper()
	c, greeting, err := peer.DialProxied(w.proxied, address)
	must(w.t, err)
	w.t.Cleanup(func() { c.Close() })
	wantReply(w.t, greeting, "220 ")
	w.say(c, "EHLO client.test", "250")
	return c
}

// say sends a command and wants an answer.
func (w *world) say(c *peer.SMTP, line, want string) string {
	w.t.Helper()
	reply, err := c.Cmd(line)
	must(w.t, err)
	wantReply(w.t, reply, want)
	return reply
}

// send sends one message from a client at an address, and gives the final reply or the first refusal.
func (w *world) send(address, from, to, content string) string {
	w.t.Helper()
	c := w.from(address)
	defer c.Close()
	reply, err := c.Message(from, to, content)
	must(w.t, err)
	return reply
}

// user opens a session of a user at the port for submissions.
func (w *world) user(name string) *peer.SMTP {
	w.t.Helper()
	c, _, err := peer.DialSMTPS(w.submissions, w.client())
	must(w.t, err)
	w.t.Cleanup(func() { c.Close() })
	w.say(c, "EHLO client.test", "250")
	reply, err := c.Login(name, password)
	must(w.t, err)
	wantReply(w.t, reply, "235 ")
	return c
}

// got sends a message from a client at an address to foobar@exemple.org, and gives it as it was delivered.
func (w *world) got(address, from, content string) string {
	w.t.Helper()
	before := w.inbox("foobar@exemple.org")
	wantReply(w.t, w.send(address, from, box, content), "250 2.0.0 ")
	for _, m := range w.inbox("foobar@exemple.org") {
		if !slices.Contains(before, m) {
			return m
		}
	}
	w.t.Fatal("it was not delivered")
	return ""
}

// inbox is the content of every message in the new folder of a mailbox.
func (w *world) inbox(address string) []string {
	w.t.Helper()
	user, domain, _ := strings.Cut(address, "@")
	files, err := filepath.Glob(filepath.Join(w.dir, "mail", domain, user, "Maildir", "new", "*"))
	must(w.t, err)
	var all []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		must(w.t, err)
		all = append(all, string(b))
	}
	return all
}

// fields are the fields of that name in a message, unfolded, from the top.
func fields(message, name string) (all []string) {
	head, _, _ := strings.Cut(message, "\r\n\r\n")
	head = strings.NewReplacer("\r\n ", " ", "\r\n\t", " ").Replace(head)
	for line := range strings.SplitSeq(head, "\r\n") {
		if n, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(n, name) {
			all = append(all, strings.TrimSpace(value))
		}
	}
	return all
}

// results are what the relay has written on top of a message about where it comes from.
func results(t *testing.T, message string) peer.Results {
	t.Helper()
	found := fields(message, "Authentication-Results")
	if len(found) == 0 {
		t.Fatalf("no Authentication-Results in\n%s", message)
	}
	r, err := dkimpy.Results("Authentication-Results: " + found[0])
	must(t, err)
	if r.AuthServ != "mx.host.test" {
		t.Fatalf("the topmost results are by %s:\n%s", r.AuthServ, message)
	}
	return r
}

// wantResult wants the first result of a method.
func wantResult(t *testing.T, message, method, want string) {
	t.Helper()
	if all := results(t, message).Of(method); len(all) == 0 || all[0] != want {
		t.Errorf("%s=%v, want %s, in\n%s", method, all, want, message)
	}
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
