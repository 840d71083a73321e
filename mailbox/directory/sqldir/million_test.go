package sqldir_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"mxbypass/mailbox"
	"mxbypass/mailbox/directory"
	"mxbypass/mailbox/directory/sqldir"
)

// BenchmarkMillion builds a directory of a million domains with three mailboxes each (MXBYPASS_BENCH_DOMAINS changes
// the million), and measures what an operator waits for: the import of a CSV file, the start, a lookup that goes to the
// database and one that the cache answers, and the memory that a full cache takes. Run it once: -benchtime 1x.
func BenchmarkMillion(b *testing.B) {
	domains := 1_000_000
	if s := os.Getenv("MXBYPASS_BENCH_DOMAINS"); s != "" {
		var err error
		if domains, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		million(b, domains)
	}
}

func million(b *testing.B, domains int) {
	path := filepath.Join(b.TempDir(), "directory.db")
	ctx := b.Context()
	o := options(path)
	o.CacheEntries = 100_000

	started := time.Now()
	d, err := sqldir.Open(ctx, o)
	check(b, err)
	_, err = d.Import(ctx, manyRows(domains), directory.ImportOptions{})
	check(b, err)
	b.ReportMetric(time.Since(started).Seconds(), "import-s")
	check(b, d.Close())
	info, err := os.Stat(path)
	check(b, err)
	b.ReportMetric(float64(info.Size())/(1<<20), "file-MiB")

	started = time.Now()
	d, err = sqldir.Open(ctx, o)
	check(b, err)
	defer func() { check(b, d.Close()) }()
	_, err = d.Entry(ctx, manyAddress(domains/2, 1))
	check(b, err)
	b.ReportMetric(float64(time.Since(started).Microseconds())/1000, "open-ms")

	const cold = 100_000
	random := rand.New(rand.NewPCG(1, 2))
	asked := make([]mailbox.Address, cold)
	for i := range asked {
		asked[i] = manyAddress(random.IntN(domains), random.IntN(3))
	}
	before := heap()
	b.ReportMetric(lookups(b, ctx, d, asked), "cold-us")
	b.ReportMetric(float64(heap()-before)/(1<<20), "cache-MiB")

	few := asked[:1000]
	for range 10 {
		lookups(b, ctx, d, few) // often enough that the cache prefers them
	}
	b.ReportMetric(lookups(b, ctx, d, few), "cached-us")
	b.ReportMetric(0, "ns/op")
}

// lookups asks for every mailbox with its domain, and returns the microseconds for one.
func lookups(b *testing.B, ctx context.Context, d *sqldir.Directory, asked []mailbox.Address) float64 {
	started := time.Now()
	for _, a := range asked {
		_, err := d.Domain(ctx, a.Domain)
		check(b, err)
		_, err = d.Entry(ctx, a)
		check(b, err)
	}
	return float64(time.Since(started).Nanoseconds()) / 1000 / float64(len(asked))
}

func check(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// manyRows come out of CSV text, so that the time of its parser counts.
func manyRows(domains int) directory.Source {
	source, err := directory.ReadCSV(&manyLines{domains: domains})
	if err != nil {
		panic(err)
	}
	return source
}

// manyLines is a CSV file that is written while it is read.
type manyLines struct {
	domains, next int
	rest          []byte
}

func (m *manyLines) Read(p []byte) (int, error) {
	if len(m.rest) == 0 {
		switch {
		case m.next > m.domains:
			return 0, io.EOF
		case m.next == 0:
			m.rest = append(m.rest, "address,site\n"...)
		default:
			for user := range 3 {
				m.rest = append(m.rest, manyText(m.next-1, user)+",cloud\n"...)
			}
		}
		m.next++
	}
	n := copy(p, m.rest)
	m.rest = m.rest[n:]
	return n, nil
}

func manyAddress(domain, user int) mailbox.Address {
	return address(manyText(domain, user))
}

func manyText(domain, user int) string {
	return fmt.Sprintf("user%d@customer-%d.example", user, domain)
}
