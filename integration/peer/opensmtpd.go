package peer

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// OpenSMTPD is a private instance of OpenSMTPD.
type OpenSMTPD struct {
	*Process
	Dir  string
	Addr string
}

// The paths of OpenSMTPD are built in. It finds its own folders there, in a mount namespace that ends with it; all of
// them stand in folders that every Debian has, so that nothing is made on the machine. $1 is the instance's folder, $2
// the unpacked package.
const openSMTPDMounts = `set -e
mount --bind "$1/passwd" /etc/passwd
mount --bind "$1/group" /etc/group
mount --bind "$1/lib" /var/lib
mount --bind "$1/spool" /var/spool
mount --bind "$1/run" /run
mount --bind "$2/usr/libexec" /usr/libexec
exec "$1/smtpd" -d -f "$1/smtpd.conf"
`

// StartOpenSMTPD runs a private OpenSMTPD; it needs root, as OpenSMTPD does. Listen is what follows the address and the
// port of its listener, such as "tls pki remote.example"; the configuration is everything else.
func StartOpenSMTPD(dir, listen, config string) (*OpenSMTPD, error) {
	debian, err := unpacked("opensmtpd")
	if err != nil {
		return nil, err
	}
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	if err := openSMTPDFolders(dir); err != nil {
		return nil, err
	}
	// It starts itself again for each of its processes, from a place that everybody may reach.
	program, err := os.ReadFile(filepath.Join(debian, "usr", "sbin", "smtpd"))
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "smtpd"), program, 0o755); err != nil {
		return nil, err
	}
	config = strings.Join([]string{config, fmt.Sprintf("listen on 127.0.0.1 port %d %s", port, listen), ""}, "\n")
	if err := os.WriteFile(filepath.Join(dir, "smtpd.conf"), []byte(config), 0o644); err != nil {
		return nil, err
	}
	if err := withUsers(dir, map[string]string{
		"passwd": "opensmtpd:x:65001:65001::/var/lib/opensmtpd/empty:/usr/sbin/nologin\n" +
			"opensmtpq:x:65002:65002::/var/lib/opensmtpd/empty:/usr/sbin/nologin\n",
		"group": "opensmtpd:x:65001:\nopensmtpq:x:65002:\n",
	}); err != nil {
		return nil, err
	}
	cmd := exec.Command("/bin/sh", "-c", openSMTPDMounts, "sh", dir, debian)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	p, err := Start(cmd)
	if err != nil {
		return nil, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	if err := p.listening(addr, "220"); err != nil {
		return nil, err
	}
	return &OpenSMTPD{Process: p, Dir: dir, Addr: addr}, nil
}

// openSMTPDFolders makes what stands in the place of /var/lib, /var/spool and /run.
func openSMTPDFolders(dir string) error {
	for _, d := range []string{"lib/opensmtpd/empty", "spool/smtpd", "run"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(filepath.Join(dir, "spool", "smtpd"), 0o711); err != nil {
		return err
	}
	return reachable(dir)
}

// Log is what the instance has logged.
func (o *OpenSMTPD) Log() string { return o.Output() }

// Close ends the instance.
func (o *OpenSMTPD) Close() error { return o.Stop(syscall.SIGTERM) }
