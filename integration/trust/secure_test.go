package trust

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/smtp"
	"os"
	"path/filepath"
	"testing"
	"time"

	"mxbypass/integration/peer"
)

// secured runs a relay with one mailbox, and more lines in its configuration, until the test ends. It can be started
// again by secured with the same folder once it has ended.
func secured(t *testing.T, dir, more string) *peer.Relay {
	t.Helper()
	port, err := peer.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	config, directory := filepath.Join(dir, "mxbypass.toml"), filepath.Join(dir, "directory.toml")
	err = errors.Join(
		os.WriteFile(directory, []byte("[[domain]]\nname = \"exemple.org\"\nsite = \"cloud\"\nmx = \"local\"\nmailboxes = [\"foobar\"]\n"), 0o600),
		os.WriteFile(config, fmt.Appendf(nil, `hostname = "mx.host.test"
state_dir = %[1]q
shutdown_timeout = "5s"
[[listener]]
address = %[2]q
[[gateway]]
host = "mx.host.test"
sites = ["*"]
[[site]]
name = "cloud"
store = "maildir"
path = %[3]q
[abuse]
exempt_networks = ["127.0.0.0/8"]
[directory]
path = %[4]q
%[5]s`, dir+"/state", addr, dir+"/mail/{domain}/{user}", directory, more), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	r, err := peer.StartRelay(config, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(r.Output())
		}
		r.Kill()
	})
	return r
}

// startTLS gives what a client sees who asks for a name and believes roots.
func startTLS(addr, name string, roots *x509.CertPool) (tls.ConnectionState, error) {
	c, err := smtp.Dial(addr)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer c.Close()
	if err := c.StartTLS(&tls.Config{ServerName: name, RootCAs: roots}); err != nil {
		return tls.ConnectionState{}, err
	}
	state, _ := c.TLSConnectionState()
	return state, c.Quit()
}

// private holds that nobody else can look into what the relay has written.
func private(t *testing.T, dir string) {
	t.Helper()
	n := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is for others as well: %v", path, info.Mode())
		}
		n++
		return err
	})
	if err != nil || n < 5 {
		t.Errorf("%d files, %v", n, err)
	}
}

const soon = 60 * time.Second
