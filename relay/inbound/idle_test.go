package inbound

import (
	"net"
	"runtime"
	"syscall"
	"testing"
)

// BenchmarkIdleSession reports the memory that an idle session has after EHLO and one message. The clients are bare
// sockets, so that what is counted is the server's.
func BenchmarkIdleSession(b *testing.B) {
	const sessions = 8000
	r := start(b, SMTP, func(o *Options) { o.Limits.ConnectionsPerClient = sessions + 1 })
	r.core.discard = true
	addr := r.listener.Addr().(*net.TCPAddr)
	before := memory()
	for range sessions {
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			b.Fatal(err)
		}
		defer syscall.Close(fd)
		to := &syscall.SockaddrInet4{Port: addr.Port, Addr: [4]byte(addr.IP.To4())}
		if err := syscall.Connect(fd, to); err != nil {
			b.Fatal(err)
		}
		script := "EHLO client.test\r\nMAIL FROM:<>\r\nRCPT TO:<foobar@exemple.org>\r\nDATA\r\n" +
			string(body(10<<10)) + "NOOP\r\n"
		if _, err := syscall.Write(fd, []byte(script)); err != nil {
			b.Fatal(err)
		}
		readUntil(b, fd, "I have successfully done nothing\r\n")
	}
	after := memory()
	for b.Loop() {
		r.Connections()
	}
	b.ReportMetric(float64(after-before)/sessions, "B/session")
}

func readUntil(b *testing.B, fd int, end string) {
	b.Helper()
	var got []byte
	buf := make([]byte, 1024)
	for len(got) < len(end) || string(got[len(got)-len(end):]) != end {
		n, err := syscall.Read(fd, buf)
		if err != nil || n == 0 {
			b.Fatalf("read %d: %v after %q", n, err, got)
		}
		got = append(got, buf[:n]...)
	}
}

func memory() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse + m.MSpanInuse
}
