//go:build systemd

package systemd

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"mxbypass/integration/peer"
)

// Port 25 belongs to systemd, and the relay serves on the same socket, for IPv4 and IPv6.
func TestSocket(t *testing.T) {
	sh(t, "systemctl is-active mxbypass.socket mxbypass.service && systemctl is-enabled mxbypass.socket mxbypass.service")
	tcp, err := os.ReadFile("/proc/net/tcp6")
	if err != nil {
		t.Fatal(err)
	}
	port25 := regexp.MustCompile(`(?m)^ *\d+: 0{32}:0019 0{32}:0000 0A (?:\S+ +){5}(\d+) `).FindSubmatch(tcp)
	if port25 == nil {
		t.Fatalf("nobody listens at [::]:25\n%s", tcp)
	}
	for _, process := range []int{1, pid(t)} {
		if !holds(t, process, "socket:["+string(port25[1])+"]") {
			t.Errorf("the socket %s is none of process %d", port25[1], process)
		}
	}
	for _, addr := range []string{"127.0.0.1:25", "[::1]:25"} {
		c, greeting, err := peer.DialSMTP("tcp", addr)
		if err != nil || !strings.HasPrefix(greeting, "220 ") {
			t.Fatal(addr, greeting, err)
		}
		c.Close()
	}
	// It was started when it said that it was ready, and not before.
	if kind := property(t, "Type"); kind != "notify" || property(t, "NotifyAccess") != "main" {
		t.Error(kind, property(t, "NotifyAccess"))
	}
}

func holds(t *testing.T, process int, what string) bool {
	t.Helper()
	folder := fmt.Sprintf("/proc/%d/fd", process)
	files, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if target, err := os.Readlink(filepath.Join(folder, f.Name())); err == nil && target == what {
			return true
		}
	}
	return false
}

