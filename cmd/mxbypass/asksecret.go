package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxSecret bounds a line with a secret.
const maxSecret = 4 << 10

// errDiffer: two secrets that should be the same.
var errDiffer = errors.New("these were two different ones: nothing was changed")

// askSecret reads a secret that check accepts: twice and without echo on a terminal, else in one line.
func (a *app) askSecret(prompt string, check func(string) error) (string, error) {
	in, ok := a.in.(*os.File)
	if !ok || !isTerminal(in) {
		line, err := readLine(a.in)
		if err != nil {
			return "", err
		}
		return line, badSecret(check(line))
	}
	first, err := a.askHidden(in, prompt)
	if err != nil {
		return "", err
	}
	if err := check(first); err != nil {
		return "", badSecret(err)
	}
	second, err := a.askHidden(in, "The same again: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", badSecret(errDiffer)
	}
	return first, nil
}

// readLine reads one line, which the end of the input may end as well.
func readLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, maxSecret)).ReadString('\n')
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return "", exit(exitNoInput, err)
	case err != nil && len(line) == maxSecret:
		return "", exit(exitData, fmt.Errorf("a line of more than %d octets", maxSecret))
	}
	return strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"), nil
}

// askHidden reads a line that the terminal does not show. Who interrupts it gets the terminal back as it was.
func (a *app) askHidden(terminal *os.File, prompt string) (string, error) {
	fd := int(terminal.Fd())
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return "", exit(exitIO, fmt.Errorf("terminal: %w", err))
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(interrupted)
	hidden := *before
	hidden.Lflag = hidden.Lflag&^unix.ECHO | unix.ICANON | unix.ISIG
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &hidden); err != nil {
		return "", exit(exitIO, fmt.Errorf("terminal: %w", err))
	}
	defer func() {
		_ = unix.IoctlSetTermios(fd, unix.TCSETS, before) // of a terminal that is gone, nobody sees it
		fmt.Fprintln(a.errOut)
	}()
	fmt.Fprint(a.errOut, prompt)
	type result struct {
		line string
		err  error
	}
	typed := make(chan result, 1)
	go func() { // ends with the program, if nothing is typed
		line, err := readLine(terminal)
		typed <- result{line, err}
	}()
	select {
	case r := <-typed:
		return r.line, r.err
	case <-interrupted:
		return "", exit(exitRefused, errors.New("interrupted: nothing was changed"))
	}
}
