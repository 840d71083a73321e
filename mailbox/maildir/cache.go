package maildir

import (
	"container/list"
	"errors"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// maxOpenFolders bounds how many Maildirs are kept open between deliveries, with two descriptors each.
const maxOpenFolders = 1024

// cache keeps the folders of hot mailboxes open, so that a delivery walks no path. Folders in use are never closed;
// the bound is for those that are not.
type cache struct {
	opener *opener
	join   func(*folder) error // gives a newly opened folder its committer, and has it swept
	max    int

	mu      sync.Mutex
	folders map[string]*folder
	recent  *list.List // of *folder; the front was used last
}

func newCache(o *opener, bound int, join func(*folder) error) *cache {
	return &cache{opener: o, join: join, max: bound, folders: map[string]*folder{}, recent: list.New()}
}

// acquire gives the open folder of that path. The caller releases it. A folder that was removed or replaced by
// another since it was opened is opened anew, so that no mail goes where nobody looks any more.
func (c *cache) acquire(names []string, tag string) (*folder, error) {
	for attempt := 0; ; attempt++ {
		f := c.take(names, tag)
		fresh := false
		f.open.Do(func() {
			fresh = true
			if f.err = c.opener.openIn(f, tag); f.err != nil {
				return
			}
			if f.err = c.join(f); f.err != nil {
				c.opener.shut(f.tmp, f.new)
			}
		})
		if f.err != nil {
			err := f.err
			c.drop(f)
			c.release(f)
			return nil, err
		}
		if fresh {
			return f, nil
		}
		st, err := c.opener.sys.stat(c.opener.root, f.newDir)
		if err == nil && identityOf(st) == f.identity {
			return f, nil
		}
		c.drop(f)
		c.release(f)
		if (err != nil && !errors.Is(err, unix.ENOENT)) || attempt == 2 {
			return nil, errors.Join(errors.New("maildir: the folder changes all the time"), err)
		}
	}
}

// take finds the folder or enters a new one that is yet to be opened, and counts the caller in.
func (c *cache) take(names []string, tag string) *folder {
	if tag != "" {
		names = append(names[:len(names):len(names)], tag)
	}
	key := strings.Join(names, "/")
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.folders[key]
	if f == nil {
		f = &folder{key: key, names: names, newDir: key + "/new"}
		c.folders[key] = f
		f.element = c.recent.PushFront(f)
		c.evict()
	} else {
		c.recent.MoveToFront(f.element)
	}
	f.refs++
	return f
}

// evict forgets folders that nobody uses, the least recently used first, down to the bound.
func (c *cache) evict() {
	for e := c.recent.Back(); e != nil && len(c.folders) > c.max; {
		f, before := e.Value.(*folder), e.Prev()
		if f.refs == 0 && e != c.recent.Front() {
			c.forget(f)
			c.shut(f)
		}
		e = before
	}
}

// retain counts one more user of a folder that the caller already uses.
func (c *cache) retain(f *folder) {
	c.mu.Lock()
	f.refs++
	c.mu.Unlock()
}

// release counts the caller out.
func (c *cache) release(f *folder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.refs--; f.refs == 0 && f.dropped {
		c.shut(f)
	}
}

// drop has the folder opened anew at its next use; it is closed when its last user is done.
func (c *cache) drop(f *folder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !f.dropped {
		c.forget(f)
	}
}

func (c *cache) forget(f *folder) {
	f.dropped = true
	delete(c.folders, f.key)
	c.recent.Remove(f.element)
}

func (c *cache) shut(f *folder) {
	if f.err == nil {
		c.opener.shut(f.tmp, f.new)
	}
}

// close forgets everything; no folder is in use any more.
func (c *cache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.folders {
		c.forget(f)
		c.shut(f)
	}
}
