package maildir

import (
	"os"

	"golang.org/x/sys/unix"
)

// system is what the store asks of the kernel, at one place so that tests can make every single call fail and see the
// order of all. Files are descriptors, and names are relative to an open folder.
type system interface {
	open(dir int, name string, flags int, mode uint32) (int, error)
	mkdir(dir int, name string, mode uint32) error
	stat(dir int, name string) (unix.Stat_t, error) // of the thing itself, not of what a link points to
	fstat(fd int) (unix.Stat_t, error)
	chmod(fd int, mode uint32) error
	chown(fd int, uid, gid int) error
	write(fd int, buffers [][]byte) (int, error)
	startWriting(fd int) error // data towards the device, without waiting
	waitWritten(fd int) error  // until the data is on the device, where it may still be in a volatile cache
	fsync(fd int) error
	syncfs(fd int) error
	rename(fromDir int, name string, toDir int) error
	unlink(dir int, name string) error
	names(dir int) ([]string, error)
	close(fd int) error
	abilities(fd int) (abilities, error)
}

// kernel is the real one.
type kernel struct{}

func (kernel) open(dir int, name string, flags int, mode uint32) (int, error) {
	return unix.Openat(dir, name, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, mode)
}

func (kernel) mkdir(dir int, name string, mode uint32) error { return unix.Mkdirat(dir, name, mode) }

func (kernel) stat(dir int, name string) (st unix.Stat_t, err error) {
	err = unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return st, err
}

func (kernel) fstat(fd int) (st unix.Stat_t, err error) {
	err = unix.Fstat(fd, &st)
	return st, err
}

func (kernel) chmod(fd int, mode uint32) error  { return unix.Fchmod(fd, mode) }
func (kernel) chown(fd int, uid, gid int) error { return unix.Fchown(fd, uid, gid) }

func (kernel) write(fd int, buffers [][]byte) (int, error) {
	if len(buffers) == 1 {
		return unix.Write(fd, buffers[0])
	}
	return unix.Writev(fd, buffers)
}

func (kernel) startWriting(fd int) error {
	return unix.SyncFileRange(fd, 0, 0, unix.SYNC_FILE_RANGE_WRITE)
}

func (kernel) waitWritten(fd int) error {
	return unix.SyncFileRange(fd, 0, 0,
		unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
}

func (kernel) fsync(fd int) error  { return unix.Fsync(fd) }
func (kernel) syncfs(fd int) error { return unix.Syncfs(fd) }

func (kernel) rename(fromDir int, name string, toDir int) error {
	return unix.Renameat(fromDir, name, toDir, name)
}

func (kernel) unlink(dir int, name string) error { return unix.Unlinkat(dir, name, 0) }

func (k kernel) names(dir int) ([]string, error) {
	fd, err := k.open(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), ".")
	defer f.Close()
	return f.Readdirnames(-1)
}

func (kernel) close(fd int) error { return unix.Close(fd) }

var _ system = kernel{}
