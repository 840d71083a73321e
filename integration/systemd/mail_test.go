//go:build systemd

package systemd

import (
	"encoding/base64"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"mxbypass/integration/peer"
)

const foobar = "/var/mail/exemple.org/foobar/Maildir"

// The first thing that an operator tries: swaks, from the README, into a Maildir below /var/mail.
func TestBypass(t *testing.T) {
	before, mark := len(inbox(t, foobar)), here(t)
	out := sh(t, "swaks --server 127.0.0.1 --to "+box)
	if got := inbox(t, foobar); len(got) != before+1 || !strings.Contains(out, "250 2.0.0") {
		t.Fatalf("%d messages after %d\n%s", len(got), before, out)
	}
	logged(t, mark, "msg=connected", "msg=routed", "msg=received", "msg=delivered", "msg=disconnected")
	owned(t, "/var/mail/exemple.org", "mxbypass")
}

// Plain mail of a trusted client waits while the smarthost is down; the operator sees why, and has it sent.
func TestQueue(t *testing.T) {
	c, greeting, err := peer.DialSMTPFrom(trusted, "127.0.0.1:25")
	if err != nil {
		t.Fatal(greeting, err)
	}
	defer c.Close()
	says(t, c, "EHLO client.test", "250")
	mark := here(t)
	if reply, err := c.Message("a@client.test", "someone@elsewhere.example", text); err != nil ||
		!strings.HasPrefix(reply, "250 2.0.0") {
		t.Fatal(reply, err)
	}
	logged(t, mark, "msg=queued", "msg=deferred")
	for _, who := range []string{"", "runuser -u mxbypass -- "} {
		list := sh(t, who+"mxbypass queue list && "+who+"mxbypass queue stats")
		if !strings.Contains(list, "someone@elsewhere.example") || !strings.Contains(list, "connection refused") {
			t.Errorf("%smxbypass queue list:\n%s", who, list)
		}
	}
	host, err := peer.StartRemote(smarthost, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	sh(t, "mxbypass queue retry --all")
	if err := host.Await(1); err != nil {
		t.Fatalf("%v\n%s", err, journal(t, mark))
	}
	logged(t, mark, "msg=sent")
	err = peer.Until(soon, "an empty queue", func() bool { return sh(t, "mxbypass queue list --json") == "" })
	if err != nil {
		t.Error(err)
	}
	owned(t, "/var/lib/mxbypass", "mxbypass") // although root has looked at the queue, and changed it
}

// The directory as a database, made by root and read by the relay, which sees at once what has changed.
func TestDatabase(t *testing.T) {
	config := with(t, `driver = "file"`, `driver = "sqlite"`)
	config = strings.Replace(config, "/etc/mxbypass/directory.toml", "/var/lib/mxbypass/directory.db", 1)
	configured(t, config, the.directory)
	sh(t, "mxbypass domain add exemple.org --site cloud && mxbypass mailbox add foobar@exemple.org && "+
		"systemctl restart mxbypass")
	delivered(t, box)
	says(t, mailing(t), "RCPT TO:<new%exemple.org@mx.host.net>", "550 5.1.1")
	sh(t, "mxbypass mailbox add new@exemple.org")
	delivered(t, "new%exemple.org@mx.host.net")
	sh(t, "runuser -u mxbypass -- mxbypass mailbox add other@exemple.org")
	delivered(t, "other%exemple.org@mx.host.net")
	owned(t, "/var/lib/mxbypass", "mxbypass")
}

// Users log in on a port whose socket unit the operator has added, under a certificate that a real authority gave through a
// second one. No password is in the journal.
func TestSubmission(t *testing.T) {
	dir := t.TempDir()
	authority, err := peer.StartPebble(dir, peer.PebbleOptions{DNS: the.dns.Addr, HTTPPort: 80, TLSPort: 443, Life: 90 * day})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(authority.Kill)
	roots, err := authority.Roots()
	if err != nil {
		t.Fatal(err)
	}
	sh(t, "install -m 644 "+authority.CAFile+" /etc/mxbypass/authority.pem")
	configured(t, the.config+`
[[listener]]
address = "systemd:submission"
protocol = "submission"
[acme]
names = ["mx.host.net"]
directory = "`+authority.Directory+`"
ca_file = "/etc/mxbypass/authority.pem"
http_address = "systemd:acme"
agree = true
`, the.directory)
	sh(t, moreSockets)
	t.Cleanup(func() {
		sh(t, "systemctl stop mxbypass.service mxbypass-submission.socket mxbypass-acme.socket && "+
			"rm /etc/systemd/system/mxbypass-*.socket")
	})
	const secret = "correct horse battery staple"
	sh(t, "systemctl restart mxbypass")
	line := sh(t, "echo '"+secret+"' | mxbypass mailbox passwd foobar@exemple.org")
	line = line[strings.LastIndex(line, "\n")+1:] // behind the words that say where it belongs
	put(t, "/etc/mxbypass/directory.toml", the.directory+"[domain.passwords]\n"+line+"\n")
	sh(t, "systemctl reload mxbypass")
	mark := here(t)

	var c *peer.SMTP
	err = peer.Until(soon, "a certificate", func() bool {
		if c, _, err = peer.DialSMTPFrom(stranger, "127.0.0.1:587"); err != nil {
			return false
		}
		if _, err = c.StartTLS(trusting(roots), "client.test"); err != nil {
			c.Close()
		}
		return err == nil
	})
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, journal(t, ""), authority.Output())
	}
	defer c.Close()
	if reply, err := c.Login("foobar@exemple.org", secret); err != nil || !strings.HasPrefix(reply, "235 ") {
		t.Fatalf("%s, %v\n%s", reply, err, journal(t, mark))
	}
	own := strings.Replace(text, "a@client.test", "foobar@exemple.org", 1)
	if reply, err := c.Message("foobar@exemple.org", box, own); err != nil || !strings.HasPrefix(reply, "250 2.0.0") {
		t.Errorf("%s, %v\n%s", reply, err, journal(t, mark))
	}
	sh(t, "mxbypass dkim create exemple.org --disabled")
	owned(t, "/var/lib/mxbypass", "mxbypass")
	if _, err := os.Stat("/var/lib/mxbypass/acme"); err != nil {
		t.Error(err)
	}
	all := sh(t, "journalctl --no-pager -o export")
	for _, s := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret)), "$argon2id$",
		base64.StdEncoding.EncodeToString([]byte("\x00foobar@exemple.org\x00" + secret))} {
		if strings.Contains(all, s) {
			t.Errorf("%s is in the journal", s)
		}
	}
}

