package integration

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mxbypass/integration/peer"
)

// The relay is killed without warning again and again while many clients send. Whatever got a 250 is in the Maildir,
// whole. (That the page cache survives the kill makes this a test of the relay's order of things; that the disk has
// them is what the injected faults below and the syscall order test of the store are for.)
func TestKilledUnderLoad(t *testing.T) {
	dir := t.TempDir()
	var loads []*load
	for round := range 5 {
		s := start(t, settings{dir: dir})
		load := s.send(20, 150, func(client, n int) (string, string, int) {
			return fmt.Sprintf("round %d client %d message %d", round, client, n), box, 5000
		})
		load.until(t, s.Kill)
		loads = append(loads, load)
	}
	mails := inbox(t, filepath.Join(dir, "mail", "exemple.org", "foobar", "Maildir"))
	for _, load := range loads {
		arrived(t, load.Acknowledged(), mails)
	}
}

// With a full disk nothing gets a 250 that is not there, the client is told to try later, and mail flows again when
// there is room.
func TestFullDisk(t *testing.T) {
	mail := filepath.Join(t.TempDir(), "small")
	must(t, os.Mkdir(mail, 0o755))
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", mail).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", mail).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	s := start(t, settings{mail: mail})
	content := "Subject: big\r\n\r\n" + strings.Repeat(strings.Repeat("x", 78)+"\r\n", 5000)
	good, refused := 0, ""
	for range 10 {
		reply := s.deliver(t, box, content)
		if strings.HasPrefix(reply, "250") {
			good++
			continue
		}
		refused = reply
	}
	wantReply(t, refused, "452 4.3.1")
	mails := s.inbox(t, "foobar@exemple.org")
	if good == 0 || len(mails) != good {
		t.Fatalf("%d messages got a 250, %d are in the mailbox", good, len(mails))
	}
	for _, m := range mails {
		if !bytes.Equal(below(t, m), []byte(content)) {
			t.Fatal("half a message in the mailbox")
		}
	}
	for _, folder := range []string{"tmp", "new"} {
		files, err := filepath.Glob(filepath.Join(mail, "exemple.org", "foobar", "Maildir", folder, "*"))
		must(t, err)
		if want := map[string]int{"tmp": 0, "new": good}[folder]; len(files) != want {
			t.Errorf("%d files in %s, want %d", len(files), folder, want)
		}
	}
	must(t, os.RemoveAll(filepath.Join(mail, "exemple.org")))
	wantReply(t, s.deliver(t, box, content), "250")
}

// I/O errors of the mail's file system, injected into the running relay by strace: whatever fails, no 250 is sent for
// what is not durable, and the relay goes on. On a journaled ext4 the store takes another way to the disk than on file
// systems of which it knows less, so both are tried.
func TestInjectedErrors(t *testing.T) {
	const syncs, renames = "sync_file_range,syncfs,fsync,fdatasync", "rename,renameat,renameat2,link,linkat"
	for _, fault := range []struct {
		ext4         bool
		calls, errno string
	}{
		{false, "writev", "EIO"}, // a Maildir file is written by writev; sockets and the log are not
		{false, "writev", "ENOSPC"},
		{false, syncs, "EIO"},
		{false, renames, "EIO"},
		{true, "writev", "EIO"},
		{true, "sync_file_range", "EIO"},
		{true, "syncfs,fsync,fdatasync", "EIO"},
		{true, renames, "ENOSPC"},
	} {
		t.Run(fmt.Sprintf("%s %s ext4=%v", fault.calls, fault.errno, fault.ext4), func(t *testing.T) {
			mail := filepath.Join(t.TempDir(), "mail")
			if fault.ext4 {
				freshDisk(t, mail, "ext4")
			}
			s := start(t, settings{mail: mail})
			wantReply(t, s.deliver(t, box, "Subject: before\r\n\r\nx\r\n"), "250")
			detach := inject(t, s.Cmd.Process.Pid, fault.calls, fault.errno)
			wantReply(t, s.deliver(t, box, "Subject: during\r\n\r\nx\r\n"), "4")
			detach()
			wantReply(t, s.deliver(t, box, "Subject: after\r\n\r\nx\r\n"), "250")
			for _, m := range s.inbox(t, "foobar@exemple.org") {
				if bytes.Contains(m, []byte("Subject: during")) {
					t.Error("a message that was refused is in the mailbox")
				}
			}
			must(t, s.Close()) // before its file system goes
		})
	}
}

