package file

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"mxbypass/mailbox"
)

// Problem is one thing that is wrong with the file.
type Problem struct {
	File         string
	Line, Column int    // from 1; columns are characters
	Key          string // with its tables: "domain.mailboxes"; empty when it is about the file
	Text         string
}

// Error is one line: file:line:column, the key, what is wrong.
func (p Problem) Error() string {
	key := ""
	if p.Key != "" {
		key = fmt.Sprintf("key %q: ", p.Key)
	}
	return mailbox.Printable(fmt.Sprintf("%s:%d:%d: %s%s", p.File, p.Line, p.Column, key, p.Text))
}

// Problems is everything that is wrong with the file, in its order. As an error it has one line for each.
type Problems []Problem

// Error implements error.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// value is a TOML value that knows where it stands.
type value struct {
	offset int
	kind   unstable.Kind
	text   string            // of a string; "true" or "false" of a bool
	items  []*value          // of an array
	keys   []string          // of a table, in the order of the file
	fields map[string]*value // of a table
	keyAt  map[string]int    // of a table: where its keys stand
}

func newTable(offset int) *value {
	return &value{offset: offset, kind: unstable.Table, fields: map[string]*value{}, keyAt: map[string]int{}}
}

// document is the text of the file while it is read, with what is wrong with it.
type document struct {
	name     string
	text     []byte
	problems Problems
}

func (d *document) report(offset int, key, format string, args ...any) {
	before := d.text[:offset]
	d.problems = append(d.problems, Problem{
		File:   d.name,
		Line:   bytes.Count(before, []byte("\n")) + 1,
		Column: utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1,
		Key:    key,
		Text:   fmt.Sprintf(format, args...),
	})
}

func (d *document) err() error {
	if len(d.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(d.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return d.problems
}

// parse returns the root table, or nil when this is not TOML.
func (d *document) parse() *value {
	if !utf8.Valid(d.text) {
		d.report(0, "", "not UTF-8: a directory is text")
		return nil
	}
	var whole map[string]any // refuses what the parser below leaves to others, such as a key that is there twice
	if err := toml.Unmarshal(d.text, &whole); err != nil {
		line, column := 1, 1
		var e *toml.DecodeError
		if errors.As(err, &e) {
			line, column = e.Position()
		}
		d.problems = append(d.problems, Problem{File: d.name, Line: line, Column: max(column, 1),
			Text: "not TOML: " + strings.TrimPrefix(err.Error(), "toml: ")})
		return nil
	}
	var p unstable.Parser
	p.Reset(d.text)
	root := newTable(0)
	table := root
	for p.NextExpression() {
		switch e := p.Expression(); e.Kind {
		case unstable.Table:
			table = d.descend(root, e, false)
		case unstable.ArrayTable:
			table = d.descend(root, e, true)
		case unstable.KeyValue:
			d.keyValue(table, e)
		}
	}
	return root
}

// descend follows the key of a table header and makes what is not there yet.
func (d *document) descend(table *value, e *unstable.Node, list bool) *value {
	for it := e.Key(); it.Next(); {
		n := it.Node()
		at := int(n.Raw.Offset)
		if list && it.IsLast() {
			array := table.field(string(n.Data), at, unstable.Array)
			item := newTable(at)
			array.items = append(array.items, item)
			return item
		}
		table = table.inner(string(n.Data), at)
	}
	return table
}

// field returns the field of a table, and makes it when it is missing.
func (v *value) field(key string, at int, kind unstable.Kind) *value {
	if f, ok := v.fields[key]; ok {
		return f
	}
	f := newTable(at)
	f.kind = kind
	v.set(key, at, f)
	return f
}

func (v *value) set(key string, at int, f *value) {
	if _, ok := v.fields[key]; !ok {
		v.keys = append(v.keys, key)
	}
	v.fields[key], v.keyAt[key] = f, at
}

// inner is the table that a part of a key means: of a list of tables it is the last one.
func (v *value) inner(key string, at int) *value {
	f := v.field(key, at, unstable.Table)
	if f.kind == unstable.Array && len(f.items) > 0 {
		return f.items[len(f.items)-1]
	}
	return f
}

func (d *document) keyValue(table *value, e *unstable.Node) {
	for it := e.Key(); it.Next(); {
		n := it.Node()
		at := int(n.Raw.Offset)
		if it.IsLast() {
			table.set(string(n.Data), at, d.value(at, e.Value()))
			return
		}
		table = table.inner(string(n.Data), at)
	}
}

// value reads a value. Some kinds do not say where they stand: those are where the key, or the value before them, is.
func (d *document) value(near int, n *unstable.Node) *value {
	if n.Raw.Length > 0 {
		near = int(n.Raw.Offset)
	}
	v := newTable(near)
	v.kind = n.Kind
	switch n.Kind {
	case unstable.String, unstable.Bool:
		v.text = string(n.Data)
	case unstable.Array:
		for it := n.Children(); it.Next(); {
			if it.Node().Kind != unstable.Comment {
				item := d.value(near, it.Node())
				v.items, near = append(v.items, item), item.offset
			}
		}
	case unstable.InlineTable:
		v.kind = unstable.Table
		for it := n.Children(); it.Next(); {
			if it.Node().Kind == unstable.KeyValue {
				d.keyValue(v, it.Node())
			}
		}
	}
	return v
}
