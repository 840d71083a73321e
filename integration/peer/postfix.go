package peer

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Postfix is a private instance of Postfix.
type Postfix struct {
	*Process
	Dir  string
	Addr string // its SMTP listener
}

// PostfixOptions says what differs from one instance to another.
type PostfixOptions struct {
	Dir    string // an empty folder; everything of the instance is below it
	Main   string // lines added to main.cf
	Master string // lines added to master.cf
}

const postfixMain = `compatibility_level = 3.6
queue_directory = %[1]s/spool
data_directory = %[1]s/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
multi_instance_name =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
local_recipient_maps =
smtputf8_enable = yes
maillog_file_prefixes = %[1]s
maillog_file = %[1]s/log
default_database_type = hash
biff = no
`

const postfixMaster = `127.0.0.1:%[1]d inet n - n - - smtpd
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n - - proxymap
smtp      unix  - - n - - smtp
relay     unix  - - n - - smtp
showq     unix  n - n - - showq
error     unix  - - n - - error
retry     unix  - - n - - error
discard   unix  - - n - - discard
local     unix  - n n - - local
virtual   unix  - n n - - virtual
anvil     unix  - - n - 1 anvil
scache    unix  - - n - 1 scache
tlsmgr    unix  - - n 1000? 1 tlsmgr
postlog   unix-dgram n - n - 1 postlogd
`

// StartPostfix runs a private Postfix; it needs root, as Postfix does.
func StartPostfix(o PostfixOptions) (*Postfix, error) {
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	conf := filepath.Join(o.Dir, "etc")
	for _, d := range []string{conf, filepath.Join(o.Dir, "spool"), filepath.Join(o.Dir, "data")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	if err := reachable(o.Dir); err != nil {
		return nil, err
	}
	if out, err := exec.Command("chown", "postfix", filepath.Join(o.Dir, "data")).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("chown: %w: %s", err, out)
	}
	for name, text := range map[string]string{
		"main.cf":   fmt.Sprintf(postfixMain, o.Dir) + o.Main + "\n",
		"master.cf": fmt.Sprintf(postfixMaster, port) + o.Master + "\n",
	} {
		if err := os.WriteFile(filepath.Join(conf, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	if out, err := exec.Command("/usr/sbin/postfix", "-c", conf, "check").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("postfix check: %w: %s", err, out)
	}
	// The master itself, and not "postfix start-fg", whose shell would stand between it and our signals; -d keeps it in
	// our process group.
	p, err := Start(exec.Command("/usr/lib/postfix/sbin/master", "-d", "-c", conf))
	if err != nil {
		return nil, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	if err := p.listening(addr, "220"); err != nil {
		return nil, err
	}
	return &Postfix{Process: p, Dir: o.Dir, Addr: addr}, nil
}

// Log is what the instance has logged.
func (p *Postfix) Log() string {
	b, err := os.ReadFile(filepath.Join(p.Dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Close ends the instance.
func (p *Postfix) Close() error {
	err := p.Stop(syscall.SIGTERM)
	if err != nil && strings.Contains(err.Error(), "signal: terminated") {
		return nil
	}
	return err
}

// reachable opens the folders above dir to programs that give up root.
func reachable(dir string) error {
	for d := dir; d != "/" && d != "."; d = filepath.Dir(d) {
		info, err := os.Stat(d)
		if err != nil {
			return err
		}
		if m := info.Mode(); m&0o011 != 0o011 {
			if err := os.Chmod(d, m|0o011); err != nil {
				return err
			}
		}
	}
	return nil
}
