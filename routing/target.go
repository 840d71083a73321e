package routing

import "mxbypass/mailbox"

// Target is one place that a message goes to: a mailbox of ours, or an address elsewhere. One of the two is set.
type Target struct {
	Mailbox  *mailbox.Recipient
	Outbound *Outbound
}

// Targets gives all places that the mail of the route goes to, with what the client wants to be told about them.
func (r Route) Targets(report mailbox.Report) []Target {
	all := make([]Target, 0, len(r.Recipients)+len(r.Outbound))
	for i := range r.Recipients {
		box := r.Recipients[i]
		box.Report = report
		all = append(all, Target{Mailbox: &box})
	}
	for i := range r.Outbound {
		out := r.Outbound[i]
		out.Report = report
		all = append(all, Target{Outbound: &out})
	}
	return all
}
