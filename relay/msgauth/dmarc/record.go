package dmarc

import (
	"strconv"
	"strings"
)

// Policy is what a domain wants done with a message that fails.
type Policy string

// The policies.
const (
	None       Policy = "none"
	Quarantine Policy = "quarantine"
	Reject     Policy = "reject"
)

// Softer is the policy one step below, as pct= and t= want it.
func (p Policy) Softer() Policy {
	if p == Reject {
		return Quarantine
	}
	return None
}

// Border is what a domain says of itself and the public suffixes (psd=, RFC 9989 section 4.7).
type Border byte

// The borders.
const (
	BorderUnknown Border = iota
	PublicSuffix         // psd=y: organisational domains are one label below
	Organisation         // psd=n: it is one
)

// Record is a policy record.
type Record struct {
	Policy       Policy // p=
	Subdomains   Policy // sp=; p= when there is none
	Nonexistent  Policy // np=; sp= when there is none
	StrictDKIM   bool   // adkim=s
	StrictSPF    bool   // aspf=s
	Percent      int    // pct=: how many of a hundred messages the policy is for; 100 when there is none
	Testing      bool   // t=y
	PublicSuffix Border // psd=
}

// Parse reads a record; false: the text is none. What is wrong in a record counts as not said, but a policy that cannot
// be read is "none": nobody's mail is refused by mistake.
func Parse(text string) (Record, bool) {
	first, rest, _ := strings.Cut(text, ";")
	if name, value, ok := strings.Cut(first, "="); !ok || trim(name) != "v" || trim(value) != "DMARC1" {
		return Record{}, false
	}
	r := Record{Policy: None, Percent: 100}
	seen := map[string]bool{}
	for tag := range strings.SplitSeq(rest, ";") {
		name, value, ok := strings.Cut(tag, "=")
		name, value = strings.ToLower(trim(name)), strings.ToLower(trim(value))
		if !ok || seen[name] {
			continue
		}
		seen[name] = true
		r.set(name, value)
	}
	if r.Subdomains == "" {
		r.Subdomains = r.Policy
	}
	if r.Nonexistent == "" {
		r.Nonexistent = r.Subdomains
	}
	return r, true
}

func (r *Record) set(name, value string) {
	switch name {
	case "p":
		r.Policy = policy(value)
	case "sp":
		r.Subdomains = policy(value)
	case "np":
		r.Nonexistent = policy(value)
	case "adkim":
		r.StrictDKIM = value == "s"
	case "aspf":
		r.StrictSPF = value == "s"
	case "pct":
		if n, err := strconv.Atoi(value); err == nil && 0 <= n && n <= 100 {
			r.Percent = n
		}
	case "t":
		r.Testing = value == "y"
	case "psd":
		switch value {
		case "y":
			r.PublicSuffix = PublicSuffix
		case "n":
			r.PublicSuffix = Organisation
		}
	}
}

func policy(value string) Policy {
	switch p := Policy(value); p {
	case Quarantine, Reject:
		return p
	}
	return None
}

func trim(s string) string { return strings.Trim(s, " \t\r\n") }
