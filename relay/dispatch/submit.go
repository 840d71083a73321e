package dispatch

import (
	"context"
	"errors"

	"mxbypass/mailbox"
	"mxbypass/relay/queue"
)

// Submit queues a message of our own for one address, routed under env as a trusted client's. It gets an identifier when
// it has none. The error wraps ErrNoWay when there is no way to the address, for good; otherwise another time may do.
func (d *Dispatcher) Submit(ctx context.Context, env *Environment, m *mailbox.Message, to mailbox.Address) error {
	recipients, err := place(ctx, env, m, mailbox.Path{Address: to, Written: to.Wire()})
	if errors.Is(err, errNowhere) {
		return errors.Join(ErrNoWay, err)
	}
	if err != nil {
		return err
	}
	if m.ID == "" {
		m.ID = d.ids.Next()
	}
	if _, err := d.queue.Put(ctx, queue.Entry{Message: m, Recipients: recipients}, false); err != nil {
		return err
	}
	names := destinations(recipients)
	d.log.Queued(m, len(recipients), len(names), false)
	d.queued(names)
	return nil
}

// ErrNoWay: mail of ours cannot reach the address.
var ErrNoWay = errors.New("no way to the address")
