package integration

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"mxbypass/integration/peer"
)

// The world that the rows of routing/testdata/percent-addresses.txt speak of.
const rowGateways = `
[[gateway]]
host = "vps42.host.test"
sites = ["vps42"]
[[gateway]]
host = "eq.host.test"
sites = ["*"]
separators = ["%%", "="]
[[gateway]]
host = "only.host.test"
sites = ["*"]
separators = ["="]
[[gateway]]
host = "hosted.test"
sites = ["*"]
[[site]]
name = "vps42"
store = "maildir"
path = "%s/{domain}/{user}/Maildir"
`

const rowDomains = `
[[domain]]
name = "exemple.org"
site = "cloud"
mx = "local"
mailboxes = ["u", "abuse", "foobar", "else%2bsomething"]
[domain.aliases]
info = ["u@exemple.org"]
[[domain]]
name = "customer.test"
site = "vps42"
mx = "local"
mailboxes = ["u"]
[[domain]]
name = "closed.test"
site = "cloud"
mx = "local"
bypass = false
mailboxes = ["u"]
[[domain]]
name = "catch.test"
site = "cloud"
mx = "local"
mailboxes = ["u"]
catch_all = "u@catch.test"
[[domain]]
name = "ü.example"
site = "cloud"
mx = "local"
mailboxes = ["u", "ü"]
[[domain]]
name = "hosted.test"
site = "cloud"
mx = "local"
mailboxes = ["u"]
`

// Every row of the table of percent addresses, over the wire: the reply to RCPT, and where there is one the mailbox, the
// Delivered-To and the X-Original-To of what arrives.
func TestPercentAddressesOverTheWire(t *testing.T) {
	dir := t.TempDir()
	s := start(t, settings{dir: dir, domains: rowDomains, more: fmt.Sprintf(rowGateways, filepath.Join(dir, "mail")),
		limits: "errors_slow = 100000\nerrors_close = 100000"})
	config, err := os.ReadFile(s.Config)
	must(t, err)
	// The host name of this world is no gateway.
	must(t, os.WriteFile(s.Config, bytes.Replace(config, []byte(`hostname = "mx.host.test"`), []byte(`hostname = "own.host.test"`), 1), 0o644))
	must(t, s.Close())
	s.Relay, err = peer.StartRelay(s.Config, s.Addr)
	must(t, err)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})

	file, err := os.Open(filepath.Join("..", "routing", "testdata", "percent-addresses.txt"))
	must(t, err)
	defer file.Close()
	c := s.dial(t)
	rows, lines := 0, bufio.NewScanner(file)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		rows++
		t.Run(line, func(t *testing.T) { s.row(t, c, rows, line) })
	}
	must(t, lines.Err())
	if rows < 100 {
		t.Errorf("only %d rows were found", rows)
	}
}

// row sends the path of one row and holds the answer against it.
func (s *setup) row(t *testing.T, c *peer.SMTP, number int, line string) {
	path, err := strconv.QuotedPrefix(line)
	rest := line[len(path):]
	if err == nil {
		path, err = strconv.Unquote(path)
		must(t, err)
	} else {
		path, rest, _ = strings.Cut(line, " ")
	}
	f := strings.Fields(rest)
	flags, code, enhanced, mailbox := f[0], f[1], f[2], f[4]
	delivered := mailbox
	if len(f) > 5 {
		delivered = f[5]
	}
	mail := "MAIL FROM:<sender@client.test>"
	if flags == "utf8" {
		mail += " SMTPUTF8"
	}
	reply, err := c.Cmd("RSET")
	must(t, err)
	wantReply(t, reply, "250")
	reply, err = c.Cmd(mail)
	must(t, err)
	wantReply(t, reply, "250")
	reply, err = c.Cmd("RCPT TO:" + path)
	must(t, err)
	pattern := "^" + strings.ReplaceAll(code, "x", "[0-9]") + " "
	if enhanced != "-" {
		pattern += regexp.QuoteMeta(enhanced) + " "
	}
	if !regexp.MustCompile(pattern).MatchString(reply) {
		t.Fatalf("RCPT TO:%q: %q, want %s %s", path, reply, code, enhanced)
	}
	for i := range len(reply) {
		if reply[i] != '\n' && (reply[i] < ' ' || reply[i] == 0x7f) {
			t.Fatalf("a raw control byte in the reply %q", reply)
		}
	}
	if code != "250" {
		return
	}
	reply, err = c.Cmd("DATA")
	must(t, err)
	wantReply(t, reply, "354")
	must(t, c.Send(fmt.Sprintf("Subject: row %d\r\n\r\nx\r\n.\r\n", number)))
	reply, err = c.Reply()
	must(t, err)
	wantReply(t, reply, "250 2.0.0 delivered to ")
	s.arrived(t, number, path, mailbox, delivered)
}

// arrived looks for the message of a row.
func (s *setup) arrived(t *testing.T, number int, path, mailbox, delivered string) {
	maildir := filepath.Join(s.Dir, "state", "postmaster")
	if user, domain, ok := strings.Cut(mailbox, "@"); ok {
		maildir = filepath.Join(s.Mail, domain, user, "Maildir")
	}
	for _, m := range inbox(t, maildir) {
		if !bytes.Contains(m, fmt.Appendf(nil, "\r\nSubject: row %d\r\n", number)) {
			continue
		}
		original := strings.TrimSuffix(strings.TrimPrefix(path, "<"), ">")
		if !bytes.Contains(m, []byte("\r\nX-Original-To: "+original+"\r\n")) {
			t.Errorf("X-Original-To is not %q:\n%s", original, m)
		}
		if mailbox != "(postmaster)" && !bytes.Contains(m, []byte("\r\nDelivered-To: "+delivered+"\r\n")) {
			t.Errorf("Delivered-To is not %q:\n%s", delivered, m)
		}
		return
	}
	t.Errorf("the message is not in %s", maildir)
}
