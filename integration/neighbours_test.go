package integration

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mxbypass/integration/peer"
)

// example reads a configuration that is shown to operators, with the relay's address put in where they would.
func example(t *testing.T, name, was, is string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "configs", name))
	must(t, err)
	if !bytes.Contains(b, []byte(was)) {
		t.Fatalf("%s does not name %s", name, was)
	}
	return strings.ReplaceAll(string(b), was, is)
}

// swaks sends as an operator would and returns what it printed.
func swaks(addr string, args ...string) string {
	out, _ := exec.Command("swaks", append([]string{"--server", addr, "--from", "operator@client.test"}, args...)...).CombinedOutput()
	return string(out)
}

func TestSwaks(t *testing.T) {
	s := start(t, settings{})
	for _, c := range []struct{ to, want string }{
		{"foobar%exemple.org@mx.host.test", "<~  250 2.0.0 delivered to foobar@exemple.org"},
		{"FooBar%EXEMPLE.org@MX.host.test", "<~  250 2.0.0 delivered to foobar@exemple.org"},
		{"info%exemple.org@mx.host.test", "<~  250 2.0.0 delivered to <info%exemple.org@mx.host.test>"},
		{"nobody%exemple.org@mx.host.test", "<** 550 5.1.1"},
		{"foobar%foreign.example@mx.host.test", "<** 550 5.7.1"},
		{"foobar%closed.example@mx.host.test", "<** 550 5.7.1"},
		{"foobar%exemple.org%mx.host.test@mx.host.test", "<** 550 5.7.1"},
		{"someone@foreign.example", "<** 550 5.7.1"},
		{"postmaster@mx.host.test", "<~  250 2.0.0 delivered"},
		{"postmaster%exemple.org@mx.host.test", "<~  250 2.0.0 delivered"},
	} {
		// swaks marks the reply to the message as <-, to a refused command as <**.
		out := strings.ReplaceAll(swaks(s.Addr, "--to", c.to), "<-  250", "<~  250")
		if !strings.Contains(out, c.want) {
			t.Errorf("%s: want %q in\n%s", c.to, c.want, out)
		}
	}
	if n := len(s.inbox(t, "foobar@exemple.org")); n != 2 {
		t.Errorf("%d messages for foobar, want 2", n)
	}
	if out := swaks(s.Addr, "--to", box+","+"foobar@exemple.org"); !strings.Contains(out, "250 2.0.0 delivered to 2 mailboxes") {
		t.Errorf("two spellings: %s", out)
	}
	if n := len(s.inbox(t, "foobar@exemple.org")); n != 3 {
		t.Errorf("two spellings of one mailbox gave %d copies, want 1", n-2)
	}
	if out := swaks(s.Addr, "--to", box, "--pipeline"); !strings.Contains(out, "250 2.0.0 delivered to foobar@exemple.org") {
		t.Errorf("pipelined: %s", out)
	}
}

func TestPostfixSendsBypassMail(t *testing.T) {
	s := start(t, settings{})
	p, err := peer.StartPostfix(peer.PostfixOptions{Dir: t.TempDir(),
		Main: strings.ReplaceAll(example(t, "postfix/main.cf", "[127.0.0.1]:2525", "["+host(s.Addr)+"]:"+portOf(s.Addr)),
			"permit_mynetworks, ", "")})
	must(t, err)
	defer func() { must(t, p.Close()) }()
	throughAnMTA(t, s, p.Addr, p.Log)
}

func TestEximSendsBypassMail(t *testing.T) {
	s := start(t, settings{})
	e, err := peer.StartExim(t.TempDir(), example(t, "exim/exim.conf", "127.0.0.1::2525", host(s.Addr)+"::"+portOf(s.Addr)))
	must(t, err)
	defer func() {
		if err := e.Close(); err != nil {
			t.Log(err)
		}
	}()
	throughAnMTA(t, s, e.Addr, e.Log)
}

// throughAnMTA sends bypass mail to another MTA that passes it on to us: it arrives, and what we refuse is refused by
// the other one too, at RCPT.
func throughAnMTA(t *testing.T, s *setup, mta string, log func() string) {
	t.Helper()
	out := swaks(mta, "--to", box, "--body", "through another MTA")
	if !strings.Contains(out, "<-  250") {
		t.Fatalf("not accepted:\n%s\n%s", out, log())
	}
	err := peer.Until(30*time.Second, "the message in the Maildir", func() bool { return len(s.inbox(t, "foobar@exemple.org")) == 1 })
	if err != nil {
		t.Fatalf("%v\n%s", err, log())
	}
	content := below(t, s.inbox(t, "foobar@exemple.org")[0])
	if !bytes.Contains(content, []byte("through another MTA")) {
		t.Fatalf("the message is not what was sent: %s", content)
	}
	for _, to := range []string{"nobody%exemple.org@mx.host.test", "foobar%foreign.example@mx.host.test", "foobar@foreign.example"} {
		if out := swaks(mta, "--to", to); !strings.Contains(out, "<** 5") {
			t.Errorf("%s is not refused at RCPT:\n%s\n%s", to, out, log())
		}
	}
}

func host(addr string) string   { h, _, _ := net.SplitHostPort(addr); return h }
func portOf(addr string) string { _, p, _ := net.SplitHostPort(addr); return p }

