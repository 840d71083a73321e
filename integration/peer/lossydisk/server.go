package lossydisk

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// helperVariable says that this process is the server, and of which image.
const helperVariable = "MXBYPASS_TEST_LOSSYDISK"

// Helper serves a disk when this process was started for that; a TestMain asks it before anything else, and ends with the
// code when it is the helper.
func Helper() (code int, is bool) {
	image := os.Getenv(helperVariable)
	if image == "" {
		return 0, false
	}
	if err := serve(image); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, true
}

// serve makes the image a disk, names its device, and obeys until its standard input ends.
func serve(image string) (err error) {
	medium, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer medium.Close()
	info, err := medium.Stat()
	if err != nil {
		return err
	}
	c := newCache(medium)
	point := image + ".disk" // a file on a file: the root of the file system is the disk
	if err := os.WriteFile(point, nil, 0o600); err != nil {
		return err
	}
	server, err := fuse.NewServer(&oneFile{RawFileSystem: fuse.NewDefaultRawFileSystem(), cache: c, size: info.Size()}, point,
		&fuse.MountOptions{DirectMountStrict: true, MaxWrite: 1 << 20, MaxBackground: 128, FsName: "lossydisk", Name: "lossydisk"})
	if err != nil {
		return fmt.Errorf("lossydisk: FUSE: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		server.Serve()
	}()
	defer func() {
		// With the file go the copies of the mount in other mount namespaces.
		err = errors.Join(err, unix.Unmount(point, unix.MNT_DETACH), os.Remove(point))
		select {
		case <-ended:
		case <-time.After(patience / 6): // whoever still has the device sees it fail
		}
	}()
	loop, device, err := attach(point)
	if err != nil {
		return fmt.Errorf("lossydisk: loop device: %w", err)
	}
	fmt.Println(device)
	obeyed := obey(c)
	// An orderly end finds nothing mounted. Otherwise the test has failed or is gone: nothing may wait for the device.
	mounted, merr := mounts(loop)
	if len(mounted) > 0 {
		_, cerr := c.cut(LoseAll, 0)
		merr = errors.Join(merr, cerr)
	}
	for _, dir := range mounted {
		merr = errors.Join(merr, unix.Unmount(dir, unix.MNT_DETACH))
	}
	return errors.Join(obeyed, merr, unix.Close(loop)) // it is detached when its last user closes it
}

// attach gives a loop device, which detaches itself when nobody has it open any more.
func attach(file string) (loop int, device string, err error) {
	backing, err := unix.Open(file, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, "", err
	}
	defer unix.Close(backing)
	control, err := unix.Open("/dev/loop-control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, "", err
	}
	defer unix.Close(control)
	for {
		n, err := unix.IoctlRetInt(control, unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return -1, "", err
		}
		device = fmt.Sprintf("/dev/loop%d", n)
		if loop, err = unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
			return -1, "", err
		}
		err = unix.IoctlLoopConfigure(loop, &unix.LoopConfig{Fd: uint32(backing),
			Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_DIRECT_IO | unix.LO_FLAGS_AUTOCLEAR}})
		if err == nil {
			return loop, device, directIO(n)
		}
		unix.Close(loop)
		if !errors.Is(err, unix.EBUSY) { // somebody else was faster
			return -1, "", err
		}
	}
}

// directIO wants the loop driver to pass by the page cache, as it does not where it cannot.
func directIO(n int) error {
	dio, err := os.ReadFile(fmt.Sprintf("/sys/block/loop%d/loop/dio", n))
	if err == nil && strings.TrimSpace(string(dio)) != "1" {
		err = errors.New("no direct I/O")
	}
	return err
}

// mounts gives the folders that the device is mounted on.
func mounts(loop int) ([]string, error) {
	var st unix.Stat_t
	if err := unix.Fstat(loop, &st); err != nil {
		return nil, err
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var dirs []string
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) > 4 && fields[2] == fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev)) {
			dirs = append(dirs, strings.ReplaceAll(fields[4], `\040`, " "))
		}
	}
	return dirs, nil
}

// obey cuts the power when it is told to.
func obey(c *cache) error {
	commands := bufio.NewReader(os.Stdin)
	for {
		line, err := commands.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		var how Loss
		var seed uint64
		if err == nil {
			_, err = fmt.Sscanf(line, "cut %d %d", &how, &seed)
		}
		if err != nil {
			return err
		}
		r, err := c.cut(how, seed)
		if err != nil {
			return err
		}
		fmt.Println(r.Flushes, r.Volatile, r.Kept)
	}
}

// oneFile is the disk as a file system whose root is a file.
type oneFile struct {
	fuse.RawFileSystem
	cache *cache
	size  int64
}

func (f *oneFile) GetAttr(_ <-chan struct{}, _ *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	out.Attr = fuse.Attr{Ino: fuse.FUSE_ROOT_ID, Size: uint64(f.size), Mode: syscall.S_IFREG | 0o600, Nlink: 1,
		Blocks: uint64(f.size / 512), Blksize: sectorSize}
	return fuse.OK
}

func (f *oneFile) Open(_ <-chan struct{}, _ *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	out.OpenFlags = fuse.FOPEN_DIRECT_IO
	return fuse.OK
}

func (f *oneFile) Read(_ <-chan struct{}, in *fuse.ReadIn, p []byte) (fuse.ReadResult, fuse.Status) {
	p = p[:min(int64(len(p)), max(0, f.size-int64(in.Offset)))]
	n, err := f.cache.read(p, int64(in.Offset))
	return fuse.ReadResultData(p[:n]), status(err)
}

func (f *oneFile) Write(_ <-chan struct{}, in *fuse.WriteIn, p []byte) (uint32, fuse.Status) {
	n, err := f.cache.write(p, int64(in.Offset))
	return uint32(n), status(err)
}

func (f *oneFile) Fsync(<-chan struct{}, *fuse.FsyncIn) fuse.Status { return status(f.cache.flush()) }

// Flush is about a descriptor that is closed, and asks for nothing.
func (f *oneFile) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.OK }

// status tells the kernel of an error, which is an I/O error to it, and whoever looks at the helper's output what it was.
func status(err error) fuse.Status {
	if err == nil {
		return fuse.OK
	}
	if !errors.Is(err, syscall.EIO) {
		fmt.Fprintln(os.Stderr, err)
	}
	return fuse.EIO
}
