package maildir

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"mxbypass/mailbox"
)

const (
	// maxHeld is the number of recipients of one message whose files may stay open until the commit, for the leader
	// of the group to wait for their data. With more, every writer waits for its own.
	maxHeld = 16
	// maxLeaderWait is the size up to which waiting is left to the leader of the group: a large message would keep
	// the small ones waiting.
	maxLeaderWait = 128 << 10
	copyBuffer    = 128 << 10
	// maxVectors is how many buffers one writev takes (IOV_MAX).
	maxVectors = 1024
)

// fileCopy is a message in tmp/.
type fileCopy struct {
	folder *folder
	name   string
	fd     int // open while its data is on its way to the device; else -1
	// renamed: it is in new/.
	renamed bool
}

// write makes the copy of one recipient, all of its octets on the device or on their way.
func (s *Store) write(m *mailbox.Message, r mailbox.Recipient, wait bool) (*fileCopy, error) {
	names, err := s.template.expand(r.Mailbox)
	if err != nil {
		return nil, err
	}
	tag := ""
	if s.options.TagFolders {
		if tag = tagFolder(r.Tag); tag != "" && !s.opener.mayCreateTag(names, tag) {
			tag = ""
		}
	}
	trace := m.TraceFor(r)
	c := &fileCopy{fd: -1}
	if err := s.createCopy(c, names, tag, int64(len(trace))+m.Content.Size()); err != nil {
		return nil, refuse(err)
	}
	wait = wait || m.Content.Size() > maxLeaderWait
	if err := s.fill(c, trace, m.Content, wait); err != nil {
		err = refuse(fmt.Errorf("maildir: %s: %w", c.folder.key, err))
		s.remove(c)
		return nil, err
	}
	return c, nil
}

// createCopy creates the file; in a folder that vanished between its opening and now, it tries once more.
func (s *Store) createCopy(c *fileCopy, names []string, tag string, size int64) error {
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL
	for again := true; ; again = false {
		f, err := s.folders.acquire(names, tag)
		if err != nil {
			return err
		}
		name := s.namer.name(size)
		fd, err := s.sys.open(f.tmp, name, flags, s.opener.fileMode)
		if err == nil {
			*c = fileCopy{folder: f, name: name, fd: fd}
			return nil
		}
		if errors.Is(err, unix.ENOENT) {
			s.folders.drop(f)
		}
		s.folders.release(f)
		if !again || !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("maildir: %s: a file in tmp: %w", f.key, err)
		}
	}
}

// fill writes the file and sends it to the device. After it the descriptor is closed, except when the leader of the
// commit is to wait for the data.
func (s *Store) fill(c *fileCopy, trace []byte, content mailbox.Content, wait bool) error {
	if err := s.opener.give(c.fd, s.opener.fileMode, 0o600); err != nil {
		return fmt.Errorf("owner and mode: %w", err)
	}
	if err := s.writeContent(c.fd, trace, content); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	k := c.folder.commits
	step, call := "write to the device", s.sys.startWriting
	switch wait = wait || !k.waits(); {
	case wait && k.ordered:
		call = s.sys.waitWritten
	case wait:
		step, call = "fsync", s.sys.fsync
	}
	if err := call(c.fd); err != nil {
		alarm(s.options.Logger, step, c.folder, err)
		return fmt.Errorf("%s: %w", step, err)
	}
	if !wait {
		return nil
	}
	return c.close(s.sys)
}

// close closes the file, whatever comes of it (close(2): the descriptor is gone even after an error).
func (c *fileCopy) close(sys system) error {
	fd := c.fd
	c.fd = -1
	if err := sys.close(fd); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	return nil
}

// remove takes the file back out of tmp/.
func (c *fileCopy) remove(sys system) error {
	if c.fd >= 0 {
		_ = c.close(sys) // what it holds is not wanted
	}
	return sys.unlink(c.folder.tmp, c.name)
}

// writeContent writes trace and content: in one call when the content is in memory.
func (s *Store) writeContent(fd int, trace []byte, content mailbox.Content) error {
	if buffers := content.Buffers(); buffers != nil || content.Size() == 0 {
		all := make([][]byte, 0, len(buffers)+1)
		n, err := s.writeVectors(fd, append(append(all, trace), buffers...))
		return wholeContent(n-int64(len(trace)), content, err)
	}
	if _, err := s.writeVectors(fd, [][]byte{trace}); err != nil {
		return err
	}
	buffer := s.buffers.Get().(*[copyBuffer]byte)
	defer s.buffers.Put(buffer)
	r, n := content.NewReader(), int64(0)
	for {
		got, rerr := io.ReadFull(r, buffer[:])
		wrote, err := s.writeVectors(fd, [][]byte{buffer[:got]})
		if n += wrote; err != nil {
			return err
		}
		if errors.Is(rerr, io.EOF) || errors.Is(rerr, io.ErrUnexpectedEOF) {
			return wholeContent(n, content, nil)
		}
		if rerr != nil {
			return fmt.Errorf("reading the message: %w", rerr)
		}
	}
}

// wholeContent refuses a file that is not the message: its name promises the size.
func wholeContent(n int64, content mailbox.Content, err error) error {
	if err == nil && n != content.Size() {
		err = fmt.Errorf("%d octets of a message of %d", n, content.Size())
	}
	return err
}

// writeVectors writes all buffers, which it consumes.
func (s *Store) writeVectors(fd int, buffers [][]byte) (int64, error) {
	var total int64
	for {
		for len(buffers) > 0 && len(buffers[0]) == 0 {
			buffers = buffers[1:]
		}
		if len(buffers) == 0 {
			return total, nil
		}
		n, err := s.sys.write(fd, buffers[:min(len(buffers), maxVectors)])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return total, err
		}
		if n <= 0 {
			return total, io.ErrShortWrite
		}
		total += int64(n)
		for n > 0 {
			used := min(n, len(buffers[0]))
			if buffers[0] = buffers[0][used:]; len(buffers[0]) == 0 {
				buffers = buffers[1:]
			}
			n -= used
		}
	}
}
