// Command bench measures mxbypass against a tuned Postfix with its percent hack: the same machine, the same run, the
// same load generator (smtp-source), the same durability (a message counts when it is in the Maildir, fsynced), each
// case on a fresh journaled ext4. It prints figures, ratios and their spread, and asserts nothing.
//
// Run it by "make bench", as root (Postfix and the fresh file systems need it).
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// options of one run of the whole benchmark.
type options struct {
	runs  int
	scale float64
	only  string
	idle  int
	dir   string
}

func main() {
	var o options
	flag.IntVar(&o.runs, "runs", 3, "how often each case is run; the median counts")
	flag.Float64Var(&o.scale, "scale", 1, "multiplies the number of messages of every case")
	flag.StringVar(&o.only, "only", "", "run only the cases whose name contains this")
	flag.IntVar(&o.idle, "idle", 10000, "idle sessions to open for the memory figure; 0: none")
	flag.StringVar(&o.dir, "dir", "", "where the disk image and the instances are put (default: a temporary folder)")
	flag.Parse()
	if os.Getenv(inside) == "" {
		os.Exit(code(again()))
	}
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("needs root: Postfix and fresh file systems do")
	}
	if o.dir == "" {
		dir, err := os.MkdirTemp("", "mxbypass-bench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		o.dir = dir
	}
	if err := os.Chmod(o.dir, 0o755); err != nil {
		return err
	}
	if err := furnish(o.dir); err != nil {
		return err
	}
	disk, err := newDisk(filepath.Join(o.dir, "disk"), 3<<30)
	if err != nil {
		return err
	}
	defer disk.remove()

	start := time.Now()
	fmt.Println(machine())
	table := newTable(os.Stdout)
	for _, c := range cases(o.scale) {
		if !c.matches(o.only) {
			continue
		}
		if err := measureCase(c, startRelay, startPostfix, o, disk, table); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	if (testCase{name: "raw limit"}).matches(o.only) {
		if err := measureRaw(o, disk, table); err != nil {
			return fmt.Errorf("raw limit: %w", err)
		}
	}
	if (testCase{name: "latency"}).matches(o.only) {
		if err := measureLatency(o, disk, table); err != nil {
			return fmt.Errorf("latency: %w", err)
		}
	}
	for _, m := range slices.Concat(trustMeasures, queueMeasures) {
		if !(testCase{name: m.name}).matches(o.only) {
			continue
		}
		if err := m.run(o, disk, table); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	if o.idle > 0 && (testCase{name: "idle memory"}).matches(o.only) {
		if err := measureIdle(o, disk, table); err != nil {
			return fmt.Errorf("idle memory: %w", err)
		}
	}
	fmt.Printf("\nall in %v\n", time.Since(start).Round(time.Second))
	return nil
}

// measureCase runs a case in turn on both servers, so that a slow minute of the machine hits both.
func measureCase(c testCase, ourStart, theirStart func(string) (server, error), o options, disk *disk, table *table) error {
	var ours, theirs []sample
	for range o.runs {
		for _, s := range []struct {
			start func(dir string) (server, error)
			into  *[]sample
		}{{ourStart, &ours}, {theirStart, &theirs}} {
			got, err := c.run(s.start, disk)
			if err != nil {
				return err
			}
			*s.into = append(*s.into, got)
		}
	}
	table.rate(c, ours, theirs)
	return nil
}
