package peer

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// NSD is a private authoritative DNS server.
type NSD struct {
	*Process
	Addr string
}

// StartNSD serves the zone files of a folder: the file exemple.org.zone is the zone exemple.org. A zone file that nsd
// cannot load is served as SERVFAIL, as in real life.
func StartNSD(dir, zones string) (*NSD, error) {
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	return StartNSDAt(dir, zones, "127.0.0.1", port)
}

// StartNSDAt is StartNSD at an address and a port that are known: 53, for programs that ask nowhere else.
func StartNSDAt(dir, zones, ip string, port int) (*NSD, error) {
	files, err := filepath.Glob(filepath.Join(zones, "*.zone"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no zone files in %s", zones)
	}
	text := fmt.Sprintf(`server:
  ip-address: %s@%d
  username: ""
  chroot: ""
  database: ""
  zonesdir: "%s"
  pidfile: ""
  logfile: "%s"
  xfrdfile: "%s"
  zonelistfile: "%s"
  xfrdir: "%s"
  server-count: 1
  round-robin: no
remote-control:
  control-enable: no
`, ip, port, zones, filepath.Join(dir, "nsd.log"), filepath.Join(dir, "xfrd"), filepath.Join(dir, "zone.list"), dir)
	for _, f := range files {
		name := filepath.Base(f)
		text += fmt.Sprintf("zone:\n  name: %q\n  zonefile: %q\n", name[:len(name)-len(".zone")], f)
	}
	conf := filepath.Join(dir, "nsd.conf")
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return nil, err
	}
	p, err := Start(exec.Command("/usr/sbin/nsd", "-d", "-c", conf))
	if err != nil {
		return nil, err
	}
	addr := net.JoinHostPort(ip, fmt.Sprint(port))
	if err := p.listening(addr, ""); err != nil {
		return nil, err
	}
	return &NSD{p, addr}, nil
}

// Close ends the server.
func (n *NSD) Close() error { return n.Stop(syscall.SIGTERM) }
