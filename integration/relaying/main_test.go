// Package relaying tests plain mail that leaves, with the built program and real servers. All of it runs in a network
// namespace of its own, where the documentation's addresses 198.51.100.0/24 are hosts of ours with a port 25: an address
// that is taken away is a host that was cut off.
package relaying

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"mxbypass/integration/peer/lossydisk"
)

// inside says that this process is the one in the namespace.
const inside = "MXBYPASS_TEST_NETNS"

// racing is the binary under test, with the race detector.
var racing string

func TestMain(m *testing.M) {
	if code, is := lossydisk.Helper(); is {
		os.Exit(code)
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Getenv(inside) == "" {
		return again()
	}
	for _, args := range [][]string{
		{"link", "set", "lo", "up"},
		{"link", "add", "hosts", "type", "veth", "peer", "name", "wire"},
		{"link", "set", "hosts", "up", "arp", "off"}, // so that what is sent to nobody is lost, and not refused
		{"link", "set", "wire", "up", "arp", "off"},
		{"route", "add", "198.51.100.0/24", "dev", "hosts"},
		{"-6", "route", "add", "2001:db8::/64", "dev", "hosts"},
	} {
		if err := ip(args...); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	dir, err := os.MkdirTemp("", "mxbypass-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	racing = filepath.Join(dir, "mxbypass-race")
	build := exec.Command("go", "build", "-race", "-o", racing, "mxbypass/cmd/mxbypass")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	os.Setenv("MXBYPASS", racing)
	os.Setenv("GORACE", "atexit_sleep_ms=0") // not a second more for every relay and command that ends
	return m.Run()
}

// again runs this program in a network namespace of its own, which ends with it.
func again() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGTERM}
	var ended *exec.ExitError
	switch err := cmd.Run(); {
	case err == nil:
		return 0
	case errors.As(err, &ended):
		return max(1, ended.ExitCode())
	default:
		fmt.Fprintln(os.Stderr, "a network namespace is needed, and root for it:", err)
		return 1
	}
}

// ip runs ip(8).
func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %v: %w: %s", args, err, out)
	}
	return nil
}
