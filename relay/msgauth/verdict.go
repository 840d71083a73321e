package msgauth

import (
	"fmt"
	"net/netip"
	"slices"

	"mxbypass/mailbox"
	"mxbypass/relay/msgauth/arc"
	"mxbypass/relay/msgauth/dmarc"
)

// The fields of ours that filters of mailboxes look for, beside Authentication-Results. Only we write them.
const (
	QuarantineField = "X-Mxbypass-Quarantine" // why the message is to be put aside
	ListedField     = "X-Mxbypass-Listed"     // a list in DNS that tells of the client, with its answer
)

// Rejection is the refusal of a message by the policy of a domain in its From field. It is [ErrRejected].
type Rejection struct{ From mailbox.DomainName }

// Error implements error.
func (r *Rejection) Error() string {
	return fmt.Sprintf("%s wants messages refused that fail DMARC, as this one does", r.From)
}

// Unwrap gives [ErrRejected].
func (*Rejection) Unwrap() error { return ErrRejected }

// Verdict is what was found out about a message.
type Verdict struct {
	Results []byte          // one Authentication-Results field, with CRLF; nil when nobody wants one
	Content mailbox.Content // the message without fields in our name
	Chain   arc.Chain

	checker    *Checker
	authors    authors
	domains    []mailbox.Domain
	reverse    iprev
	sender     spfResult
	signatures []dkimResult
	unverified int         // signatures that were too many
	policies   []policy    // of the authors, in their order, as are the next two
	vouched    []bool      // the newest sealer says that it came from there
	direct     []judgement // when the client has it from the author
	forwarded  []forwarded // by recipient domain
}

// before gives the SPF result for a hop that was judged for another domain already.
func (v *Verdict) before(client netip.Addr, sender mailbox.Address) *spfResult {
	for _, f := range v.forwarded {
		if f.spf != nil && f.spf.client == client && f.spf.sender == sender {
			return f.spf
		}
	}
	return nil
}

// For tells what the verdict means for the mail of a hosted domain: refused, put aside, or neither. A message of which
// nobody knows who is shown as its author is put aside as well. The error is a [*Rejection] or wraps [ErrUnsure].
func (v *Verdict) For(d mailbox.Domain) (quarantine bool, err error) {
	if v.Results == nil || v.checker.policyOf(d) != mailbox.AuthenticationEnforce {
		return false, nil
	}
	f := v.of(d)
	for i := range v.direct {
		o := v.outcome(i, f)
		switch {
		case o.err != nil:
			err = worse(err, o.err)
		case o.policy == dmarc.Quarantine:
			quarantine = true
		}
	}
	return quarantine || v.authors.unknown(), err
}

// worse prefers the error that is final.
func worse(a, b error) error {
	if _, final := a.(*Rejection); final || b == nil { //nolint:errorlint // both are made here
		return a
	}
	return b
}

func (v *Verdict) of(d mailbox.Domain) forwarded {
	i := slices.IndexFunc(v.domains, func(o mailbox.Domain) bool { return o.Name == d.Name })
	if i < 0 {
		return forwarded{}
	}
	return v.forwarded[i]
}

// outcome is what becomes of a message for one From domain and one recipient domain that enforces.
type outcome struct {
	policy dmarc.Policy // what is done: none, quarantine
	err    error        // it is refused
	why    string       // why less is done than the From domain wants; empty: it is not less
}

// outcome decides, and says why.
func (v *Verdict) outcome(i int, f forwarded) outcome {
	j := v.judged(i, f)
	switch {
	case j.value == "pass" || j.value == "none" || j.value == "fail" && j.wanted == dmarc.None:
		return outcome{policy: dmarc.None}
	case v.believed(i, f):
		return outcome{dmarc.None, nil, "the seal of " + v.Chain.Sealers[0] + " says that it came from there (ARC)"}
	case j.value == "temperror" && (j.wanted != dmarc.None || v.policies[i].err != nil):
		return outcome{err: fmt.Errorf("%w: DNS does not answer for %s", ErrUnsure, j.domain)}
	case j.value == "temperror":
		return outcome{policy: dmarc.None}
	case f.why == "" && f.unsure != "":
		return outcome{err: fmt.Errorf("%w: whether the client sends mail on for the recipient: %s", ErrUnsure, f.unsure)}
	case f.why != "" && f.mayHaveBroken(j):
		return outcome{dmarc.None, nil, "it was sent on by an upstream, " + f.excuse(j)}
	case f.why != "" && j.wanted == dmarc.Reject:
		return outcome{dmarc.Quarantine, nil, "it was sent on by an upstream, which would report to who did not write it"}
	case j.wanted == dmarc.Reject:
		return outcome{err: &Rejection{j.domain}}
	}
	return outcome{policy: j.wanted}
}

// judged is the judgement for a From domain, as the recipient domain's upstreams let it be seen. An upstream may be the
// author's server as well.
func (v *Verdict) judged(i int, f forwarded) judgement {
	if f.why != "" && v.direct[i].value != "pass" {
		return f.judged[i]
	}
	return v.direct[i]
}

// believed tells whether a sealer that we believe vouches for a From domain.
func (v *Verdict) believed(i int, f forwarded) bool {
	if !v.vouched[i] || len(v.Chain.Sealers) == 0 {
		return false
	}
	trusted := func(d mailbox.DomainName) bool {
		return v.Chain.Sealers[0] == d.ASCII() || below(v.Chain.Sealers[0], d.ASCII())
	}
	return slices.ContainsFunc(v.checker.o.Sealers, trusted) || f.why != "" && slices.ContainsFunc(f.sealers, trusted)
}

// mayHaveBroken tells whether the message can have failed because it was sent on.
func (f forwarded) mayHaveBroken(j judgement) bool { return j.broken || f.spf == nil }

// excuse says what sending on can have broken.
func (f forwarded) excuse(j judgement) string {
	switch {
	case j.broken:
		return "which may have changed what " + j.domain.ASCII() + " signed"
	case !f.before.IsValid():
		return "and the hop before it is not known"
	}
	return "and its sender at the hop before is not known"
}
