package peer

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// fsShutdown is FS_IOC_SHUTDOWN of ext4 and XFS; noLogFlush stops the file system where it stands, and nothing that is
// only in memory, the journal included, reaches the disk any more.
const (
	fsShutdown = 0x8004587d
	noLogFlush = 2
)

// CutPower stops the file system that holds folder, which must be mounted again, and gives the subjects of what the
// relay had acknowledged before that.
//
// What gets its 250 during the call does not count: a machine without power sends none, but here the relay runs on, and
// the kernel may end an fsync well whose journal is thrown away under it. ext4 asks for a shutdown when the fsync begins;
// if another's fsync has the same transaction end, aborted, before this one looks for it, jbd2_complete_transaction
// finds it neither running nor committing, takes it for committed and returns 0 without a look at the abort.
func CutPower(folder string, l *Load) (acknowledged map[string]bool, err error) {
	f, err := os.Open(folder)
	if err != nil {
		return nil, err
	}
	acknowledged = l.Acknowledged()
	err = unix.IoctlSetPointerInt(int(f.Fd()), fsShutdown, noLogFlush)
	return acknowledged, errors.Join(err, f.Close())
}
