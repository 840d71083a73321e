package maildir

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	// few is up to how many files or folders of a group are fsynced one after the other where syncfs may be used.
	few = 8
	// quietTurns is how many turns without a newcomer end the gathering of a group. One turn gained 4 % of the rate of 50
	// sessions, these 7 %, and a single session lost nothing.
	quietTurns = 4
	// parallelFsyncs is how many folders are fsynced at once where it may not.
	parallelFsyncs = 8
)

// request is the part of a delivery that is on one file system. Leader and waiter agree by state who cleans up.
type request struct {
	copies []*fileCopy
	errs   []error // per copy; valid when done is closed
	state  atomic.Int32
	done   chan struct{}
}

const (
	waiting int32 = iota
	taken
	withdrawn
)

// withdraw takes the request out before its group begins. When it is false, the leader has it and will end it.
func (r *request) withdraw() bool { return r.state.CompareAndSwap(waiting, withdrawn) }

// commits has one committer per file system.
type commits struct {
	sys    system
	sync   Sync
	log    *slog.Logger
	cache  *cache // its folders are dropped after a fault, and released after the commit
	work   sync.WaitGroup
	mu     sync.Mutex
	byDevs map[uint64]*committer
}

func newCommits(sys system, way Sync, log *slog.Logger) *commits {
	return &commits{sys: sys, sync: way, log: log, byDevs: map[uint64]*committer{}}
}

// of gives the committer for the file system that a folder is on.
func (c *commits) of(f *folder) (*committer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	device := f.identity[0]
	if k := c.byDevs[device]; k != nil {
		return k, nil
	}
	k := &committer{commits: c, whole: -1}
	if c.sync == SyncAuto {
		a, err := c.sys.abilities(f.new)
		if err != nil {
			return nil, fmt.Errorf("maildir: %s: %w", f.key, err)
		}
		k.abilities = a
	}
	if k.syncfs {
		fd, err := c.sys.open(f.new, ".", openFolder, 0)
		if err != nil {
			return nil, fmt.Errorf("maildir: %s: %w", f.key, err)
		}
		k.whole = fd
	}
	c.byDevs[device] = k
	return k, nil
}

// wait waits for the groups that are being committed. Nothing is submitted any more.
func (c *commits) wait() { c.work.Wait() }

func (c *commits) close() {
	for _, k := range c.byDevs {
		if k.whole >= 0 {
			_ = c.sys.close(k.whole) // a folder, opened for reading
		}
	}
}

// committer makes groups of messages visible and durable, one group at a time and without a timer: who comes during a
// commit is in the next group, so that groups are as large as the device is slow, and a single session never waits.
type committer struct {
	*commits
	abilities
	whole int // a folder that stays open for syncfs, so that no error of the file system is missed; or -1

	queue   sync.Mutex
	waiting []*request
	running bool
}

// waits tells whether the leader of a group can wait for the data of all at once; otherwise every writer waits for
// its own.
func (k *committer) waits() bool { return k.ordered || k.syncfs }

// submit enters a request in the next group.
func (k *committer) submit(copies []*fileCopy) *request {
	r := &request{copies: copies, errs: make([]error, len(copies)), done: make(chan struct{})}
	k.queue.Lock()
	defer k.queue.Unlock()
	k.waiting = append(k.waiting, r)
	if !k.running {
		k.running = true
		k.work.Go(k.lead)
	}
	return r
}

// lead commits group after group until nobody waits.
func (k *committer) lead() {
	for {
		k.gather()
		k.queue.Lock()
		group := k.waiting
		k.waiting = nil
		if len(group) == 0 {
			k.running = false
			k.queue.Unlock()
			return
		}
		k.queue.Unlock()
		k.commit(group)
	}
}

// gather lets those run first who can: on a busy machine many are about to join, and a commit costs the same for all of
// them. It ends when a few turns have brought nobody, at once on an idle machine.
func (k *committer) gather() {
	for seen, quiet := 0, 0; quiet < quietTurns; quiet++ {
		k.queue.Lock()
		n := len(k.waiting)
		k.queue.Unlock()
		if n > seen {
			seen, quiet = n, -1
		}
		runtime.Gosched()
	}
}