// moreSockets are further units, as mxbypass.socket describes them.
const moreSockets = `
for socket in submission:587 acme:80; do
	sed -e "s/^ListenStream=.*/ListenStream=${socket#*:}/" -e "s/^FileDescriptorName=.*/FileDescriptorName=${socket%:*}/" \
		-e '/^\[Socket\]/a Service=mxbypass.service' configs/systemd/mxbypass.socket \
		>/etc/systemd/system/mxbypass-${socket%:*}.socket
done
mkdir -p ` + dropIns + `
printf '[Unit]\nRequires=mxbypass-submission.socket mxbypass-acme.socket\n' >` + dropIns + `/sockets.conf
systemctl daemon-reload && systemctl stop mxbypass.service`

// Maildirs below /home and /srv, and those of another user, with the drop-ins and as the README tells.
func TestElsewhere(t *testing.T) {
	sh(t, "id -u vmail 2>/dev/null || useradd --system vmail")
	sh(t, "install -d -o vmail -g vmail -m 700 /home/vmail && install -d -o mxbypass -m 755 /srv/mail")
	config := with(t, `"/var/mail/{domain}/{user}/Maildir"`,
		"\"/home/vmail/{domain}/{user}/Maildir\"\nowner = \"vmail:vmail\"")
	config += "[[site]]\nname = \"srv\"\nstore = \"maildir\"\npath = \"/srv/mail/{domain}/{user}\"\n"
	configured(t, config, the.directory+"[[domain]]\nname = \"srv.example\"\nsite = \"srv\"\nmailboxes = [\"foobar\"]\n")
	sh(t, the.ways)
	delivered(t, box)
	delivered(t, "foobar%srv.example@mx.host.net")
	for folder, owner := range map[string]string{"/home/vmail/exemple.org": "vmail", "/srv/mail/srv.example": "mxbypass"} {
		if got := append(inbox(t, folder+"/foobar"), inbox(t, folder+"/foobar/Maildir")...); len(got) != 1 {
			t.Errorf("%s: %q", folder, got)
		}
		owned(t, folder, owner)
	}
	out := sh(t, "systemd-analyze security --no-pager "+unit)
	t.Log(out[strings.LastIndex(out, "\n")+1:])
}

// owned holds that all there is in a folder is for one user only.
func owned(t *testing.T, folder, user string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		files++
		if mode := info.Mode().Perm(); mode != 0o600 && (mode != 0o700 || !e.IsDir()) {
			t.Errorf("%s has the mode %v", path, info.Mode())
		}
		if got := info.Sys().(*syscall.Stat_t).Uid; got != uid(t, user) {
			t.Errorf("%s belongs to %d, not to %s", path, got, user)
		}
		return nil
	})
	if err != nil || files < 3 {
		t.Errorf("%s: %d files, %v", folder, files, err)
	}
}
