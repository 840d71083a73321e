package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"mxbypass/integration/peer"
)

// testCase is one load.
type testCase struct {
	name     string
	sessions int
	messages int
	size     int
	keep     bool // connections are kept
	spread   bool // over all mailboxes, else one
	target   string
	letters  []letter                  // what the sessions send, in turn; empty: what smtp-source makes up
	check    func(folder string) error // looks at what was delivered; nil: nobody does
}

// letter is a message in a file, without its line ends, and its sender.
type letter struct{ file, from string }

// sample is what one run of a case gave.
type sample struct {
	rate float64       // messages per second until they are in the Maildir
	cpu  time.Duration // of the server, per message
}

func cases(scale float64) []testCase {
	all := []testCase{
		{name: "50 kept sessions, 50 mailboxes, 10 KiB", sessions: 50, messages: 10000, size: 10240, keep: true, spread: true, target: "6x"},
		{name: "new connection each, 50 sessions, 10 KiB", sessions: 50, messages: 10000, size: 10240, spread: true, target: "5x"},
		{name: "one mailbox, 50 kept sessions, 10 KiB", sessions: 50, messages: 10000, size: 10240, keep: true, target: "4x"},
		{name: "one kept session, 10 KiB", sessions: 1, messages: 2000, size: 10240, keep: true, target: "2.5x"},
		{name: "50 kept sessions, 50 mailboxes, 1 MiB", sessions: 50, messages: 600, size: 1 << 20, keep: true, spread: true, target: "1.5x"},
	}
	for i := range all {
		all[i].messages = max(all[i].sessions, int(float64(all[i].messages)*scale)/all[i].sessions*all[i].sessions)
	}
	return all
}

func (c testCase) matches(only string) bool { return strings.Contains(c.name, only) }

// run starts a server on a fresh disk, warms it up, puts the load on it and waits until all of it is in the Maildirs.
func (c testCase) run(start func(string) (server, error), disk *disk) (got sample, err error) {
	dir, done, err := disk.fresh()
	if err != nil {
		return got, err
	}
	defer func() {
		if e := done(); err == nil {
			err = e
		}
	}()
	s, err := start(dir)
	if err != nil {
		return got, err
	}
	warm := c
	warm.messages = max(c.sessions, c.messages/50/c.sessions*c.sessions)
	if err := warm.load(s, 0); err != nil {
		_ = s.stop()
		return got, err
	}
	begin := time.Now()
	if err := c.load(s, warm.messages); err != nil {
		_ = s.stop()
		return got, err
	}
	got.rate = float64(c.messages) / time.Since(begin).Seconds()
	cpu, err := wholeCPU(s)
	got.cpu = cpu / time.Duration(c.messages+warm.messages)
	if c.check != nil {
		err = errors.Join(err, c.check(s.mail()))
	}
	return got, errors.Join(err, s.stop())
}

// load runs the generators and waits until all messages, and those that were there before, have arrived.
func (c testCase) load(s server, before int) error {
	var running []*exec.Cmd
	if c.spread {
		for i := range c.sessions {
			running = append(running, c.generator(s, i, 1, c.messages/c.sessions))
		}
	} else {
		running = append(running, c.generator(s, 0, c.sessions, c.messages))
	}
	for _, g := range running {
		g.Stderr = os.Stderr
		if err := g.Start(); err != nil {
			return err
		}
	}
	var failed error
	for _, g := range running {
		if err := g.Wait(); err != nil {
			failed = fmt.Errorf("smtp-source: %w", err)
		}
	}
	if failed != nil {
		return failed
	}
	return peer.Until(2*time.Minute, "the mail to arrive", func() bool { return count(s.mail()) >= before+c.messages })
}

func (c testCase) generator(s server, i, sessions, messages int) *exec.Cmd {
	args := []string{"-s", strconv.Itoa(sessions), "-m", strconv.Itoa(messages), "-M", "load.test", "-t", boxAddress(i)}
	if len(c.letters) > 0 {
		l := c.letters[i%len(c.letters)]
		args = append(args, "-f", l.from, "-F", l.file)
	} else {
		args = append(args, "-f", "sender@load.test", "-l", strconv.Itoa(c.size))
	}
	if c.keep {
		args = append(args, "-d")
	}
	return exec.Command("smtp-source", append(args, "inet:"+s.addr())...)
}

// count counts the messages in the new folders of all Maildirs below dir.
func count(dir string) int {
	n := 0
	for _, pattern := range []string{"*/Maildir/new", "*/*/Maildir/new"} {
		folders, _ := filepath.Glob(filepath.Join(dir, pattern))
		for _, f := range folders {
			if d, err := os.Open(f); err == nil {
				names, _ := d.Readdirnames(-1)
				n += len(names)
				d.Close()
			}
		}
	}
	return n
}
