package msgauth

import (
	"net/netip"
	"regexp"
	"strings"
)

// What terms of an SPF record are made of (RFC 7208 sections 7.1 and 12).
const (
	spfMacro  = `%(?:\{[slodiphvSLODIPHV]\d*[rR]?[-.+,/_=]*\}|[%_-])`
	spfString = `(?:[!-$&-~]|` + spfMacro + `)*`
	spfTop    = `(?:[0-9A-Za-z]*[A-Za-z][0-9A-Za-z]*|[0-9A-Za-z]+-[-0-9A-Za-z]*[0-9A-Za-z])`
	spfDomain = spfString + `(?:\.` + spfTop + `\.?|%\{[slodiphvSLODIPHV]\d*[rR]?[-.+,/_=]*\})`
	spfMask4  = `/(?:[0-9]|[12][0-9]|3[0-2])`
	spfMask6  = `/(?:[0-9]|[1-9][0-9]|1[01][0-9]|12[0-8])`
	spfMasks  = `(?:` + spfMask4 + `)?(?:/` + spfMask6 + `)?`
)

// Terms by their form. Those with an address are looked at once more.
var (
	spfMechanism = regexp.MustCompile(`^(?i:[-+?~]?(?:all|(?:include|exists):` + spfDomain +
		`|(?:a|mx)(?::` + spfDomain + `)?` + spfMasks + `|ptr(?::` + spfDomain +
		`)?|ip4:([0-9.]+)(?:` + spfMask4 + `)?|ip6:([0-9A-Fa-f:.]+)(?:` + spfMask6 + `)?))$`)
	spfModifier = regexp.MustCompile(`^(?i:(redirect|exp)=` + spfDomain + `|([a-z][-a-z0-9_.]*)=` + spfString + `)$`)
)

// maxSPF is the longest record that is read: ten times what RFC 7208 section 3.4 has for the longest that works everywhere.
const maxSPF = 5 << 10

// validSPF tells whether a record has the syntax that it must have as a whole: the module reads it term by term and stops
// at the first that matches, while an error anywhere makes it void (RFC 7208 section 4.6).
func validSPF(record string) bool {
	if len(record) > maxSPF {
		return false
	}
	seen := map[string]bool{}
	for _, term := range strings.Split(record, " ")[1:] {
		if term == "" {
			continue
		}
		if m := spfMechanism.FindStringSubmatch(term); m != nil {
			v4, err4 := netip.ParseAddr(m[1])
			v6, err6 := netip.ParseAddr(m[2])
			if m[1] != "" && (err4 != nil || !v4.Is4()) || m[2] != "" && (err6 != nil || !v6.Is6()) {
				return false
			}
			continue
		}
		m := spfModifier.FindStringSubmatch(term)
		if m == nil {
			return false
		}
		name := strings.ToLower(m[1])
		if other := strings.ToLower(m[2]); other == "redirect" || other == "exp" || name != "" && seen[name] {
			return false
		}
		seen[name] = true
	}
	return true
}

// checkedSPF replaces records that are void by one that says so to the module.
func checkedSPF(texts []string) []string {
	checked := texts
	for i, t := range texts {
		if len(t) >= 6 && strings.EqualFold(t[:6], "v=spf1") && (len(t) == 6 || t[6] == ' ') && !validSPF(t) {
			if &checked[0] == &texts[0] {
				checked = append([]string(nil), texts...)
			}
			checked[i] = "v=spf1 syntax-error"
		}
	}
	return checked
}
