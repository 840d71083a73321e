package delivery

import (
	"mxbypass/mailbox"
	"mxbypass/relay/reply"
	"mxbypass/routing"
)

// enqueue gives the queue what goes elsewhere, and what the stores could not take for now, in one piece. It comes after
// the stores, so that it is known who is left; when it fails, the ledger remembers who has the message.
func (tx *transaction) enqueue() {
	units, to := tx.left()
	if len(units) == 0 {
		return
	}
	err := tx.d.queue.Accept(tx.commitCtx, tx.m, to)
	tx.mu.Lock()
	defer tx.mu.Unlock()
	for _, i := range units {
		u := &tx.units[i]
		if err == nil {
			u.err, u.queued = nil, true
		} else if u.err == nil { // of a store that failed, its error says more
			u.err = err
		}
		u.open = false
	}
	if err != nil {
		tx.d.log.Error("a message cannot be queued", "id", tx.m.ID, "error", err)
	}
}

// left marks as open, and lists, what is to be queued: nothing any more when the client has its answer.
func (tx *transaction) left() (units []int, to []routing.Target) {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.late != nil {
		for i := range tx.units {
			if u := &tx.units[i]; u.open {
				u.err, u.open = reply.ErrHeldBack, false
			}
		}
		return nil, nil
	}
	failed := tx.mayQueue()
	for i := range tx.units {
		u := &tx.units[i]
		switch {
		case u.out != nil && u.open:
			to = append(to, routing.Target{Outbound: u.out})
		case u.out == nil && failed && temporary(u.err):
			box := u.to
			to = append(to, routing.Target{Mailbox: &box})
			u.open = true
		default:
			continue
		}
		units = append(units, i)
	}
	return units, to
}

// report asks the queue to tell the sender of what is in the mailboxes, where it wants to know that (RFC 3461 section
// 4.1). The message is delivered all the same when that fails.
func (tx *transaction) report() {
	var to []mailbox.Recipient
	tx.mu.Lock()
	for i := range tx.units {
		u := &tx.units[i]
		if u.out == nil && u.err == nil && !u.open && !u.queued && !u.remembered && u.to.Report.Notify.Success() {
			to = append(to, u.to)
		}
	}
	tx.mu.Unlock()
	if len(to) == 0 || tx.m.Reverse.IsNull() {
		return
	}
	if err := tx.d.queue.Delivered(tx.commitCtx, tx.m, to); err != nil {
		tx.d.log.Error("a report of success cannot be queued", "id", tx.m.ID, "error", err)
	}
}