// freshDisk mounts a new file system until the end of the test; again mounts it once more, as after a reboot.
func freshDisk(t *testing.T, dir, kind string) (again func()) {
	t.Helper()
	image := dir + ".img"
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
	must(t, os.MkdirAll(dir, 0o755))
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, 320<<20))
	run("mkfs."+kind, "-q", image)
	run("mount", "-o", "loop", image, dir)
	t.Cleanup(func() { run("umount", dir) })
	return func() {
		t.Helper()
		run("umount", dir)
		run("mount", "-o", "loop", image, dir)
	}
}

// inject attaches strace to a process and makes the named system calls fail until detach is called.
func inject(t *testing.T, pid int, calls, errno string) (detach func()) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "strace")
	cmd := exec.Command("strace", "-f", "-p", fmt.Sprint(pid), "-o", log, "-e", "trace="+calls+",getpid",
		"-e", "inject="+calls+":error="+errno)
	p, err := peer.Start(cmd)
	must(t, err)
	must(t, peer.Until(30*time.Second, "strace to attach", func() bool { return strings.Contains(p.Output(), "attached") }))
	return func() {
		t.Helper()
		// strace ends by the signal that it was sent; what counts is that faults were injected.
		_ = p.Stop(syscall.SIGINT)
		text, err := os.ReadFile(log)
		must(t, err)
		if !bytes.Contains(text, []byte("(INJECTED)")) {
			t.Fatalf("no fault was injected:\n%s", text)
		}
	}
}

// A directory that cannot be read any more keeps answering from what it knows; a directory that was never there is no
// start. Nobody gets a 5xx for it.
func TestDirectoryGoesAway(t *testing.T) {
	s := start(t, settings{})
	path := filepath.Join(s.Dir, "directory.toml")
	must(t, os.Remove(path))
	must(t, s.Cmd.Process.Signal(syscall.SIGHUP))
	must(t, peer.Until(10*time.Second, "a word about the directory", func() bool {
		return strings.Contains(s.Output(), "directory.toml")
	}))
	wantReply(t, s.deliver(t, box, "Subject: x\r\n\r\nx\r\n"), "250")

	must(t, os.WriteFile(path, []byte("[[domain]\nbroken"), 0o644))
	must(t, s.Cmd.Process.Signal(syscall.SIGHUP))
	must(t, peer.Until(10*time.Second, "a word about the broken file", func() bool {
		return strings.Contains(s.Output(), "directory.toml:1")
	}))
	wantReply(t, s.deliver(t, box, "Subject: x\r\n\r\nx\r\n"), "250")

	must(t, os.WriteFile(path, []byte(strings.ReplaceAll(theDomains, `"foobar", `, `"foobar", "newcomer", `)), 0o644))
	must(t, s.Cmd.Process.Signal(syscall.SIGHUP))
	must(t, peer.Until(10*time.Second, "the new mailbox", func() bool {
		return strings.HasPrefix(s.deliver(t, "newcomer%exemple.org@mx.host.test", "Subject: x\r\n\r\nx\r\n"), "250")
	}))
}

// Without DNS, bypass mail flows; plain mail is taken for mailboxes that are here, and deferred, never refused, where
// only the MX could tell.
func TestDNSGoesAway(t *testing.T) {
	s := start(t, settings{}) // its DNS server refuses
	wantReply(t, s.deliver(t, box, "Subject: x\r\n\r\nx\r\n"), "250 2.0.0 delivered to foobar@exemple.org")
	wantReply(t, s.deliver(t, "foobar@exemple.org", "Subject: x\r\n\r\nx\r\n"), "250")
	wantReply(t, s.deliver(t, "nobody@exemple.org", "Subject: x\r\n\r\nx\r\n"), "451 4.4.3")
	wantReply(t, s.deliver(t, "nobody%exemple.org@mx.host.test", "Subject: x\r\n\r\nx\r\n"), "550 5.1.1")
}
