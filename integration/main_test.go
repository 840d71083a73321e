package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"mxbypass/integration/peer/lossydisk"
)

// binaries under test. The one with the race detector is used wherever it can be: it allows 8,128 goroutines only.
var racing, plain string

func TestMain(m *testing.M) {
	if code, is := lossydisk.Helper(); is {
		os.Exit(code)
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "mxbypass-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	racing, plain = filepath.Join(dir, "mxbypass-race"), filepath.Join(dir, "mxbypass")
	for _, args := range [][]string{{"-race", "-o", racing}, {"-o", plain}} {
		build := exec.Command("go", append(append([]string{"build"}, args...), "mxbypass/cmd/mxbypass")...)
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
			return 1
		}
	}
	os.Setenv("MXBYPASS", racing)
	os.Setenv("GORACE", "atexit_sleep_ms=0") // not a second more for every relay and command that ends
	return m.Run()
}
