package inbound

import (
	"fmt"
	"time"

	"mxbypass/mailbox"
	"mxbypass/relay/reply"
	"mxbypass/routing"
)

// transaction is one message on its way, from MAIL on. It never outlives the end of data.
type transaction struct {
	id      string
	start   time.Time
	core    Core
	release func()
	client  routing.Client
	reverse mailbox.Address
	utf8    bool
	routes  []routing.Route // of the accepted recipients
	refused int             // recipients
}

// message makes the message that was received.
func (tx *transaction) message(content mailbox.Content, t trace) *mailbox.Message {
	if len(tx.routes) == 1 {
		t.to = tx.routes[0].Path.Written // with several it would give away Bcc
	}
	return &mailbox.Message{
		ID:       tx.id,
		Reverse:  tx.reverse,
		UTF8:     tx.utf8,
		Received: t.field(),
		Content:  content,
	}
}

// loops gives the addresses that the message says it was delivered to (see [mailbox.Recipient]).
func loops(deliveredTo []string) map[mailbox.Address]bool {
	var seen map[mailbox.Address]bool
	for _, v := range deliveredTo {
		p, err := mailbox.ParsePath(v, true)
		if err != nil {
			continue // some programs write other things there
		}
		if seen == nil {
			seen = make(map[mailbox.Address]bool)
		}
		seen[p.Address.Fold()] = true
	}
	return seen
}

// assign lists the recipients of all routes that the message has not been delivered to before, and tells for every
// route what becomes of it: the error of a loop, or nothing yet.
func (tx *transaction) assign(seen map[mailbox.Address]bool) (
	to []mailbox.Recipient, owner []int, results []reply.Result,
) {
	results = make([]reply.Result, len(tx.routes))
	to = make([]mailbox.Recipient, 0, len(tx.routes))
	owner = make([]int, 0, len(tx.routes))
	for i, r := range tx.routes {
		results[i].Route = r
		for _, box := range r.Recipients {
			if seen[box.Delivered.Fold()] {
				results[i].Err = fmt.Errorf("%w: Delivered-To %s", reply.ErrLoop, box.Delivered)
				continue
			}
			to = append(to, box)
			owner = append(owner, i)
		}
	}
	return to, owner, results
}

// settle adds the results of delivery to those of the routes.
func settle(results []reply.Result, owner []int, errs []error) {
	for i, route := range owner {
		err := fmt.Errorf("%w: no result", mailbox.ErrUnavailable)
		if i < len(errs) {
			err = errs[i]
		}
		results[route].Err = reply.Worst(results[route].Err, err)
	}
}
