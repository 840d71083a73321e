package guard

import (
	"hash/maphash"
	"net/netip"
	"sync"
)

const (
	places = 8  // of a set
	locks  = 64 // of a table; a power of two
)

// table keeps something about keys in a number of places that never changes. A new key takes the place in its set whose
// content weighs least: nothing, or what is next to being forgotten anyway. It is safe for concurrent use.
type table[T any] struct {
	seed  maphash.Seed
	locks [locks]sync.Mutex
	sets  [][places]place[T]
}

type place[T any] struct {
	key   uint64 // zero: the place is free
	value T
}

// newTable makes a table for at least that many keys.
func newTable[T any](keys int) *table[T] {
	n := locks
	for n*places < keys {
		n *= 2
	}
	return &table[T]{seed: maphash.MakeSeed(), sets: make([][places]place[T], n)}
}

// hash gives the key of a name. Without the seed of the process nobody finds names that share one, or a set.
func (t *table[T]) hash(name []byte) uint64 {
	return max(maphash.Bytes(t.seed, name), 1)
}

// hashOf is that of a prefix, in a table that has prefixes of one length for each family.
func (t *table[T]) hashOf(p netip.Prefix) uint64 {
	octets := p.Addr().As16()
	return t.hash(octets[:])
}

// change hands the value of a key to f, a zero value when it is new. weigh tells how much a value has to be kept.
func (t *table[T]) change(key uint64, weigh func(*T) int64, f func(*T)) {
	set, lock := t.set(key)
	lock.Lock()
	defer lock.Unlock()
	least, lightest := 0, int64(0)
	for i := range set {
		p := &set[i]
		if p.key == key {
			f(&p.value)
			return
		}
		w := int64(-1)
		if p.key != 0 {
			w = max(weigh(&p.value), 0)
		}
		if i == 0 || w < lightest {
			least, lightest = i, w
		}
	}
	set[least] = place[T]{key: key}
	f(&set[least].value)
}

// look hands the value of a key to f if there is one.
func (t *table[T]) look(key uint64, f func(*T)) {
	set, lock := t.set(key)
	lock.Lock()
	defer lock.Unlock()
	for i := range set {
		if set[i].key == key {
			f(&set[i].value)
			return
		}
	}
}

// set gives the places where a key may be, and what must be held to look at them.
func (t *table[T]) set(key uint64) (*[places]place[T], *sync.Mutex) {
	n := key & uint64(len(t.sets)-1)
	return &t.sets[n], &t.locks[n&(locks-1)]
}