// Dovecot takes the mail by LMTP, and gives it back over IMAP byte for byte.
func TestDovecot(t *testing.T) {
	for _, way := range []string{"unix", "tcp"} {
		t.Run(way, func(t *testing.T) {
			d, err := peer.StartDovecot(t.TempDir(), []string{"foobar@exemple.org", "contact@exemple.org"}, "")
			must(t, err)
			defer func() { must(t, d.Close()) }()
			address := "unix:" + d.LMTP
			if way == "tcp" {
				address = d.LMTPAddr
			}
			s := start(t, settings{domains: strings.Replace(theDomains, `"contact"]`, `"contact", "ghost"]`, 1),
				sites: fmt.Sprintf("[[site]]\nname = \"cloud\"\nstore = \"lmtp\"\naddress = %q\n", address)})
			for name, content := range oddMessages() {
				if name == "40 MiB" && way == "tcp" {
					continue // once is enough
				}
				if !strings.HasSuffix(content, "\r\n") {
					continue // LMTP has no other end than a line's
				}
				wantReply(t, s.deliver(t, "foobar+tag%exemple.org@mx.host.test", content), "250 2.0.0 delivered to foobar+tag@exemple.org")
				got := fetchLast(t, d.IMAPAddr, "foobar@exemple.org")
				if !bytes.HasSuffix(got, []byte(content)) {
					t.Errorf("%s: IMAP gives other bytes than were sent (%d sent, %d fetched)", name, len(content), len(got))
				}
			}
			got := fetchLast(t, d.IMAPAddr, "foobar@exemple.org")
			for _, want := range []string{"Return-Path: <sender@client.test>\r\n", "X-Original-To: foobar+tag%exemple.org@mx.host.test\r\n"} {
				if bytes.Count(got, []byte(want)) != 1 {
					t.Errorf("not exactly one %q in\n%.1500s", want, got)
				}
			}
			// Several recipients: every one of them gets it.
			wantReply(t, s.deliver(t, "both%exemple.org@mx.host.test", "Subject: both\r\n\r\nx\r\n"), "250 2.0.0 delivered to")
			if got := fetchLast(t, d.IMAPAddr, "contact@exemple.org"); !bytes.Contains(got, []byte("Subject: both\r\n")) {
				t.Errorf("contact has not got it: %.500s", got)
			}
			// A user whom our directory has and Dovecot has not: Dovecot's words reach the client.
			reply := s.deliver(t, "ghost%exemple.org@mx.host.test", "Subject: x\r\n\r\nx\r\n")
			wantReply(t, reply, "550 5.1.1")
			if !strings.Contains(reply, "User doesn't exist: ghost@exemple.org") {
				t.Errorf("Dovecot's words do not reach the client: %s", reply)
			}
		})
	}
}

// fetchLast gives the newest message of a mailbox over IMAP.
func fetchLast(t *testing.T, addr, user string) []byte {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, 10*time.Second)
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(time.Minute)))
	r := bufio.NewReader(c)
	_, err = r.ReadString('\n')
	must(t, err)
	fmt.Fprintf(c, "a LOGIN %q %s\r\nb SELECT INBOX\r\nc FETCH * BODY.PEEK[]\r\n", user, peer.DovecotPassword)
	for {
		line, err := r.ReadString('\n')
		must(t, err)
		if strings.HasPrefix(line, "c ") {
			t.Fatalf("IMAP: %s", line)
		}
		_, size, ok := strings.Cut(line, "BODY[] {")
		if !ok {
			continue
		}
		var n int
		_, err = fmt.Sscanf(size, "%d}", &n)
		must(t, err)
		message := make([]byte, n)
		_, err = io.ReadFull(r, message)
		must(t, err)
		return message
	}
}

// A site that lives behind another server of ours: an SMTP next hop, here a second relay.
func TestSMTPNextHop(t *testing.T) {
	inner := start(t, settings{})
	outer := start(t, settings{sites: fmt.Sprintf("[[site]]\nname = \"cloud\"\nstore = \"smtp\"\naddress = %q\n", inner.Addr)})
	for name, content := range oddMessages() {
		if name == "40 MiB" || name == "empty" {
			continue
		}
		wantReply(t, outer.deliver(t, box, content), "250 2.0.0 delivered to foobar@exemple.org")
	}
	if got, want := len(inner.inbox(t, "foobar@exemple.org")), len(oddMessages())-2; got != want {
		t.Fatalf("%d messages arrived, want %d", got, want)
	}
	must(t, inner.Close())
	wantReply(t, outer.deliver(t, box, "Subject: x\r\n\r\nx\r\n"), "45")
}

// nmap tries its ways to relay through us, with a gateway's name as its host name.
func TestNmapFindsNoOpenRelay(t *testing.T) {
	s := start(t, settings{limits: "errors_slow = 100\nerrors_close = 200"})
	out, err := exec.Command("nmap", "-Pn", "-n", "-p", portOf(s.Addr), "--script", "+smtp-open-relay", "--script-args",
		"smtp-open-relay.domain=mx.host.test,smtp-open-relay.ip=127.0.0.1,smtp-open-relay.to=relaytest,smtp-open-relay.from=antispam",
		"127.0.0.1").CombinedOutput()
	must(t, err)
	if !bytes.Contains(out, []byte("smtp-open-relay: Server doesn't seem to be an open relay, all tests failed")) {
		t.Fatalf("%s", out)
	}
}
