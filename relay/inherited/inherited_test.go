package inherited

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// child says that this process is the one that systemd has started.
const child = "INHERITED_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(child) != "" {
		os.Exit(serve())
	}
	os.Exit(m.Run())
}

// serve takes each of its sockets twice, greets one client each time, and tells what it could not have.
func serve() int {
	for range 2 {
		for _, name := range []string{"smtp", "lmtp"} {
			l, err := Listen(name)
			if err != nil {
				fmt.Println(err)
				return 1
			}
			c, err := l.Accept()
			if err != nil {
				fmt.Println(err)
				return 1
			}
			fmt.Fprintf(c, "220 %s %s\r\n", name, l.Addr().Network())
			c.Close()
			l.Close()
		}
	}
	for _, name := range []string{"none", "double"} {
		_, err := Listen(name)
		fmt.Println(err)
	}
	return 0
}

func TestListen(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	path := filepath.Join(t.TempDir(), "lmtp")
	unix, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close()
	var files []*os.File
	for _, l := range []interface{ File() (*os.File, error) }{
		tcp.(*net.TCPListener), unix.(*net.UnixListener), tcp.(*net.TCPListener), tcp.(*net.TCPListener),
	} {
		f, err := l.File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files = append(files, f)
	}
	// LISTEN_PID is that of the program, which the shell becomes.
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0"`, os.Args[0])
	cmd.Env = append(os.Environ(), child+"=1", "LISTEN_FDS=4", "LISTEN_FDNAMES=smtp:lmtp:double:double")
	cmd.ExtraFiles = files
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for _, at := range []net.Addr{tcp.Addr(), unix.Addr()} {
			c, err := net.DialTimeout(at.Network(), at.String(), 20*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			text, err := io.ReadAll(c)
			if !strings.HasPrefix(string(text), "220 ") || !strings.Contains(string(text), at.Network()) {
				t.Errorf("%q, %v", text, err)
			}
			c.Close()
		}
	}
	err = cmd.Wait()
	want := `systemd has opened no socket "none", only smtp, lmtp, double, double
systemd has opened several sockets "double": give each its own unit and FileDescriptorName
`
	if err != nil || out.String() != want {
		t.Errorf("%v: %s", err, out.String())
	}
	if _, err := os.Stat(path); err != nil {
		t.Error("the socket of another was removed: ", err)
	}
}

// What is meant for another process, or is nonsense, is not taken.
func TestNone(t *testing.T) {
	for _, tt := range []struct{ pid, fds string }{
		{"", ""}, {"1", "1"}, {fmt.Sprint(os.Getpid()), ""}, {fmt.Sprint(os.Getpid()), "0"}, {fmt.Sprint(os.Getpid()), "-1"},
		{fmt.Sprint(os.Getpid()), "1000000"}, {"x", "1"},
	} {
		t.Setenv("LISTEN_PID", tt.pid)
		t.Setenv("LISTEN_FDS", tt.fds)
		t.Setenv("LISTEN_FDNAMES", "smtp")
		if l, err := Listen("smtp"); !errors.Is(err, errNone) {
			t.Errorf("%+v: %v, %v", tt, l, err)
		}
	}
}

// Descriptors that are no sockets to accept from give errors, and stay as they are.
func TestNoSocket(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if l, err := listen(int(f.Fd())); err == nil {
		t.Error(l.Addr())
	}
	if l, err := listen(1 << 20); err == nil {
		t.Error(l.Addr())
	}
	if _, err := f.Stat(); err != nil {
		t.Error(err)
	}
}
