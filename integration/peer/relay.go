package peer

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// Relay is a running mxbypass.
type Relay struct {
	*Process
	Binary string
	Config string // path of its configuration file
	Addr   string // where it listens, as the configuration says
}

// Binary is the built mxbypass: $MXBYPASS, or bin/mxbypass of the module that the test stands in.
func Binary() (string, error) {
	if b := os.Getenv("MXBYPASS"); b != "" {
		return b, nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			b := filepath.Join(dir, "bin", "mxbypass")
			if _, err := os.Stat(b); err != nil {
				return "", fmt.Errorf("%w: run make build", err)
			}
			return b, nil
		}
	}
	return "", errors.New("not inside the module")
}

// StartRelay runs "mxbypass serve" with the given configuration, which must listen on addr, and waits for its greeting.
func StartRelay(config, addr string, wrapper ...string) (*Relay, error) {
	bin, err := Binary()
	if err != nil {
		return nil, err
	}
	return StartBinary(bin, config, addr, wrapper...)
}

// StartBinary is StartRelay with another build of it.
func StartBinary(bin, config, addr string, wrapper ...string) (*Relay, error) {
	args := append(append([]string{}, wrapper...), bin, "serve", "-c", config)
	cmd := exec.Command(args[0], args[1:]...)
	p, err := Start(cmd)
	if err != nil {
		return nil, err
	}
	if err := p.listening(addr, "220"); err != nil {
		return nil, err
	}
	return &Relay{Process: p, Binary: bin, Config: config, Addr: addr}, nil
}

// Close drains the relay and ends it; anything but a clean end is an error.
func (r *Relay) Close() error {
	if err := r.Stop(syscall.SIGTERM); err != nil {
		return fmt.Errorf("mxbypass did not end cleanly: %w\n%s", err, r.Output())
	}
	return nil
}