// commit is the order on which durability rests: all data on the device, then the renames, then one commit of the
// journal, and only then is anybody told.
func (k *committer) commit(group []*request) {
	n := 0
	for _, r := range group {
		if r.state.CompareAndSwap(waiting, taken) {
			group[n] = r
			n++
		}
	}
	group = group[:n]
	k.settle(group)
	renamed := map[*folder]error{}
	var last *folder
	each(group, func(c *fileCopy) error {
		if err := k.sys.rename(c.folder.tmp, c.name, c.folder.new); err != nil {
			return fmt.Errorf("maildir: %s: rename into new: %w", c.folder.key, err)
		}
		c.renamed = true
		renamed[c.folder] = nil
		last = c.folder
		return nil
	})
	k.persist(renamed, last)
	each(group, func(c *fileCopy) error { return renamed[c.folder] })
	for _, r := range group {
		for i, c := range r.copies {
			if r.errs[i] != nil {
				k.undo(c)
			}
			k.cache.release(c.folder)
		}
		close(r.done)
	}
}

// each does a step for every copy that has not failed yet.
func each(group []*request, step func(*fileCopy) error) {
	for _, r := range group {
		for i, c := range r.copies {
			if r.errs[i] == nil {
				r.errs[i] = step(c)
			}
		}
	}
}

// settle waits until the data of all copies that are still open is where their renames may follow it: on the device
// when the file system is ordered, durable when it is not.
func (k *committer) settle(group []*request) {
	open := 0
	each(group, func(c *fileCopy) error {
		if c.fd >= 0 {
			open++
		}
		return nil
	})
	finish, step := k.sys.waitWritten, "write"
	var whole error
	if !k.ordered {
		if open > few {
			whole = k.sys.syncfs(k.whole) // waitWritten then tells what became of each file
		} else {
			finish, step = k.sys.fsync, "fsync"
		}
	}
	each(group, func(c *fileCopy) error {
		if c.fd < 0 {
			return nil
		}
		err := whole
		if err == nil {
			err = finish(c.fd)
		}
		if err != nil {
			alarm(k.log, step, c.folder, err)
			return fmt.Errorf("maildir: %s: %s: %w", c.folder.key, step, err)
		}
		return c.close(k.sys)
	})
}

// persist makes the renames durable and enters the errors. On an ordered file system the folder of the last rename is
// enough: its commit of the journal holds all renames that were made before. A folder whose fsync failed is never asked
// again through the same descriptor: the kernel reports an error only once.
func (k *committer) persist(renamed map[*folder]error, last *folder) {
	if last == nil {
		return
	}
	switch {
	case k.ordered:
		if err := k.sys.fsync(last.new); err != nil {
			for f := range renamed {
				k.fault("fsync of new", f, err, renamed)
			}
		}
		return
	case k.syncfs && len(renamed) > few:
		if err := k.sys.syncfs(k.whole); err != nil {
			for f := range renamed {
				k.fault("syncfs", f, err, renamed)
			}
		}
		return
	case k.syncfs || len(renamed) == 1:
		for f := range renamed {
			if err := k.sys.fsync(f.new); err != nil {
				k.fault("fsync of new", f, err, renamed)
			}
		}
		return
	}
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(parallelFsyncs)
	for _, f := range keys(renamed) {
		g.Go(func() error {
			if err := k.sys.fsync(f.new); err != nil {
				mu.Lock()
				defer mu.Unlock()
				k.fault("fsync of new", f, err, renamed)
			}
			return nil
		})
	}
	_ = g.Wait() // the errors are in renamed
}

func keys(m map[*folder]error) []*folder {
	all := make([]*folder, 0, len(m))
	for f := range m {
		all = append(all, f)
	}
	return all
}

func (k *committer) fault(step string, f *folder, err error, renamed map[*folder]error) {
	alarm(k.log, step, f, err)
	renamed[f] = fmt.Errorf("maildir: %s: %s: %w", f.key, step, err)
	k.cache.drop(f)
}

// undo takes a message back that was not acknowledged, so that the client's next try is the only copy. A reader may
// have been faster; then there will be two.
func (k *committer) undo(c *fileCopy) {
	var err error
	if c.renamed {
		err = k.sys.unlink(c.folder.new, c.name)
	} else {
		err = c.remove(k.sys)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		k.log.Warn("a refused message is left behind; its sender will send it again",
			"maildir", c.folder.key, "file", c.name, "renamed", c.renamed, "error", err)
	}
}
