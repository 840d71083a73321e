package mtasts

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// record is a policy on disk.
type record struct {
	Domain  string    `json:"domain"`
	ID      string    `json:"id"`
	Fetched time.Time `json:"fetched"`
	Used    time.Time `json:"used"`
	Text    string    `json:"text"`
}

const (
	suffix  = ".json"
	maxFile = 8 * maxPolicy // JSON can make six octets of one
)

// path is where the policy of a domain is kept. A name can be too long for a file.
func (c *Cache) path(domain string) string {
	sum := sha256.Sum256([]byte(domain))
	return filepath.Join(c.o.Dir, hex.EncodeToString(sum[:16])+suffix)
}

// load reads all policies. The folder is made with the first of them: a configuration that is wrong leaves nothing.
func (c *Cache) load() error {
	files, err := os.ReadDir(c.o.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	now := c.o.Now()
	for _, f := range files {
		path := filepath.Join(c.o.Dir, f.Name())
		e, err := read(path)
		if err == nil && path != c.path(e.policy.Domain) {
			err = errors.New("it is not the file of its domain")
		}
		if err != nil || !now.Before(e.expires()) || len(c.kept) == maxPolicies {
			if err != nil && !strings.HasSuffix(f.Name(), temporary) {
				c.o.Log.Warn("an MTA-STS policy on disk is of no use", "path", path, "error", err)
			}
			if err := os.Remove(path); err != nil {
				c.o.Log.Warn("an MTA-STS policy cannot be removed", "error", err)
			}
			continue
		}
		if e.fetched.After(now) { // the clock went back: it is not kept for longer than it said
			e.fetched = now
		}
		c.kept[e.policy.Domain] = e
	}
	return nil
}

func read(path string) (*entry, error) {
	if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, errors.Join(err, errors.New("it is no file of ours"))
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var r record
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, err
	}
	p, err := parse(r.Text)
	if err != nil {
		return nil, err
	}
	p.Domain, p.ID = r.Domain, r.ID
	return &entry{policy: p, text: r.Text, fetched: r.Fetched, used: r.Used}, nil
}

const temporary = ".new"

// save writes a policy. Without it the policy holds until the next start.
func (c *Cache) save(r record) {
	raw, err := json.Marshal(r)
	path := c.path(r.Domain)
	if err == nil {
		err = os.MkdirAll(c.o.Dir, 0o700)
	}
	if err == nil {
		err = os.WriteFile(path+temporary, raw, 0o600)
	}
	if err == nil {
		err = os.Rename(path+temporary, path)
	}
	if err != nil {
		c.o.Log.Error("an MTA-STS policy cannot be kept", "domain", r.Domain, "error", fmt.Errorf("mta-sts: %w", err))
	}
}

func (c *Cache) remove(domain string) {
	if err := os.Remove(c.path(domain)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.o.Log.Warn("an MTA-STS policy cannot be removed", "error", err)
	}
}
