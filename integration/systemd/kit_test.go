//go:build systemd

package systemd

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"mxbypass/integration/peer"
)

const (
	unit       = "mxbypass.service"
	configFile = "/etc/mxbypass/mxbypass.toml"
	dropIns    = "/etc/systemd/system/mxbypass.service.d"
	smarthost  = "127.0.0.1:2599"
	box        = "foobar%exemple.org@mx.host.net"
	text       = "From: Ann <a@client.test>\r\nTo: foobar@exemple.org\r\nSubject: hello\r\nMessage-ID: <1@client.test>\r\n" +
		"Date: Wed, 25 Nov 2026 10:00:00 +0000\r\n\r\nHello.\r\n"
)

// soon is how long a machine under load may take for something that comes by itself.
const soon = 2 * time.Minute

// operator is who has followed the README; its configuration is the least one, with port 25 from systemd and neighbours on
// this machine.
type operator struct {
	dns       *peer.DNS
	config    string
	directory string
	ways      string // the commands for Maildirs elsewhere
}

var theBlock = regexp.MustCompile("(?ms)^```(?:toml)?\n(.*?)^```$")

// installed follows the README, to the letter.
func installed() (*operator, error) {
	readme, err := os.ReadFile(filepath.Join(source, "README.md"))
	if err != nil {
		return nil, err
	}
	block := func(words string) string {
		for _, m := range theBlock.FindAllStringSubmatch(string(readme), -1) {
			if strings.Contains(m[1], words) {
				return m[1]
			}
		}
		err = errors.Join(err, fmt.Errorf("no block of the README has %q", words))
		return ""
	}
	o := &operator{
		config:    strings.Replace(block("[[gateway]]"), `"0.0.0.0:25"`, `"systemd:smtp"`, 1),
		directory: block("contact@exemple.org"),
		ways:      block("owners.conf"),
	}
	commands := block("systemd-sysusers")
	if err != nil {
		return nil, err
	}
	if o.dns, err = peer.StartDNS("mx.host.net. 60 IN A 127.0.0.1"); err != nil {
		return nil, err
	}
	o.config += fmt.Sprintf("[dns]\nservers = [%q]\n[clients]\ntrusted_networks = [\"127.0.0.0/24\"]\n[relay]\n"+
		"smarthost = \"smtp://%s\"\n", o.dns.Addr, smarthost)
	o.directory = strings.Replace(o.directory, `site      = "cloud"`, "site = \"cloud\"\nmx = \"external\"", 1)
	// What the unit forbids ends the relay here, so that no system call that fails goes unseen.
	const strict = "/run/systemd/system/" + unit + ".d"
	err = errors.Join(os.MkdirAll(strict, 0o755),
		os.WriteFile(strict+"/strict.conf", []byte("[Service]\nSystemCallErrorNumber=kill\n"), 0o644),
		os.Mkdir("/etc/mxbypass", 0o755), os.WriteFile(configFile, []byte(o.config), 0o644),
		os.WriteFile("/etc/mxbypass/directory.toml", []byte(o.directory), 0o644))
	if err != nil {
		return nil, err
	}
	if out, err := shell(commands); err != nil {
		journal, _ := shell("journalctl --no-pager -o cat -u " + unit)
		return nil, fmt.Errorf("as the README says: %w\n%s\n%s", err, out, journal)
	}
	return o, nil
}

// the is the operator of the machine that this process is in.
var the *operator

func tests(m *testing.M) (int, error) {
	o, err := installed()
	if err != nil {
		return 1, err
	}
	the = o
	code := m.Run()
	return code, o.dns.Close()
}

