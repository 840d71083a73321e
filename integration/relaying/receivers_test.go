package relaying

import (
	"bufio"
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// oddMessages are messages that some server or other has cut, folded, completed or refused. The bytes of a message are
// nothing that the relay knows of: a shorter list than that of what it takes in.
var oddMessages = []struct{ name, content string }{
	{"plain", "From: a@client.test\r\nSubject: x\r\n\r\nbody\r\n"},
	{"dots", "Subject: dots\r\n\r\n.\r\n..\r\n...\r\n. \r\n.x\r\nx.\r\n.\r\n"},
	{"a dot first", ".Subject: x\r\n\r\nx\r\n"},
	{"no header", "\r\njust a body\r\n"},
	{"no header, no blank", noField},
	{"empty body", "Subject: only a header\r\n\r\n"},
	{"no body", "Subject: only a header\r\n"},
	{"trailing blanks", "Subject: blanks \t\r\n\r\n \t\r\nx \r\n\r\n\r\n\r\n"},
	{"folded header", "Subject: a\r\n b\r\n\tc\r\n\r\nx\r\n"},
	{"8-bit", "Subject: \xe9t\xe9\r\n\r\n\xff\xfe caf\xe9\r\n"},
	{"a line of 1,000", "Subject: long\r\n\r\n" + strings.Repeat("x", 1000) + "\r\n"},
	{"a line of 60,000", "Subject: long\r\n\r\n" + strings.Repeat("x", 60000) + "\r\n"},
	{"From line", "Subject: x\r\n\r\nFrom the start\r\n>From the start\r\n"},
	{"MIME", "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n"},
	{"2 MiB", "Subject: 2 MiB\r\n\r\n" + strings.Repeat(strings.Repeat("0123456789", 7)+"\r\n", 29127)},
}

// kept keeps a connection for the whole of a test.
const kept = `idle_limit = "10m"`

// belowTrace is a received message below the receiver's and the relay's trace fields, with the line ends of SMTP.
func belowTrace(t *testing.T, message string) string {
	t.Helper()
	_, rest, found := strings.Cut(message, "Received: from client.test ")
	if !found {
		t.Fatalf("no trace of the relay:\n%.1000s", message)
	}
	for {
		var line string
		line, rest, found = strings.Cut(rest, "\n")
		if !found || line == "" {
			t.Fatalf("the trace field never ends:\n%.1000s", message)
		}
		if !strings.HasPrefix(rest, "\t") && !strings.HasPrefix(rest, " ") {
			return strings.ReplaceAll(rest, "\n", "\r\n")
		}
	}
}

// Each odd message arrives byte for byte, one after the other on a connection that is kept.
func TestReceiversGetOddMessages(t *testing.T) {
	for name, s := range mailServers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := s.start(t, t.TempDir(), certificate{})
			w := toRemote(t, r.addr, settings{queue: kept})
			added := regexp.MustCompile(s.adds)
			var have []string
			for _, m := range oddMessages {
				want, changed := s.changes[m.name]
				if !changed {
					want = m.content
				}
				w.submit("foobar@exemple.org", "b@remote.example", m.content)
				if want == "" {
					w.mailAt("foobar@exemple.org", 1)
					continue
				}
				got := r.arrived(t, have)
				have = append(have, got)
				if got = added.ReplaceAllString(belowTrace(t, got), ""); got != want {
					t.Errorf("%s: %d bytes sent, %d arrived:\n%.300q", m.name, len(want), len(got), got)
				}
			}
			w.empty()
			must(t, w.Close())
			r.polite(t, s)
			if n := len(r.lines(s.connected)); n > len(oddMessages)/2 {
				t.Errorf("%d connections for %d messages", n, len(oddMessages))
			}
		})
	}
}

// One message for 150 people: two transactions, and each of them gets one copy.
func TestReceiversGetManyRecipients(t *testing.T) {
	for name, s := range mailServers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := s.start(t, t.TempDir(), certificate{})
			w := toRemote(t, r.addr, settings{})
			lines := []string{"EHLO client.test", "MAIL FROM:<a@client.test>"}
			for i := range 150 {
				lines = append(lines, fmt.Sprintf("RCPT TO:<u%d@remote.example>", i))
			}
			wantReply(t, w.converse(append(lines, "DATA", "Subject: all\r\n\r\nx\r\n.")...), "250 2.0.0 queued for 150 recipients")
			all := strings.Join(r.await(t, 150), "")
			for i := range 150 {
				if n := strings.Count(all, fmt.Sprintf("%su%d@remote.example\n", s.to, i)); n != 1 {
					t.Errorf("%d messages for u%d", n, i)
				}
			}
			w.empty()
			must(t, w.Close())
			r.polite(t, s)
			if n := len(r.lines(s.taken)); n != 2 {
				t.Errorf("%d transactions", n)
			}
		})
	}
}

// Encryption is used where it is offered, whoever signed the certificate.
func TestReceiversEncrypt(t *testing.T) {
	for name, s := range mailServers {
		if s.encrypted == "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			r := s.start(t, dir, selfSigned(t, dir, "own"))
			w := toRemote(t, r.addr, settings{})
			for i := range 3 {
				w.submit("a@client.test", "b@remote.example", text)
				r.await(t, i+1)
			}
			w.empty()
			must(t, w.Close())
			r.polite(t, s)
			if len(r.lines(s.encrypted)) == 0 {
				t.Errorf("it knows of no encryption:\n%s", r.log())
			}
			if n := strings.Count(w.Output(), " tls=TLSv1."); n != 3 {
				t.Errorf("%d of 3 messages with TLS in the log of the relay", n)
			}
		})
	}
}

