package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"mxbypass/relay/lookup/dnstest"
)

// reloader is a relay that is told to reload.
type reloader struct {
	t       *testing.T
	dir     string
	signals chan os.Signal
	log     chan string // its lines, closed at its end
	ended   chan error
}

// startReloader runs a relay in this process, under a configuration in which DIR is its folder.
func startReloader(t *testing.T, config string) *reloader {
	t.Helper()
	out, in := io.Pipe()
	r := &reloader{t: t, dir: t.TempDir(), signals: make(chan os.Signal, 1), log: make(chan string, 1<<16),
		ended: make(chan error, 1)}
	r.write("directory.toml", soundDirectory)
	r.write("mxbypass.toml", config)
	a := newApp(strings.NewReader(""), io.Discard, in)
	a.configFile = filepath.Join(r.dir, "mxbypass.toml")
	go func() {
		defer close(r.log)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			r.log <- lines.Text()
		}
	}()
	go func() {
		err := a.serveFile(t.Context(), r.signals, nil)
		_ = in.Close()
		r.ended <- err
	}()
	r.until("msg=started")
	return r
}

func (r *reloader) write(name, text string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(strings.ReplaceAll(text, "DIR", r.dir)), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// until reads the log up to a line.
func (r *reloader) until(part string) {
	r.t.Helper()
	var seen []string
	for line := range r.log {
		if strings.Contains(line, part) {
			return
		}
		seen = append(seen, line)
	}
	r.t.Fatalf("no %q in the log:\n%s", part, strings.Join(seen, "\n"))
}

func (r *reloader) reload(config string) {
	r.t.Helper()
	r.write("mxbypass.toml", config)
	r.signals <- syscall.SIGHUP
	r.until("msg=reloaded")
}

// stop ends the relay.
func (r *reloader) stop() {
	r.t.Helper()
	r.signals <- syscall.SIGTERM
	for range r.log { // to its end
	}
	if err := <-r.ended; err != nil {
		r.t.Error(err)
	}
}

// unknown asks for a mailbox that there is not, until the relay knows what DNS has of the domain: only then it can say no.
func (r *reloader) unknown() {
	r.t.Helper()
	raw, err := net.Dial("unix", filepath.Join(r.dir, "socket"))
	if err != nil {
		r.t.Fatal(err)
	}
	defer raw.Close()
	c := textproto.NewConn(raw)
	for i, line := range []string{"", "EHLO client.test", "MAIL FROM:<a@client.test>"} {
		if i > 0 {
			if err := c.PrintfLine("%s", line); err != nil {
				r.t.Fatal(err)
			}
		}
		if _, text, err := c.ReadResponse(2); err != nil {
			r.t.Fatal(text, err)
		}
	}
	for code := 451; code == 451; {
		if err := c.PrintfLine("RCPT TO:<nobody@exemple.org>"); err != nil {
			r.t.Fatal(err)
		}
		var text string
		if code, text, _ = c.ReadResponse(0); code != 451 && code != 550 {
			r.t.Fatal(code, text)
		}
	}
}

// A reload that changes nothing about DNS asks nothing again, even when it makes the states of domains anew; another
// server is asked by itself.
func TestReloadKeepsAnswers(t *testing.T) {
	first, second := dnstest.New(t), dnstest.New(t)
	for _, s := range []*dnstest.Server{first, second} {
		s.Add(t, "exemple.org. MX 10 mx.elsewhere.test.")
	}
	config := strings.Replace(soundConfig, "127.0.0.1:9", first.Addr, 1) +
		"[limits]\nerrors_slow = 100000\nerrors_close = 100000\n"
	r := startReloader(t, config)
	r.unknown()
	for i, text := range []string{
		config + "[log]\nlevel = \"debug\"\n",
		strings.Replace(config, "[[site]]", "[[gateway]]\nhost = \"other.host.test\"\nsites = [\"cloud\"]\n[[site]]", 1),
		config,
	} {
		r.reload(text)
		r.unknown()
		if n := first.Asked("exemple.org."); n != 1 {
			t.Errorf("after reload %d: asked %d times", i+1, n)
		}
	}
	r.reload(strings.Replace(config, first.Addr, second.Addr, 1))
	r.unknown()
	if a, b := first.Asked("exemple.org."), second.Asked("exemple.org."); a != 1 || b != 1 {
		t.Errorf("another server: the first was asked %d times, the second %d times", a, b)
	}
	r.stop()
}

// A reload tells all mistakes, those of keys and those of files, and goes on with what it had; then it goes on.
func TestReloadTellsAll(t *testing.T) {
	r := startReloader(t, soundConfig)
	r.write("mxbypass.toml", "[limts]\nx = 1\n"+soundConfig+"[tls]\nclient_ca_file = \"DIR/none\"\n")
	r.signals <- syscall.SIGHUP
	r.until(`key \"limts.x\": unknown key`)
	r.until(`key \"tls.client_ca_file\"`)
	r.write("mxbypass.toml", soundConfig+"[transport]\nca_file = \"DIR/none\"\n[tls]\nclient_ca_file = \"DIR/none\"\n")
	r.signals <- syscall.SIGHUP
	r.until(fmt.Sprintf("%s/mxbypass.toml:17:", r.dir))
	r.until(fmt.Sprintf("%s/mxbypass.toml:19:", r.dir))
	r.reload(soundConfig)
	r.stop()
}
