package maildir

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// seam stands before the kernel: it counts calls, writes them down, and lets a test refuse or hold any of them.
type seam struct {
	kernel
	can  *abilities                  // instead of those of the file system
	hook func(op, name string) error // before the call; an error is its result

	mu     sync.Mutex
	calls  map[string]int
	events []event
	fds    map[int]string // names of open descriptors
	opened int
	closed int
}

// event is a call that succeeded. For calls on a descriptor, name is what it was opened as; fd is that descriptor, or
// the folder that a rename went to.
type event struct {
	op, name string
	fd       int
}

func newSeam(hook func(op, name string) error) *seam {
	return &seam{hook: hook, calls: map[string]int{}, fds: map[int]string{}}
}

// before counts a call and asks the hook.
func (s *seam) before(op, name string) error {
	s.mu.Lock()
	s.calls[op]++
	hook := s.hook
	s.mu.Unlock()
	if hook == nil {
		return nil
	}
	return hook(op, name)
}

func (s *seam) did(op, name string, err error) error { return s.didOn(op, name, -1, err) }

func (s *seam) didOn(op, name string, fd int, err error) error {
	if err == nil {
		s.mu.Lock()
		s.events = append(s.events, event{op, name, fd})
		s.mu.Unlock()
	}
	return err
}

func (s *seam) on(op string, fd int, call func(int) error) error {
	s.mu.Lock()
	name := s.fds[fd]
	s.mu.Unlock()
	if err := s.before(op, name); err != nil {
		return err
	}
	return s.didOn(op, name, fd, call(fd))
}

func (s *seam) set(hook func(op, name string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = hook
}

// failNth refuses the nth call of an operation.
func failNth(op string, n int, with error) func(string, string) error {
	var mu sync.Mutex
	return func(o, _ string) error {
		mu.Lock()
		defer mu.Unlock()
		if o != op {
			return nil
		}
		if n--; n != -1 {
			return nil
		}
		return with
	}
}

func (s *seam) open(dir int, name string, flags int, mode uint32) (int, error) {
	if err := s.before("open", name); err != nil {
		return -1, err
	}
	fd, err := s.kernel.open(dir, name, flags, mode)
	if err == nil {
		s.mu.Lock()
		s.opened++
		s.fds[fd] = name
		s.mu.Unlock()
	}
	return fd, s.did("open", name, err)
}

func (s *seam) mkdir(dir int, name string, mode uint32) error {
	if err := s.before("mkdir", name); err != nil {
		return err
	}
	return s.did("mkdir", name, s.kernel.mkdir(dir, name, mode))
}

func (s *seam) stat(dir int, name string) (unix.Stat_t, error) {
	if err := s.before("stat", name); err != nil {
		return unix.Stat_t{}, err
	}
	return s.kernel.stat(dir, name)
}

func (s *seam) fstat(fd int) (unix.Stat_t, error) {
	if err := s.before("fstat", ""); err != nil {
		return unix.Stat_t{}, err
	}
	return s.kernel.fstat(fd)
}

func (s *seam) chmod(fd int, mode uint32) error {
	return s.on("chmod", fd, func(fd int) error { return s.kernel.chmod(fd, mode) })
}

func (s *seam) chown(fd int, uid, gid int) error {
	return s.on("chown", fd, func(fd int) error { return s.kernel.chown(fd, uid, gid) })
}

func (s *seam) write(fd int, buffers [][]byte) (n int, err error) {
	err = s.on("write", fd, func(fd int) error {
		n, err = s.kernel.write(fd, buffers)
		return err
	})
	return n, err
}

// What makes things durable has no effect that a test could see, and takes most of the time: it is only written down.
func (s *seam) startWriting(fd int) error { return s.on("startWriting", fd, nothing) }
func (s *seam) waitWritten(fd int) error  { return s.on("waitWritten", fd, nothing) }
func (s *seam) fsync(fd int) error        { return s.on("fsync", fd, nothing) }
func (s *seam) syncfs(fd int) error       { return s.on("syncfs", fd, nothing) }

func nothing(int) error { return nil }

func (s *seam) rename(fromDir int, name string, toDir int) error {
	if err := s.before("rename", name); err != nil {
		return err
	}
	return s.didOn("rename", name, toDir, s.kernel.rename(fromDir, name, toDir))
}

func (s *seam) unlink(dir int, name string) error {
	if err := s.before("unlink", name); err != nil {
		return err
	}
	return s.did("unlink", name, s.kernel.unlink(dir, name))
}

// close closes in any case, as close(2) does.
func (s *seam) close(fd int) error {
	err := s.before("close", "")
	s.mu.Lock()
	delete(s.fds, fd)
	s.closed++
	s.mu.Unlock()
	if kerr := s.kernel.close(fd); kerr != nil {
		panic(fmt.Sprintf("close(%d): %v", fd, kerr)) // a descriptor closed twice may be somebody else's by now
	}
	return err
}

func (s *seam) abilities(fd int) (abilities, error) {
	if err := s.before("abilities", ""); err != nil {
		return abilities{}, err
	}
	if s.can != nil {
		return *s.can, nil
	}
	return s.kernel.abilities(fd)
}
