package integration

import (
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"mxbypass/integration/peer"
)

// Ten thousand clients are connected and idle; mail still flows.
func TestTenThousandIdle(t *testing.T) {
	const idle = 10000
	var files syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files))
	if files.Max < idle+1000 {
		t.Fatalf("this test needs a hard limit of %d open files (ulimit -Hn says %d)", idle+1000, files.Max)
	}
	t.Setenv("MXBYPASS", plain)
	s := start(t, settings{limits: "connections = 20000\nconnections_per_client = 20000"})
	buf := make([]byte, 4096)
	conns := make([]net.Conn, 0, idle)
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for range idle {
		c, err := net.DialTimeout("tcp", s.Addr, 10*time.Second)
		must(t, err)
		conns = append(conns, c)
		must(t, c.SetDeadline(time.Now().Add(2*time.Minute)))
		for _, line := range []string{"", "EHLO idle.test\r\n"} {
			_, err = io.WriteString(c, line)
			must(t, err)
			n, err := c.Read(buf)
			must(t, err)
			wantReply(t, string(buf[:n]), "2")
		}
	}
	for i := range 100 {
		wantReply(t, s.deliver(t, box, fmt.Sprintf("Subject: %d\r\n\r\nx\r\n", i)), "250")
	}
	// Idle clients are told when the relay ends, all of them.
	done := make(chan error, 1)
	go func() { done <- s.Close() }()
	for i, c := range conns {
		n, err := c.Read(buf)
		if err != nil || !strings.HasPrefix(string(buf[:n]), "421") {
			t.Fatalf("client %d was told %q, %v", i, buf[:n], err)
		}
		c.Close()
	}
	must(t, <-done)
}

// Beyond the caps a client is told so, and the others go on.
func TestConnectionCaps(t *testing.T) {
	s := start(t, settings{limits: "connections_per_client = 3"})
	for range 3 {
		s.dial(t)
	}
	c, greeting, err := peer.DialSMTP("tcp", s.Addr)
	must(t, err)
	defer c.Close()
	wantReply(t, greeting, "421 4.7.0")
}

// A client that stalls in the middle of DATA holds up nobody, is not delivered, and does not keep the relay from ending.
func TestStallInData(t *testing.T) {
	s := start(t, settings{head: "shutdown_timeout = \"1s\""})
	stalled := s.dial(t)
	for _, line := range []string{"MAIL FROM:<sender@client.test>", "RCPT TO:<" + box + ">", "DATA"} {
		_, err := stalled.Cmd(line)
		must(t, err)
	}
	must(t, stalled.Send("Subject: stalled\r\n\r\nhalf a mess"))
	for range 10 {
		wantReply(t, s.deliver(t, box, "Subject: flows\r\n\r\nx\r\n"), "250")
	}
	must(t, s.Close())
	if n := len(s.inbox(t, "foobar@exemple.org")); n != 10 {
		t.Fatalf("%d messages in the mailbox, want 10", n)
	}
}

// A transaction that is in progress when the relay is told to end is finished: its 250 is true.
func TestDrain(t *testing.T) {
	s := start(t, settings{})
	busy := s.dial(t)
	for _, line := range []string{"MAIL FROM:<sender@client.test>", "RCPT TO:<" + box + ">", "DATA"} {
		_, err := busy.Cmd(line)
		must(t, err)
	}
	idle := s.dial(t)
	must(t, s.Cmd.Process.Signal(syscall.SIGTERM))
	reply, err := idle.Reply()
	must(t, err)
	wantReply(t, reply, "421 4.3.2")
	must(t, busy.Send("Subject: last\r\n\r\nx\r\n.\r\n"))
	reply, err = busy.Reply()
	must(t, err)
	wantReply(t, reply, "250 2.0.0 delivered")
	must(t, s.Err())
	if n := len(s.inbox(t, "foobar@exemple.org")); n != 1 {
		t.Fatalf("%d messages in the mailbox, want 1", n)
	}
}

// Errors are answered more slowly, and then the client is shown out.
func TestErrorsClose(t *testing.T) {
	s := start(t, settings{limits: "errors_slow = 4\nerrors_close = 5"})
	c := s.dial(t)
	for range 4 {
		reply, err := c.Cmd("RCPT TO:<" + box + ">")
		must(t, err)
		wantReply(t, reply, "50")
	}
	reply, err := c.Cmd("NONSENSE")
	must(t, err)
	wantReply(t, reply, "500")
	reply, err = c.Cmd("NOOP")
	if err == nil {
		wantReply(t, reply, "421 4.7.0")
	} else if !strings.HasPrefix(reply, "421") && reply != "" {
		t.Fatal(reply, err)
	}
}

// An LMTP listener answers for each recipient.
func TestLMTPListener(t *testing.T) {
	s := start(t, settings{protocol: "lmtp"})
	c, _, err := peer.DialSMTP("tcp", s.Addr)
	must(t, err)
	defer c.Close()
	for _, line := range []string{"LHLO client.test", "MAIL FROM:<sender@client.test>", "RCPT TO:<" + box + ">",
		"RCPT TO:<nobody%exemple.org@mx.host.test>", "RCPT TO:<contact@exemple.org>", "DATA"} {
		_, err := c.Cmd(line)
		must(t, err)
	}
	must(t, c.Send("Subject: x\r\n\r\nx\r\n.\r\n"))
	for range 2 {
		reply, err := c.Reply()
		must(t, err)
		wantReply(t, reply, "250 2.0.0 ")
	}
	for _, address := range []string{"foobar@exemple.org", "contact@exemple.org"} {
		if n := len(s.inbox(t, address)); n != 1 {
			t.Errorf("%s has %d messages, want 1", address, n)
		}
	}
}
