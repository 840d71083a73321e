package configs

import (
	"cmp"
	"encoding"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"mxbypass/mailbox"
)

// bind fills v, a struct, from the table at path. What does not fit is reported, and left as it was.
func (d *document) bind(path string, v reflect.Value, table map[string]any) {
	for _, name := range d.inOrder(path, slices.Collect(maps.Keys(table))) {
		key := join(path, name)
		field := fieldOf(v, name)
		if !field.IsValid() {
			d.unknown(key, table[name])
			continue
		}
		d.set(key, field, table[name])
	}
}

// inOrder sorts keys as they stand in the file.
func (d *document) inOrder(path string, names []string) []string {
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Compare(d.keys[join(path, a)], d.keys[join(path, b)])
	})
	return names
}

func fieldOf(v reflect.Value, name string) reflect.Value {
	for i := range v.NumField() {
		if key, ok := v.Type().Field(i).Tag.Lookup("toml"); ok && key == name {
			return v.Field(i)
		}
	}
	return reflect.Value{}
}

// unknown reports a key that we do not know; of a table that we do not know, every key.
func (d *document) unknown(path string, value any) {
	tables := []map[string]any{}
	paths := []string{}
	switch value := value.(type) {
	case map[string]any:
		tables, paths = append(tables, value), append(paths, path)
	case []any:
		for i, item := range value {
			if table, ok := item.(map[string]any); ok {
				tables, paths = append(tables, table), append(paths, element(path, i))
			}
		}
	}
	reported := false
	for i, table := range tables {
		for _, name := range d.inOrder(paths[i], slices.Collect(maps.Keys(table))) {
			d.unknown(join(paths[i], name), table[name])
			reported = true
		}
	}
	if reported {
		return
	}
	if near := nearest(withoutIndexes(path)); near != "" {
		d.atKey(path, "unknown key; did you mean %q?", near)
		return
	}
	d.atKey(path, "unknown key")
}

// set gives v the value of a path. The kinds are those that Config has; a test sets every key.
func (d *document) set(path string, v reflect.Value, value any) {
	if parse, ok := parser(v); ok {
		text, ok := value.(string)
		if !ok {
			d.mismatch(path, "a string", value)
			return
		}
		if err := parse(text); err != nil {
			d.atValue(path, "%q: %v", text, err)
		}
		return
	}
	switch v.Kind() {
	case reflect.String:
		if text, ok := value.(string); ok {
			v.SetString(text)
			return
		}
		d.mismatch(path, "a string", value)
	case reflect.Bool:
		if b, ok := value.(bool); ok {
			v.SetBool(b)
			return
		}
		d.mismatch(path, "true or false", value)
	case reflect.Int:
		if n, ok := value.(int64); ok {
			v.SetInt(n)
			return
		}
		d.mismatch(path, "a whole number", value)
	case reflect.Struct:
		if table, ok := value.(map[string]any); ok {
			d.bind(path, v, table)
			return
		}
		d.mismatch(path, "a table", value)
	case reflect.Slice:
		d.setList(path, v, value)
	default:
		panic("configs: no way to read a " + v.Type().String())
	}
}

func (d *document) setList(path string, v reflect.Value, value any) {
	items, ok := value.([]any)
	if !ok {
		want := "a list"
		if _, tables := reflect.New(v.Type().Elem()).Interface().(defaulter); tables {
			want = "a list of tables, [[" + path + "]]"
		}
		d.mismatch(path, want, value)
		return
	}
	list := reflect.MakeSlice(v.Type(), len(items), len(items))
	for i, item := range items {
		if table, ok := list.Index(i).Addr().Interface().(defaulter); ok {
			table.setDefaults()
		}
		d.set(element(path, i), list.Index(i), item)
	}
	v.Set(list)
}

func (d *document) mismatch(path, want string, value any) {
	d.atValue(path, "want %s, not %s", want, kindOf(value))
}

func kindOf(value any) string {
	switch value.(type) {
	case string:
		return "a string"
	case bool:
		return "a boolean"
	case int64:
		return "a whole number"
	case float64:
		return "a number with a fraction"
	case map[string]any:
		return "a table"
	case []any:
		return "a list"
	}
	return "a date or time"
}

// parser gives the way in which a value of the type of v is read from a string, if it is.
func parser(v reflect.Value) (func(string) error, bool) {
	switch p := v.Addr().Interface().(type) {
	case *mailbox.DomainName:
		return optional(p, parseName), true
	case *mailbox.Address:
		return optional(p, mailbox.ParseAddress), true
	case *netip.Addr:
		return func(s string) (err error) { *p, err = parseAddr(s); return err }, true
	case *netip.Prefix:
		return func(s string) (err error) { *p, err = parseNetwork(s); return err }, true
	case *netip.AddrPort:
		return func(s string) (err error) { *p, err = parseServer(s); return err }, true
	case encoding.TextUnmarshaler:
		return func(s string) error { return p.UnmarshalText([]byte(s)) }, true
	}
	return nil, false
}

// optional reads a value that may be empty.
func optional[T any](p *T, parse func(string) (T, error)) func(string) error {
	return func(s string) error {
		if s == "" {
			return nil
		}
		v, err := parse(s)
		if err == nil {
			*p = v
		}
		return err
	}
}

// knownKeys lists every key that a file can have, without those that are only tables.
func knownKeys() []string { return keysOf("", reflect.TypeFor[Config]()) }

func keysOf(path string, t reflect.Type) []string {
	var keys []string
	for i := range t.NumField() {
		field := t.Field(i)
		tag, ok := field.Tag.Lookup("toml")
		if !ok {
			continue
		}
		key, ft := join(path, tag), field.Type
		if ft.Kind() == reflect.Slice && reflect.PointerTo(ft.Elem()).Implements(reflect.TypeFor[defaulter]()) {
			ft = ft.Elem()
		}
		if _, leaf := parser(reflect.New(ft).Elem()); ft.Kind() == reflect.Struct && !leaf {
			keys = append(keys, keysOf(key, ft)...)
			continue
		}
		keys = append(keys, key)
	}
	return keys
}

// nearest is the known key that somebody may have meant: a few letters away, or of that name in another table.
func nearest(key string) string {
	best, bestDistance := "", max(2, len(key)/5)+1
	_, name := cutLast(key)
	for _, known := range knownKeys() {
		distance := editDistance(strings.ToLower(key), known)
		if distance < bestDistance {
			best, bestDistance = known, distance
		}
	}
	if best != "" {
		return best
	}
	for _, known := range knownKeys() {
		if _, n := cutLast(known); n == strings.ToLower(name) {
			return known
		}
	}
	return ""
}

func cutLast(key string) (table, name string) {
	i := strings.LastIndexByte(key, '.')
	return key[:max(i, 0)], key[i+1:]
}

// editDistance counts the letters to insert, delete, replace, or swap with a neighbour (optimal string alignment).
func editDistance(a, b string) int {
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row := rows[0], rows[1], rows[2]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		rows[0], rows[1], rows[2] = last, row, before
	}
	return rows[1][len(b)]
}
