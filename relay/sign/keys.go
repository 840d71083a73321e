package sign

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"mxbypass/mailbox"
	"mxbypass/relay/msgauth/signature"
)

const (
	suffix   = ".pem"
	disabled = ".disabled" // after the suffix

	// maxKeys bounds the keys of a domain that are looked at.
	maxKeys = 64
	// maxDomains bounds the domains whose keys are kept in memory: 5 KiB for an RSA key.
	maxDomains = 4096

	// checkEvery is how often the folder of a domain is looked at, at most.
	checkEvery = time.Second
	// loadEvery is how often its files are read although the folder seems to be the same: a file that is written over in
	// place does not change it.
	loadEvery = time.Minute
	// settled is how old a change must be for the next one to have another time.
	settled = 2 * time.Second
)

// Keys are the signing keys in a folder. It is safe for concurrent use.
type Keys struct {
	dir   string
	log   *slog.Logger
	now   func() time.Time
	cache *otter.Cache[mailbox.DomainName, *loaded]
}

// loaded are the keys of a domain that sign, as they were at a time.
type loaded struct {
	keys     []Key // at most one for an algorithm, RSA first
	err      error
	at       time.Time
	modified time.Time    // of the folder; zero: there is none
	checked  atomic.Int64 // Unix time in nanoseconds
}

// OpenKeys gives the keys in a folder, which need not exist. What is wrong with a key that should sign goes to the log.
func OpenKeys(dir string, log *slog.Logger) *Keys {
	return &Keys{dir: dir, log: log, now: time.Now, cache: otter.Must(&otter.Options[mailbox.DomainName, *loaded]{
		MaximumSize: maxDomains,
		Executor:    func(maintain func()) { maintain() }, // no goroutines that nobody owns
	})}
}

func (k *Keys) folder(domain mailbox.DomainName) string { return filepath.Join(k.dir, domain.ASCII()) }

// signing gives the keys of a domain that sign now: for each algorithm the newest. The error wraps [ErrKeys] when there
// are keys and none of them can be used.
func (k *Keys) signing(domain mailbox.DomainName) ([]Key, error) {
	now := k.now()
	l, ok := k.cache.GetIfPresent(domain)
	if ok && now.Sub(time.Unix(0, l.checked.Load())) < checkEvery {
		return l.keys, l.err
	}
	modified, err := modifiedAt(k.folder(domain))
	same := ok && err == nil && now.Sub(l.at) < loadEvery && modified.Equal(l.modified) && l.at.Sub(modified) > settled
	if !same {
		l = &loaded{at: now, modified: modified}
		if l.err = err; err == nil && !modified.IsZero() {
			l.keys, l.err = k.load(domain)
		}
		if l.err != nil {
			l.err = fmt.Errorf("%w: %w", ErrKeys, l.err)
		}
		k.cache.Set(domain, l)
	}
	l.checked.Store(now.UnixNano())
	return l.keys, l.err
}

// modifiedAt tells when a folder has changed last; zero when there is none.
func modifiedAt(dir string) (time.Time, error) {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return time.Time{}, nil
	case err != nil:
		return time.Time{}, err
	case info.Mode().Perm()&0o022 != 0:
		return time.Time{}, fmt.Errorf("%s: others than its owner can put keys there (mode %04o): chmod 700", dir,
			info.Mode().Perm())
	}
	return info.ModTime(), nil
}

// load reads the keys that sign. The error is about the first key that cannot be used, when there is no other.
func (k *Keys) load(domain mailbox.DomainName) ([]Key, error) {
	all, err := k.Of(domain)
	var signing []Key
	for _, key := range all {
		if key.Enabled && !slices.ContainsFunc(signing, func(o Key) bool { return o.Algorithm == key.Algorithm }) {
			signing = append(signing, key)
		}
	}
	if err != nil {
		k.log.Warn("a signing key cannot be used", "domain", domain.ASCII(), "error", oneLine(err))
	}
	if len(signing) > 0 {
		err = nil
	}
	// Some who verify look at the first signature alone, and not everybody knows Ed25519.
	slices.SortStableFunc(signing, func(a, b Key) int { return -strings.Compare(a.Algorithm, b.Algorithm) })
	return signing, err
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// Check reads all keys, and tells what is wrong with those that should sign, or weak in them.
func (k *Keys) Check() []error {
	entries, err := os.ReadDir(k.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return []error{err}
	}
	var problems []error
	for _, e := range entries {
		domain, err := mailbox.ParseDomainName(e.Name())
		if err != nil || domain.ASCII() != e.Name() {
			continue // nobody's
		}
		if _, err := modifiedAt(k.folder(domain)); err != nil {
			problems = append(problems, err)
			continue
		}
		keys, unusable := k.of(domain)
		problems = append(problems, unusable...)
		for _, key := range keys {
			if public, ok := key.signer.Public().(*rsa.PublicKey); ok && key.Enabled && public.N.BitLen() < newBits {
				problems = append(problems, fmt.Errorf("%s: an RSA key of %d bits, which not everybody believes: make one of %d",
					key.File, public.N.BitLen(), newBits))
			}
		}
	}
	return problems
}

// Of gives all keys of a domain, the newest first, and what is wrong with those that cannot be used. What is wrong with
// a disabled key is of no interest.
func (k *Keys) Of(domain mailbox.DomainName) ([]Key, error) {
	keys, problems := k.of(domain)
	return keys, errors.Join(problems...)
}

func (k *Keys) of(domain mailbox.DomainName) (keys []Key, problems []error) {
	dir := k.folder(domain)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, []error{err}
	}
	for _, e := range entries {
		name, off := strings.CutSuffix(e.Name(), disabled)
		selector, ok := strings.CutSuffix(name, suffix)
		if !ok || !isSelector(selector) {
			continue // what an editor, a copy or a crash has left
		}
		if len(keys)+len(problems) == maxKeys {
			problems = append(problems, fmt.Errorf("%s: more than %d keys", dir, maxKeys))
			break
		}
		key := Key{Domain: domain, Selector: selector, Enabled: !off, File: filepath.Join(dir, e.Name())}
		if key.signer, key.Modified, err = readKey(key.File); err != nil {
			if key.Enabled {
				problems = append(problems, err)
			}
			continue
		}
		key.Algorithm = signature.Algorithm(key.signer)
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b Key) int {
		if c := b.Modified.Compare(a.Modified); c != 0 {
			return c
		}
		return strings.Compare(b.Selector, a.Selector)
	})
	return keys, problems
}

// isSelector: a name in DNS, as it is compared there.
func isSelector(s string) bool {
	name, err := mailbox.ParseDomainName(s)
	return err == nil && name.ASCII() == s
}
