package msgauth

import (
	"cmp"
	"context"
	"hash/fnv"
	"strings"

	"blitiri.com.ar/go/spf"

	"mxbypass/mailbox"
	"mxbypass/relay/msgauth/arc"
	"mxbypass/relay/msgauth/authres"
	"mxbypass/relay/msgauth/dmarc"
)

// policy is what was found out about one From domain.
type policy struct {
	dmarc.Found
	err error // DNS did not tell
}

// judgement is the verdict of DMARC for one From domain.
type judgement struct {
	domain mailbox.DomainName
	value  string // none, pass, fail, temperror
	by     string // pass: what it is by
	wanted dmarc.Policy
	said   dmarc.Policy // the policy of the domain, before what it says of tests and parts
	// broken: a signature of the domain's is there and does not fit, as after a change on the way.
	broken bool
}

// judge holds what a message was authenticated for against the policy of a From domain (RFC 9989 section 5.3).
func (c *Checker) judge(ctx context.Context, p policy, sender spfResult, signatures []dkimResult, id string) judgement {
	j := judgement{domain: p.Domain, value: "fail", said: p.Policy, wanted: applied(p.Found, id)}
	switch {
	case p.err != nil:
		j.value = "temperror"
		return j
	case p.At == "":
		j.value = "none"
		return j
	}
	unsure := false
	for _, s := range signatures {
		relevant := s.value == dkimPass || s.value == dkimFail || s.value == "temperror"
		if !relevant || !c.finder.Aligned(ctx, p.Found, s.domain, p.Record.StrictDKIM) {
			continue
		}
		switch s.value {
		case dkimPass:
			j.value, j.by = "pass", "DKIM of "+s.domain.ASCII()
			return j
		case dkimFail:
			j.broken = true
		default:
			unsure = true
		}
	}
	if sender.value == spf.Pass || sender.value == spf.TempError {
		if c.finder.Aligned(ctx, p.Found, sender.domain, p.Record.StrictSPF) {
			if sender.value == spf.Pass {
				j.value, j.by = "pass", "SPF of "+sender.domain.ASCII()
				return j
			}
			unsure = true
		}
	}
	if unsure {
		j.value = "temperror"
	}
	return j
}

// applied is the policy for one message: pct= leaves out some of them, t= all. Which ones is told by the id of the
// message, so that all of its recipients have the same.
func applied(p dmarc.Found, id string) dmarc.Policy {
	if p.At == "" {
		return dmarc.None
	}
	if p.Record.Percent < 100 {
		h := fnv.New32a()
		_, _ = h.Write([]byte(id)) // never fails (see [hash.Hash])
		if int(h.Sum32()%100) >= p.Record.Percent {
			return p.Policy.Softer()
		}
	}
	if p.Record.Testing {
		return p.Policy.Softer()
	}
	return p.Policy
}

// vouched tells whether the results of the newest sealer say that the message came from the From domain when he had it.
// Whether he is believed is another question.
func (c *Checker) vouched(ctx context.Context, chain arc.Chain, p policy) bool {
	if chain.Status != arc.Pass || p.At == "" {
		return false
	}
	_, results, err := authres.Parse(chain.Results)
	if err != nil {
		return false
	}
	for _, r := range results {
		if r.Value != "pass" {
			continue
		}
		var name string
		strict := p.Record.StrictDKIM
		switch r.Method {
		case "dmarc":
			name, strict = r.Property("header.from"), true
		case "dkim":
			name = cmp.Or(r.Property("header.d"), r.Property("header.i"))
		case "spf":
			name, strict = r.Property("smtp.mailfrom"), p.Record.StrictSPF
		}
		domain, err := mailbox.ParseDomainName(name[strings.LastIndexByte(name, '@')+1:])
		if err == nil && c.finder.Aligned(ctx, p.Found, domain, strict) {
			return true
		}
	}
	return false
}
