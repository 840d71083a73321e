package peer

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// patience is how long a peer may take to start or to stop, on a busy machine.
const patience = 30 * time.Second

// Process is a running program with its output.
type Process struct {
	Cmd  *exec.Cmd
	out  lockedBuffer
	done chan struct{}
	err  error
}

// Start runs a program in the background. Its output is kept for Output.
func Start(cmd *exec.Cmd) (*Process, error) {
	p := &Process{Cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.out, &p.out
	cmd.WaitDelay = time.Second // children of the program may keep its output open
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	// The kernel ends the peer when the test dies, so that a panic leaves nothing behind. A process group of its own
	// keeps a Ctrl-C at the terminal from reaching it before us.
	cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
	cmd.SysProcAttr.Setpgid = true
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Output is what the program has written so far.
func (p *Process) Output() string { return p.out.String() }

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is how the program ended; only after Done.
func (p *Process) Err() error { <-p.done; return p.err }

// Stop sends a signal and waits for the end; a program that does not end in time is killed, and that is an error.
func (p *Process) Stop(sig syscall.Signal) error {
	select {
	case <-p.done:
		return p.err
	default:
	}
	if err := p.Cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s: %w", p.Cmd.Path, err)
	}
	select {
	case <-p.done:
		return p.err
	case <-time.After(patience):
		_ = syscall.Kill(-p.Cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
		return fmt.Errorf("%s did not end within %v of %v", p.Cmd.Path, patience, sig)
	}
}

// Kill ends the program without warning, as a crash would.
func (p *Process) Kill() {
	_ = p.Cmd.Process.Kill()
	<-p.done
}

// CPU is the processor time of the ended program and of all the children that it waited for.
func (p *Process) CPU() time.Duration {
	<-p.done
	s := p.Cmd.ProcessState
	return s.UserTime() + s.SystemTime()
}

// Until asks again and again whether something is so, with a short pause, until it is or the time is up.
func Until(limit time.Duration, what string, ok func() bool) error {
	deadline := time.Now().Add(limit)
	for !ok() {
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %v for %s", limit, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

// listening waits until a TCP server greets with the given first bytes ("" when it is enough that it accepts).
func (p *Process) listening(addr, greeting string) error {
	err := Until(patience, addr+" to answer", func() bool {
		select {
		case <-p.done:
			return true
		default:
		}
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return false
		}
		defer c.Close()
		if greeting == "" {
			return true
		}
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		buf := make([]byte, len(greeting))
		n, _ := c.Read(buf)
		return string(buf[:n]) == greeting
	})
	select {
	case <-p.done:
		return fmt.Errorf("%s ended at its start: %v\n%s", p.Cmd.Path, p.err, p.Output())
	default:
	}
	if err != nil {
		_ = p.Stop(syscall.SIGTERM)
		return fmt.Errorf("%w\n%s", err, p.Output())
	}
	return nil
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
