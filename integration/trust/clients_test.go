package trust

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mxbypass/integration/peer"
)

// outbox is a server elsewhere, and the lines of [relay] that make it the smarthost.
func outbox(t *testing.T) (*peer.Remote, string) {
	t.Helper()
	r, err := peer.StartRemote("127.0.0.1:0", nil)
	must(t, err)
	t.Cleanup(func() { r.Close() })
	return r, "smarthost = \"smtp://" + r.Addr + "\""
}

// tool runs a program at a home of its own with an input, and gives what it printed and whether it succeeded.
func tool(t *testing.T, stdin, name string, args ...string) (string, bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = []string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8"}
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

func portOf(addr string) string { return addr[strings.LastIndex(addr, ":")+1:] }

func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// Users send with the programs that they have, and what is sent is complete, from them, and of their own.
func TestUsersSend(t *testing.T) {
	t.Parallel()
	remote, relay := outbox(t)
	w := start(t, settings{relay: relay})
	starttls, implicit := portOf(w.submission), portOf(w.submissions)
	msmtp := func(port, starttls, user string) string {
		return file(t, "msmtprc", fmt.Sprintf("account default\nhost localhost\nport %s\ntls on\ntls_starttls %s\ntls_trust_file %s\n"+
			"auth plain\nuser %s\npassword %s\nfrom foobar@exemple.org\n", port, starttls, w.ca.File, user, password))
	}
	muttrc := func(scheme, port string) string {
		return file(t, "muttrc", fmt.Sprintf("set smtp_url=\"%s://foobar%%40exemple.org@localhost:%s\"\nset smtp_pass=%q\n"+
			"set smtp_authenticators=\"plain\"\nset ssl_force_tls=yes\nset certificate_file=%q\nset ssl_ca_certificates_file=%q\n"+
			"set from=\"foobar@exemple.org\"\nset realname=\"Foo Bar\"\nset use_envelope_from=yes\nset copy=no\n",
			scheme, port, password, w.ca.File, w.ca.File))
	}
	nail := func(scheme, port, more string) []string {
		return []string{"-:/", "-Sv15-compat", "-Stls-ca-no-defaults", "-Stls-verify=strict", "-Stls-ca-file=" + w.ca.File, "-S" + more,
			"-Ssmtp-auth=plain", "-Ssendwait", "-Sfrom=foobar@exemple.org", "-S", "mta=" + scheme + "://foobar%40exemple.org:correct%20horse@localhost:" + port,
			"-s", "s-nail " + port, "someone@remote.example"}
	}
	swaks := func(port string, args ...string) []string {
		return append([]string{"--server", "localhost:" + port, "--from", "foobar@exemple.org", "--to", "someone@remote.example",
			"--auth-password", password, "--tls-verify", "--tls-ca-path", w.ca.File}, args...)
	}
	raw := "From: foobar@exemple.org\nTo: someone@remote.example\nSubject: "
	for _, c := range []struct {
		name, stdin string
		args        []string
	}{
		{"swaks", "", swaks(starttls, "-tls", "--auth", "PLAIN", "--auth-user", "foobar@exemple.org", "--header", "Subject: swaks 1")},
		{"swaks", "", swaks(starttls, "-tls", "--auth", "LOGIN", "--auth-user", "foobar%exemple.org", "--header", "Subject: swaks 2")},
		{"swaks", "", swaks(implicit, "-tlsc", "--auth", "LOGIN", "--auth-user", "FOOBAR@Exemple.ORG", "--header", "Subject: swaks 3")},
		{"msmtp", raw + "msmtp 1\n\nHello.\n", []string{"-C", msmtp(starttls, "on", "foobar@exemple.org"), "someone@remote.example"}},
		{"msmtp", raw + "msmtp 2\n\nHello.\n", []string{"-C", msmtp(implicit, "off", "foobar%exemple.org"), "someone@remote.example"}},
		{"mutt", "Hello.\n", []string{"-n", "-F", muttrc("smtp", starttls), "-s", "mutt 1", "--", "someone@remote.example"}},
		{"mutt", "Hello.\n", []string{"-n", "-F", muttrc("smtps", implicit), "-s", "mutt 2", "--", "someone@remote.example"}},
		{"s-nail", "Hello.\n", nail("smtp", starttls, "smtp-use-starttls")},
		{"s-nail", "Hello.\n", nail("smtps", implicit, "quiet")},
	} {
		before := len(remote.Messages())
		if out, ok := tool(t, c.stdin, c.name, c.args...); !ok {
			t.Errorf("%s %v:\n%s", c.name, c.args, out)
			continue
		}
		must(t, remote.Await(before+1))
		m := remote.Messages()[before]
		if m.From != "foobar@exemple.org" || m.To[0] != "someone@remote.example" {
			t.Errorf("%s %v: from %s to %v", c.name, c.args, m.From, m.To)
		}
		for _, name := range []string{"Date", "Message-ID", "From", "Subject"} {
			if len(fields(m.Content, name)) != 1 {
				t.Errorf("%s %v: %s in\n%s", c.name, c.args, name, m.Content)
			}
		}
		if with := fields(m.Content, "Received")[0]; !strings.Contains(with, "with ESMTPSA") {
			t.Errorf("%s: Received: %s", c.name, with)
		}
	}
	if log := w.Output(); strings.Contains(log, password) || strings.Contains(log, "Y29ycmVjdCBob3JzZ") {
		t.Error("the log has a password")
	}
}

// At the port for users nothing is sent without a password, no password is taken in the clear, and nobody sends as
// somebody else.
func TestUsersAreWhoTheySay(t *testing.T) {
	t.Parallel()
	remote, relay := outbox(t)
	w := start(t, settings{relay: relay})
	c, _, err := peer.DialSMTP("tcp", w.submission)
	must(t, err)
	defer c.Close()
	hello := w.say(c, "EHLO client.test", "250")
	if strings.Contains(hello, "AUTH") || !strings.Contains(hello, "STARTTLS") || strings.Contains(hello, "REQUIRETLS") {
		t.Errorf("in the clear: %s", hello)
	}
	reply, err := c.Login("foobar@exemple.org", password)
	must(t, err)
	wantReply(t, reply, "538 5.7.11 ")
	w.say(c, "MAIL FROM:<foobar@exemple.org>", "530 5.7.0 ")
	hello, err = c.StartTLS(w.client(), "client.test")
	must(t, err)
	if !strings.Contains(hello, "AUTH PLAIN LOGIN") || strings.Contains(hello, "STARTTLS") || !strings.Contains(hello, "REQUIRETLS") {
		t.Errorf("under TLS: %s", hello)
	}
	w.say(c, "MAIL FROM:<foobar@exemple.org>", "530 5.7.0 ")
	// Nobody learns whether it was the name or the password.
	wrong := map[string]bool{}
	for _, name := range []string{"foobar@exemple.org", "nobody@exemple.org", "foobar@foreign.example", "foobar"} {
		reply, err := c.Login(name, "wrong")
		must(t, err)
		wantReply(t, reply, "535 5.7.8 ")
		wrong[reply] = true
	}
	if len(wrong) != 1 {
		t.Errorf("%v", wrong)
	}
	reply, err = c.Login("foobar@exemple.org", password)
	must(t, err)
	wantReply(t, reply, "235 2.7.0 ")
	w.say(c, "AUTH PLAIN", "503 ")
	w.say(c, "MAIL FROM:<contact@exemple.org>", "553 5.7.1 ")
	w.say(c, "MAIL FROM:<someone@foreign.example>", "553 5.7.1 ")
	for _, from := range []string{"foobar@exemple.org", "foobar+tag@exemple.org", "info@exemple.org"} { // an alias is hers as well
		content := "From: Foo <" + from + ">\r\nSubject: hello\r\n\r\nHello.\r\n"
		reply, err := c.Message(from, "someone@remote.example", content)
		must(t, err)
		wantReply(t, reply, "250 2.0.0 ")
	}
	must(t, remote.Await(3))
	for _, from := range []string{"contact@exemple.org", "someone@foreign.example", "foobar@exemple.org, contact@exemple.org"} {
		reply, err := c.Message("foobar@exemple.org", "someone@remote.example", "From: "+from+"\r\nSubject: hello\r\n\r\nHello.\r\n")
		must(t, err)
		wantReply(t, reply, "55")
	}
	if n := len(remote.Messages()); n != 3 {
		t.Errorf("%d messages have left", n)
	}
}

// A password that a relay made itself, and one that another server made.
func TestPasswordsOfOurs(t *testing.T) {
	t.Parallel()
	line := func(w *world, args ...string) string {
		return w.command("a new one\n", append([]string{"mailbox", "passwd"}, args...)...)
	}
	w := start(t, settings{})
	out := line(w, "contact@exemple.org")
	_, made, ok := strings.Cut(out, "$argon2id$")
	if !ok {
		t.Fatal(out)
	}
	made = "$argon2id$" + made[:strings.IndexAny(made, "\"'")]
	directory := filepath.Join(w.dir, "directory.toml")
	must(t, os.WriteFile(directory, []byte(strings.Replace(theDomains, "contact = \""+hash, "contact = \""+made, 1)), 0o600))
	must(t, w.Cmd.Process.Signal(syscall.SIGHUP))
	must(t, peer.Until(soon, "the reload", func() bool { return strings.Contains(w.Output(), "msg=reloaded") }))
	login := func(name, password string) string {
		c, _, err := peer.DialSMTPS(w.submissions, w.client())
		must(t, err)
		defer c.Close()
		w.say(c, "EHLO client.test", "250")
		reply, err := c.Login(name, password)
		must(t, err)
		return reply
	}
	wantReply(t, login("contact@exemple.org", "a new one"), "235 ")
	wantReply(t, login("contact@exemple.org", password), "535 ")
	wantReply(t, login("foobar@exemple.org", password), "235 ")
}

// What others say of our TLS.
func TestTLSOfServers(t *testing.T) {
	t.Parallel()
	w := start(t, settings{})
	out, _ := tool(t, "", "posttls-finger", "-c", "-l", "secure", "-F", w.ca.File, "-t", "30", "[127.0.0.1]:"+portOf(w.Addr), "mx.host.test")
	if !strings.Contains(out, "Verified TLS connection established") || !strings.Contains(out, "TLSv1.3") {
		t.Errorf("posttls-finger:\n%s", out)
	}
	for _, c := range []struct {
		args string
		want string
	}{
		{"-starttls smtp -connect " + w.Addr, "TLSv1.3"},
		{"-starttls smtp -tls1_2 -connect " + w.Addr, "TLSv1.2"},
		{"-connect " + w.submissions, "TLSv1.3"},
	} {
		out, ok := tool(t, "QUIT\n", "openssl", append([]string{"s_client", "-ign_eof", "-CAfile", w.ca.File, "-verify_return_error",
			"-verify_hostname", "mx.host.test", "-servername", "mx.host.test"}, strings.Fields(c.args)...)...)
		if !ok || !strings.Contains(out, "Verify return code: 0 (ok)") || !strings.Contains(out, c.want) || !strings.Contains(out, "221 2.0.0") {
			t.Errorf("openssl s_client %s:\n%s", c.args, out)
		}
	}
	if out, ok := tool(t, "QUIT\n", "openssl", "s_client", "-starttls", "smtp", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0", "-connect", w.Addr); ok {
		t.Errorf("TLS 1.1:\n%s", out)
	}
	// What was said before TLS is forgotten (RFC 3207 section 4.2), and what was sent with STARTTLS is not answered under it.
	c := w.from("192.0.2.1")
	must(t, c.Send("STARTTLS\r\nRSET\r\n"))
	reply, err := c.Reply()
	if err == nil && strings.HasPrefix(reply, "220") {
		secure := tls.Client(c.Conn, w.client())
		if secure.Handshake() == nil {
			must(t, secure.SetDeadline(time.Now().Add(soon)))
			fmt.Fprint(secure, "NOOP\r\n")
			buf := make([]byte, 512)
			n, _ := secure.Read(buf)
			if strings.Count(string(buf[:n]), "\n") > 1 {
				t.Errorf("an answer to what came in the clear: %q", buf[:n])
			}
		}
	}
}

// A client is trusted by its certificate: of an authority, or of a known fingerprint. Any other changes nothing.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	remote, relay := outbox(t)
	dir := t.TempDir()
	partners, err := peer.NewCA(dir)
	must(t, err)
	partner, err := partners.IssueClient("partner.example")
	must(t, err)
	strangers, err := peer.NewCA(t.TempDir())
	must(t, err)
	stranger, err := strangers.IssueClient("partner.example")
	must(t, err)
	known, err := strangers.IssueClient("known.example")
	must(t, err)
	seen := sha256.Sum256(known.Leaf.Raw)
	w := start(t, settings{relay: relay, tls: fmt.Sprintf("client_ca_file = %q\nclient_fingerprints = [\"%X\"]", partners.File, seen)})
	for _, c := range []struct {
		who  *peer.Issued
		want string
	}{{partner, "250 2.0.0 queued"}, {known, "250 2.0.0 queued"}, {stranger, "550 5.7.1 "}, {nil, "550 5.7.1 "}} {
		config := w.client()
		if c.who != nil {
			config.Certificates = []tls.Certificate{c.who.Certificate}
		}
		s := w.from("192.0.2.1")
		_, err := s.StartTLS(config, "client.test")
		must(t, err)
		reply, err := s.Message("a@client.test", "someone@remote.example", text)
		must(t, err)
		wantReply(t, reply, c.want)
		s.Close()
	}
	must(t, remote.Await(2))
}
