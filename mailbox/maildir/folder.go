package maildir

import (
	"container/list"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	openFolder = unix.O_RDONLY | unix.O_DIRECTORY
	// maxTagFolders bounds how many folders senders can have made in one Maildir by inventing tags.
	maxTagFolders = 256
)

// folder is an open Maildir, or a Maildir++ folder in one. Its descriptors were reached from the root without
// following a symbolic link, so whoever owns a Maildir cannot lead deliveries out of it.
type folder struct {
	key    string   // path from the root
	names  []string // its components, with the tag folder last if there is one
	newDir string   // path of new/ from the root

	open     sync.Once
	err      error // of open
	tmp, new int
	identity [2]uint64  // device and inode of new/
	commits  *committer // of its file system

	// The rest belongs to the cache.
	refs    int
	dropped bool
	element *list.Element
}

// opener makes folders ready; it creates what is missing and makes that durable.
type opener struct {
	sys      system
	root     int
	owner    *Owner
	dirMode  uint32
	fileMode uint32
}

// openIn walks to the Maildir and opens its tmp and new.
func (o *opener) openIn(f *folder, tag string) (err error) {
	var opened []int
	defer func() { o.shut(opened...) }()
	at := o.root
	for _, name := range f.names {
		isTag := tag != "" && len(opened) == len(f.names)-1
		if at, err = o.descend(at, name, isTag); err != nil {
			return fmt.Errorf("maildir: folder %q: %w", name, err)
		}
		opened = append(opened, at)
	}
	if f.tmp, f.new, err = o.openMaildir(at); err != nil {
		return fmt.Errorf("maildir: %s: %w", f.key, err)
	}
	st, err := o.sys.fstat(f.new)
	if err != nil {
		o.shut(f.tmp, f.new)
		return err
	}
	f.identity = identityOf(st)
	return nil
}

func identityOf(st unix.Stat_t) [2]uint64 { return [2]uint64{uint64(st.Dev), st.Ino} }

// shut closes folders. Nothing is written through their descriptors that a failing close could lose.
func (o *opener) shut(fds ...int) {
	for _, fd := range fds {
		_ = o.sys.close(fd)
	}
}

// descend opens the folder name in dir, or makes it. A tag folder is made with the mark of Maildir++ in it.
func (o *opener) descend(dir int, name string, tagFolder bool) (int, error) {
	fd, err := o.sys.open(dir, name, openFolder, 0)
	if err == nil || !errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	if fd, err = o.create(dir, name); err != nil {
		return -1, err
	}
	if tagFolder {
		err = o.mark(fd)
	}
	if err == nil {
		err = o.sys.fsync(dir)
	}
	if err != nil {
		o.shut(fd)
		return -1, err
	}
	return fd, nil
}

// keepPath makes the folders above a Maildir durable that somebody else has made: he may not have come to it yet, or have
// died before. Where a journal keeps the order of changes, every later commit does that.
func (o *opener) keepPath(f *folder) error {
	var opened []int
	defer func() { o.shut(opened...) }()
	at := o.root
	for _, name := range f.names {
		if err := o.sys.fsync(at); err != nil {
			return err
		}
		next, err := o.sys.open(at, name, openFolder, 0)
		if err != nil {
			return err
		}
		opened = append(opened, next)
		at = next
	}
	return o.sys.fsync(at)
}

// openMaildir opens tmp and new in a Maildir, and makes these and cur when they are missing.
func (o *opener) openMaildir(dir int) (tmpDir, newDir int, err error) {
	var fds [3]int
	created := false
	for i, name := range [...]string{"cur", "new", "tmp"} {
		fd, err := o.sys.open(dir, name, openFolder, 0)
		if errors.Is(err, unix.ENOENT) {
			created = true
			fd, err = o.create(dir, name)
		}
		if err != nil {
			o.shut(fds[:i]...)
			return -1, -1, fmt.Errorf("%s: %w", name, err)
		}
		fds[i] = fd
	}
	if created {
		if err := o.sys.fsync(dir); err != nil {
			o.shut(fds[:]...)
			return -1, -1, err
		}
	}
	o.shut(fds[0])
	return fds[2], fds[1], nil
}

// create makes a folder with the configured mode and owner. Somebody else may make it at the same time.
func (o *opener) create(dir int, name string) (int, error) {
	made := o.sys.mkdir(dir, name, o.dirMode)
	if made != nil && !errors.Is(made, unix.EEXIST) {
		return -1, made
	}
	fd, err := o.sys.open(dir, name, openFolder, 0)
	if err != nil || made != nil {
		return fd, err
	}
	if err := o.give(fd, o.dirMode, 0o700); err != nil {
		o.shut(fd)
		return -1, err
	}
	return fd, nil
}

// mark creates the empty file by which Maildir++ knows a folder.
func (o *opener) mark(dir int) error {
	fd, err := o.sys.open(dir, "maildirfolder", unix.O_WRONLY|unix.O_CREAT, o.fileMode)
	if err != nil {
		return err
	}
	err = o.give(fd, o.fileMode, 0o600)
	if err == nil {
		err = o.sys.fsync(fd)
	}
	return errors.Join(err, o.sys.close(fd))
}

// give sets what open and mkdir could not: permissions that the umask may have taken (safe is what no sensible umask
// takes), and the owner.
func (o *opener) give(fd int, mode, safe uint32) error {
	if mode&^safe != 0 {
		if err := o.sys.chmod(fd, mode); err != nil {
			return err
		}
	}
	if o.owner == nil || (o.owner.UID == os.Geteuid() && o.owner.GID == os.Getegid()) {
		return nil
	}
	return o.sys.chown(fd, o.owner.UID, o.owner.GID)
}

// mayCreateTag tells whether a Maildir has room for one more folder, or the folder exists already. A Maildir that
// cannot be looked at has no room.
func (o *opener) mayCreateTag(names []string, tag string) bool {
	path := strings.Join(names, "/")
	if _, err := o.sys.stat(o.root, path+"/"+tag); err == nil {
		return true
	}
	fd, err := o.sys.open(o.root, path, openFolder, 0)
	if errors.Is(err, unix.ENOENT) {
		return true
	}
	if err != nil {
		return false
	}
	defer o.shut(fd)
	entries, err := o.sys.names(fd)
	n := 0
	for _, e := range entries {
		if strings.HasPrefix(e, ".") {
			n++
		}
	}
	return err == nil && n < maxTagFolders
}
