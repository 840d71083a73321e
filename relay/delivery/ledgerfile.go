package delivery

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ledgerFile is the ledger on disk, one line for each entry:
//
//	v1 <made, unix seconds; 0: the entry is forgotten> <envelope> <size> <content> <CRC-32 of what stands before>
//
// It is only ever appended to, and now and then replaced by a new one. A file in which a write or sync failed is never
// written to again: its end may be torn, and a second sync may lie. The next entry then makes a new file.
type ledgerFile struct {
	path  string
	fs    files
	out   syncer // nil: broken
	lines int
}

// maxLedgerLine is longer than any line that we write.
const maxLedgerLine = 256

// files is what the ledger needs of the operating system.
type files interface {
	create(path string) (syncer, error) // truncates
	rename(from, to string) error
	syncDir(dir string) error
}

type syncer interface {
	io.WriteCloser
	Sync() error
}

type osFiles struct{}

func (osFiles) create(path string) (syncer, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (osFiles) rename(from, to string) error { return os.Rename(from, to) }

func (osFiles) syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (f *ledgerFile) broken() bool { return f.out == nil }

// append adds one line for each key; with sync they are on disk when it returns nil.
func (f *ledgerFile) append(keys []key, at time.Time, sync bool) error {
	if f.out == nil {
		return errors.New("ledger: the file is broken")
	}
	var b []byte
	for _, k := range keys {
		b = appendLine(b, k, at)
	}
	_, err := f.out.Write(b)
	if err == nil && sync {
		err = f.out.Sync()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("ledger: %w", err), f.close())
	}
	f.lines += len(keys)
	return nil
}

// rewrite replaces the file, durably, and leaves it open for appending.
func (f *ledgerFile) rewrite(keys []key, made map[key]time.Time) error {
	temporary := f.path + ".new"
	out, err := f.fs.create(temporary)
	if err != nil {
		return errors.Join(fmt.Errorf("ledger: %w", err), f.close())
	}
	w := bufio.NewWriter(out)
	for _, k := range keys {
		_, _ = w.Write(appendLine(nil, k, made[k])) // the error stays in w until Flush
	}
	err = w.Flush()
	if err == nil {
		err = out.Sync()
	}
	if err == nil {
		err = f.fs.rename(temporary, f.path)
	}
	if err == nil {
		err = f.fs.syncDir(filepath.Dir(f.path))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("ledger: %w", err), out.Close(), f.close())
	}
	_ = f.close() // the file that was replaced
	f.out, f.lines = out, len(keys)
	return nil
}

func (f *ledgerFile) close() error {
	if f.out == nil {
		return nil
	}
	err := f.out.Close()
	f.out = nil
	return err
}

// read hands every good line to take, and moves the others to a file of their own. A line that has no end was torn by
// a crash before anybody was told that it exists, and is damaged as well.
func (f *ledgerFile) read(take func(key, time.Time)) (damaged int, err error) {
	in, err := os.Open(f.path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer in.Close()
	var bad []byte
	r := bufio.NewReaderSize(in, maxLedgerLine)
	for {
		line, err := r.ReadSlice('\n')
		if len(line) > 0 {
			k, at, ok := parseLine(string(line))
			if ok && err == nil {
				take(k, at)
			} else {
				damaged++
				if len(bad) < 1<<20 {
					bad = append(bad, line...)
				}
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return damaged, err
		}
	}
	if damaged > 0 {
		// For the operator to look at; what cannot be kept for that is no reason not to start.
		_ = os.WriteFile(f.path+".damaged", bad, 0o600)
	}
	return damaged, nil
}

func appendLine(b []byte, k key, at time.Time) []byte {
	start := len(b)
	seconds := int64(0)
	if !at.IsZero() {
		seconds = at.Unix()
	}
	b = fmt.Appendf(b, "v1 %d %x %d %x", seconds, k.envelope, k.size, k.content)
	return fmt.Appendf(b, " %08x\n", crc32.ChecksumIEEE(b[start:]))
}

func parseLine(line string) (k key, at time.Time, ok bool) {
	body, ok := strings.CutSuffix(line, "\n")
	if !ok || len(body) < 9 {
		return k, at, false
	}
	if fmt.Sprintf(" %08x", crc32.ChecksumIEEE([]byte(body[:len(body)-9]))) != body[len(body)-9:] {
		return k, at, false
	}
	fields := strings.Split(body, " ")
	if len(fields) != 6 || fields[0] != "v1" {
		return k, at, false
	}
	seconds, err1 := strconv.ParseInt(fields[1], 10, 64)
	size, err2 := strconv.ParseInt(fields[3], 10, 64)
	envelope, err3 := hex.DecodeString(fields[2])
	content, err4 := hex.DecodeString(fields[4])
	if errors.Join(err1, err2, err3, err4) != nil || len(envelope) != len(k.envelope) || len(content) != len(k.content) {
		return k, at, false
	}
	if seconds != 0 {
		at = time.Unix(seconds, 0)
	}
	k.size = size
	copy(k.envelope[:], envelope)
	copy(k.content[:], content)
	return k, at, true
}
