package lossydisk

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

const (
	size        = 512 << 20 // of a disk; XFS wants 300 MiB
	journalSize = 16 << 20
)

// The kinds of file systems.
const (
	Ext4 = "ext4"
	XFS  = "xfs"
	// Ext4External is an ext4 whose journal is on a disk of its own, which is cut off together with the other.
	Ext4External = "ext4 with its journal elsewhere"
)

// Filesystem is a file system on such a disk.
type Filesystem struct {
	Dir   string
	kind  string
	disks []*Disk // that of the journal comes last; none: they are taken off
}

// Make makes a file system and mounts it on a folder. The images stand beside the folder.
func Make(dir, kind string) (*Filesystem, error) {
	f := &Filesystem{Dir: dir, kind: kind}
	for i, image := range f.images() {
		if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, []int64{size, journalSize}[i])); err != nil {
			return nil, err
		}
	}
	if kind != Ext4External {
		if err := command("mkfs."+kind, "-q", f.images()[0]); err != nil {
			return nil, err
		}
		return f, f.mount()
	}
	if err := f.attach(); err != nil {
		return nil, err
	}
	data, journal := f.disks[0].Device, f.disks[1].Device
	if err := errors.Join(command("mkfs.ext4", "-q", "-b", "4096", "-O", "journal_dev", journal),
		command("mkfs.ext4", "-q", "-b", "4096", "-J", "device="+journal, data), f.off()); err != nil {
		return nil, errors.Join(err, f.off())
	}
	return f, f.mount()
}

func (f *Filesystem) images() []string {
	if f.kind == Ext4External {
		return []string{f.Dir + ".img", f.Dir + ".journal.img"}
	}
	return []string{f.Dir + ".img"}
}

// attach attaches what is on the media.
func (f *Filesystem) attach() error {
	for _, image := range f.images() {
		d, err := Attach(image)
		if err != nil {
			return errors.Join(err, f.off())
		}
		f.disks = append(f.disks, d)
	}
	return nil
}

// mount attaches the disks and mounts the file system; its journal is replayed.
func (f *Filesystem) mount() error {
	if err := errors.Join(os.MkdirAll(f.Dir, 0o755), f.attach()); err != nil {
		return err
	}
	kind, options := f.kind, ""
	if f.kind == Ext4External {
		kind, options = Ext4, "journal_path="+f.disks[1].Device
	}
	if err := unix.Mount(f.disks[0].Device, f.Dir, kind, 0, options); err != nil {
		return errors.Join(fmt.Errorf("lossydisk: mount %s: %w", f.kind, err), f.off())
	}
	return nil
}

func (f *Filesystem) off() error {
	var errs []error
	for _, d := range f.disks {
		errs = append(errs, d.Close())
	}
	f.disks = nil
	return errors.Join(errs...)
}

// Cut takes the power away; see [Disk.Cut]. The report is that of the data's disk.
//
// What a program acknowledges during the call does not count: a machine without power sends nothing, but here the program
// runs on, and the kernel may end an fsync well whose journal it has just lost. ext4 asks for a shutdown when the fsync
// begins; if another's fsync has the same transaction end, aborted, before this one looks for it,
// jbd2_complete_transaction finds it neither running nor committing, takes it for committed and returns 0 without a look
// at the abort.
func (f *Filesystem) Cut(how Loss, seed uint64) (r Report, err error) {
	for i := range f.disks {
		d := f.disks[len(f.disks)-1-i] // the journal first: it must not go on without the rest
		if r, err = d.Cut(how, seed); err != nil {
			return r, err
		}
	}
	return r, nil
}

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
	if len(f.disks) == 0 {
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

func command(args ...string) error {
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("lossydisk: %v: %w: %s", args, err, out)
	}
	return nil
}
