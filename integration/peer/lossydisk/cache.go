package lossydisk

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"syscall"
)

// sectorSize is what the medium takes whole or not at all.
const sectorSize = 4096

// cache is the state of the disk: a medium, and what was written since the last flush.
type cache struct {
	medium *os.File

	mu       sync.Mutex
	versions map[int64][][]byte // of a sector, the oldest first
	off      bool               // the power is cut
	flushes  int
}

func newCache(medium *os.File) *cache { return &cache{medium: medium, versions: map[int64][][]byte{}} }

// read gives what was written last, flushed or not.
func (c *cache) read(p []byte, at int64) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.off {
		return 0, syscall.EIO
	}
	n, err := c.medium.ReadAt(p, at)
	if n < len(p) {
		return 0, fmt.Errorf("%d octets at %d: %w", len(p), at, err)
	}
	for sector := at / sectorSize; sector*sectorSize < at+int64(n); sector++ {
		if v := c.versions[sector]; v != nil {
			start := sector * sectorSize
			copy(p[max(0, start-at):], v[len(v)-1][max(0, at-start):])
		}
	}
	return n, nil
}

// write keeps a new version of every sector that it touches.
func (c *cache) write(p []byte, at int64) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.off {
		return 0, syscall.EIO
	}
	for n := 0; n < len(p); {
		sector, within := (at+int64(n))/sectorSize, (at+int64(n))%sectorSize
		next := make([]byte, sectorSize)
		if v := c.versions[sector]; v != nil {
			copy(next, v[len(v)-1])
		} else if _, err := c.medium.ReadAt(next, sector*sectorSize); err != nil {
			return 0, fmt.Errorf("sector %d: %w", sector, err)
		}
		n += copy(next[within:], p[n:])
		c.versions[sector] = append(c.versions[sector], next)
	}
	return len(p), nil
}

// flush moves what was written to the medium.
func (c *cache) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.off {
		return syscall.EIO
	}
	c.flushes++
	for sector, v := range c.versions {
		if _, err := c.medium.WriteAt(v[len(v)-1], sector*sectorSize); err != nil {
			return err
		}
	}
	clear(c.versions)
	return nil
}

// cut takes the power away: from here on there are errors only. Of what was not flushed nothing is on the medium, or, with
// a seed, of each sector any version that it had.
func (c *cache) cut(how Loss, seed uint64) (Report, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off = true
	r := Report{Flushes: c.flushes, Volatile: len(c.versions)}
	if how == LoseSome {
		random := rand.New(rand.NewPCG(seed, 0))
		for _, sector := range slices.Sorted(maps.Keys(c.versions)) {
			v := c.versions[sector]
			which := random.IntN(len(v)+1) - 1
			if which < 0 {
				continue
			}
			if _, err := c.medium.WriteAt(v[which], sector*sectorSize); err != nil {
				return r, err
			}
			r.Kept++
		}
	}
	clear(c.versions)
	return r, nil
}
