package configs

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// document is a TOML file: its values, and where each of them stands. A path names a value with the position in its
// lists: "gateway[1].sites[0]"; without the brackets it is the key as people know it.
type document struct {
	name   string
	text   []byte
	values map[string]any
	keys   map[string]int // offset of the key of a path, or of the header of a table
	vals   map[string]int // offset of the value of a path
	lists  map[string]int // tables so far in a list of tables

	problems Problems
	bad      map[string]bool // paths that have a problem
}

// readDocument parses the text. When TOML refuses it, the document has that one problem and no values.
func readDocument(name string, text []byte) *document {
	d := &document{
		name: name, text: bytes.TrimPrefix(text, []byte("\ufeff")), // some editors put one there
		keys: map[string]int{}, vals: map[string]int{}, lists: map[string]int{}, bad: map[string]bool{},
	}
	if at := invalidUTF8(d.text); at >= 0 {
		d.report(at, "", "not UTF-8: a configuration file is text")
		return d
	}
	if err := toml.Unmarshal(d.text, &d.values); err != nil {
		d.values = nil
		var e *toml.DecodeError
		line, column := 1, 1
		if errors.As(err, &e) {
			line, column = e.Position()
		}
		d.problems = append(d.problems, Problem{File: name, Line: line, Column: max(column, 1),
			Text: "not TOML: " + strings.TrimPrefix(err.Error(), "toml: ")})
		return d
	}
	d.index()
	return d
}

func invalidUTF8(text []byte) int {
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}

// index walks over a text that is known to be TOML and notes where everything stands.
func (d *document) index() {
	var p unstable.Parser
	p.Reset(d.text)
	table := ""
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table:
			table = d.key("", e)
		case unstable.ArrayTable:
			table = d.key("", e)
			n := d.lists[table]
			d.lists[table] = n + 1
			offset := d.keys[table]
			table = element(table, n)
			d.keys[table] = offset
		case unstable.KeyValue:
			d.keyValue(table, e)
		}
	}
}

func element(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// key notes the parts of a key below path and returns the path that it leads to. A part that is a list of tables means
// the last of them, unless it is the end of the key.
func (d *document) key(path string, e *unstable.Node) string {
	for it := e.Key(); it.Next(); {
		n := it.Node()
		path = join(path, string(n.Data))
		if _, ok := d.keys[path]; !ok || it.IsLast() {
			d.keys[path] = int(n.Raw.Offset)
		}
		if count := d.lists[path]; count > 0 && !it.IsLast() {
			path = element(path, count-1)
		}
	}
	return path
}

func (d *document) keyValue(table string, e *unstable.Node) {
	path := d.key(table, e)
	d.value(path, d.keys[path], e.Value())
}

// value notes a value and what is in it. Some kinds of values do not say where they stand: those are where the key, or
// the value before them, is.
func (d *document) value(path string, near int, v *unstable.Node) {
	if v.Raw.Length > 0 {
		near = int(v.Raw.Offset)
	}
	d.vals[path] = near
	switch v.Kind {
	case unstable.Array:
		i := 0
		for it := v.Children(); it.Next(); {
			if it.Node().Kind == unstable.Comment {
				continue
			}
			item := element(path, i)
			d.value(item, near, it.Node())
			d.keys[item] = d.vals[item]
			i++
		}
	case unstable.InlineTable:
		for it := v.Children(); it.Next(); {
			if it.Node().Kind == unstable.KeyValue {
				d.keyValue(path, it.Node())
			}
		}
	}
}

// has tells whether the file has that path.
func (d *document) has(path string) bool { _, ok := d.keys[path]; return ok }

// atKey reports a problem where the key stands; a key that is not there is reported where its table starts.
func (d *document) atKey(path, format string, args ...any) {
	d.report(d.offset(path), path, format, args...)
}

// offset is where a key stands; that of its table when it is not there.
func (d *document) offset(path string) int {
	for path != "" && !d.has(path) {
		path = parent(path)
	}
	return d.keys[path]
}

// atValue reports a problem where the value stands.
func (d *document) atValue(path, format string, args ...any) {
	if at, ok := d.vals[path]; ok {
		d.report(at, path, format, args...)
		return
	}
	d.atKey(path, format, args...)
}

func parent(path string) string {
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		return path[:i]
	}
	return ""
}

func (d *document) report(offset int, path, format string, args ...any) {
	d.bad[path] = true
	d.problems = append(d.problems, d.problem(offset, path, fmt.Sprintf(format, args...)))
}

func (d *document) problem(offset int, path, text string) Problem {
	before := d.text[:offset]
	line := bytes.Count(before, []byte("\n")) + 1
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
	return Problem{d.name, line, column, withoutIndexes(path), text}
}

// indexes are what element adds to a path. Another bracket belongs to the key.
var indexes = regexp.MustCompile(`\[[0-9]+\]`)

// withoutIndexes turns a path into the key as people know it.
func withoutIndexes(path string) string { return indexes.ReplaceAllString(path, "") }

// line is where a path stands, for a problem somewhere else that is about it as well.
func (d *document) line(path string) int {
	return bytes.Count(d.text[:d.keys[path]], []byte("\n")) + 1
}
