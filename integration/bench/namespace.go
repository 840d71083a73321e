package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// inside says that this process is the one in the namespaces.
const inside = "MXBYPASS_BENCH_NETNS"

// remoteAddr is where servers are that judge their clients: what comes from there is not from this machine, which many of
// them would let pass. The resolver is there as well: libunbound asks nobody at 127.0.0.1.
const remoteAddr = "192.0.2.1"

// again runs this program in a network and a mount namespace of its own, which end with it: there is room for a resolver at
// port 53, which all programs ask, and for the address of a client that has to prove who it is.
func again() error {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGTERM}
	return cmd.Run()
}

// furnish makes the namespaces fit for servers.
func furnish(dir string) error {
	resolvers := filepath.Join(dir, "resolv.conf")
	return errors.Join(
		os.WriteFile(resolvers, []byte("nameserver "+remoteAddr+"\n"), 0o644),
		command("ip", "link", "set", "lo", "up"),
		command("ip", "addr", "add", remoteAddr+"/32", "dev", "lo"),
		command("mount", "--make-rprivate", "/"),
		command("mount", "--bind", resolvers, "/etc/resolv.conf"),
	)
}

// code is the exit code of how the other process ended.
func code(err error) int {
	var ended *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &ended):
		return max(1, ended.ExitCode())
	}
	fmt.Fprintln(os.Stderr, "bench: namespaces are needed, and root for them:", err)
	return 1
}