// shell runs commands in the repository, the first failure ends them.
func shell(commands string) (string, error) {
	cmd := exec.Command("/bin/bash", "-ec", commands)
	cmd.Dir = source
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// sh is shell for what has to succeed.
func sh(t *testing.T, commands string) string {
	t.Helper()
	out, err := shell(commands)
	if err != nil {
		t.Fatalf("%s: %v\n%s\n%s", commands, err, out, journal(t, ""))
	}
	return strings.TrimSpace(out)
}

// here marks the end of the journal, for journal.
func here(t *testing.T) (cursor string) {
	t.Helper()
	_, cursor, found := strings.Cut(sh(t, "journalctl --sync && journalctl --no-pager -n 1 --show-cursor"), "-- cursor: ")
	if !found {
		t.Fatal("the journal is empty")
	}
	return cursor
}

// journal is what the journal has of the relay behind a mark, or all of it.
func journal(t *testing.T, cursor string) string {
	t.Helper()
	args := []string{"--no-pager", "-o", "cat", "-u", unit}
	if cursor != "" {
		args = append(args, "--after-cursor="+cursor)
	}
	out, err := exec.Command("journalctl", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// logged waits for words in the journal.
func logged(t *testing.T, cursor string, words ...string) {
	t.Helper()
	for _, w := range words {
		there := func() bool { return strings.Contains(journal(t, cursor), w) }
		err := peer.Until(soon, fmt.Sprintf("%q in the journal", w), there)
		if err != nil {
			t.Fatalf("%v\n%s", err, journal(t, cursor))
		}
	}
}

// property is what systemd knows of the relay.
func property(t *testing.T, name string) string {
	t.Helper()
	return sh(t, "systemctl show -P "+name+" "+unit)
}

// pid is the process of the relay, which runs.
func pid(t *testing.T) int {
	t.Helper()
	if state := property(t, "ActiveState") + " " + property(t, "SubState"); state != "active running" {
		t.Fatalf("the relay is %s\n%s", state, journal(t, ""))
	}
	n, err := strconv.Atoi(property(t, "MainPID"))
	if err != nil || n == 0 {
		t.Fatal(n, err)
	}
	return n
}

// put writes a file for the relay, as the README has them.
func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	sh(t, "chown root:mxbypass "+path)
}

// configured has the relay run with another configuration or another directory, and at the end of the test with the first
// ones again, and without drop-ins.
func configured(t *testing.T, config, directory string) {
	t.Helper()
	t.Cleanup(func() {
		put(t, configFile, the.config)
		put(t, "/etc/mxbypass/directory.toml", the.directory)
		sh(t, "rm -rf "+dropIns+"; systemctl daemon-reload; systemctl reset-failed; systemctl restart mxbypass")
	})
	put(t, configFile, config)
	put(t, "/etc/mxbypass/directory.toml", directory)
}

// with is the first configuration after a change.
func with(t *testing.T, old, changed string) string {
	t.Helper()
	if !strings.Contains(the.config, old) {
		t.Fatalf("no %q in\n%s", old, the.config)
	}
	return strings.Replace(the.config, old, changed, 1)
}

// Two clients: one of a trusted network, and one of none.
const trusted, stranger = "127.0.0.1", "127.0.9.9"

// dial connects to port 25 as a stranger and greets.
func dial(t *testing.T) *peer.SMTP {
	t.Helper()
	c, greeting, err := peer.DialSMTPFrom(stranger, "127.0.0.1:25")
	if err != nil || !strings.HasPrefix(greeting, "220 ") {
		t.Fatal(greeting, err)
	}
	t.Cleanup(func() { c.Close() })
	says(t, c, "EHLO client.test", "250")
	return c
}

func says(t *testing.T, c *peer.SMTP, line, code string) {
	t.Helper()
	if reply, err := c.Cmd(line); err != nil || !strings.HasPrefix(reply, code) {
		t.Fatalf("%s: %s, %v", line, reply, err)
	}
}

// delivered sends a message to a bypass address.
func delivered(t *testing.T, to string) {
	t.Helper()
	if reply, err := dial(t).Message("a@client.test", to, text); err != nil || !strings.HasPrefix(reply, "250 2.0.0") {
		t.Fatalf("%s: %s, %v\n%s", to, reply, err, journal(t, ""))
	}
}

// inbox gives the messages of a Maildir.
func inbox(t *testing.T, maildir string) []string {
	t.Helper()
	names, err := filepath.Glob(maildir + "/new/*")
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// running is a command that goes on while the test does something else.
type running struct {
	done chan struct{}
	out  string
	err  error
}

func background(commands string) *running {
	r := &running{done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.out, r.err = shell(commands)
	}()
	return r
}

// succeeds waits for the end.
func (r *running) succeeds(t *testing.T) {
	t.Helper()
	if <-r.done; r.err != nil {
		t.Fatalf("%v\n%s\n%s", r.err, r.out, journal(t, ""))
	}
}

// day is a lifetime of certificates, in days.
const day = 24 * time.Hour

// trusting is a client that believes an authority.
func trusting(roots *x509.CertPool) *tls.Config {
	return &tls.Config{RootCAs: roots, ServerName: "mx.host.net"}
}

// uid is the number of a user.
func uid(t *testing.T, name string) uint32 {
	t.Helper()
	n, err := strconv.ParseUint(sh(t, "id -u "+name), 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(n)
}
