package mx

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/net/publicsuffix"

	"mxbypass/mailbox"
)

// pattern matches host names label by label; see providers.toml for its language.
type pattern struct {
	labels []string // without an open end
	below  bool     // the first label was "*": one label or more stand before labels
	suffix bool     // the last label was "*": a public suffix stands behind labels
}

func parsePattern(s string) (pattern, error) {
	if s != strings.ToLower(s) || strings.ContainsAny(s, `\ /`) {
		return pattern{}, fmt.Errorf("pattern %q: want a host name in lower case", s)
	}
	p := pattern{labels: strings.Split(s, ".")}
	if p.labels[0] == "*" {
		p.below, p.labels = true, p.labels[1:]
	}
	if n := len(p.labels) - 1; n >= 0 && p.labels[n] == "*" {
		p.suffix, p.labels = true, p.labels[:n]
	}
	if len(p.labels) == 0 || len(p.labels) == 1 && !p.suffix && !p.below {
		return pattern{}, fmt.Errorf("pattern %q: too wide", s)
	}
	for _, label := range p.labels {
		if _, err := path.Match(label, ""); label == "" || err != nil {
			return pattern{}, errors.Join(fmt.Errorf("pattern %q: label %q", s, label), err)
		}
	}
	return p, nil
}

// matches tells whether the pattern is that of the host.
func (p pattern) matches(host mailbox.DomainName) bool {
	name := host.ASCII()
	if p.suffix {
		suffix, icann := publicsuffix.PublicSuffix(name)
		if !icann && strings.Contains(suffix, ".") { // somebody's own zone
			return false
		}
		var ok bool
		if name, ok = strings.CutSuffix(name, "."+suffix); !ok {
			return false
		}
	}
	labels := strings.Split(name, ".")
	before := len(labels) - len(p.labels)
	if before < 0 || p.below != (before > 0) {
		return false
	}
	for i, label := range p.labels {
		if ok, err := path.Match(label, labels[before+i]); err != nil || !ok {
			return false
		}
	}
	return true
}
