package relaying

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"mxbypass/integration/peer"
)

// receiver is a foreign mail server that takes mail for remote.example. It knows b, and u0 to u199, and keeps what it
// gets in one Maildir.
type receiver struct {
	addr    string
	log     func() string
	dir     string // of the Maildir
	started int    // length of its log when it was ready: what stands before is about how we waited for it
}

// mailServer is how a receiver is started, and what can be read from its log: expressions for its lines. Clients that
// keep to the protocol leave nothing that mess matches, and as many polite ends as connections.
type mailServer struct {
	start       func(t *testing.T, dir string, c certificate) *receiver
	to          string // its field for the recipient's address
	connected   string
	quit        string // a connection ended with QUIT
	taken       string // it took a message
	encrypted   string // it knows of encryption; empty: it cannot encrypt
	mess        string
	unknownUser string            // what it says of somebody it does not know
	adds        string            // expression for fields that it adds below the trace
	changes     map[string]string // what arrives of an odd message when it is not what was sent; "": it is refused
}

// noField is the line in the message "no header, no blank" whose lack of a colon is what servers differ about.
const noField = "just a line that is no field\r\nanother\r\n"

var mailServers = map[string]mailServer{
	"Postfix": {
		start:       func(t *testing.T, dir string, c certificate) *receiver { return startPostfix(t, dir, postfixTLS(c)) },
		to:          "X-Original-To: ",
		connected:   `smtpd\[\d+\]: connect from`,
		quit:        `smtpd\[\d+\]: disconnect from .* quit=1 `,
		taken:       `/cleanup\[\d+\]: \w+: message-id=`,
		encrypted:   `TLS connection established from`,
		mess:        `pipelining|lost connection|non-SMTP|timeout|too many|reject:|warning:|error:|fatal:|panic:`,
		unknownUser: "550 5.1.1 <nobody@remote.example>: Recipient address rejected: User unknown in virtual mailbox table",
		changes:     map[string]string{"no header, no blank": "\r\n" + noField}, // the header ends before what is no field
	},
	"Exim": {
		start:       startExim,
		to:          "Envelope-to: ",
		connected:   `SMTP connection from .* \(TCP/IP connection count`,
		quit:        `SMTP connection from .* closed by QUIT`,
		taken:       ` <= \S+@\S+ H=`,
		encrypted:   ` <= .* X=TLS`,
		mess:        `synchronization|disconnection|connection .* lost|syntax|unrecognized|dropped|timeout|rejected|TLS error`,
		unknownUser: "550 nobody@remote.example is nobody here",
		changes: map[string]string{
			"no header, no blank": "\r\n" + noField, // as with Postfix
			"no body":             "Subject: only a header\r\n\r\n",
		},
	},
	"OpenSMTPD": {
		start:       startOpenSMTPD,
		to:          "Delivered-To: ",
		connected:   `smtp connected`,
		quit:        `smtp disconnected reason=quit`,
		taken:       `smtp message msgid=`,
		mess:        `failed-command command="[^D]|result="503|disconnected reason=[^q]|warn:|fatal:`, // it may refuse a message
		unknownUser: "550 Invalid recipient: <nobody@remote.example>",
		// It completes the header of mail that it gets on a loopback address.
		adds:    `(?m)^Date: .* \(UTC\)\r\nMessage-ID: <\w+@opensmtpd\.test>\r\n`,
		changes: map[string]string{"no header, no blank": ""},
	},
}

// certificate is a pair of files, for remote.example and signed by itself; the zero value is none.
type certificate struct{ cert, key string }

