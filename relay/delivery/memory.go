package delivery

import (
	"context"
	"fmt"
	"time"

	"mxbypass/relay/reply"
)

// recall looks for copies that were delivered by an earlier attempt.
func (tx *transaction) recall() {
	ledger := tx.d.ledger
	if ledger.size.Load() == 0 {
		return
	}
	var candidates []int
	for i := range tx.units {
		if ledger.knows(hintOf(tx.m, tx.units[i].to)) {
			candidates = append(candidates, i)
		}
	}
	if len(candidates) == 0 {
		return
	}
	tx.mu.Lock()
	defer tx.mu.Unlock()
	keys, err := tx.keys(candidates)
	for n, i := range candidates {
		u := &tx.units[i]
		if err != nil {
			u.err, u.open = err, false
			continue
		}
		switch ledger.find(keys[n]) {
		case delivered:
			u.remembered, u.open = true, false
		case underway:
			u.err, u.open = errUnderway, false
		}
	}
}

// finish settles the ledger, before the client gets its answer; or, when it had it already, before it comes again.
func (tx *transaction) finish() {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	tx.finished = true
	if tx.late != nil {
		tx.finishLate()
		return
	}
	if !tx.each && tx.anyTemporary() {
		tx.remember(tx.which(func(u *unit) bool { return u.err == nil && !u.remembered }))
		return
	}
	tx.forget()
}

// late is what is kept of a transaction whose client has its answer.
type late struct {
	answer []reply.Outcome // by unit
	held   []int           // units that may still be delivered
	keys   []key           // of held; nil when the message could not be read
	timer  *time.Timer
}

// abandon is called by the one who waits, when the time of ctx is over: the client is told what is known by now, and
// whoever may get the message later is held in the ledger until that is known.
func (tx *transaction) abandon(ctx context.Context) {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.finished {
		return
	}
	l := &late{answer: make([]reply.Outcome, len(tx.units))}
	for i := range tx.units {
		l.answer[i] = tx.units[i].outcome()
		if tx.units[i].open {
			l.answer[i].Err = fmt.Errorf("no answer from the store in time: %w", ctx.Err())
		}
	}
	l.held = tx.which(func(u *unit) bool { return u.open })
	var err error
	if l.keys, err = tx.keys(l.held); err != nil {
		l.keys = nil
		tx.d.log.Error("a late delivery cannot be remembered, the client may deliver twice", "id", tx.m.ID, "error", err)
	}
	tx.d.ledger.hold(l.keys)
	if tx.each {
		tx.forget()
	} else {
		tx.remember(tx.which(func(u *unit) bool { return !u.open && u.err == nil && !u.remembered }))
	}
	tx.d.lates.Add(1)
	l.timer = time.AfterFunc(tx.d.late, tx.cancelCommit)
	tx.late = l
}

// finishLate runs under mu.
func (tx *transaction) finishLate() {
	l := tx.late
	l.timer.Stop()
	tx.d.lates.Add(-1)
	var have []int
	for _, i := range l.held {
		if tx.units[i].err == nil {
			have = append(have, i)
		}
	}
	tx.remember(have)
	tx.d.ledger.settle(l.keys)
	tx.d.log.Warn("a store was late", "id", tx.m.ID, "mailboxes", len(l.held), "delivered", len(have))
}

// which gives the units that is holds for. It runs under mu, as all that follows.
func (tx *transaction) which(is func(*unit) bool) []int {
	var found []int
	for i := range tx.units {
		if is(&tx.units[i]) {
			found = append(found, i)
		}
	}
	return found
}

// remember writes delivered units to the ledger. A failure costs a duplicate after a crash and is the operator's
// affair.
func (tx *transaction) remember(units []int) {
	if len(units) == 0 {
		return
	}
	keys, err := tx.keys(units)
	if err == nil {
		err = tx.d.ledger.add(keys)
	}
	if err != nil {
		tx.d.log.Error("a delivery cannot be remembered, the client may deliver twice", "id", tx.m.ID, "error", err)
	}
}

// forget drops the entries of units that the client will not send again.
func (tx *transaction) forget() {
	units := tx.which(func(u *unit) bool { return u.remembered })
	if len(units) == 0 {
		return
	}
	if keys, err := tx.keys(units); err == nil { // it was nil when they were found
		tx.d.ledger.forget(keys)
	}
}

// keys hashes the message when that was not done yet.
func (tx *transaction) keys(units []int) ([]key, error) {
	if len(units) == 0 {
		return nil, nil
	}
	if tx.content == nil {
		sum, err := hashContent(tx.m.Content)
		if err != nil {
			return nil, err
		}
		tx.content = &sum
	}
	keys := make([]key, len(units))
	for n, i := range units {
		h := hintOf(tx.m, tx.units[i].to)
		keys[n] = key{h.envelope, h.size, *tx.content}
	}
	return keys, nil
}
