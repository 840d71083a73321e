package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// table prints a row as soon as it is known: a benchmark that is cut off has told something.
type table struct{ w io.Writer }

const row = "%-50s %18s %18s %8s %8s\n"

func newTable(w io.Writer) *table {
	fmt.Fprintf(w, row, "", "mxbypass", "Postfix", "ratio", "asked")
	return &table{w}
}

func (t *table) rate(c testCase, ours, theirs []sample) {
	a, b := column(ours, func(s sample) float64 { return s.rate }), column(theirs, func(s sample) float64 { return s.rate })
	fmt.Fprintf(t.w, row, c.name+", msg/s", spread(a, "%.0f"), spread(b, "%.0f"), ratio(median(a), median(b)), ">= "+c.target)
	a = column(ours, func(s sample) float64 { return millis(s.cpu) })
	b = column(theirs, func(s sample) float64 { return millis(s.cpu) })
	fmt.Fprintf(t.w, row, "    CPU ms per message", spread(a, "%.2f"), spread(b, "%.2f"), ratio(median(a), median(b)), "<= 1/5")
}

func (t *table) latency(name string, ours, theirs []float64) {
	fmt.Fprintf(t.w, row, name+", ms", spread(ours, "%.2f"), spread(theirs, "%.2f"), ratio(median(ours), median(theirs)), "< 1")
}

func (t *table) share(name string, ours, raw []float64) {
	fmt.Fprintf(t.w, row, name+", msg/s", spread(ours, "%.0f"), "bare "+spread(raw, "%.0f"), ratio(median(ours), median(raw)), ">= 0.5")
}

func (t *table) idle(n int, kib float64) {
	fmt.Fprintf(t.w, row, fmt.Sprintf("%d idle sessions, KiB each", n), fmt.Sprintf("%.1f", kib), "", "", "<= 24")
}

func column(s []sample, f func(sample) float64) []float64 {
	var out []float64
	for _, x := range s {
		out = append(out, f(x))
	}
	return out
}

func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	return v[len(v)/2]
}

// spread is the median with the smallest and the largest.
func spread(v []float64, format string) string {
	return fmt.Sprintf(format+" ("+format+"-"+format+")", median(v), slices.Min(v), slices.Max(v))
}

func ratio(a, b float64) string {
	if b == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", a/b)
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// machine names what the figures were measured on.
func machine() string {
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return fmt.Sprintf("%d processors, Linux %s, %s; fresh ext4 for each run; medians (smallest-largest)\n",
		runtime.NumCPU(), strings.TrimSpace(string(kernel)), runtime.Version())
}
