package configs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"mxbypass/mailbox"
)

// Problem is one thing that is wrong with a configuration file.
type Problem struct {
	File         string
	Line, Column int    // from 1; columns are characters
	Key          string // with its tables: "limits.recipients"; empty when it is about the file
	Text         string
}

// Error is one line: file:line:column, the key, what is wrong.
func (p Problem) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: ", p.File, p.Line, p.Column)
	if p.Key != "" {
		fmt.Fprintf(&b, "key %q: ", p.Key)
	}
	b.WriteString(p.Text)
	return mailbox.Printable(b.String())
}

// Problems is everything that is wrong with a file, in the order of the file. As an error it has one line for each.
type Problems []Problem

// Error implements error.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Problem is something that was found out about a key of the file after it was read: a name that does not resolve, a file
// that is not there. It stands where the value of the key does.
func (c *Config) Problem(key, format string, args ...any) Problem {
	text := fmt.Sprintf(format, args...)
	if c.doc == nil {
		return Problem{Line: 1, Column: 1, Key: key, Text: text}
	}
	at, ok := c.doc.vals[key]
	if !ok {
		at = c.doc.offset(key)
	}
	return c.doc.problem(at, key, text)
}

// Sort puts problems into the order of the file.
func (ps Problems) Sort() {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}