func selfSigned(t *testing.T, dir, name string) certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "remote.example"},
		DNSNames: []string{"remote.example"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	c := certificate{filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")}
	must(t, os.WriteFile(c.cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}), 0o644))
	must(t, os.WriteFile(c.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	owned(t, c.key) // Exim reads it after it gave up root
	return c
}

// owned gives a file to the user of every instance here that delivers.
func owned(t *testing.T, path string) {
	t.Helper()
	if out, err := exec.Command("chown", "mail:mail", path).CombinedOutput(); err != nil {
		t.Fatalf("chown: %v: %s", err, out)
	}
}

// maildir makes the folder that receivers deliver to.
func maildir(t *testing.T, dir string) string {
	t.Helper()
	for _, name := range []string{"mail", "mail/Maildir", "mail/Maildir/tmp", "mail/Maildir/new", "mail/Maildir/cur"} {
		must(t, os.Mkdir(filepath.Join(dir, name), 0o700))
		owned(t, filepath.Join(dir, name))
	}
	return filepath.Join(dir, "mail", "Maildir")
}

// ready waits until the log has the end of the connection that asked whether the server is there.
func (r *receiver) ready(t *testing.T, gone string) *receiver {
	t.Helper()
	must(t, peer.Until(patience, "the first connection in the log", func() bool { return len(r.lines(gone)) > 0 }))
	r.started = len(r.log())
	return r
}

func postfixTLS(c certificate) string {
	if c.cert == "" {
		return ""
	}
	return "smtpd_tls_security_level = may\nsmtpd_tls_loglevel = 1\n" +
		fmt.Sprintf("smtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\n", c.cert, c.key)
}

func startPostfix(t *testing.T, dir, main string) *receiver {
	t.Helper()
	box, users := maildir(t, dir), filepath.Join(dir, "users")
	must(t, os.WriteFile(users, []byte(`/^(b|u[0-9]+)@remote\.example$/ Maildir/`+"\n"), 0o644))
	// Postfix completes and rewrites the header of mail from clients that it takes for its own; mail from elsewhere, as
	// ours is for it, stays as it is.
	p, err := peer.StartPostfix(peer.PostfixOptions{Dir: dir, Main: fmt.Sprintf(`myhostname = postfix.test
virtual_mailbox_domains = remote.example
virtual_mailbox_base = %s
virtual_mailbox_maps = regexp:%s
virtual_uid_maps = static:8
virtual_gid_maps = static:8
virtual_minimum_uid = 8
local_header_rewrite_clients =
%s`, filepath.Dir(box), users, main)})
	must(t, err)
	t.Cleanup(func() { must(t, p.Close()) })
	return (&receiver{addr: p.Addr, log: p.Log, dir: box}).ready(t, `smtpd\[\d+\]: disconnect from`)
}

func startExim(t *testing.T, dir string, c certificate) *receiver {
	t.Helper()
	box, encryption := maildir(t, dir), "tls_advertise_hosts ="
	if c.cert != "" {
		encryption = fmt.Sprintf("tls_advertise_hosts = *\ntls_certificate = %s\ntls_privatekey = %s", c.cert, c.key)
	}
	e, err := peer.StartExim(dir, fmt.Sprintf(`%s
acl_smtp_rcpt = known
log_selector = +smtp_connection +smtp_protocol_error +smtp_syntax_error
smtp_accept_queue_per_connection = 0

begin acl
known:
  deny message = $local_part@$domain is nobody here
       !verify = recipient
  accept

begin routers
box:
  driver = accept
  domains = remote.example
  local_parts = \N^(b|u[0-9]+)$\N
  transport = maildir

begin transports
maildir:
  driver = appendfile
  maildir_format
  directory = %s
  user = mail
  envelope_to_add
  return_path_add
`, encryption, box))
	must(t, err)
	t.Cleanup(func() { must(t, e.Close()) })
	// Its other logs only repeat lines of this one.
	log := func() string {
		b, err := os.ReadFile(filepath.Join(dir, "log", "mainlog"))
		if err != nil {
			return err.Error()
		}
		return string(b)
	}
	return (&receiver{addr: e.Addr, log: log, dir: box}).ready(t, `SMTP connection from .* lost`)
}

func startOpenSMTPD(t *testing.T, dir string, c certificate) *receiver {
	t.Helper()
	box, listen, pki := maildir(t, dir), "hostname opensmtpd.test", ""
	if c.cert != "" {
		owner := exec.Command("chown", "root:root", c.key) // it insists
		must(t, owner.Run())
		listen += " tls pki remote.example"
		pki = fmt.Sprintf("pki remote.example cert %q\npki remote.example key %q\n", c.cert, c.key)
	}
	o, err := peer.StartOpenSMTPD(dir, listen, pki+fmt.Sprintf(`table users { "^(b|u[0-9]+)@remote\.example$" }
table everybody { "@" = "mail" }
action "keep" maildir %q virtual <everybody>
match from any for domain "remote.example" rcpt-to regex <users> action "keep"
`, box))
	must(t, err)
	t.Cleanup(func() { must(t, o.Close()) })
	return (&receiver{addr: o.Addr, log: o.Log, dir: box}).ready(t, `smtp disconnected`)
}

// await waits for n messages, and gives them as they lie in the Maildir.
func (r *receiver) await(t *testing.T, n int) []string {
	t.Helper()
	err := peer.Until(patience, fmt.Sprintf("%d messages", n), func() bool { return len(inboxAt(t, r.dir)) >= n })
	all := inboxAt(t, r.dir)
	if err != nil || len(all) != n {
		t.Fatalf("%d messages arrived, want %d; the receiver's log:\n%s", len(all), n, r.log())
	}
	return all
}

// arrived waits for one more message than there were, and gives it.
func (r *receiver) arrived(t *testing.T, before []string) string {
	t.Helper()
	after := r.await(t, len(before)+1)
	known := map[string]int{}
	for _, m := range before {
		known[m]++
	}
	for _, m := range after {
		if known[m]--; known[m] < 0 {
			return m
		}
	}
	t.Fatal("no message is new")
	return ""
}

// lines are those of the log, since the receiver was ready, that match an expression.
func (r *receiver) lines(expression string) []string {
	match := regexp.MustCompile(expression)
	var found []string
	for _, line := range strings.Split(r.log()[r.started:], "\n") {
		if match.MatchString(line) {
			found = append(found, line)
		}
	}
	return found
}

// polite wants that the relay, which has ended, was a good client of this server.
func (r *receiver) polite(t *testing.T, s mailServer) {
	t.Helper()
	err := peer.Until(patience, "the end of each connection in the log", func() bool {
		return len(r.lines(s.quit)) >= len(r.lines(s.connected))
	})
	if mess := r.lines(s.mess); err != nil || len(mess) != 0 || len(r.lines(s.connected)) == 0 {
		t.Errorf("%v: it complains %q; its log:\n%s", err, mess, r.log())
	}
}
