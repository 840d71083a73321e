package greylist

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// The file: a line that says what it is, then three times (triples that wait, triples that are known, networks) a number
// of records and the records, the oldest first, then the SHA-256 of all that. Numbers are big endian.
const (
	magic        = "mxbypass greylist 1\n"
	recordOctets = len(key{}) + len(key{}) + 8 + 8 + 4
	// temporary is what the names of files that are being written end with, after a number.
	temporary = ".new"
)

// errDamaged: the file is not what was written.
var errDamaged = errors.New("damaged")

// save writes the file if something has changed: a new one, in the place of the old one when it is on disk.
func (l *List) save() error {
	l.mu.Lock()
	if !l.changed {
		l.mu.Unlock()
		return nil
	}
	l.changed = false
	l.purge()
	text := l.encode()
	l.mu.Unlock()
	err := replace(l.o.Path, withSum(text))
	if err != nil {
		l.mu.Lock()
		l.changed = true
		l.mu.Unlock()
	}
	return err
}

// replace puts a file in the place of another one, durably.
func replace(path string, text []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*"+temporary) // 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// purge forgets what has been of no use for too long.
func (l *List) purge() {
	now := l.now()
	for m, d := range map[*memory]time.Duration{
		l.waiting: l.o.Within, l.passed: l.o.Lifetime, l.networks: l.o.Lifetime,
	} {
		for r := m.oldest(); r != nil && !within(r.at, now, d); r = m.oldest() {
			m.remove(r.key)
		}
	}
}

// encode gives what the file holds, without the sum at its end.
func (l *List) encode() []byte {
	b := make([]byte, 0, len(magic)+3*4+(l.waiting.len()+l.passed.len()+l.networks.len())*recordOctets+sha256.Size)
	b = append(b, magic...)
	for _, m := range []*memory{l.waiting, l.passed, l.networks} {
		b = binary.BigEndian.AppendUint32(b, uint32(m.len()))
		m.each(func(r *record) {
			b = append(append(b, r.key[:]...), r.network[:]...)
			b = binary.BigEndian.AppendUint64(b, uint64(r.at))
			b = binary.BigEndian.AppendUint64(b, uint64(r.since))
			b = binary.BigEndian.AppendUint32(b, uint32(r.count))
		})
	}
	return b
}

func withSum(text []byte) []byte {
	sum := sha256.Sum256(text)
	return append(text, sum[:]...)
}

// load reads the file, and clears up what a crash has left.
func (l *List) load() error {
	left, err := filepath.Glob(l.o.Path + ".*" + temporary)
	if err == nil {
		for _, path := range left {
			_ = os.Remove(path) // what cannot be removed does no harm
		}
	}
	f, err := os.Open(l.o.Path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	err = l.decode(bufio.NewReader(f))
	if !errors.Is(err, errDamaged) {
		return err
	}
	l.forget()
	aside := l.o.Path + ".damaged"
	l.o.Log.Error("the greylist is damaged and was moved aside: all senders are unknown again", "file", aside)
	return os.Rename(l.o.Path, aside)
}

// decode reads a file. The records are good only if there is no error; errDamaged says that they are not.
func (l *List) decode(in io.Reader) error {
	sum := sha256.New()
	body := io.TeeReader(in, sum)
	if err := expect(body, []byte(magic)); err != nil {
		return err
	}
	for _, m := range []*memory{l.waiting, l.passed, l.networks} {
		if err := l.decodeMemory(body, m, m == l.waiting); err != nil {
			return err
		}
	}
	if err := expect(in, sum.Sum(nil)); err != nil {
		return err
	}
	if n, err := in.Read(make([]byte, 1)); n > 0 || err == nil {
		return fmt.Errorf("%w: more than was written", errDamaged)
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

func (l *List) decodeMemory(in io.Reader, m *memory, waiting bool) error {
	var b [recordOctets]byte
	if err := fill(in, b[:4]); err != nil {
		return err
	}
	for n := binary.BigEndian.Uint32(b[:4]); n > 0; n-- {
		if err := fill(in, b[:]); err != nil {
			return err
		}
		r := record{key: key(b[:16]), network: key(b[16:32])}
		r.at = int64(binary.BigEndian.Uint64(b[32:]))
		r.since = int64(binary.BigEndian.Uint64(b[40:]))
		r.count = int32(binary.BigEndian.Uint32(b[48:]))
		if m.get(r.key) != nil || waiting != (r.network != key{}) || r.count < 0 {
			return fmt.Errorf("%w: a record that was never written", errDamaged)
		}
		l.know(m, r) // fewer, if there may be fewer than before
	}
	return nil
}

// expect reads what must be there.
func expect(in io.Reader, want []byte) error {
	got := make([]byte, len(want))
	if err := fill(in, got); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%w: it is not what was written", errDamaged)
	}
	return nil
}

// fill reads as much as there is room for. A file that is too short is damaged.
func fill(in io.Reader, b []byte) error {
	_, err := io.ReadFull(in, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: too short", errDamaged)
	}
	return err
}
