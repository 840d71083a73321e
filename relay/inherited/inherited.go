// Package inherited gives the sockets that systemd has opened for us (sd_listen_fds(3)): a relay that is started so needs
// no right to bind port 25, and loses no connection while it is started anew.
package inherited

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// firstFD is the number of the first socket, behind standard input, output and error.
const firstFD = 3

// most bounds what is believed of the environment.
const most = 1024

// errNone: systemd has opened no socket for us.
var errNone = errors.New("systemd has opened no socket for this process")

// Listen gives a listener on the socket that FileDescriptorName= calls name. Each call gives another one; the socket
// itself stays open when they are closed, so that it can be left and taken again, and what connects meanwhile waits.
func Listen(name string) (net.Listener, error) {
	names, err := socketNames()
	if err != nil {
		return nil, err
	}
	found := -1
	for i, n := range names {
		switch {
		case n != name:
		case found >= 0:
			return nil, fmt.Errorf("systemd has opened several sockets %q: give each its own unit and FileDescriptorName", name)
		default:
			found = i
		}
	}
	if found < 0 {
		return nil, fmt.Errorf("systemd has opened no socket %q, only %s", name, strings.Join(names, ", "))
	}
	return listen(firstFD + found)
}

// socketNames gives the names of the sockets from firstFD on.
func socketNames() ([]string, error) {
	pid, err := strconv.Atoi(os.Getenv("LISTEN_PID"))
	if err != nil || pid != os.Getpid() {
		return nil, errNone // they are meant for the process that started us
	}
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil || n < 1 || n > most {
		return nil, errNone
	}
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	if len(names) != n {
		names = make([]string, n) // an old systemd: no name is as good as a wrong one
		for i := range names {
			names[i] = "unknown"
		}
	}
	return names, nil
}

// listen gives a listener on a copy of fd. What the program starts does not have either of them.
func listen(fd int) (net.Listener, error) {
	syscall.CloseOnExec(fd)
	copied, err := syscall.Dup(fd)
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	syscall.CloseOnExec(copied)
	f := os.NewFile(uintptr(copied), "systemd")
	defer f.Close() // FileListener makes its own copy
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("a socket of systemd: %w", err)
	}
	if t, ok := l.(*net.TCPListener); ok {
		return steady{t}, nil
	}
	return l, nil
}

// steady gives connections the keepalive that our own listeners have: it finds dead clients without much traffic for
// living ones.
type steady struct{ *net.TCPListener }

// Accept implements [net.Listener].
func (l steady) Accept() (net.Conn, error) {
	c, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	_ = c.SetKeepAliveConfig(net.KeepAliveConfig{ // it fails for a connection that is gone already
		Enable: true, Idle: 2 * time.Minute, Interval: 30 * time.Second, Count: 4,
	})
	return c, nil
}
