package lossydisk_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"unsafe"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"mxbypass/integration/peer/lossydisk"
)

func TestMain(m *testing.M) {
	if code, is := lossydisk.Helper(); is {
		os.Exit(code)
	}
	goleak.VerifyTestMain(m)
}

const sector = 4096

// fill gives a buffer as direct I/O wants it.
func fill(t *testing.T, sectors int, with byte) []byte {
	t.Helper()
	b := make([]byte, (sectors+1)*sector)
	off := int(sector-uintptr(unsafe.Pointer(&b[0]))%sector) % sector
	b = b[off:][:sectors*sector]
	for i := range b {
		b[i] = with
	}
	return b
}

// The device itself: what was flushed stays, and what was not is lost, all of it or some.
func TestCut(t *testing.T) {
	const sectors = 200
	for _, how := range []lossydisk.Loss{lossydisk.LoseAll, lossydisk.LoseSome} {
		t.Run(how.String(), func(t *testing.T) {
			image := filepath.Join(t.TempDir(), "image")
			must(t, os.WriteFile(image, make([]byte, 2*sectors*sector), 0o600))
			d, err := lossydisk.Attach(image)
			must(t, err)
			fd, err := unix.Open(d.Device, unix.O_RDWR|unix.O_DIRECT, 0)
			must(t, err)
			write := func(at, count int, with byte) {
				t.Helper()
				n, err := unix.Pwrite(fd, fill(t, count, with), int64(at*sector))
				must(t, err)
				if n != count*sector {
					t.Fatalf("%d octets written", n)
				}
			}
			write(0, sectors, 1)
			must(t, unix.Fsync(fd))
			write(0, sectors, 2)
			write(0, sectors, 3)
			got := fill(t, sectors, 0)
			_, err = unix.Pread(fd, got, 0)
			must(t, err)
			if !bytes.Equal(got, fill(t, sectors, 3)) {
				t.Error("what was written last is not what is read")
			}
			report, err := d.Cut(how, 7)
			must(t, err)
			if report.Flushes == 0 || report.Volatile != sectors {
				t.Errorf("%+v", report)
			}
			if _, err := unix.Pwrite(fd, fill(t, 1, 4), 0); !errors.Is(err, unix.EIO) {
				t.Errorf("a write without power: %v", err)
			}
			if err := unix.Fsync(fd); !errors.Is(err, unix.EIO) {
				t.Errorf("a flush without power: %v", err)
			}
			must(t, unix.Close(fd))
			must(t, d.Close())

			medium, err := os.ReadFile(image)
			must(t, err)
			var found [4]int
			for s := range slices.Chunk(medium[:sectors*sector], sector) {
				if !bytes.Equal(s, fill(t, 1, s[0])) || s[0] > 3 {
					t.Fatal("a sector in pieces")
				}
				found[s[0]]++
			}
			all := how == lossydisk.LoseAll && found == [4]int{1: sectors}
			some := how == lossydisk.LoseSome && min(found[1], found[2], found[3]) > sectors/10 && report.Kept == found[2]+found[3]
			if !all && !some {
				t.Errorf("versions on the medium: %v, %+v", found, report)
			}
		})
	}
}

// The file systems: their barriers reach the disk as flushes, and without one nothing is safe that has merely been
// written to the device.
func TestFlushesOfFileSystems(t *testing.T) {
	const waited = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	written := func(f *os.File) error { return unix.SyncFileRange(int(f.Fd()), 0, 0, waited) }
	syncFolder := func(dir string) error {
		d, err := os.Open(dir)
		if err != nil {
			return err
		}
		return errors.Join(d.Sync(), d.Close())
	}
	syncAll := func(dir string) error {
		d, err := os.Open(dir)
		if err != nil {
			return err
		}
		return errors.Join(unix.Syncfs(int(d.Fd())), d.Close())
	}
	cases := []struct {
		name string
		do   func(f *os.File) error
		want string // of the file "old", which held "old"; or of "fresh"
		file string
	}{
		{"overwritten, on the device, not flushed", written, "old", "old"},
		{"overwritten, fdatasync", func(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }, "new", "old"},
		{"new, on the device, renamed, not flushed", func(f *os.File) error {
			return errors.Join(written(f), os.Rename(f.Name(), filepath.Join(filepath.Dir(f.Name()), "b", "fresh")))
		}, "", "b/fresh"},
		{"new, on the device, renamed, folder synced", func(f *os.File) error {
			b := filepath.Join(filepath.Dir(f.Name()), "b")
			return errors.Join(written(f), os.Rename(f.Name(), filepath.Join(b, "fresh")), syncFolder(b))
		}, "new", "b/fresh"},
		{"the same, and the journal was committed for somebody else before", func(f *os.File) error {
			dir := filepath.Dir(f.Name())
			b := filepath.Join(dir, "b")
			return errors.Join(written(f), os.Rename(f.Name(), filepath.Join(b, "fresh")),
				os.WriteFile(filepath.Join(dir, "other"), nil, 0o600), syncFolder(dir), syncFolder(b))
		}, "new", "b/fresh"},
	}
	for _, kind := range []string{lossydisk.Ext4, lossydisk.XFS} {
		for _, c := range cases {
			t.Run(fmt.Sprintf("%s %s", kind, c.name), func(t *testing.T) {
				t.Parallel()
				dir := filepath.Join(t.TempDir(), "disk")
				fs, err := lossydisk.Make(dir, kind)
				must(t, err)
				t.Cleanup(func() { must(t, fs.Close()) })
				must(t, os.Mkdir(filepath.Join(dir, "b"), 0o700))
				must(t, os.WriteFile(filepath.Join(dir, "old"), bytes.Repeat([]byte("old"), sector), 0o600))
				must(t, syncAll(dir))
				name := "old"
				if c.file != name {
					name = "tmp"
				}
				f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE, 0o600)
				must(t, err)
				_, err = f.WriteAt(bytes.Repeat([]byte("new"), sector), 0)
				must(t, err)
				must(t, c.do(f))
				report, err := fs.Cut(lossydisk.LoseAll, 0)
				must(t, err)
				t.Logf("%+v", report)
				must(t, f.Close())
				must(t, fs.Again())
				got, err := os.ReadFile(filepath.Join(dir, c.file))
				if err != nil && !errors.Is(err, os.ErrNotExist) {
					t.Fatal(err)
				}
				if want := bytes.Repeat([]byte(c.want), sector); !bytes.Equal(got, want) {
					t.Errorf("%.9q of %d octets, want %.9q of %d", got, len(got), want, len(want))
				}
			})
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
