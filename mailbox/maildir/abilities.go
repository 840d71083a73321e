package maildir

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// abilities are what a file system promises beyond POSIX; the zero value is a file system that we know nothing of.
type abilities struct {
	// ordered: it has one journal, a change of metadata is never durable before those that were made earlier, and what
	// makes it durable flushes the cache of the device that the data is on, also when somebody else has had the journal
	// committed. Data that is on the device before the rename is therefore complete wherever the rename is seen after a
	// crash, and one journal commit makes both durable.
	ordered bool
	// syncfs reports every failure, and costs less than the fsync of many files or folders.
	syncfs bool
}

// abilities looks at the file system of an open folder.
func (kernel) abilities(fd int) (abilities, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return abilities{}, fmt.Errorf("file system: %w", err)
	}
	var a abilities
	switch int64(st.Type) {
	case unix.EXT4_SUPER_MAGIC:
		var s unix.Stat_t
		if err := unix.Fstat(fd, &s); err != nil {
			return a, fmt.Errorf("file system: %w", err)
		}
		a.ordered = ext4Journal(unix.Major(uint64(s.Dev)), unix.Minor(uint64(s.Dev)))
		a.syncfs = a.ordered && syncfsReports()
	case unix.XFS_SUPER_MAGIC:
		var s unix.Stat_t
		if err := unix.Fstat(fd, &s); err != nil {
			return a, fmt.Errorf("file system: %w", err)
		}
		mounts, err := os.ReadFile("/proc/self/mountinfo")
		a.ordered = err == nil && !realtime(string(mounts), unix.Major(uint64(s.Dev)), unix.Minor(uint64(s.Dev)))
		a.syncfs = a.ordered && syncfsReports()
	case unix.BTRFS_SUPER_MAGIC:
		a.syncfs = syncfsReports()
	}
	return a, nil
}

// ext4Journal tells whether an ext4 has a journal, on the same device; the magic number is also that of ext2, and of an
// ext4 without one. When the journal is elsewhere, its commit does not flush the device of the data: jbd2 does so for
// files in ordered mode only, and with delayed allocation there are none of these (dioread_nolock, since Linux 5.6).
func ext4Journal(major, minor uint32) bool {
	device, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", major, minor))
	if err != nil {
		return false
	}
	name := filepath.Base(device)
	task, err := os.ReadFile(filepath.Join("/sys/fs/ext4", name, "journal_task"))
	if err != nil {
		return false
	}
	if pid, err := strconv.Atoi(strings.TrimSpace(string(task))); err != nil || pid <= 0 {
		return false
	}
	journals, err := os.ReadDir("/proc/fs/jbd2")
	return err == nil && slices.ContainsFunc(journals, func(e fs.DirEntry) bool { return journalOn(e.Name(), name) })
}

// journalOn tells whether a journal, by the name that jbd2 gives it, is on a device: it is called after the device and the
// inode that it is in; a journal that has a device for itself has no inode.
func journalOn(journal, device string) bool {
	inode, found := strings.CutPrefix(journal, device+"-")
	_, err := strconv.ParseUint(inode, 10, 64)
	return found && err == nil
}

// realtime tells whether an XFS may have data on another device, which a commit of the journal does not flush.
func realtime(mounts string, major, minor uint32) bool {
	for line := range strings.Lines(mounts) {
		of, options, _ := strings.Cut(line, " - ")
		fields := strings.Fields(of)
		if len(fields) > 2 && fields[2] == fmt.Sprintf("%d:%d", major, minor) && strings.Contains(options, ",rtdev=") {
			return true
		}
	}
	return false
}

// syncfsReports tells whether syncfs(2) reports errors: of data since Linux 5.8, of the journal since 5.17.
func syncfsReports() bool {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return false
	}
	return atLeast(unix.ByteSliceToString(u.Release[:]), 5, 17)
}

// atLeast compares a kernel release such as 6.1.0-18-amd64.
func atLeast(release string, major, minor int) bool {
	a, rest, _ := strings.Cut(release, ".")
	b, _, _ := strings.Cut(rest, ".")
	digits := strings.IndexFunc(b, func(r rune) bool { return r < '0' || r > '9' })
	if digits >= 0 {
		b = b[:digits]
	}
	x, err := strconv.Atoi(a)
	if err != nil {
		return false
	}
	y, err := strconv.Atoi(b)
	return err == nil && (x > major || x == major && y >= minor)
}
