package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// harden gives up what a relay never needs. It is for the whole process, and inherited by what it starts. Nothing that
// was in memory, passwords and mail, gets into a core file, or can be read there by another process of our user; and no
// file is for others, unless a mode says so, as that of a Maildir does.
func harden() error {
	unix.Umask(0o077)
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("core files: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("reading our memory: %w", err)
	}
	return nil
}
