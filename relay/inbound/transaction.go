package inbound

import (
	"fmt"
	"strings"
	"time"

	"mxbypass/mailbox"
	"mxbypass/relay/filter"
	"mxbypass/relay/inbound/wire"
	"mxbypass/relay/reply"
	"mxbypass/routing"
)

// transaction is one message on its way, from MAIL on. It never outlives the end of data.
type transaction struct {
	id         string
	start      time.Time
	core       Core
	release    func()
	client     routing.Client
	reverse    mailbox.Address
	utf8       bool
	requireTLS bool
	filters    []*filter.Session
	allowed    bool           // a list in DNS knows the client for a good one
	marks      []string       // lists in DNS that it is on, without being refused for it
	give       mailbox.Return // RET
	envelopeID string         // ENVID
	accepted   []accepted     // recipients
	refused    int            // recipients
}

// accepted is one recipient that was answered with 250.
type accepted struct {
	route  routing.Route
	report mailbox.Report // what the client wants to be told about it
}

// message makes the message that was received and found out about.
func (tx *transaction) message(found findings, t trace) *mailbox.Message {
	if len(tx.accepted) == 1 {
		t.to = tx.accepted[0].route.Path.Written // with several it would give away Bcc
	}
	return &mailbox.Message{
		ID:         tx.id,
		Reverse:    tx.reverse,
		UTF8:       tx.utf8,
		RequireTLS: tx.requireTLS,
		Trace:      append(found.fields, t.field()...),
		Content:    found.content,

		Return:     tx.give,
		EnvelopeID: tx.envelopeID,
	}
}

// seen is what the header of a message says about where it has been.
type seen struct {
	delivered map[mailbox.Address]bool // Delivered-To (see [mailbox.Recipient]), folded
	relayed   map[mailbox.Address]bool // that we gave to the other half of a split domain, folded
}

// seenBefore reads the fields that tell a loop; ours are those that name hostname. What is no address is passed over:
// some programs write other things there.
func seenBefore(body wire.Body, hostname string) seen {
	var s seen
	for _, v := range body.DeliveredTo {
		s.delivered = noted(s.delivered, v)
	}
	for _, v := range body.Relayed {
		if address, ok := strings.CutSuffix(v, " by "+hostname); ok {
			s.relayed = noted(s.relayed, address)
		}
	}
	return s
}

func noted(m map[mailbox.Address]bool, address string) map[mailbox.Address]bool {
	p, err := mailbox.ParsePath(address, true)
	if err != nil {
		return m
	}
	if m == nil {
		m = make(map[mailbox.Address]bool)
	}
	m[p.Address.Fold()] = true
	return m
}

// loop tells whether the message has already been where it is to go.
func (s seen) loop(t routing.Target) error {
	switch {
	case t.Mailbox != nil && s.delivered[t.Mailbox.Delivered.Fold()]:
		return fmt.Errorf("%w: Delivered-To %s", reply.ErrLoop, t.Mailbox.Delivered)
	case t.Outbound == nil:
	case t.Outbound.Purpose == routing.Redirected && s.delivered[t.Outbound.From.Fold()]:
		return fmt.Errorf("%w: Delivered-To %s", reply.ErrLoop, t.Outbound.From)
	case t.Outbound.Purpose == routing.OtherHalf && s.relayed[t.Outbound.To.Fold()]:
		return fmt.Errorf("%w: the other half of %s has sent it back", reply.ErrLoop, t.Outbound.To.Domain)
	}
	return nil
}

// assign lists the targets of all routes that may have the message and that it has not been at before, and tells for
// every route what becomes of it: the error of a loop or of what was found, or nothing yet.
func (tx *transaction) assign(s seen, found findings) (to []routing.Target, owner []int, results []reply.Result) {
	results = make([]reply.Result, len(tx.accepted))
	to = make([]routing.Target, 0, len(tx.accepted))
	owner = make([]int, 0, len(tx.accepted))
	for i, r := range tx.accepted {
		results[i].Route = r.route
		if results[i].Err = found.refusal(i); results[i].Err != nil || found.discard {
			continue
		}
		for _, t := range r.route.Targets(r.report) {
			if err := s.loop(t); err != nil {
				results[i].Err = err
				continue
			}
			to = append(to, t)
			owner = append(owner, i)
		}
	}
	return to, owner, results
}

// settle adds the outcomes of delivery to the results of the routes.
func settle(results []reply.Result, owner []int, to []routing.Target, outcomes []reply.Outcome) {
	for i, route := range owner {
		o := reply.Outcome{Err: fmt.Errorf("%w: no result", mailbox.ErrUnavailable)}
		if i < len(outcomes) {
			o = outcomes[i]
		}
		r := &results[route]
		r.Err = reply.Worst(r.Err, o.Err)
		// A mailbox that sends its mail on as well counts as delivered when it has its copy.
		r.Queued = r.Queued || o.Queued && (to[i].Mailbox != nil || r.Route.Action == routing.Relay)
	}
}