// A server that offers encryption and cannot do it gets the mail in plain, at the first attempt.
func TestReceiversBrokenEncryption(t *testing.T) {
	postfix := func(main func(own, other certificate) string) func(*testing.T, string) *receiver {
		return func(t *testing.T, dir string) *receiver {
			return startPostfix(t, dir, main(selfSigned(t, dir, "own"), selfSigned(t, dir, "other")))
		}
	}
	for name, c := range map[string]struct {
		server string
		start  func(t *testing.T, dir string) *receiver
	}{
		"the key is another's": {"Postfix", postfix(func(own, other certificate) string {
			return postfixTLS(certificate{own.cert, other.key})
		})},
		"no version in common": {"Postfix", postfix(func(own, _ certificate) string {
			return postfixTLS(own) + "smtpd_tls_protocols = TLSv1\n"
		})},
		"no cipher in common": {"Postfix", postfix(func(own, _ certificate) string {
			return postfixTLS(own) + "smtpd_tls_protocols = TLSv1.2\nsmtpd_tls_ciphers = high\n" +
				"tls_high_cipherlist = ECDHE-ECDSA-CAMELLIA256-SHA384\n"
		})},
		// That of Debian 12 cannot sign with the OpenSSL of Debian 12 (OpenSMTPD/OpenSMTPD issue 1171).
		"the handshake fails": {"OpenSMTPD", func(t *testing.T, dir string) *receiver {
			return startOpenSMTPD(t, dir, selfSigned(t, dir, "own"))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := mailServers[c.server]
			r := c.start(t, t.TempDir())
			w := toRemote(t, r.addr, settings{})
			w.submit("a@client.test", "b@remote.example", text)
			got := regexp.MustCompile(s.adds).ReplaceAllString(belowTrace(t, r.await(t, 1)[0]), "")
			if got != text {
				t.Errorf("%q arrived", got)
			}
			w.empty()
			must(t, w.Close())
			if strings.Contains(w.Output(), " tls=TLS") || strings.Contains(w.Output(), "msg=deferred") {
				t.Errorf("not sent in plain, at the first attempt:\n%s", w.Output())
			}
			if n := len(r.lines(s.connected)); n > 2 {
				t.Errorf("%d connections; the log:\n%s", n, r.log())
			}
		})
	}
}

// What the server says of somebody it does not know reaches the sender, word for word.
func TestReceiversUnknownUser(t *testing.T) {
	for name, s := range mailServers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := s.start(t, t.TempDir(), certificate{})
			w := toRemote(t, r.addr, settings{})
			wantReply(t, w.converse("EHLO client.test", "MAIL FROM:<foobar@exemple.org>", "RCPT TO:<b@remote.example>",
				"RCPT TO:<nobody@remote.example>", "DATA", "Subject: two\r\n\r\nx\r\n."), "250 2.0.0 queued for 2 recipients")
			report := strings.ReplaceAll(w.mailAt("foobar@exemple.org", 1)[0], "\r\n", "\n")
			_, fields, _ := strings.Cut(report, "Content-Type: message/delivery-status")
			unfolded := strings.ReplaceAll(fields, "\n ", " ")
			for _, want := range []string{"Action: failed", "Final-Recipient: rfc822;nobody@remote.example",
				"Diagnostic-Code: smtp; " + s.unknownUser} {
				if !strings.Contains(strings.ReplaceAll(unfolded, "; ", ";"), strings.ReplaceAll(want, "; ", ";")) {
					t.Errorf("no %q in the report:\n%s", want, report)
				}
			}
			r.await(t, 1)
			w.empty()
		})
	}
}

// greylist is a policy server for Postfix (SMTPD_POLICY_README): it says no, until it is told to say yes.
type greylist struct {
	net.Listener
	mu    sync.Mutex
	asked int
	pass  bool
}

func startGreylist(t *testing.T) *greylist {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	g := &greylist{Listener: l}
	t.Cleanup(func() { g.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go g.serve(c) // ends with Postfix, which has the other end
		}
	}()
	return g
}

// serve answers requests: lines with an empty one at their end.
func (g *greylist) serve(c net.Conn) {
	defer c.Close()
	for lines := bufio.NewScanner(c); lines.Scan(); {
		if lines.Text() != "" {
			continue
		}
		action := "450 4.2.0 greylisted, come back later"
		g.mu.Lock()
		if g.asked++; g.pass {
			action = "dunno"
		}
		g.mu.Unlock()
		if _, err := fmt.Fprintf(c, "action=%s\n\n", action); err != nil {
			return
		}
	}
}

// A server that says no at first is asked again until it says yes.
func TestReceiversGreylist(t *testing.T) {
	g := startGreylist(t)
	r := startPostfix(t, t.TempDir(), "smtpd_recipient_restrictions = check_policy_service inet:"+g.Addr().String()+"\n")
	w := toRemote(t, r.addr, settings{queue: "retry_first = \"1s\"\nretry_max = \"1s\""})
	w.submit("foobar@exemple.org", "b@remote.example", text)
	w.until("a second attempt", func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.asked > 1
	})
	w.until("its words in the list", func() bool {
		out, _ := w.command("queue", "list", "--json")
		return strings.Contains(out, "greylisted, come back later")
	})
	g.mu.Lock()
	g.pass = true
	g.mu.Unlock()
	if got := belowTrace(t, r.await(t, 1)[0]); got != text {
		t.Errorf("%q arrived", got)
	}
	w.empty()
	if n := len(w.inbox("foobar@exemple.org")); n != 0 {
		t.Errorf("%d reports", n)
	}
}
