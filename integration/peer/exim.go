package peer

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// Exim is a private instance of Exim.
type Exim struct {
	*Process
	Dir  string
	Addr string
}

// unpacked is the folder into which peers.sh unpacked a program that cannot be installed together with Debian's Postfix.
func unpacked(name string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "mxbypass", name)
	if _, err := os.Stat(dir); err != nil {
		return "", fmt.Errorf("%w: run integration/peers.sh", err)
	}
	return dir, nil
}

const eximHead = `primary_hostname = exim.test
exim_path = %[3]s
spool_directory = %[1]s/spool
log_file_path = %[1]s/log/%%slog
pid_file_path = %[1]s/exim.pid
exim_user = mail
exim_group = mail
never_users =
local_interfaces = 127.0.0.1
daemon_smtp_ports = %[2]d
queue_only = false
host_lookup =
rfc1413_query_timeout = 0s
keep_environment =
recipient_unqualified_hosts =
`

// StartExim runs a private Exim with the given configuration behind our main settings; it needs root, as Exim does. The
// configuration is everything from further main settings to the transports.
func StartExim(dir, config string) (*Exim, error) {
	debian, err := unpacked("exim")
	if err != nil {
		return nil, err
	}
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	for _, d := range []string{"spool", "log"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
		if out, err := exec.Command("chown", "mail:mail", filepath.Join(dir, d)).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("chown: %w: %s", err, out)
		}
	}
	if err := reachable(dir); err != nil {
		return nil, err
	}
	// It gives up root and starts itself again: from a place that everybody may reach.
	program, err := os.ReadFile(filepath.Join(debian, "usr", "sbin", "exim4"))
	if err != nil {
		return nil, err
	}
	bin := filepath.Join(dir, "exim4")
	if err := os.WriteFile(bin, program, 0o755); err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, "exim.conf")
	if err := os.WriteFile(conf, []byte(fmt.Sprintf(eximHead, dir, port, bin)+config+"\n"), 0o644); err != nil {
		return nil, err
	}
	// Debian's Exim will not start without the user and the group that its package makes. The instance gets them in a
	// mount namespace of its own, so that the machine's own lists stay as they are.
	if err := withUsers(dir, map[string]string{
		"passwd": "Debian-exim:x:8:8::/nonexistent:/usr/sbin/nologin\n",
		"group":  "Debian-exim:x:8:\n",
	}); err != nil {
		return nil, err
	}
	cmd := exec.Command("/bin/sh", "-c", `mount --bind "$1/passwd" /etc/passwd && mount --bind "$1/group" /etc/group &&
		shift && exec "$@"`, "sh", dir, bin, "-C", conf, "-bdf", "-q1m")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	p, err := Start(cmd)
	if err != nil {
		return nil, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	if err := p.listening(addr, "220"); err != nil {
		return nil, err
	}
	return &Exim{Process: p, Dir: dir, Addr: addr}, nil
}

// withUsers writes the machine's lists of users and groups into a folder, with lines added to them.
func withUsers(dir string, lines map[string]string) error {
	for name, line := range lines {
		old, err := os.ReadFile(filepath.Join("/etc", name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), append(old, line...), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Log is what the instance has logged.
func (e *Exim) Log() string {
	var all []byte
	for _, f := range []string{"main", "panic", "reject"} {
		b, err := os.ReadFile(filepath.Join(e.Dir, "log", f+"log"))
		if err == nil {
			all = append(all, b...)
		}
	}
	return string(all)
}

// Close ends the instance.
func (e *Exim) Close() error { return e.Stop(syscall.SIGTERM) }
