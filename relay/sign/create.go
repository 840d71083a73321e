package sign

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"syscall"

	"mxbypass/mailbox"
)

var (
	// ErrExists: the domain has a key with that selector.
	ErrExists = errors.New("there is a key with this selector already")
	// ErrNoKey: the domain has no key with that selector.
	ErrNoKey = errors.New("there is no key with this selector")
	// ErrSelector: this is no name for a key.
	ErrSelector = errors.New("a selector has the form of a domain name in lower case")
)

// Create makes a key for an algorithm (signature.RSA with 2048 bits, signature.Ed25519). It is durable when this
// returns. Enabled keys sign within seconds. The error wraps [ErrExists] or [ErrSelector], or is that of the file system.
func (k *Keys) Create(domain mailbox.DomainName, selector, algorithm string, enabled bool) (Key, error) {
	key := Key{Domain: domain, Selector: selector, Algorithm: algorithm, Enabled: enabled}
	if !isSelector(selector) {
		return Key{}, fmt.Errorf("%q: %w", selector, ErrSelector)
	}
	if len(key.Name()) > maxName {
		return Key{}, fmt.Errorf("%q: %w: together with the domain it is too long", selector, ErrSelector)
	}
	on, off := k.files(domain, selector)
	for _, path := range []string{on, off} {
		if _, err := os.Lstat(path); err == nil {
			return Key{}, fmt.Errorf("%s: %w", path, ErrExists)
		}
	}
	if key.File = on; !enabled {
		key.File = off
	}
	var err error
	if key.signer, err = newKey(algorithm); err != nil {
		return Key{}, err
	}
	text, err := encodeKey(key.signer)
	if err != nil {
		return Key{}, err
	}
	if err := k.write(domain, key.File, text); err != nil {
		return Key{}, err
	}
	info, err := os.Stat(key.File)
	if err != nil {
		return Key{}, err
	}
	key.Modified = info.ModTime()
	return key, nil
}

// maxName of a name in DNS, as text.
const maxName = 253

// Enable makes a key sign, or not. The error wraps [ErrNoKey], or [ErrExists] when there are two
// keys with this selector, or is that of the file system.
func (k *Keys) Enable(domain mailbox.DomainName, selector string, enabled bool) error {
	if !isSelector(selector) {
		return fmt.Errorf("%q: %w", selector, ErrNoKey)
	}
	to, from := k.files(domain, selector)
	if !enabled {
		to, from = from, to
	}
	_, err := os.Lstat(to)
	there := err == nil
	switch _, err := os.Lstat(from); {
	case errors.Is(err, fs.ErrNotExist) && there:
		return nil // it is so already
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%q: %w", selector, ErrNoKey)
	case err != nil:
		return err
	case there:
		return fmt.Errorf("%s: %w", to, ErrExists)
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return syncDir(k.folder(domain))
}

func (k *Keys) files(domain mailbox.DomainName, selector string) (on, off string) {
	on = filepath.Join(k.folder(domain), selector+suffix)
	return on, on + disabled
}

// write makes a file that nobody has seen half written, and that replaces none.
func (k *Keys) write(domain mailbox.DomainName, path string, text []byte) error {
	owner, err := k.makeFolders(domain)
	if err != nil {
		return err
	}
	dir := k.folder(domain)
	f, err := os.CreateTemp(dir, ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // it has its own name then, or is of no use
	_, err = f.Write(text)
	if err == nil {
		err = owner.give(f.Name())
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("%s: %w", path, ErrExists)
		}
		return err
	}
	return syncDir(dir)
}

// makeFolders makes what is missing down to the folder of a domain, for the owner of what it is in: the superuser makes
// keys for the user that the relay runs as.
func (k *Keys) makeFolders(domain mailbox.DomainName) (owner, error) {
	parent := filepath.Dir(k.dir)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return owner{}, err
	}
	o, err := ownerOf(parent)
	if err != nil {
		return owner{}, err
	}
	for _, dir := range []string{k.dir, k.folder(domain)} {
		switch err := os.Mkdir(dir, 0o700); {
		case errors.Is(err, fs.ErrExist):
			continue
		case err != nil:
			return owner{}, err
		}
		if err := o.give(dir); err != nil {
			return owner{}, err
		}
		if err := syncDir(filepath.Dir(dir)); err != nil {
			return owner{}, err
		}
	}
	return o, nil
}

// owner is whom a new file is given to; only the superuser gives.
type owner struct{ uid, gid int }

func ownerOf(path string) (owner, error) {
	info, err := os.Stat(path)
	if err != nil {
		return owner{}, err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return owner{int(stat.Uid), int(stat.Gid)}, nil
	}
	return owner{os.Getuid(), os.Getgid()}, nil
}

func (o owner) give(path string) error {
	if os.Geteuid() != 0 || o.uid == 0 {
		return nil
	}
	return os.Lchown(path, o.uid, o.gid)
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// readAtOnce is how many domains are read from the folder at a time.
const readAtOnce = 1024

// Domains gives the domains that have a folder for keys, in no order.
func (k *Keys) Domains() iter.Seq2[mailbox.DomainName, error] {
	return func(yield func(mailbox.DomainName, error) bool) {
		f, err := os.Open(k.dir)
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if err != nil {
			yield(mailbox.DomainName{}, err)
			return
		}
		defer f.Close()
		for {
			entries, err := f.ReadDir(readAtOnce)
			for _, e := range entries {
				domain, err := mailbox.ParseDomainName(e.Name())
				if err != nil || domain.ASCII() != e.Name() {
					continue
				}
				if !yield(domain, nil) {
					return
				}
			}
			if len(entries) == 0 {
				if err != nil && !errors.Is(err, io.EOF) {
					yield(mailbox.DomainName{}, err)
				}
				return
			}
		}
	}
}
