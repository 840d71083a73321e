// Command durability measures the bare ways of writing messages into Maildirs so that a crash cannot lose them. It is
// the raw limit that the Maildir store is held against, and it imports nothing of the relay.
//
//	durability -dir /mnt/fresh [-ways perfile,ordered-syncfs] [-writers 50] [-boxes 50] [-size 10240] [-time 3s]
//
// Use a fresh, journaled file system: what was deleted minutes ago slows creation down on some.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	dir := flag.String("dir", "", "a folder on the file system to measure")
	only := flag.String("ways", "", "comma-separated ways; default: all")
	writers := flag.Int("writers", 50, "concurrent writers")
	boxes := flag.Int("boxes", 50, "mailboxes")
	size := flag.Int("size", 10<<10, "octets per message")
	lasts := flag.Duration("time", 3*time.Second, "time per way")
	flag.Parse()
	if *dir == "" {
		flag.Usage()
		os.Exit(2)
	}
	fmt.Printf("writers %d, mailboxes %d, %d octets\n", *writers, *boxes, *size)
	message := bytes.Repeat([]byte("0123456\r\n"), *size/9+1)[:*size]
	for _, w := range ways {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), w.name) {
			continue
		}
		r, err := measure(filepath.Join(*dir, w.name), w, *writers, *boxes, message, *lasts)
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", w.name, err)
			os.Exit(1)
		}
		fmt.Println(r)
	}
}

// result is one line of the table.
type result struct {
	name     string
	rate     float64 // messages per second
	p50, p99 time.Duration
	cpu      time.Duration // of this process, user and system, per message
}

func (r result) String() string {
	return fmt.Sprintf("%-22s %8.0f msg/s  p50 %6.2f ms  p99 %6.2f ms  CPU %.3f ms/msg", r.name, r.rate,
		r.p50.Seconds()*1e3, r.p99.Seconds()*1e3, r.cpu.Seconds()*1e3)
}

// measure runs one way for a time with all writers at once, and removes the files again.
func measure(dir string, w way, writers, boxes int, message []byte, lasts time.Duration) (result, error) {
	defer os.RemoveAll(dir)
	b, err := openBoxes(dir, boxes)
	if err != nil {
		return result{}, err
	}
	defer b.close()
	deliver, err := w.make(b)
	if err != nil {
		return result{}, err
	}
	if err := unix.Syncfs(b.boxes[0].dir); err != nil {
		return result{}, err
	}
	var (
		group sync.WaitGroup
		fault atomic.Pointer[error]
		took  = make([][]time.Duration, writers)
		cpu   = cpuTime()
		start = time.Now()
	)
	for i := range writers {
		group.Go(func() {
			for n := 0; time.Since(start) < lasts; n++ {
				name := fmt.Sprintf("%d.M%dP%dQ%d", start.Unix(), i, os.Getpid(), n)
				before := time.Now()
				if err := deliver(&b.boxes[(i+n*writers)%boxes], name, message); err != nil {
					fault.Store(&err)
					return
				}
				took[i] = append(took[i], time.Since(before))
			}
		})
	}
	group.Wait()
	if e := fault.Load(); e != nil {
		return result{}, *e
	}
	elapsed, spent := time.Since(start), cpuTime()-cpu
	all := slices.Concat(took...)
	slices.Sort(all)
	return result{
		name: w.name, rate: float64(len(all)) / elapsed.Seconds(),
		p50: all[len(all)/2], p99: all[len(all)*99/100], cpu: spent / time.Duration(len(all)),
	}, nil
}

func cpuTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// box is a Maildir with its folders kept open, as a hot mailbox would be.
type box struct{ dir, tmp, new int }

type boxes struct{ boxes []box }

func openBoxes(dir string, n int) (*boxes, error) {
	b := &boxes{}
	for i := range n {
		path := filepath.Join(dir, fmt.Sprint("box", i))
		var x box
		for name, fd := range map[string]*int{"": &x.dir, "tmp": &x.tmp, "new": &x.new} {
			if err := os.MkdirAll(filepath.Join(path, name), 0o700); err != nil {
				return nil, err
			}
			var err error
			*fd, err = unix.Open(filepath.Join(path, name), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			if err != nil {
				return nil, err
			}
		}
		b.boxes = append(b.boxes, x)
	}
	return b, nil
}

func (b *boxes) close() {
	for _, x := range b.boxes {
		unix.Close(x.dir)
		unix.Close(x.tmp)
		unix.Close(x.new)
	}
}
