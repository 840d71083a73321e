package relay

import (
	"context"
	"errors"
	"fmt"

	"mxbypass/mailbox"
)

// Submit queues a message of our own for one address, signed where there is a key for it. An error means that it is not
// queued; the relay must have been started.
func (r *Relay) Submit(ctx context.Context, m *mailbox.Message, to mailbox.Address) error {
	r.mu.Lock()
	s := r.current
	if s == nil {
		r.mu.Unlock()
		return errors.New("relay: it is not running")
	}
	s.refs.Add(1)
	r.mu.Unlock()
	defer s.release()
	if s.trust.Signer != nil {
		fields, err := s.trust.Signer.Sign(ctx, m.Content)
		if err != nil {
			return fmt.Errorf("relay: signing a message of ours: %w", err)
		}
		m.Trace = append(m.Trace, fields...)
	}
	if err := r.dispatcher.Submit(ctx, s.outgoing, m, to); err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	return nil
}
