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

func (t *table) idle(n int, what string, kib float64, asked int) {
	fmt.Fprintf(t.w, row, fmt.Sprintf("%d %s, KiB each", n, what), fmt.Sprintf("%.1f", kib), "", "", fmt.Sprintf("<= %d", asked))
}

func (t *table) handshakes(ours, theirs []shaken) {
	for _, r := range []struct {
		name, format string
		of           func(shaken) float64
	}{
		{"TLS handshakes, STARTTLS, TLS 1.3, ECDSA, /s", "%.0f", func(s shaken) float64 { return s.rate }},
		{"    CPU ms per connection", "%.2f", func(s shaken) float64 { return millis(s.cpu) }},
	} {
		a, b := column(ours, r.of), column(theirs, r.of)
		fmt.Fprintf(t.w, row, r.name, spread(a, r.format), spread(b, r.format), ratio(median(a), median(b)), "")
	}
}

func (t *table) passing(name string, ours, theirs []passing) {
	for _, r := range []struct {
		name, format, asked string
		of                  func(passing) float64
	}{
		{name + ", accepted msg/s", "%.0f", ">= 4x", func(p passing) float64 { return p.accepted }},
		{"    arrived at the sink, msg/s", "%.0f", ">= 3x", func(p passing) float64 { return p.arrived }},
		{"    CPU ms per message", "%.2f", "<= 1/3", func(p passing) float64 { return millis(p.cpu) }},
	} {
		a, b := column(ours, r.of), column(theirs, r.of)
		fmt.Fprintf(t.w, row, r.name, spread(a, r.format), spread(b, r.format), ratio(median(a), median(b)), r.asked)
	}
}

func (t *table) seconds(name string, ours, theirs []float64) {
	fmt.Fprintf(t.w, row, name+", s", spread(ours, "%.1f"), spread(theirs, "%.1f"), ratio(median(ours), median(theirs)), "< 1")
}

func (t *table) million(n int, rate float64, started time.Duration, filled, again int) {
	fmt.Fprintf(t.w, "queue, %d waiting for a dead host: %.0f msg/s accepted; MiB then %d; start again in %v, MiB %d\n", n, rate,
		filled/1024, started.Round(time.Millisecond), again/1024)
}

func column[T any](s []T, f func(T) float64) []float64 {
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
