package integration

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mxbypass/integration/peer"
)

// setup is a relay under test with the folder that it lives in.
type setup struct {
	*peer.Relay
	Dir  string
	Mail string // below it: domain/user/Maildir
}

// settings of a relay under test. What is left empty is as in the first configuration of the design.
type settings struct {
	dir       string   // default: a new temporary folder
	mail      string   // where the Maildirs are; default: dir/mail
	dns       string   // address of a DNS server; default: one that refuses
	domains   string   // of the file directory
	directory string   // replaces the [directory] table
	sites     string   // replaces the site "cloud"
	more      string   // lines added to the configuration, tables included
	limits    string   // lines of [limits]
	head      string   // lines before the first table
	protocol  string   // default: smtp
	wrapper   []string // a program that runs the relay, such as strace
}

const theDomains = `[[domain]]
name = "exemple.org"
site = "cloud"
mailboxes = ["foobar", "contact"]
[domain.aliases]
info = ["contact@exemple.org"]
both = ["contact@exemple.org", "foobar@exemple.org"]

[[domain]]
name = "closed.example"
site = "cloud"
bypass = false
mailboxes = ["foobar"]
`

func (s settings) defaults(t *testing.T) settings {
	if s.dir == "" {
		s.dir = t.TempDir()
	}
	if s.mail == "" {
		s.mail = filepath.Join(s.dir, "mail")
	}
	if s.dns == "" {
		s.dns = "127.0.0.1:9"
	}
	if s.domains == "" {
		s.domains = theDomains
	}
	if s.directory == "" {
		s.directory = fmt.Sprintf("driver = \"file\"\npath = %q", filepath.Join(s.dir, "directory.toml"))
	}
	if s.sites == "" {
		s.sites = fmt.Sprintf("[[site]]\nname = \"cloud\"\nstore = \"maildir\"\npath = %q\n", s.mail+"/{domain}/{user}/Maildir")
	}
	if s.protocol == "" {
		s.protocol = "smtp"
	}
	return s
}

// start runs a relay and ends it with the test.
func start(t *testing.T, s settings) *setup {
	t.Helper()
	s = s.defaults(t)
	port, err := peer.FreePort()
	must(t, err)
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	must(t, os.MkdirAll(s.mail, 0o755))
	config := filepath.Join(s.dir, "mxbypass.toml")
	must(t, os.WriteFile(filepath.Join(s.dir, "directory.toml"), []byte(s.domains), 0o644))
	must(t, os.WriteFile(config, []byte(fmt.Sprintf(`hostname = "mx.host.test"
state_dir = %q
%s

[[listener]]
address = %q
protocol = %q

[[gateway]]
host = "mx.host.test"
sites = ["*"]

[dns]
servers = [%q]
timeout = "2s"

[limits]
%s

[directory]
%s

%s
%s
`, filepath.Join(s.dir, "state"), s.head, addr, s.protocol, s.dns, s.limits, s.directory, s.sites, s.more)), 0o644))
	r, err := peer.StartRelay(config, addr, s.wrapper...)
	must(t, err)
	t.Cleanup(func() {
		select {
		case <-r.Done(): // the test has ended it, and has looked at how
		default:
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
		if t.Failed() || strings.Contains(r.Output(), "DATA RACE") {
			t.Errorf("the relay's log:\n%s", r.Output())
		}
	})
	return &setup{r, s.dir, s.mail}
}

// dial connects and greets.
func (s *setup) dial(t *testing.T) *peer.SMTP {
	t.Helper()
	c, _, err := peer.DialSMTP("tcp", s.Addr)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	_, err = c.Cmd("EHLO client.test")
	must(t, err)
	return c
}

// deliver sends one message on a connection of its own and returns the final reply.
func (s *setup) deliver(t *testing.T, to, content string) string {
	t.Helper()
	c := s.dial(t)
	reply, err := c.Message("sender@client.test", to, content)
	must(t, err)
	return reply
}

// inbox is the content of every message in the new folder of a mailbox, oldest first.
func (s *setup) inbox(t *testing.T, address string) [][]byte {
	t.Helper()
	user, domain, _ := strings.Cut(address, "@")
	return inbox(t, filepath.Join(s.Mail, domain, user, "Maildir"))
}

func inbox(t *testing.T, maildir string) [][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(maildir, "new", "*"))
	must(t, err)
	slices.Sort(files)
	var all [][]byte
	for _, f := range files {
		b, err := os.ReadFile(f)
		must(t, err)
		all = append(all, b)
	}
	return all
}

// below cuts the trace lines that the relay puts on top and returns what the client sent.
func below(t *testing.T, message []byte) []byte {
	t.Helper()
	rest := message
	const judged = "Authentication-Results: " // not for mail by LMTP
	for _, field := range []string{"Return-Path: ", "Delivered-To: ", "X-Original-To: ", judged, "Received: "} {
		if !bytes.HasPrefix(rest, []byte(field)) {
			if field == judged {
				continue
			}
			t.Fatalf("no %q on top of %.300q", field, message)
		}
		for first := true; first || bytes.HasPrefix(rest, []byte("\t")) || bytes.HasPrefix(rest, []byte(" ")); first = false {
			end := bytes.Index(rest, []byte("\r\n"))
			if end < 0 {
				t.Fatalf("unfinished trace: %.300q", message)
			}
			rest = rest[end+2:]
		}
	}
	return rest
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
