package peer

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// Rspamd is a private rspamd that judges as a milter, and knows nothing but the message: neither DNS nor a database.
type Rspamd struct {
	*Process
	Addr string
}

// StartRspamd runs rspamd with its files in a folder.
func StartRspamd(dir string) (*Rspamd, error) {
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	// The list of all top level domains takes it half a minute to read.
	domains, config := filepath.Join(dir, "tld.dat"), filepath.Join(dir, "rspamd.conf")
	if err := os.WriteFile(domains, []byte("com\norg\ntest\n"), 0o644); err != nil {
		return nil, err
	}
	if err := os.WriteFile(config, fmt.Appendf(nil, `pidfile = "%[1]s/rspamd.pid";
options {
  filters = "regexp";
  dns { nameserver = ["127.0.0.1:1"]; timeout = 100ms; retransmits = 1; }
  tempdir = %[1]q;
  hs_cache_dir = %[1]q;
  disable_hyperscan = true;
  url_tld = %[2]q;
  control_socket = "%[1]s/control.sock mode=0600";
}
logging { type = "console"; level = "info"; color = false; }
actions { reject = 15; add_header = 6; }
modules { path = "${PLUGINSDIR}/milter_headers.lua"; }
milter_headers { use = ["x-spamd-bar", "x-spam-status"]; skip_local = false; skip_authenticated = false; }
worker "rspamd_proxy" {
  bind_socket = %[3]q;
  count = 1;
  milter = yes;
  timeout = 20s;
  upstream "local" { default = yes; self_scan = yes; }
}
`, dir, domains, addr), 0o644); err != nil {
		return nil, err
	}
	p, err := Start(exec.Command("/usr/bin/rspamd", "-f", "-i", "-c", config)) // -i: also as root
	if err != nil {
		return nil, err
	}
	if err := p.listening(addr, ""); err != nil {
		return nil, err
	}
	return &Rspamd{p, addr}, nil
}

// Close ends it.
func (r *Rspamd) Close() error { return r.Stop(syscall.SIGTERM) }
