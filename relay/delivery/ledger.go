package delivery

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"mxbypass/mailbox"
)

const (
	// keepFor is how long an entry lives: longer than the five days for which clients try again (RFC 5321 section
	// 4.5.4.1).
	keepFor = 6 * 24 * time.Hour

	// maxEntries bounds the ledger; beyond it the oldest entry goes, at the price of a duplicate.
	maxEntries = 100_000

	// compactBeyond is how many lines of the file may be out of use, beside as many as are in use, before it is
	// rewritten.
	compactBeyond = 1000
)

// key names one copy of a message: whose it is and what it is. Addresses are kept as a hash only.
type key struct {
	envelope [16]byte // of site, mailbox, tag and reverse-path
	size     int64
	content  [sha256.Size]byte
}

// hint is the part of a key that costs no reading of the message.
type hint struct {
	envelope [16]byte
	size     int64
}

func (k key) hint() hint { return hint{k.envelope, k.size} }

func hintOf(m *mailbox.Message, r mailbox.Recipient) hint {
	h := sha256.New()
	for _, s := range []string{
		r.Mailbox.Site, string(r.Mailbox.Address.Local), r.Mailbox.Address.Domain.ASCII(), string(r.Tag),
		string(m.Reverse.Local), m.Reverse.Domain.ASCII(),
	} {
		h.Write(binary.AppendUvarint(nil, uint64(len(s))))
		h.Write([]byte(s))
	}
	var sum [sha256.Size]byte
	h.Sum(sum[:0])
	return hint{envelope: [16]byte(sum[:16]), size: m.Content.Size()}
}

// hashContent reads the whole message.
func hashContent(c mailbox.Content) (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	n, err := io.Copy(h, c.NewReader())
	if err == nil && n != c.Size() {
		err = fmt.Errorf("the content has %d octets instead of %d", n, c.Size())
	}
	if err != nil {
		return sum, fmt.Errorf("hash of the message: %w", err)
	}
	h.Sum(sum[:0])
	return sum, nil
}

// state is what the ledger knows of a copy.
type state int

const (
	absent    state = iota
	delivered       // it is in the mailbox
	underway        // a store was given up by the client's answer, and may still deliver it
)

// Ledger remembers who has a message that the client was asked to send again. It is kept in a file, so that a restart
// does not forget, and in memory. It is safe for concurrent use; one process at a time uses a file.
type Ledger struct {
	log  *slog.Logger
	now  func() time.Time
	size atomic.Int64 // entries and holds; zero is the usual case, and costs nothing

	mu      sync.Mutex
	file    ledgerFile
	entries map[key]time.Time // when it was made
	order   []key             // oldest first; may hold keys that are gone
	holds   map[key]int
	hints   map[hint]int // how many entries and holds have it
}

// OpenLedger reads the ledger at path, which need not exist, drops what is too old and writes it anew. Damaged lines
// are moved to path.damaged, said in the log, and stop nothing. An error means that the file is there and cannot be
// read.
func OpenLedger(path string, log *slog.Logger) (*Ledger, error) {
	return openLedger(path, log, osFiles{}, time.Now)
}

func openLedger(path string, log *slog.Logger, fs files, now func() time.Time) (*Ledger, error) {
	l := &Ledger{
		log: log, now: now,
		file:    ledgerFile{path: path, fs: fs},
		entries: map[key]time.Time{}, holds: map[key]int{}, hints: map[hint]int{},
	}
	damaged, err := l.file.read(l.replay)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	if damaged > 0 {
		log.Error("damaged lines in the ledger were put aside", "file", path, "lines", damaged)
	}
	l.trim()
	if err := l.compact(); err != nil {
		log.Error("the ledger cannot be written: after a crash clients may deliver twice", "error", err)
	}
	return l, nil
}

// Close closes the file. Everything in it is on disk already.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.close()
}

// knows tells whether it is worth hashing the message: there is something of this size for this envelope.
func (l *Ledger) knows(h hint) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hints[h] > 0
}

func (l *Ledger) find(k key) state {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at, ok := l.entries[k]; ok && l.now().Sub(at) < keepFor {
		return delivered
	}
	if l.holds[k] > 0 {
		return underway
	}
	return absent
}

// add remembers delivered copies. When it returns nil they are on disk. They are in memory in any case.
func (l *Ledger) add(keys []key) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	for _, k := range keys {
		l.insert(k, now)
	}
	l.trim()
	if l.file.broken() || l.file.lines > compactBeyond+2*len(l.entries) {
		return l.compact()
	}
	return l.file.append(keys, now, true)
}

// forget drops entries that are of no use any more. It is not synced: an entry that comes back after a crash expires.
func (l *Ledger) forget(keys []key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	gone := keys[:0:0]
	for _, k := range keys {
		if l.remove(k) {
			gone = append(gone, k)
		}
	}
	if len(gone) == 0 || l.file.broken() {
		return
	}
	if err := l.file.append(gone, time.Time{}, false); err != nil {
		l.log.Error("the ledger cannot be written", "error", err)
	}
}

// hold marks copies that a store may still deliver; settle ends that.
func (l *Ledger) hold(keys []key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range keys {
		l.holds[k]++
		l.count(k, 1)
	}
}

func (l *Ledger) settle(keys []key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range keys {
		if l.holds[k]--; l.holds[k] <= 0 {
			delete(l.holds, k)
		}
		l.count(k, -1)
	}
}

// The rest runs under l.mu (or before anybody else knows l).

// replay takes one line of the file: an entry, or with a zero time the end of one.
func (l *Ledger) replay(k key, at time.Time) {
	if at.IsZero() {
		l.remove(k)
		return
	}
	if l.now().Sub(at) < keepFor {
		l.insert(k, at)
	}
	if len(l.order) > 2*maxEntries {
		l.trim()
	}
}

func (l *Ledger) insert(k key, at time.Time) {
	if _, ok := l.entries[k]; !ok {
		l.count(k, 1)
	}
	l.entries[k] = at
	l.order = append(l.order, k)
}

func (l *Ledger) remove(k key) bool {
	if _, ok := l.entries[k]; !ok {
		return false
	}
	delete(l.entries, k)
	l.count(k, -1)
	return true
}

func (l *Ledger) count(k key, n int) {
	h := k.hint()
	if l.hints[h] += n; l.hints[h] <= 0 {
		delete(l.hints, h)
	}
	l.size.Add(int64(n))
}

// trim drops what expired, and the oldest beyond the bound.
func (l *Ledger) trim() {
	now := l.now()
	for len(l.order) > 0 {
		k := l.order[0]
		at, ok := l.entries[k]
		if ok && len(l.entries) <= maxEntries && now.Sub(at) < keepFor {
			break
		}
		l.remove(k)
		l.order = l.order[1:]
	}
}

// compact writes the file anew, with what is alive.
func (l *Ledger) compact() error {
	live := make([]key, 0, len(l.entries))
	seen := make(map[key]bool, len(l.entries))
	for _, k := range l.order {
		if _, ok := l.entries[k]; ok && !seen[k] {
			seen[k] = true
			live = append(live, k)
		}
	}
	l.order = live
	return l.file.rewrite(live, l.entries)
}
