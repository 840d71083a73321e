package relaying

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"mxbypass/integration/peer"
)

// With a full disk nothing gets a 250 that is not there, the client is told to try later, and mail flows again when
// there is room.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	must(t, os.Mkdir(state, 0o700))
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", state).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	port, err := peer.FreePort()
	must(t, err)
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	w := toRemote(t, addr, settings{dir: dir, limits: "message_size = \"2MiB\"\nmemory_per_message = \"1MiB\"\nheader_size = \"64KiB\"",
		queue: "retry_first = \"1s\"\nretry_max = \"1s\""})
	t.Cleanup(func() {
		_ = w.Close()
		if out, err := exec.Command("umount", state).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	content := "Subject: big\r\n\r\n" + strings.Repeat(strings.Repeat("x", 78)+"\r\n", 12000)
	good, refused := 0, ""
	for range 60 {
		reply := w.send("127.0.0.1", "a@client.test", "b@remote.example", content)
		if strings.HasPrefix(reply, "250") {
			good++
			continue
		}
		refused = reply
	}
	wantReply(t, refused, "452 4.3.1")
	r := remoteAt(t, addr, nil)
	must(t, r.Await(good))
	w.empty()
	if n := len(r.Messages()); good == 0 || n != good {
		t.Fatalf("%d messages got a 250, %d arrived", good, n)
	}
	for _, m := range r.Messages() {
		if !strings.HasSuffix(m.Content, content) {
			t.Fatal("half a message arrived")
		}
	}
	w.until("room again", func() bool {
		return strings.HasPrefix(w.send("127.0.0.1", "a@client.test", "b@remote.example", content), "250")
	})
}

// I/O errors of the queue's file system, injected into the running relay by strace: no 250 is sent for what is not
// durable, and the relay goes on.
func TestInjectedErrors(t *testing.T) {
	for _, fault := range []struct{ calls, errno, want string }{
		{"pwrite64", "EIO", "451"},
		{"pwrite64", "ENOSPC", "452 4.3.1"},
		{"fsync,fdatasync", "EIO", "451"},
	} {
		t.Run(fault.calls+" "+fault.errno, func(t *testing.T) {
			port, err := peer.FreePort()
			must(t, err)
			addr := fmt.Sprintf("127.0.0.1:%d", port)
			w := toRemote(t, addr, settings{queue: "retry_first = \"1s\"\nretry_max = \"1s\""})
			w.submit("a@client.test", "b@remote.example", "Subject: before\r\n\r\nx\r\n")
			detach := inject(t, w.Cmd.Process.Pid, fault.calls, fault.errno)
			wantReply(t, w.send("127.0.0.1", "a@client.test", "b@remote.example", "Subject: during\r\n\r\nx\r\n"), fault.want)
			detach()
			w.submit("a@client.test", "b@remote.example", "Subject: after\r\n\r\nx\r\n")
			r := remoteAt(t, addr, nil)
			must(t, r.Await(2))
			w.empty()
			for _, m := range r.Messages() {
				if strings.Contains(m.Content, "Subject: during") {
					t.Error("a message that was refused was sent")
				}
			}
		})
	}
}

// inject attaches strace to a process and makes the named system calls fail until detach is called.
func inject(t *testing.T, pid int, calls, errno string) (detach func()) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "strace")
	p, err := peer.Start(exec.Command("strace", "-f", "-p", fmt.Sprint(pid), "-o", log, "-e", "trace="+calls+",getpid",
		"-e", "inject="+calls+":error="+errno))
	must(t, err)
	must(t, peer.Until(patience, "strace to attach", func() bool { return strings.Contains(p.Output(), "attached") }))
	return func() {
		t.Helper()
		_ = p.Stop(syscall.SIGINT) // it ends by that signal
		text, err := os.ReadFile(log)
		must(t, err)
		if !bytes.Contains(text, []byte("(INJECTED)")) {
			t.Fatalf("no fault was injected:\n%s", text)
		}
	}
}

// A body that was damaged in the file is put aside, said and shown; the rest goes on.
func TestDamagedBody(t *testing.T) {
	port, err := peer.FreePort()
	must(t, err)
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	s := settings{dir: t.TempDir(), queue: "retry_first = \"1s\"\nretry_max = \"1s\""}
	w := toRemote(t, addr, s)
	const mark = "THIS-WILL-BE-DAMAGED"
	w.submit("a@client.test", "b@remote.example", "Subject: one\r\n\r\n"+mark+"\r\n")
	w.submit("a@client.test", "b@remote.example", "Subject: two\r\n\r\ngood\r\n")
	must(t, w.Close())

	file := filepath.Join(s.dir, "state", "queue", "queue.db")
	db, err := os.ReadFile(file)
	must(t, err)
	if !bytes.Contains(db, []byte(mark)) {
		t.Fatal("the message is not in the database after a clean end")
	}
	must(t, os.WriteFile(file, bytes.ReplaceAll(db, []byte(mark), []byte("this-will-be-damaged")), 0o600))

	w = toRemote(t, addr, s)
	r := remoteAt(t, addr, nil)
	must(t, r.Await(1))
	w.until("the damaged message in quarantine", func() bool {
		out, _ := w.command("queue", "list", "--state", "quarantined")
		return strings.Contains(out, "b@remote.example")
	})
	if m := r.Messages(); len(m) != 1 || !strings.Contains(m[0].Content, "Subject: two") {
		t.Errorf("%+v", m)
	}
	if out, ok := w.command("queue", "stats"); !ok || !strings.Contains(out, " 1 quarantined") {
		t.Errorf("stats: %s", out)
	}
}

// What is no queue of ours is refused at the start, and so is a second relay.
func TestSpoolIsRefused(t *testing.T) {
	w := start(t, settings{})
	out, ok := w.command("serve")
	if ok || !strings.Contains(out, "in use by another relay") {
		t.Errorf("a second relay on the spool: %s", out)
	}
	must(t, w.Close())
	file := filepath.Join(w.dir, "state", "queue", "queue.db")
	must(t, os.WriteFile(file, bytes.Repeat([]byte("no database "), 1000), 0o600))
	if out, ok = w.command("serve"); ok || strings.Count(out, "\n") > 2 || !strings.Contains(out, "queue.db") {
		t.Errorf("a queue that is none: %s", out)
	}
}
