package signature

import (
	"strings"

	"mxbypass/relay/header"
)

// Fields finds the fields of a header by name, from the bottom.
type Fields struct {
	all    []header.Field
	byName map[string][]int // lower case; the lowest field first
}

// NewFields looks through a header once, for any number of signatures.
func NewFields(all []header.Field) Fields {
	f := Fields{all, map[string][]int{}}
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Name != "" {
			name := strings.ToLower(all[i].Name)
			f.byName[name] = append(f.byName[name], i)
		}
	}
	return f
}

// Count tells how many fields of a name there are, in lower case.
func (f Fields) Count(name string) int { return len(f.byName[name]) }

// appendSigned appends the fields that are named, each name meaning the next field of it from the bottom (RFC 6376
// section 5.4.2). A name of which none is left stands for nothing, and so says that there was none.
func (f Fields) appendSigned(dst []byte, names []string, form Form) []byte {
	used := map[string]int{}
	for _, name := range names {
		if n := used[name]; n < len(f.byName[name]) {
			dst = AppendField(dst, f.all[f.byName[name][n]].Raw, form)
			used[name]++
		}
	}
	return dst
}
