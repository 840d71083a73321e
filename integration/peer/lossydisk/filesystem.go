package lossydisk

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// size of a disk; XFS wants 300 MiB.
const size = 512 << 20

// Filesystem is a file system on such a disk.
type Filesystem struct {
	Dir  string
	kind string
	disk *Disk // nil: it is taken off
}

// Make makes a file system, "ext4" or "xfs", and mounts it on a folder. The image stands beside the folder.
func Make(dir, kind string) (*Filesystem, error) {
	f := &Filesystem{Dir: dir, kind: kind}
	if err := errors.Join(os.WriteFile(f.image(), nil, 0o600), os.Truncate(f.image(), size)); err != nil {
		return nil, err
	}
	if out, err := exec.Command("mkfs."+kind, "-q", f.image()).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("lossydisk: mkfs.%s: %w: %s", kind, err, out)
	}
	return f, f.mount()
}

func (f *Filesystem) image() string { return f.Dir + ".img" }

// mount attaches what is on the medium, and mounts it; the journal is replayed.
func (f *Filesystem) mount() (err error) {
	if err := os.MkdirAll(f.Dir, 0o755); err != nil {
		return err
	}
	if f.disk, err = Attach(f.image()); err != nil {
		return err
	}
	if err := unix.Mount(f.disk.Device, f.Dir, f.kind, 0, ""); err != nil {
		err = fmt.Errorf("lossydisk: mount %s: %w", f.kind, err)
		return errors.Join(err, f.off())
	}
	return nil
}

func (f *Filesystem) off() error {
	d := f.disk
	f.disk = nil
	return d.Close()
}

// Cut takes the power away; see [Disk.Cut].
//
// What a program acknowledges during the call does not count: a machine without power sends nothing, but here the program
// runs on, and the kernel may end an fsync well whose journal it has just lost. ext4 asks for a shutdown when the fsync
// begins; if another's fsync has the same transaction end, aborted, before this one looks for it,
// jbd2_complete_transaction finds it neither running nor committing, takes it for committed and returns 0 without a look
// at the abort.
func (f *Filesystem) Cut(how Loss, seed uint64) (Report, error) { return f.disk.Cut(how, seed) }

// Again gives the power back: what is on the medium is attached and mounted, as after a reboot. Nobody has anything open
// there any more.
func (f *Filesystem) Again() error {
	if err := f.Close(); err != nil {
		return err
	}
	return f.mount()
}

// Close unmounts and takes the disk off. It does nothing when that was done.
func (f *Filesystem) Close() error {
	if f.disk == nil {
		return nil
	}
	err := unix.Unmount(f.Dir, 0)
	if err == nil {
		// Other programs may have begun a mount namespace meanwhile, which has a copy of the mount. It goes with the folder.
		err = os.Remove(f.Dir)
	}
	if err != nil { // the helper does it lazily
		err = fmt.Errorf("lossydisk: unmount %s: %w", f.Dir, err)
	}
	return errors.Join(err, f.off())
}
