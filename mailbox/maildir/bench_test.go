package maildir

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkDeliver delivers durably with as many writers as a busy server has sessions, beside the bare loop that
// does the same (the way "ordered-leader-dirs" of integration/bench/durability is the store's own, done bare). Set
// TMPDIR to a fresh journaled file system.
func BenchmarkDeliver(b *testing.B) {
	for _, c := range []struct{ writers, boxes, size int }{
		{50, 50, 10 << 10}, {50, 1, 10 << 10}, {1, 1, 10 << 10}, {50, 50, 1 << 20},
	} {
		b.Run(fmt.Sprintf("%dwriters/%dboxes/%dKiB", c.writers, c.boxes, c.size>>10), func(b *testing.B) {
			s := open(b, options(b), kernel{})
			m, to := message(body(c.size)), users(c.boxes)
			for i := range to { // create them all
				if errs := deliver(b, s, m, to[i]); errs[0] != nil {
					b.Fatal(errs)
				}
			}
			run(b, c.writers, func(i int) error {
				d, errs := s.Prepare(b.Context(), m, to[i%c.boxes:i%c.boxes+1])
				if d == nil {
					return errs[0]
				}
				return d.Commit(b.Context())[0]
			})
		})
	}
}

// run shares b.N deliveries between the writers, and reports the figures of the issue.
func run(b *testing.B, writers int, one func(i int) error) {
	var next atomic.Int64
	var group sync.WaitGroup
	took := make([][]time.Duration, writers)
	var before, after unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &before); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for w := range writers {
		group.Go(func() {
			for i := int(next.Add(1)); i <= b.N; i = int(next.Add(1)) {
				start := time.Now()
				if err := one(i); err != nil {
					b.Error(err)
					return
				}
				took[w] = append(took[w], time.Since(start))
			}
		})
	}
	group.Wait()
	b.StopTimer()
	if err := unix.Getrusage(unix.RUSAGE_SELF, &after); err != nil {
		b.Fatal(err)
	}
	all := slices.Concat(took...)
	slices.Sort(all)
	cpu := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
	b.ReportMetric(float64(len(all))/b.Elapsed().Seconds(), "msg/s")
	b.ReportMetric(all[len(all)/2].Seconds()*1e3, "p50-ms")
	b.ReportMetric(all[len(all)*99/100].Seconds()*1e3, "p99-ms")
	b.ReportMetric(float64(cpu)/1e6/float64(len(all)), "cpu-ms/msg")
}
