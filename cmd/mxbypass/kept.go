package main

import (
	"errors"
	"sync"
)

// kept keeps a part over reloads that change nothing about it: because it knows what cannot be had again at once, or
// because it can be there only once. It is safe for concurrent use, and its zero value is empty.
type kept[T any] struct {
	mu    sync.Mutex
	inUse map[string]*holding[T] // by what they were made of, printed
}

// holding is a part that several configurations use one after the other.
type holding[T any] struct {
	part  T
	end   func() error
	users int
}

// acquire returns the part that was made of these settings, or opens it. It is closed after as many calls of release.
func (k *kept[T]) acquire(settings string, open func() (part T, end func() error, err error)) (
	part T, release func() error, err error,
) {
	k.mu.Lock()
	defer k.mu.Unlock()
	h := k.inUse[settings]
	if h == nil {
		h = new(holding[T])
		if h.part, h.end, err = open(); err != nil {
			return h.part, nil, err
		}
		if k.inUse == nil {
			k.inUse = map[string]*holding[T]{}
		}
		k.inUse[settings] = h
	}
	h.users++
	return h.part, func() error { return k.release(settings) }, nil
}

// release gives back one use, and closes the part after the last.
func (k *kept[T]) release(settings string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	h := k.inUse[settings]
	if h == nil {
		return errors.New("released once too often")
	}
	if h.users--; h.users > 0 {
		return nil
	}
	delete(k.inUse, settings)
	return h.end()
}
