package maildir

import (
	"crypto/rand"
	"encoding/hex"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// namer makes the unique names of message files: time, then M microseconds, P process, Q serial number, R random
// octets of this store, then the host, as the Maildir page of qmail asks; then the size for readers that would
// otherwise have to read the file: S on disk and W with CRLF line ends, which are the same here (see the package
// comment).
//
// No two names are equal: within a store because of the serial number, between stores and processes because of 64
// random bits. That is why rename(2) into new/ cannot replace a message.
type namer struct {
	clock  func() time.Time
	serial atomic.Uint64
	pid    int64
	middle string // of the store
	host   string
}

func newNamer(hostname string, clock func() time.Time) *namer {
	var random [8]byte
	rand.Read(random[:]) // never fails
	return &namer{clock: clock, pid: int64(os.Getpid()), middle: hex.EncodeToString(random[:]), host: escapeHost(hostname)}
}

func (n *namer) name(size int64) string {
	now := n.clock()
	b := make([]byte, 0, 128)
	b = strconv.AppendInt(b, now.Unix(), 10)
	b = append(b, ".M"...)
	b = strconv.AppendInt(b, int64(now.Nanosecond()/1000), 10)
	b = append(b, 'P')
	b = strconv.AppendInt(b, n.pid, 10)
	b = append(b, 'Q')
	b = strconv.AppendUint(b, n.serial.Add(1), 10)
	b = append(b, 'R')
	b = append(b, n.middle...)
	b = append(b, '.')
	b = append(b, n.host...)
	b = append(b, ",S="...)
	b = strconv.AppendInt(b, size, 10)
	b = append(b, ",W="...)
	b = strconv.AppendInt(b, size, 10)
	return string(b)
}

// escapeHost writes a host name as a part of a file name: "/" and ":" as the Maildir page says, "," likewise because
// sizes and flags follow it, nothing but graphic ASCII, and not too long.
func escapeHost(s string) string {
	s = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '_'
		}
		return r
	}, s)
	s = strings.NewReplacer("/", `\057`, ":", `\072`, ",", `\054`).Replace(s)
	if len(s) > 128 {
		s = s[:128]
	}
	if s == "" {
		s = "localhost"
	}
	return s
}
