package trust

import (
	"bytes"
	"fmt"
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mxbypass/integration/peer"
)

// manager is what systemd does for a service: it has its socket, and hears what it says.
type manager struct {
	t      *testing.T
	socket *net.TCPListener
	notify *net.UnixConn
}

func newManager(t *testing.T, dir string) *manager {
	t.Helper()
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close(); notify.Close() })
	return &manager{t, socket.(*net.TCPListener), notify}
}

// start runs the relay as systemd would; LISTEN_PID is that of the program, which the shell becomes.
func (m *manager) start(config string) *peer.Process {
	m.t.Helper()
	bin, err := peer.Binary()
	if err != nil {
		m.t.Fatal(err)
	}
	f, err := m.socket.File()
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ WATCHDOG_PID=$$ exec "$0" "$@"`, bin, "serve", "-c", config)
	cmd.Env = append(os.Environ(), "LISTEN_FDS=1", "LISTEN_FDNAMES=smtp", "WATCHDOG_USEC=1000000",
		"NOTIFY_SOCKET="+m.notify.LocalAddr().String())
	cmd.ExtraFiles = []*os.File{f}
	p, err := peer.Start(cmd)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		if m.t.Failed() {
			m.t.Log(p.Output())
		}
		p.Kill()
	})
	return p
}

// hears waits for a state, and gives how often the watchdog was fed before it.
func (m *manager) hears(state string) (fed int) {
	m.t.Helper()
	for b := make([]byte, 512); ; {
		if err := m.notify.SetReadDeadline(time.Now().Add(soon)); err != nil {
			m.t.Fatal(err)
		}
		n, err := m.notify.Read(b)
		if err != nil {
			m.t.Fatalf("waiting for %s: %v", state, err)
		}
		switch got := string(b[:n]); {
		case strings.HasPrefix(got, state):
			return fed
		case got == "WATCHDOG=1":
			fed++
		default:
			m.t.Errorf("%q, waiting for %s", got, state)
		}
	}
}

// dial connects, and does not wait for a greeting.
func (m *manager) dial() *textproto.Conn {
	m.t.Helper()
	c, err := textproto.Dial("tcp", m.socket.Addr().String())
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { c.Close() })
	return c
}

// replied reads a reply, after a line if there is one.
func (m *manager) replied(c *textproto.Conn, line string, code int) {
	m.t.Helper()
	if line != "" {
		_, _ = c.Cmd("%s", line) // the reply is an error then
	}
	if _, text, err := c.ReadResponse(code); err != nil {
		m.t.Error(line, text, err)
	}
}

func (m *manager) greeted() {
	m.t.Helper()
	c := m.dial()
	m.replied(c, "", 220)
	m.replied(c, "QUIT", 221)
}

// The relay serves on a socket that systemd has opened, says how it is, and loses nobody who comes while it is started
// anew. It leaves no core files, and its files are for nobody else.
func TestSystemd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := newManager(t, dir)
	config := filepath.Join(dir, "mxbypass.toml")
	text := fmt.Sprintf(`hostname = "mx.host.test"
state_dir = %[1]q
shutdown_timeout = "5s"
[[listener]]
address = "systemd:smtp"
[[gateway]]
host = "mx.host.test"
sites = ["*"]
[[site]]
name = "cloud"
store = "maildir"
path = %[2]q
[directory]
path = %[3]q
`, dir+"/state", dir+"/mail/{domain}/{user}", dir+"/directory.toml")
	for path, text := range map[string]string{
		config: text, dir + "/directory.toml": "[[domain]]\nname = \"exemple.org\"\nsite = \"cloud\"\nmx = \"local\"\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := m.start(config)
	m.hears("READY=1")
	m.greeted()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Cmd.Process.Pid))
	if err != nil || !strings.Contains(string(status), "Umask:\t0077") {
		t.Errorf("%v: %s", err, status)
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", p.Cmd.Process.Pid))
	if err != nil || !strings.Contains(strings.Join(strings.Fields(string(limits)), " "), "Max core file size 0 0") {
		t.Errorf("%v: %s", err, limits)
	}

	for _, broken := range []bool{false, true} { // ready again, whatever came of it
		if broken {
			if err := os.WriteFile(config, []byte("nonsense"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		m.hears("RELOADING=1\nMONOTONIC_USEC=")
		m.hears("READY=1")
		m.greeted()
	}
	m.hears("WATCHDOG=1")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	// Who comes while a transaction holds up the end waits for the next start.
	idle, busy := m.dial(), m.dial()
	m.replied(idle, "", 220)
	m.replied(busy, "", 220)
	m.replied(busy, "EHLO client.test", 250)
	m.replied(busy, "MAIL FROM:<a@client.test>", 250)
	m.replied(busy, "RCPT TO:<postmaster@mx.host.test>", 250)
	m.replied(busy, "DATA", 354)
	if err := p.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	m.hears("STOPPING=1")
	m.replied(idle, "", 421)
	late := m.dial()
	m.replied(busy, "From: a@client.test\r\n\r\nHello.\r\n.", 250)
	if err := p.Err(); err != nil {
		t.Error(err)
	}
	private(t, dir+"/state")
	p = m.start(config)
	m.replied(late, "", 220)
	m.hears("READY=1")
	if err := p.Stop(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}

// The unit of systemd lets little through: at most 2.0 of 10 (the threshold is in tenths).
func TestHardening(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager",
		"../../configs/systemd/mxbypass.service").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("Overall exposure level")) {
		t.Errorf("%v\n%s", err, out)
	}
}
