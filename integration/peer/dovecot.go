package peer

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// Dovecot is a private instance of Dovecot: an LMTP service on a unix socket and on TCP, and IMAP on TCP.
type Dovecot struct {
	*Process
	Dir      string
	LMTP     string // path of the unix socket
	LMTPAddr string
	IMAPAddr string
}

// DovecotPassword is the password of every user of the private instance.
const DovecotPassword = "secret"

// The mail of user@domain is kept in Dir/mail/domain/user/Maildir. Users are those of a passwd file, so that unknown
// ones are refused as they are in real life.
const dovecotConf = `protocols = imap lmtp
base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/log
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain
auth_username_format = %%Lu
default_internal_user = dovecot
default_login_user = dovenull
first_valid_uid = 1
mail_location = maildir:~/Maildir
recipient_delimiter = +
listen = 127.0.0.1
postmaster_address = postmaster@imap.test
hostname = imap.test
passdb {
  driver = passwd-file
  args = scheme=PLAIN username_format=%%Lu %[1]s/users
}
userdb {
  driver = passwd-file
  args = username_format=%%Lu %[1]s/users
  override_fields = uid=mail gid=mail home=%[1]s/mail/%%Ld/%%Ln
}
service imap-login {
  chroot =
  inet_listener imap {
    port = %[2]d
  }
  inet_listener imaps {
    port = 0
  }
}
service lmtp {
  unix_listener lmtp {
    mode = 0666
  }
  inet_listener lmtp {
    port = %[3]d
  }
}
service anvil {
  chroot =
}
protocol lmtp {
  mail_plugins = quota
}
plugin {
  quota = maildir:User quota
  quota_rule = *:storage=1G
}
%[4]s
`

// StartDovecot runs a private Dovecot that knows the given users (user@domain); it needs root, as Dovecot does. Extra
// lines are added to its configuration.
func StartDovecot(dir string, users []string, extra string) (*Dovecot, error) {
	imap, err := FreePort()
	if err != nil {
		return nil, err
	}
	lmtp, err := FreePort()
	if err != nil {
		return nil, err
	}
	mail := filepath.Join(dir, "mail")
	if err := os.MkdirAll(mail, 0o777); err != nil {
		return nil, err
	}
	if err := os.Chmod(mail, 0o777); err != nil {
		return nil, err
	}
	if err := reachable(mail); err != nil {
		return nil, err
	}
	d := &Dovecot{Dir: dir, LMTP: filepath.Join(dir, "run", "lmtp"),
		LMTPAddr: fmt.Sprintf("127.0.0.1:%d", lmtp), IMAPAddr: fmt.Sprintf("127.0.0.1:%d", imap)}
	if err := d.SetUsers(users); err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, "dovecot.conf")
	text := fmt.Sprintf(dovecotConf, dir, imap, lmtp, extra)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return nil, err
	}
	if d.Process, err = Start(exec.Command("/usr/sbin/dovecot", "-F", "-c", conf)); err != nil {
		return nil, err
	}
	for _, addr := range []string{d.LMTPAddr, d.IMAPAddr} {
		if err := d.listening(addr, ""); err != nil {
			return nil, fmt.Errorf("%w\n%s", err, d.Log())
		}
	}
	return d, nil
}

// SetUsers replaces the users that Dovecot knows.
func (d *Dovecot) SetUsers(users []string) error {
	var text []byte
	for _, u := range users {
		text = fmt.Appendf(text, "%s:%s::::::\n", u, DovecotPassword)
	}
	return os.WriteFile(filepath.Join(d.Dir, "users"), text, 0o644)
}

// Log is what the instance has logged.
func (d *Dovecot) Log() string {
	b, err := os.ReadFile(filepath.Join(d.Dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Close ends the instance.
func (d *Dovecot) Close() error { return d.Stop(syscall.SIGTERM) }
