package configs

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"strings"
)

// Reference shows every key with its default and what it means. It is a configuration that loads.
//
//go:embed reference.toml
var Reference string

// maxFile bounds what is read: no configuration is that long, but a device or a mail folder given by mistake is.
const maxFile = 16 << 20

// Load reads and checks a configuration file. The error is a [Problems]. A configuration beside it is not to be used, but
// more mistakes may be found by it, in what is [Config.Sound].
func Load(path string) (*Config, error) {
	text, err := read(path, maxFile)
	if err != nil {
		return nil, Problems{{File: path, Line: 1, Column: 1, Text: err.Error()}}
	}
	return Parse(path, text)
}

// read reads a file that is not longer than most.
func read(path string, most int64) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, unreadable(err)
	case !info.Mode().IsRegular():
		return nil, unreadable(errors.New("not a file"))
	case info.Size() > most:
		return nil, unreadable(fmt.Errorf("longer than %s", Size(most)))
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, unreadable(err)
	}
	return text, nil
}

// unreadable leaves out the name of the file: it is said where the error is.
func unreadable(err error) error {
	var e *fs.PathError
	if errors.As(err, &e) {
		err = e.Err
	}
	return fmt.Errorf("cannot be read: %w", err)
}

// Parse checks the text of a configuration file; name is for the problems. It returns what [Load] does.
func Parse(name string, text []byte) (*Config, error) {
	c := Default()
	d := readDocument(name, text)
	c.doc = d
	if d.values == nil && len(d.problems) > 0 {
		return nil, d.problems
	}
	d.bind("", reflect.ValueOf(&c).Elem(), d.values)
	check(&c, d)
	if len(d.problems) > 0 {
		d.problems.Sort()
		return &c, d.problems
	}
	return &c, nil
}

// Has tells whether the file names a key, with the position in its lists: "listener[0].auth".
func (c *Config) Has(key string) bool { return c.doc != nil && c.doc.has(key) }

// Sound tells whether nothing was reported of a key, of what stands in it, or of what it stands in.
func (c *Config) Sound(key string) bool {
	if c.doc == nil {
		return true
	}
	for bad := range c.doc.bad {
		if within(bad, key) || within(key, bad) {
			return false
		}
	}
	return true
}

// within tells whether a path is another one, or stands in it.
func within(path, other string) bool {
	rest, ok := strings.CutPrefix(path, other)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}
