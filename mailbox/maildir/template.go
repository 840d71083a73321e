package maildir

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"mxbypass/mailbox"
)

// maxComponent is the longest name of a folder (NAME_MAX).
const maxComponent = 255

// errUnsafe: this identity cannot be made a path below the root.
var errUnsafe = errors.New("maildir: the address cannot be a path")

// template is a parsed [Options.Path].
type template struct {
	root  string     // the folder that nothing can leave
	parts [][]string // components below the root; each in pieces: literals and placeholders with their braces
}

// placeholders are the words that a template may have, with how an identity gives their value.
var placeholders = map[string]func(mailbox.Mailbox) string{
	"{domain}": func(m mailbox.Mailbox) string { return m.Address.Domain.ASCII() },
	"{user}":   func(m mailbox.Mailbox) string { return string(m.Address.Local.Fold()) },
	"{site}":   func(m mailbox.Mailbox) string { return m.Site },
}

// parseTemplate also proves that two mailboxes never share a folder: a value has neither "/" nor "@" in it (see
// value), so values can be told apart when only these two stand between them.
func parseTemplate(path string, single bool) (template, error) {
	var t template
	if !filepath.IsAbs(path) || strings.ContainsRune(path, 0) {
		return t, fmt.Errorf("path %q is not absolute", path)
	}
	var static []string
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if name == "" || name == "." || name == ".." || len(name) > maxComponent {
			return t, fmt.Errorf("path %q: a component is %q", path, name)
		}
		pieces, err := splitPieces(name)
		if err != nil {
			return t, fmt.Errorf("path %q: %w", path, err)
		}
		if len(t.parts) == 0 && !strings.Contains(name, "{") {
			static = append(static, name)
			continue
		}
		t.parts = append(t.parts, pieces)
	}
	switch {
	case single && len(t.parts) > 0:
		return t, fmt.Errorf("path %q: a single Maildir has no placeholder", path)
	case single:
		t.parts = [][]string{{static[len(static)-1]}}
		static = static[:len(static)-1]
	case !strings.Contains(path, "{user}"):
		return t, fmt.Errorf("path %q has no {user}: all mailboxes would be one folder", path)
	}
	t.root = "/" + strings.Join(static, "/")
	return t, nil
}

// splitPieces cuts "a-{user}@{domain}" into a-, {user}, @, {domain}.
func splitPieces(name string) ([]string, error) {
	var pieces []string
	for name != "" {
		i := strings.IndexAny(name, "{}")
		if i < 0 {
			return append(pieces, name), nil
		}
		end := strings.IndexByte(name, '}')
		if name[i] == '}' || end < 0 {
			return nil, errors.New("a brace without its partner")
		}
		word := name[i : end+1]
		if placeholders[word] == nil {
			return nil, fmt.Errorf("%s is not a placeholder: {domain}, {user}, {site}", word)
		}
		if len(pieces) > 0 && name[:i] != "@" {
			return nil, errors.New(`two placeholders in one component need "/" or "@" between them`)
		}
		if i > 0 {
			pieces = append(pieces, name[:i])
		}
		pieces = append(pieces, word)
		name = name[end+1:]
	}
	return pieces, nil
}

// expand gives the components below the root for a mailbox. It refuses, with errUnsafe, what could be anything but
// the name of a folder of its own.
func (t template) expand(m mailbox.Mailbox) ([]string, error) {
	names := make([]string, 0, len(t.parts)+1)
	for _, pieces := range t.parts {
		var b strings.Builder
		for _, p := range pieces {
			value, ok := placeholders[p]
			if !ok {
				b.WriteString(p)
				continue
			}
			v := value(m)
			if !safeName(v) || strings.HasPrefix(v, "[") {
				return nil, fmt.Errorf("%w: %s is %q", errUnsafe, p, v)
			}
			b.WriteString(v)
		}
		if b.Len() > maxComponent {
			return nil, fmt.Errorf("%w: a name of %d octets", errUnsafe, b.Len())
		}
		names = append(names, b.String())
	}
	return names, nil
}

// safeName tells whether a value may be (a part of) the name of a folder.
func safeName(v string) bool {
	return v != "" && v[0] != '.' && len(v) <= maxComponent && !strings.ContainsAny(v, "/@\x00")
}
