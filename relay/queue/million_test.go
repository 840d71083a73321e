package queue

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkMillion fills a queue with a million messages of 1 KiB for ten thousand destinations (MXBYPASS_BENCH_MESSAGES
// changes the million), and measures what an operator waits for: the start after a crash, what one message costs with so
// many others, memory, and the figures of the command. Run it once: -benchtime 1x.
func BenchmarkMillion(b *testing.B) {
	messages := 1_000_000
	if s := os.Getenv("MXBYPASS_BENCH_MESSAGES"); s != "" {
		var err error
		if messages, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		million(b, messages)
	}
}

func check(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// each reports the microseconds for one of n.
func each(b *testing.B, name string, n int, since time.Time) {
	b.ReportMetric(float64(time.Since(since).Microseconds())/float64(n), name)
}

const manyDestinations = 10_000

func million(b *testing.B, messages int) {
	ctx := b.Context()
	path := filepath.Join(b.TempDir(), "queue.db")
	q := openAt(b, path, nil)
	started := time.Now()
	fill(b, q, messages)
	b.ReportMetric(float64(messages)/time.Since(started).Seconds(), "put/s")
	check(b, q.Close())
	for suffix, unit := range map[string]string{"": "file-MiB", "-wal": "log-MiB"} {
		if info, err := os.Stat(path + suffix); err == nil {
			b.ReportMetric(float64(info.Size())/(1<<20), unit)
		}
	}

	started = time.Now()
	q = openAt(b, path, nil)
	_, _, err := q.NextDue(ctx)
	check(b, err)
	b.ReportMetric(float64(time.Since(started).Microseconds())/1000, "open-ms")

	started = time.Now()
	due, err := q.Destinations(ctx, time.Now(), 200, func(int64) bool { return false })
	check(b, err)
	each(b, "destination-us", len(due), started)
	started = time.Now()
	var items []*Item
	for _, at := range due {
		some, err := q.Ready(ctx, at.ID, time.Now(), 100)
		check(b, err)
		items = append(items, some...)
	}
	each(b, "ready-us", len(items), started)
	started = time.Now()
	var leased []*Item
	for _, group := range inGroups(items, 20) {
		some, err := q.Lease(ctx, group, time.Now().Add(time.Hour))
		check(b, err)
		leased = append(leased, some...)
	}
	each(b, "lease-us", len(leased), started)
	started = time.Now()
	for n, group := range inGroups(leased, 20) {
		outcomes := make([]Outcome, len(group))
		for i, item := range group {
			outcomes[i] = Outcome{Item: item, Kind: Gone}
			if n%2 == 0 {
				outcomes[i] = Outcome{Item: item, Kind: Retry, Next: time.Now().Add(time.Hour),
					Attempt: &Attempt{Time: time.Now(), Host: "mx.a.test", Code: 451, Text: strings.Repeat("later ", 10)}}
			}
		}
		check(b, q.Finish(ctx, outcomes, nil))
	}
	each(b, "finish-us", len(leased), started)
	started = time.Now()
	fill(b, q, 10_000)
	each(b, "put-more-us", 10_000, started)
	b.ReportMetric(resident(b), "rss-MiB")

	a, err := OpenAdmin(ctx, path)
	check(b, err)
	started = time.Now()
	stats, err := a.Stats(ctx)
	check(b, err)
	b.ReportMetric(time.Since(started).Seconds(), "stats-s")
	started = time.Now()
	found := 0
	for _, err := range a.List(ctx, Filter{Domain: "d7.test"}) {
		check(b, err)
		found++
	}
	b.ReportMetric(time.Since(started).Seconds(), "search-s")
	if want := int64(messages + 10_000 - len(leased)/2); stats.Messages < want-20 || found == 0 {
		b.Errorf("%d messages, want %d; %d found", stats.Messages, want, found)
	}
	check(b, a.Close())
	b.ReportMetric(0, "ns/op")
}

func inGroups(items []*Item, size int) (groups [][]*Item) {
	for len(items) > 0 {
		n := min(size, len(items))
		groups, items = append(groups, items[:n]), items[n:]
	}
	return groups
}

func fill(b *testing.B, q *Queue, messages int) {
	var next atomic.Int64
	var all sync.WaitGroup
	content := memory{text(1 << 10)}
	for range 100 {
		all.Go(func() {
			for n := next.Add(1); n <= int64(messages); n = next.Add(1) {
				d := fmt.Sprintf("d%d.test", n%manyDestinations)
				m := messageOf(fmt.Sprintf("01JB%022d", n), content)
				_, err := q.Put(context.Background(), Entry{Message: m,
					Recipients: []Recipient{recipientOf(wallClock{}, "mx:"+d, "somebody@"+d)}}, false)
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

// resident is the memory of this process.
func resident(b *testing.B) float64 {
	text, err := os.ReadFile("/proc/self/statm")
	check(b, err)
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	check(b, err)
	return float64(pages) * float64(os.Getpagesize()) / (1 << 20)
}
