package main

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
)

// rawWay is the way of the bare loop that does what the relay does with a group of messages, on this file system.
const rawWay = "ordered-leader-one"

var rawRate = regexp.MustCompile(`([0-9]+) msg/s`)

// measureRaw holds the relay against a bare Go loop that writes the same files with the same durability, with nobody
// else on the machine: the relay has to share the processors with SMTP and with the load generator.
func measureRaw(o options, disk *disk, t *table) error {
	tool := filepath.Join(o.dir, "durability")
	if err := command("go", "build", "-o", tool, "mxbypass/integration/bench/durability"); err != nil {
		return err
	}
	c := cases(o.scale)[0]
	var ours, raw []float64
	for range o.runs {
		got, err := c.run(startRelay, disk)
		if err != nil {
			return err
		}
		ours = append(ours, got.rate)
		rate, err := rawLimit(tool, c, disk)
		if err != nil {
			return err
		}
		raw = append(raw, rate)
	}
	t.share("share of the bare loop with the same durability", ours, raw)
	return nil
}

func rawLimit(tool string, c testCase, disk *disk) (rate float64, err error) {
	dir, done, err := disk.fresh()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, done()) }()
	out, err := exec.Command(tool, "-dir", dir, "-ways", rawWay, "-writers", strconv.Itoa(c.sessions),
		"-boxes", strconv.Itoa(boxes), "-size", strconv.Itoa(c.size)).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("durability: %w: %s", err, out)
	}
	m := rawRate.FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("durability: no rate in %s", out)
	}
	return strconv.ParseFloat(string(m[1]), 64)
}
