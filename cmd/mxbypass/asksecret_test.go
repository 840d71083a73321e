package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"mxbypass/mailbox/password"
)

// pseudoTerminal opens a terminal and the end at which somebody sits.
func pseudoTerminal(t *testing.T) (terminal, user *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = user.Close() })
	if err := unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = terminal.Close() })
	return terminal, user
}

func echoes(t *testing.T, terminal *os.File) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}

// asking runs askSecret on a terminal. Each prompt is answered by the next of what, which may be a signal.
func asking(t *testing.T, what ...any) (secret string, err error) {
	t.Helper()
	terminal, user := pseudoTerminal(t)
	prompts, errOut := io.Pipe()
	a := newApp(terminal, io.Discard, errOut)
	done := make(chan struct{})
	go func() {
		defer close(done)
		secret, err = a.askSecret("Secret: ", password.Usable)
		_ = errOut.Close()
	}()
	r := bufio.NewReader(prompts)
	for _, answer := range what {
		if _, err := r.ReadString(':'); err != nil {
			t.Fatal(err)
		}
		if echoes(t, terminal) {
			t.Error("the terminal shows what is typed")
		}
		switch answer := answer.(type) {
		case string:
			if _, err := user.WriteString(answer + "\n"); err != nil {
				t.Fatal(err)
			}
		case syscall.Signal:
			if err := syscall.Kill(os.Getpid(), answer); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Fatal(err)
	}
	<-done
	if !echoes(t, terminal) {
		t.Error("the terminal is left without echo")
	}
	return secret, err
}

func TestSecretsAreTypedUnseen(t *testing.T) {
	if got, err := asking(t, "grüße, welt", "grüße, welt"); err != nil || got != "grüße, welt" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := asking(t, "one", "other"); !errors.Is(err, errDiffer) || got != "" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := asking(t, ""); !errors.Is(err, password.ErrPassword) {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := asking(t, syscall.SIGINT); err == nil || !strings.HasPrefix(err.Error(), "interrupted") {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := asking(t, "one", syscall.SIGTERM); err == nil || !strings.HasPrefix(err.Error(), "interrupted") {
		t.Errorf("%q, %v", got, err)
	}
}
