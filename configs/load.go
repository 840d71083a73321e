package configs

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
)

// Reference shows every key with its default and what it means. It is a configuration that loads.
//
//go:embed reference.toml
var Reference string

// maxFile bounds what is read: no configuration is that long, but a device or a mail folder given by mistake is.
const maxFile = 16 << 20

// Load reads and checks a configuration file. The error is a [Problems].
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

// Parse checks the text of a configuration file; name is for the problems. The error is a [Problems].
func Parse(name string, text []byte) (*Config, error) {
	c := Default()
	d := readDocument(name, text)
	c.doc = d
	if d.values != nil || len(d.problems) == 0 {
		d.bind("", reflect.ValueOf(&c).Elem(), d.values)
		check(&c, d)
	}
	if len(d.problems) > 0 {
		d.problems.sort()
		return nil, d.problems
	}
	return &c, nil
}
