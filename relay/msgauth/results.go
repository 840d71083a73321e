package msgauth

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"blitiri.com.ar/go/spf"

	"mxbypass/mailbox"
	"mxbypass/relay/msgauth/arc"
	"mxbypass/relay/msgauth/authres"
)

// shown are the judgements that stand in the field, which all recipients get: those of mail that was sent on only when
// the client is an upstream of every recipient's domain, and not the author's server as well.
func (v *Verdict) shown() forwarded {
	direct := slices.ContainsFunc(v.direct, func(j judgement) bool { return j.value == "pass" })
	if len(v.forwarded) == 0 || direct {
		return forwarded{}
	}
	for _, f := range v.forwarded {
		if f.why == "" {
			return forwarded{}
		}
	}
	return v.forwarded[0]
}

// results gives what was found out, for our field.
func (v *Verdict) results() []authres.Result {
	f := v.shown()
	all := []authres.Result{v.reverseResult(), v.spfResult(f)}
	for _, s := range v.signatures {
		all = append(all, authres.Result{
			Method: "dkim", Value: s.value, Reason: s.why,
			Properties: []authres.Property{
				{Name: "header.d", Value: s.domain.ASCII()}, {Name: "header.s", Value: s.selector},
				{Name: "header.i", Value: s.identity}, {Name: "header.a", Value: s.algorithm},
				{Name: "header.b", Value: s.start},
			},
		})
	}
	if len(v.signatures) == 0 {
		all = append(all, authres.Result{Method: "dkim", Value: "none"})
	}
	all = append(all, v.arcResult())
	for i := range v.policies {
		all = append(all, v.dmarcResult(i, f))
	}
	if len(v.policies) == 0 {
		all = append(all, authres.Result{Method: "dmarc", Value: "permerror", Reason: "no domain in the From field"})
	}
	return all
}

func (v *Verdict) reverseResult() authres.Result {
	return authres.Result{
		Method: "iprev", Value: v.reverse.value, Comment: v.reverse.name,
		Properties: []authres.Property{{Name: "policy.iprev", Value: v.sender.client.Unmap().String()}},
	}
}

func (v *Verdict) spfResult(f forwarded) authres.Result {
	s := v.sender
	r := authres.Result{Method: "spf", Value: string(s.value)}
	if f.spf != nil {
		s = *f.spf
		r.Value = string(s.value)
		r.Comment = fmt.Sprintf("for %s, from where the upstream %s had it", s.client, v.sender.client)
	}
	if s.sender.IsNull() {
		r.Properties = []authres.Property{{Name: "smtp.helo", Value: s.domain.ASCII()}}
	} else {
		r.Properties = []authres.Property{{Name: "smtp.mailfrom", Value: s.sender.String()}}
	}
	return r
}

func (v *Verdict) arcResult() authres.Result {
	c := v.Chain
	r := authres.Result{Method: "arc", Value: string(c.Status), Reason: c.Reason}
	if c.Status == arc.Pass {
		r.Comment = fmt.Sprintf("i=%d sealed by %s", c.Instances, strings.Join(c.Sealers, ", "))
	}
	if c.Status != arc.None {
		r.Properties = []authres.Property{{Name: "smtp.remote-ip", Value: v.sender.client.Unmap().String()}}
	}
	if c.Status == arc.Pass {
		r.Properties = append(r.Properties, authres.Property{Name: "header.oldest-pass", Value: strconv.Itoa(c.OldestPass)})
	}
	return r
}

func (v *Verdict) dmarcResult(i int, f forwarded) authres.Result {
	j := v.judged(i, f)
	r := authres.Result{
		Method: "dmarc", Value: j.value,
		Properties: []authres.Property{{Name: "header.from", Value: j.domain.ASCII()}},
	}
	if v.policies[i].At != "" {
		r.Comment = "p=" + string(j.said)
		if j.by != "" {
			r.Comment += " by " + j.by
		}
	}
	if o := v.outcome(i, f); j.value != "pass" && o.why != "" {
		r.Reason = o.why
	}
	return r
}

// Steps explains the verdict: one printable line each.
func (v *Verdict) Steps() []string {
	if v.Results == nil {
		return nil
	}
	var steps []string
	say := func(format string, args ...any) {
		steps = append(steps, mailbox.Printable(strings.TrimRight(fmt.Sprintf(format, args...), " ")))
	}
	say("iprev %s %s", v.reverse.value, v.reverse.name)
	say("SPF %s", v.sender)
	for _, s := range v.signatures {
		say("DKIM %s %s %s", s.value, s.domain, s.why)
	}
	if v.unverified > 0 {
		say("%d more signatures were not verified", v.unverified)
	}
	if v.Chain.Status != arc.None {
		say("ARC %s %s %s", v.Chain.Status, strings.Join(v.Chain.Sealers, " "), v.Chain.Reason)
	}
	for i, j := range v.direct {
		say("DMARC %s", v.explained(i, j))
	}
	for i, f := range v.forwarded {
		v.explainUpstream(say, v.domains[i], f)
	}
	switch {
	case v.authors.more:
		say("there are more From domains than are judged")
	case v.authors.unknown():
		say("there is no domain in the From field")
	}
	return steps
}

// String prints a result as a step.
func (r spfResult) String() string {
	s := string(r.value)
	if !r.domain.IsZero() {
		s += " for " + r.domain.ASCII()
	}
	if r.why != "" && r.value != spf.None {
		s += " (" + r.why + ")"
	}
	return s
}

func (v *Verdict) explained(i int, j judgement) string {
	s := j.value + " for " + j.domain.ASCII()
	switch p := v.policies[i]; {
	case p.err != nil:
		s += ": " + p.err.Error()
	case j.by != "":
		s += " by " + j.by
	case p.At != "":
		s += fmt.Sprintf(", which wants %s (record of %s)", j.wanted, p.At)
	}
	return s
}

func (v *Verdict) explainUpstream(say func(string, ...any), d mailbox.Domain, f forwarded) {
	switch {
	case f.why == "" && f.unsure != "":
		say("whether the client is an upstream of %s is not known: %s", d.Name, f.unsure)
	case f.why == "":
		return
	case f.spf != nil:
		say("the client is an upstream of %s (%s), so SPF is judged for %s, from where %s had it: %s", d.Name, f.why, f.before,
			f.by, *f.spf)
	case f.before.IsValid():
		say("the client is an upstream of %s (%s); it had the message from %s, its sender then is not known", d.Name, f.why,
			f.before)
	default:
		say("the client is an upstream of %s (%s); from where it had the message is not known", d.Name, f.why)
	}
	for i, j := range f.judged {
		s := v.explained(i, j)
		if o := v.outcome(i, f); o.why != "" {
			s += "; not kept to: " + o.why
		}
		say("so DMARC %s", s)
	}
}
