package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// disk is a loop device that gets a new, empty, journaled ext4 for every measurement: some root file systems have no
// journal, and slow down with files that were deleted minutes before.
type disk struct {
	image, dir, device string
}

func newDisk(dir string, size int64) (*disk, error) {
	d := &disk{image: dir + ".img", dir: dir}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	// Written, not sparse: the first run must not pay for the allocation of the image.
	if err := command("dd", "if=/dev/zero", "of="+d.image, "bs=1M", fmt.Sprintf("count=%d", size>>20), "oflag=direct",
		"status=none"); err != nil {
		return nil, err
	}
	out, err := exec.Command("losetup", "--direct-io=on", "-f", "--show", d.image).Output()
	if err != nil {
		return nil, fmt.Errorf("losetup: %w", err)
	}
	d.device = strings.TrimSpace(string(out))
	return d, nil
}

// fresh mounts a new file system and returns a folder on it; done unmounts it.
func (d *disk) fresh() (dir string, done func() error, err error) {
	if err := command("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", d.device); err != nil {
		return "", nil, err
	}
	if err := command("mount", "-o", "relatime", d.device, d.dir); err != nil {
		return "", nil, err
	}
	dir = filepath.Join(d.dir, "x")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", nil, err
	}
	return dir, func() error {
		var err error
		for range 50 { // a server that has just ended may still be leaving
			if err = command("umount", d.dir); err == nil {
				return nil
			}
			time.Sleep(100 * time.Millisecond)
		}
		return err
	}, nil
}

func (d *disk) remove() {
	_ = exec.Command("umount", d.dir).Run()
	_ = exec.Command("losetup", "-d", d.device).Run()
	_ = os.Remove(d.image)
}

func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}
