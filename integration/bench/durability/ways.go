package main

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// deliverFunc returns when the message is in new/ and, as far as the way promises, durable.
type deliverFunc func(b *box, name string, message []byte) error

type way struct {
	name string
	make func(*boxes) (deliverFunc, error)
}

const (
	start = unix.SYNC_FILE_RANGE_WRITE
	wait  = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
)

// ways: "ordered" means that the data is on the device before the rename (sync_file_range), so that one journal
// commit afterwards makes data, inode and name durable together, and no crash shows a partial file.
var ways = []way{
	{"nosync", each(func(b *box, name string, m []byte) error {
		return firstOf(func() error { return write(b, name, m, nil) }, func() error { return rename(b, name) })
	})},
	{"perfile", each(func(b *box, name string, m []byte) error {
		return firstOf(func() error { return write(b, name, m, unix.Fsync) }, func() error { return rename(b, name) },
			func() error { return unix.Fsync(b.new) })
	})},
	{"perfile-shared-dir", shared(func(b *box, name string, m []byte) error {
		return firstOf(func() error { return write(b, name, m, unix.Fsync) }, func() error { return rename(b, name) })
	}, fsyncNew)},
	{"perfile-shared-syncfs", shared(func(b *box, name string, m []byte) error {
		return firstOf(func() error { return write(b, name, m, unix.Fsync) }, func() error { return rename(b, name) })
	}, syncfsOnce)},
	{"parallel-fsync", grouped(1, func(b *box, name string, m []byte) error { return write(b, name, m, nil) },
		func(g []job) error {
			if err := inParallel(g, func(j job) error {
				fd, err := unix.Openat(j.box.tmp, j.name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
				if err != nil {
					return err
				}
				defer unix.Close(fd)
				return unix.Fsync(fd)
			}); err != nil {
				return err
			}
			if err := renameAll(g); err != nil {
				return err
			}
			return inParallel(distinct(g), func(j job) error { return unix.Fsync(j.box.new) })
		})},
	{"group-syncfs-dirs", grouped(1, func(b *box, name string, m []byte) error { return write(b, name, m, nil) },
		func(g []job) error {
			return firstOf(func() error { return syncfsOnce(g) }, func() error { return renameAll(g) },
				func() error { return fsyncNew(g) })
		})},
	{"group-syncfs-twice", grouped(1, func(b *box, name string, m []byte) error { return write(b, name, m, nil) },
		func(g []job) error {
			return firstOf(func() error { return syncfsOnce(g) }, func() error { return renameAll(g) },
				func() error { return syncfsOnce(g) })
		})},
	{"unordered-syncfs", shared(func(b *box, name string, m []byte) error {
		return firstOf(func() error { return write(b, name, m, nil) }, func() error { return rename(b, name) })
	}, syncfsOnce)},
	{"ordered-syncfs", shared(ordered(wait), syncfsOnce)},
	{"ordered-syncfs-two", grouped(2, ordered(wait), syncfsOnce)},
	{"ordered-syncfs-leader", orderedByLeader(syncfsOnce)},
	{"ordered-leader-dirs", orderedByLeader(fsyncNew)},
	{"ordered-leader-one", orderedByLeader(func(g []job) error { return unix.Fsync(g[len(g)-1].box.new) })},
	{"ordered-leader-mixed", orderedByLeader(mixed)},
	{"ordered-mixed", shared(ordered(wait), mixed)},
	{"ordered-fsync-own", each(func(b *box, name string, m []byte) error {
		return firstOf(func() error { return ordered(wait)(b, name, m) }, func() error { return unix.Fsync(b.new) })
	})},
	{"ordered-fsync-dirs", shared(ordered(wait), fsyncNew)},
	{"ordered-fsync-one", shared(ordered(wait), func(g []job) error { return unix.Fsync(g[len(g)-1].box.new) })},
	{"tmpfile-fsync", each(func(b *box, name string, m []byte) error {
		return tmpfile(b, name, m, nil, unix.Fsync)
	})},
	{"tmpfile-ordered-syncfs", shared(func(b *box, name string, m []byte) error {
		return tmpfile(b, name, m, func(fd int) error { return unix.SyncFileRange(fd, 0, 0, wait) }, nil)
	}, syncfsOnce)},
	{"tmpfile-ordered-fsync", each(func(b *box, name string, m []byte) error {
		err := tmpfile(b, name, m, func(fd int) error { return unix.SyncFileRange(fd, 0, 0, wait) }, nil)
		if err != nil {
			return err
		}
		return unix.Fsync(b.new)
	})},
}

func ordered(flags int) deliverFunc {
	return func(b *box, name string, m []byte) error {
		err := write(b, name, m, func(fd int) error { return unix.SyncFileRange(fd, 0, 0, flags) })
		if err != nil {
			return err
		}
		return rename(b, name)
	}
}

// orderedByLeader starts the writing of the data in the writers, and lets the leader wait for it and rename.
func orderedByLeader(commit func([]job) error) func(*boxes) (deliverFunc, error) {
	return func(*boxes) (deliverFunc, error) {
		g := newGrouper(1, func(g []job) error {
			for _, j := range g {
				err := unix.SyncFileRange(j.fd, 0, 0, wait)
				unix.Close(j.fd)
				if err != nil {
					return err
				}
			}
			return firstOf(func() error { return renameAll(g) }, func() error { return commit(g) })
		})
		return func(b *box, name string, m []byte) error {
			fd, err := create(b, name, m)
			if err != nil {
				return err
			}
			if err := unix.SyncFileRange(fd, 0, 0, start); err != nil {
				return err
			}
			return g.do(job{box: b, name: name, fd: fd})
		}, nil
	}
}

func each(f deliverFunc) func(*boxes) (deliverFunc, error) {
	return func(*boxes) (deliverFunc, error) { return f, nil }
}

// shared prepares in every writer, and commits for all who wait.
func shared(prepare deliverFunc, commit func([]job) error) func(*boxes) (deliverFunc, error) {
	return grouped(1, prepare, commit)
}

func grouped(inFlight int, prepare deliverFunc, commit func([]job) error) func(*boxes) (deliverFunc, error) {
	return func(*boxes) (deliverFunc, error) {
		g := newGrouper(inFlight, commit)
		return func(b *box, name string, m []byte) error {
			if err := prepare(b, name, m); err != nil {
				return err
			}
			return g.do(job{box: b, name: name})
		}, nil
	}
}

func create(b *box, name string, m []byte) (int, error) {
	fd, err := unix.Openat(b.tmp, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return -1, err
	}
	return fd, writeAll(fd, m)
}

func write(b *box, name string, m []byte, flush func(int) error) error {
	fd, err := create(b, name, m)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if flush == nil {
		return nil
	}
	return flush(fd)
}

func writeAll(fd int, m []byte) error {
	n, err := unix.Write(fd, m)
	if err == nil && n < len(m) {
		err = fmt.Errorf("short write: %d of %d", n, len(m))
	}
	return err
}

// tmpfile writes a file without a name, and gives it one in new/.
func tmpfile(b *box, name string, m []byte, before, after func(int) error) error {
	fd, err := unix.Openat(b.new, ".", unix.O_WRONLY|unix.O_TMPFILE|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := writeAll(fd, m); err != nil {
		return err
	}
	if before != nil {
		if err := before(fd); err != nil {
			return err
		}
	}
	nameless := fmt.Sprint("/proc/self/fd/", fd)
	if err := unix.Linkat(unix.AT_FDCWD, nameless, b.new, name, unix.AT_SYMLINK_FOLLOW); err != nil {
		return err
	}
	if after != nil {
		return after(fd)
	}
	return nil
}

func rename(b *box, name string) error { return unix.Renameat(b.tmp, name, b.new, name) }

func renameAll(g []job) error {
	for _, j := range g {
		if err := rename(j.box, j.name); err != nil {
			return err
		}
	}
	return nil
}

func syncfsOnce(g []job) error { return unix.Syncfs(g[0].box.new) }

// mixed takes the cheaper of the two: a few folders are fsynced, many are left to one syncfs.
func mixed(g []job) error {
	if len(distinct(g)) <= 4 {
		return fsyncNew(g)
	}
	return syncfsOnce(g)
}

func fsyncNew(g []job) error {
	for _, j := range distinct(g) {
		if err := unix.Fsync(j.box.new); err != nil {
			return err
		}
	}
	return nil
}

func distinct(g []job) []job {
	seen := map[*box]bool{}
	var d []job
	for _, j := range g {
		if !seen[j.box] {
			seen[j.box] = true
			d = append(d, j)
		}
	}
	return d
}

func inParallel(g []job, f func(job) error) error {
	errs := make([]error, len(g))
	var group sync.WaitGroup
	for i, j := range g {
		group.Go(func() { errs[i] = f(j) })
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func firstOf(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}
