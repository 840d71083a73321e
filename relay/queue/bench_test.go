package queue

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"mxbypass/mailbox"
)

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkThrough is the life of a message that goes out at once: queued and leased in one commit, finished in another.
func BenchmarkThrough(b *testing.B) {
	for _, size := range []int{10 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) { through(b, size, 50) })
	}
}

func through(b *testing.B, size, producers int) {
	q := openAt(b, filepath.Join(b.TempDir(), "queue.db"), nil)
	body := text(size)
	var content memory
	for at := 0; at < len(body); at += chunkSize {
		content = append(content, body[at:min(at+chunkSize, len(body))])
	}
	var next atomic.Int64
	var all sync.WaitGroup
	before := cpu()
	b.ResetTimer()
	for range producers {
		all.Go(func() {
			for {
				n := next.Add(1)
				if n > int64(b.N) {
					return
				}
				m := messageOf(fmt.Sprintf("01JB%022d", n), content)
				r := recipientOf(wallClock{}, fmt.Sprintf("mx:example-%d.test", n%20), "somebody@example.test")
				items, err := q.Put(context.Background(), Entry{Message: m, Recipients: []Recipient{r}}, true)
				if err == nil {
					err = q.Finish(context.Background(), []Outcome{{Item: items[0], Kind: Gone}}, nil)
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-us/msg")
}

var _ mailbox.Content = memory(nil)
