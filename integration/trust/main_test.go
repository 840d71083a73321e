// Package trust tests who is let in and who is believed, with the built program and what others have written for it:
// their clients, filters, proxies, signatures and authorities.
package trust

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"mxbypass/integration/peer"
)

// racing is the binary under test, with the race detector.
var racing string

// dkimpy is what others say of signatures and seals.
var dkimpy *peer.DKIMPy

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "mxbypass-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // some peers are not root
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	racing = filepath.Join(dir, "mxbypass-race")
	build := exec.Command("go", "build", "-race", "-o", racing, "mxbypass/cmd/mxbypass")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	os.Setenv("MXBYPASS", racing)
	if dkimpy, err = peer.StartDKIMPy(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer dkimpy.Close()
	return m.Run()
}