// What the running process may do, as the kernel has it.
func TestSandbox(t *testing.T) {
	of := fmt.Sprintf("/proc/%d/", pid(t))
	user := sh(t, "id -u mxbypass")
	// As many files as the unit says, or as many as this container may give.
	files := sh(t, "n=$(ulimit -Hn); echo $((n < 65536 ? n : 65536))")
	for file, wants := range map[string][]string{
		"status": {
			`Uid:(\s` + user + `){4}`, `CapInh:\s0+`, `CapPrm:\s0+`, `CapEff:\s0+`, `CapBnd:\s0+`, `CapAmb:\s0+`,
			`NoNewPrivs:\s1`, `Seccomp:\s2`, `Umask:\s0077`,
		},
		"limits":  {`Max core file size +0 +0 .*`, `Max open files +` + files + ` +` + files + ` .*`},
		"uid_map": {` *` + user + ` +` + user + ` +1`},
		"mountinfo": {
			`\S+ \S+ \S+ \S+ / ro\b.*`, `\S+ \S+ \S+ \S+ /var/mail rw\b.*`, `\S+ \S+ \S+ \S+ /var/lib/mxbypass rw\b.*`,
			`\S+ \S+ \S+ \S+ /home ro\b.*`, `\S+ \S+ \S+ \S+ /proc/sys ro\b.*`,
		},
	} {
		text, err := os.ReadFile(of + file)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range wants {
			if !regexp.MustCompile(`(?m)^` + want + `$`).Match(text) {
				t.Errorf("%s: no %s in\n%s", file, want, text)
			}
		}
	}
	// Not even its own user may look into its memory, which belongs to root: it cannot be dumped.
	info, err := os.Stat(of + "mem")
	if err != nil {
		t.Fatal(err)
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; owner != 0 {
		t.Errorf("its memory belongs to %d", owner)
	}
	if denied := property(t, "SystemCallErrorNumber"); denied != "2147483646" && denied != "kill" {
		t.Errorf("a forbidden system call has the error %s", denied)
	}
	out := sh(t, "systemd-analyze security --no-pager --threshold=20 "+unit)
	t.Log(out[strings.LastIndex(out, "\n")+1:])
}

// Who has been told to reload has the new configuration, or the old one and the reason.
func TestReload(t *testing.T) {
	configured(t, the.config, the.directory)
	says(t, mailing(t), "RCPT TO:<foobar%exemple.org@vps42.host.net>", "550 5.7.1")
	before := pid(t)

	put(t, configFile, the.config+"[[gateway]]\nhost = \"vps42.host.net\"\nsites = [\"*\"]\n")
	mark := here(t)
	sh(t, "systemctl reload mxbypass")
	logged(t, mark, "msg=reloaded")
	says(t, mailing(t), "RCPT TO:<foobar%exemple.org@vps42.host.net>", "250")

	put(t, configFile, the.config+"[[gateway]]\nhost = \"vps43.host.net\"\nsite = [\"*\"]\n")
	mark = here(t)
	if out, err := shell("systemctl reload mxbypass"); err == nil || !strings.Contains(out, "journalctl") {
		t.Errorf("a broken configuration was taken: %s", out)
	}
	line := 1 + strings.Count(the.config, "\n") + 2
	logged(t, mark, fmt.Sprintf("%s:%d:1: key \"gateway.site\": unknown key", configFile, line))
	says(t, mailing(t), "RCPT TO:<foobar%exemple.org@vps42.host.net>", "250")
	if after := pid(t); after != before {
		t.Errorf("another process, %d after %d", after, before)
	}
}

// mailing is a connection that waits for recipients.
func mailing(t *testing.T) *peer.SMTP {
	t.Helper()
	c := dial(t)
	says(t, c, "MAIL FROM:<a@client.test>", "250")
	return c
}

// A relay that does not move any more is ended and started again, and who comes meanwhile is served.
func TestWatchdog(t *testing.T) {
	configured(t, the.config, the.directory)
	if limit := property(t, "WatchdogUSec"); limit != "1min" {
		t.Errorf("the watchdog waits for %s", limit)
	}
	// A shorter patience, for this test.
	sh(t, "mkdir -p "+dropIns+" && printf '[Service]\\nWatchdogSec=10s\\n' >"+dropIns+"/test.conf && "+
		"systemctl daemon-reload && systemctl restart mxbypass")
	before, mark := pid(t), here(t)
	if err := syscall.Kill(before, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	logged(t, mark, "Watchdog timeout", "SIGABRT", "Failed with result 'watchdog'")
	delivered(t, box) // which waits for the start
	if after := pid(t); after == before || property(t, "NRestarts") != "1" {
		t.Errorf("process %d after %d, %s restarts", after, before, property(t, "NRestarts"))
	}
	for line := range strings.Lines(journal(t, mark)) {
		if strings.Contains(line, "goroutine ") {
			return
		}
	}
	t.Errorf("it does not say what it was at\n%s", journal(t, mark))
}

// Whoever is in a transaction comes to its end, whoever idles is told, and the relay has ended well.
func TestStop(t *testing.T) {
	configured(t, the.config, the.directory)
	idle, busy := dial(t), mailing(t)
	says(t, busy, "RCPT TO:<"+box+">", "250")
	says(t, busy, "DATA", "354")
	stop := background("systemctl stop mxbypass.socket")
	if reply, err := idle.Reply(); err != nil || !strings.HasPrefix(reply, "421 ") {
		t.Error(reply, err)
	}
	if reply, err := busy.Cmd(text + "."); err != nil || !strings.HasPrefix(reply, "250 2.0.0") {
		t.Error(reply, err)
	}
	stop.succeeds(t)
	for name, want := range map[string]string{"ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0"} {
		if got := property(t, name); got != want {
			t.Errorf("%s=%s\n%s", name, got, journal(t, ""))
		}
	}
	if _, _, err := peer.DialSMTP("tcp", "127.0.0.1:25"); err == nil {
		t.Error("port 25 is still open")
	}
	sh(t, "systemctl start mxbypass.socket mxbypass.service")
	delivered(t, box)
}

// Who comes while the relay is started anew waits for the next one.
func TestRestart(t *testing.T) {
	idle, busy := dial(t), mailing(t)
	before := pid(t)
	restart := background("systemctl restart mxbypass")
	if reply, err := idle.Reply(); err != nil || !strings.HasPrefix(reply, "421 ") {
		t.Error(reply, err)
	}
	served := background("swaks --server 127.0.0.1 --to " + box) // nobody lets it in
	err := peer.Until(soon, "a client that waits", func() bool {
		tcp, err := os.ReadFile("/proc/net/tcp6")
		waiting := regexp.MustCompile(`(?m)^ *\d+: 0{32}:0019 0{32}:0000 0A 0{8}:0{7}1 `).Match(tcp)
		return err == nil && waiting
	})
	if err != nil {
		t.Fatal(err, served)
	}
	says(t, busy, "RCPT TO:<"+box+">", "250")
	says(t, busy, "DATA", "354")
	if reply, err := busy.Cmd(text + "."); err != nil || !strings.HasPrefix(reply, "250 2.0.0") {
		t.Error(reply, err)
	}
	restart.succeeds(t)
	served.succeeds(t)
	if after := pid(t); after == before {
		t.Error("it is the same process")
	}
}

// A relay whose configuration is broken does not start, and says why; it goes on trying, and serves once it is mended.
func TestBrokenStart(t *testing.T) {
	configured(t, the.config+"[[gateway]]\nhost = \"vps43.host.net\"\nsite = [\"*\"]\n", the.directory)
	mark := here(t)
	if _, err := shell("systemctl restart mxbypass"); err == nil {
		t.Error("it starts")
	}
	logged(t, mark, configFile+":", "restart counter is at 2")
	put(t, configFile, the.config)
	delivered(t, box) // to a client that waits
}
