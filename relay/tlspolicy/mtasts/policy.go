package mtasts

import (
	"errors"
	"fmt"
	"mime"
	"slices"
	"strconv"
	"strings"
	"time"

	"mxbypass/mailbox"
)

// Mode is what a policy wants.
type Mode string

// The modes (RFC 8461 section 5).
const (
	Enforce Mode = "enforce" // nothing is delivered to a server that the policy does not fit
	Testing Mode = "testing" // only reported
	None    Mode = "none"    // there is no policy any more
)

const (
	// maxPolicy is the longest policy, in octets (RFC 8461 section 3.3 wants a limit, "such as 64 kilobytes").
	maxPolicy = 64 << 10
	// maxAge is the longest time that a policy can be kept (section 3.2).
	maxAge = 31557600 * time.Second
	// version is that of records and policies.
	version = "STSv1"
)

// Policy is the policy of a domain. It does not change.
type Policy struct {
	Domain string // ASCII
	ID     string // of the record that announced it
	Mode   Mode
	MX     []string // names, or "*." and a name, in ASCII and lower case
	MaxAge time.Duration
	Lines  []string // as they came, for reports
}

// Fits tells whether a host, in ASCII and lower case, is among those of the policy (RFC 8461 section 4.1): "*." stands
// for one label.
func (p *Policy) Fits(host string) bool { return FitsOne(p.MX, host) }

// FitsOne tells whether a host is one of the names, where "*." stands for one label.
func FitsOne(patterns []string, host string) bool {
	_, parent, _ := strings.Cut(host, ".")
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		suffix, wild := strings.CutPrefix(pattern, "*.")
		if wild {
			return parent != "" && suffix == parent
		}
		return pattern == host
	})
}

// ParsePattern reads a name, or "*." and a name, and gives it in ASCII and lower case.
func ParsePattern(s string) (string, error) {
	name, wild := strings.CutPrefix(s, "*.")
	d, err := mailbox.ParseDomainName(name)
	if err != nil || d.IsLiteral() || d.IsZero() {
		return "", fmt.Errorf("%q is no host name, and no \"*.\" with one behind it", mailbox.Printable(s))
	}
	if wild {
		return "*." + d.ASCII(), nil
	}
	return d.ASCII(), nil
}

// parse reads a policy (RFC 8461 section 3.2). Fields that are not known are passed over, and of those that are there
// twice the first counts.
func parse(text string) (*Policy, error) {
	if len(text) > maxPolicy {
		return nil, fmt.Errorf("the policy is longer than %d octets", maxPolicy)
	}
	p := &Policy{}
	first := map[string]string{}
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.Trim(line, "\r \t")
		if line == "" {
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("a line of the policy is none: %q", mailbox.Printable(line[:min(len(line), 100)]))
		}
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		p.Lines = append(p.Lines, key+": "+value)
		if key == "mx" {
			pattern, err := ParsePattern(value)
			if err != nil {
				return nil, fmt.Errorf("mx of the policy: %w", err)
			}
			p.MX = append(p.MX, pattern)
			continue
		}
		if _, twice := first[key]; !twice {
			first[key] = value
		}
	}
	p.Mode = Mode(first["mode"])
	age, err := strconv.ParseUint(first["max_age"], 10, 32)
	switch {
	case first["version"] != version:
		return nil, fmt.Errorf("the version of the policy is %q", mailbox.Printable(first["version"]))
	case p.Mode != Enforce && p.Mode != Testing && p.Mode != None:
		return nil, fmt.Errorf("the mode of the policy is %q", mailbox.Printable(first["mode"]))
	case err != nil || first["max_age"][0] == '+':
		return nil, fmt.Errorf("max_age of the policy is %q", mailbox.Printable(first["max_age"]))
	case len(p.MX) == 0 && p.Mode != None:
		return nil, errors.New("the policy names no mx")
	}
	p.MaxAge = min(time.Duration(age)*time.Second, maxAge)
	return p, nil
}

// parseRecord reads the TXT records of _mta-sts (RFC 8461 section 3.1): the identifier of the policy, or that there is
// none, because there is not exactly one record that announces one.
func parseRecord(texts []string) (id string, there bool) {
	for _, text := range texts {
		fields := strings.Split(text, ";")
		if strings.TrimRight(fields[0], " \t") != "v="+version || len(fields) < 2 {
			continue
		}
		if there {
			return "", false
		}
		there, id = true, ""
		for _, f := range fields[1:] {
			name, value, _ := strings.Cut(f, "=")
			if strings.Trim(name, " \t") == "id" && id == "" {
				id = strings.Trim(value, " \t")
			}
		}
		if !isID(id) {
			return "", false
		}
	}
	return id, there
}

func isID(s string) bool {
	return s != "" && len(s) <= 32 && !strings.ContainsFunc(s, func(r rune) bool {
		return !('0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z')
	})
}

// isPlain tells whether a Content-Type is that of a policy.
func isPlain(contentType string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	return err == nil && kind == "text/plain"
}
