package routing

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"mxbypass/mailbox"
	"mxbypass/routing/mx"
)

// Explanation is a route for machines, as `mxbypass route --json` prints it. All of it is printable.
type Explanation struct {
	Address    string            `json:"address"` // as it was written
	Action     Action            `json:"action"`
	Reason     string            `json:"reason,omitempty"` // refuse, defer: stable word for why
	Error      string            `json:"error,omitempty"`  // … and for people
	Gateway    string            `json:"gateway,omitempty"`
	Bypassed   *ExplainedState   `json:"bypassed,omitempty"`
	Recipients []ExplainedTarget `json:"recipients,omitempty"`
	Outbound   []ExplainedAway   `json:"outbound,omitempty"`
	Steps      []ExplainedStep   `json:"steps"`
}

// ExplainedTarget is one mailbox in an [Explanation].
type ExplainedTarget struct {
	Mailbox     string `json:"mailbox"`
	Site        string `json:"site"`
	Tag         string `json:"tag,omitempty"`
	DeliveredTo string `json:"delivered_to"`
}

// ExplainedAway is one address elsewhere in an [Explanation].
type ExplainedAway struct {
	To      string  `json:"to"`
	Hop     string  `json:"hop"` // as [Hop.String] writes it
	Purpose Purpose `json:"purpose"`
	From    string  `json:"from,omitempty"` // redirected: by this mailbox or alias
}

// ExplainedState is the MX state in an [Explanation].
type ExplainedState struct {
	State    mx.Kind `json:"state"`
	Provider string  `json:"provider,omitempty"`
	Stale    bool    `json:"stale,omitempty"`
}

// ExplainedStep is one step in an [Explanation].
type ExplainedStep struct {
	Rule   string `json:"rule"`
	Detail string `json:"detail"`
}

// Explanation gives the route for machines.
func (r Route) Explanation() Explanation {
	e := Explanation{
		Address: mailbox.Printable(r.Path.Written),
		Action:  r.Action,
		Gateway: r.Gateway.ASCII(),
		Steps:   make([]ExplainedStep, 0, len(r.Steps)),
	}
	if r.Err != nil {
		e.Reason, e.Error = reason(r.Err), mailbox.Printable(r.Err.Error())
	}
	if r.Bypassed != nil {
		e.Bypassed = &ExplainedState{r.Bypassed.Kind, mailbox.Printable(r.Bypassed.Provider), r.Bypassed.Stale}
	}
	for _, to := range r.Recipients {
		e.Recipients = append(e.Recipients, ExplainedTarget{to.Mailbox.Address.String(), to.Mailbox.Site,
			mailbox.Printable(string(to.Tag)), to.Delivered.String()})
	}
	for _, out := range r.Outbound {
		away := ExplainedAway{To: out.To.String(), Hop: out.Hop.String(), Purpose: out.Purpose}
		if !out.From.IsNull() {
			away.From = out.From.String()
		}
		e.Outbound = append(e.Outbound, away)
	}
	for _, s := range r.Steps {
		e.Steps = append(e.Steps, ExplainedStep{s.Rule, s.Detail()})
	}
	return e
}

// Explain prints the route for people; the model is exim -bt.
func Explain(w io.Writer, r Route) error {
	e := r.Explanation()
	var b strings.Builder
	b.WriteString(e.Address + "\n")
	switch {
	case e.Error != "":
		fmt.Fprintf(&b, "  %s: %s\n", e.Action, e.Error)
	default:
		for _, to := range e.Recipients {
			fmt.Fprintf(&b, "  %s to %s", Deliver, to.Mailbox)
			if to.Site == mailbox.SitePostmaster {
				b.WriteString(", " + fallbackMailbox)
			} else {
				b.WriteString(" in site " + to.Site)
			}
			if to.Tag != "" {
				fmt.Fprintf(&b, ", tag %s", to.Tag)
			}
			b.WriteByte('\n')
		}
		for _, away := range e.Outbound {
			fmt.Fprintf(&b, "  %s to %s by %s, %s", Relay, away.To, away.Hop, away.Purpose)
			if away.From != "" {
				b.WriteString(" by " + away.From)
			}
			b.WriteByte('\n')
		}
	}
	if e.Gateway != "" {
		fmt.Fprintf(&b, "  gateway %s\n", e.Gateway)
	}
	if e.Bypassed != nil {
		fmt.Fprintf(&b, "  MX state %s\n", strings.TrimSuffix(string(e.Bypassed.State)+", "+e.Bypassed.Provider, ", "))
	}
	for _, s := range e.Steps {
		fmt.Fprintf(&b, "    %-10s %s\n", s.Rule, s.Detail)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Short gives the route in a line for the log, without the address that was asked. It is printable.
func (r Route) Short() string {
	var b strings.Builder
	b.WriteString(string(r.Action))
	if r.Err != nil {
		b.WriteString(": " + mailbox.Printable(r.Err.Error()))
	}
	for i, to := range r.Recipients {
		if i == maxShort {
			fmt.Fprintf(&b, " and %d more", len(r.Recipients)-i)
			break
		}
		site := to.Mailbox.Site
		if site == mailbox.SitePostmaster {
			site = fallbackMailbox
		}
		b.WriteString(" " + to.Mailbox.Address.String() + " (" + site + ")")
	}
	for i, out := range r.Outbound {
		if i == maxShort {
			fmt.Fprintf(&b, " and %d more", len(r.Outbound)-i)
			break
		}
		b.WriteString(" " + out.To.String() + " (" + out.Hop.String() + ")")
	}
	if r.Bypassed != nil {
		b.WriteString(" bypassing " + string(r.Bypassed.Kind))
		if r.Bypassed.Provider != "" {
			b.WriteString(" " + mailbox.Printable(r.Bypassed.Provider))
		}
	}
	return b.String()
}

// fallbackMailbox says for people what machines read as the reserved site.
const fallbackMailbox = "the fallback postmaster mailbox"

// maxShort is how many mailboxes of an alias the log names.
const maxShort = 3

// reason gives a stable word for why mail is refused or deferred; "unavailable" for all that is not known.
func reason(err error) string {
	for _, r := range []struct {
		err  error
		word string
	}{
		{mailbox.ErrNoMailbox, "no_mailbox"},
		{mailbox.ErrSyntax, "syntax"},
		{mailbox.ErrTooLong, "too_long"},
		{mailbox.ErrDisabled, "disabled"},
		{mailbox.ErrAliasLoop, "alias_loop"},
		{ErrNotHosted, "not_hosted"},
		{ErrBypassOff, "bypass_off"},
		{ErrNotServed, "not_served"},
		{ErrNotGateway, "not_gateway"},
		{ErrNested, "nested"},
		{ErrRelayDenied, "relay_denied"},
		{ErrOtherHalf, "other_half"},
		{ErrBackToSource, "back_to_source"},
		{ErrReturnOnly, "return_only"},
		{ErrBadReturn, "bad_return"},
		{ErrMXUnknown, "mx_unknown"},
	} {
		if errors.Is(err, r.err) {
			return r.word
		}
	}
	return "unavailable"
}
