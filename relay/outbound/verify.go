package outbound

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"mxbypass/mailbox"
	"mxbypass/mailbox/smtpclient"
	"mxbypass/routing"
)

const (
	// probeTime bounds a whole question: a client waits for its answer.
	probeTime = 30 * time.Second
	// maxProbes bounds the questions under way.
	maxProbes = 50

	// How long answers are kept. A mailbox that is made there must be known here soon; one that goes is rare.
	yesFor, noFor, unknownFor = 6 * time.Hour, 10 * time.Minute, 30 * time.Second
	maxAnswers                = 100_000

	// The networks that are taken for one: what a provider's servers for both directions mostly share.
	network4, network6 = 24, 48
)

// question is what is asked; the case of a local part is the other side's business.
type question struct {
	to  mailbox.Address
	hop routing.Hop
}

type answer struct {
	err   error
	until time.Time
}

// asking is a question under way; err is set when done is closed.
type asking struct {
	done chan struct{}
	err  error
}

// answers keeps them for a while, and has each question asked once at a time.
type answers struct {
	now func() time.Time

	mu     sync.Mutex
	kept   map[question]answer
	asking map[question]*asking
}

// Verify implements [routing.Verifier]: it asks with the null sender, up to RCPT, on a connection of its own.
func (c *Client) Verify(ctx context.Context, p routing.Probe) error {
	targets, f := c.plan(ctx, p.Hop)
	if f != nil {
		return unavailable(f)
	}
	for _, t := range targets {
		if sameNetwork(p.Client, t.addr.Addr()) {
			return fmt.Errorf("%w: %s is in the network of %s", routing.ErrBackToSource, p.Client, t.host())
		}
	}
	q := question{p.To, p.Hop}
	a, err, known := c.ask(q)
	if known {
		return err
	}
	select {
	case <-a.done:
		return a.err
	case <-ctx.Done():
		return unavailable(context.Cause(ctx))
	}
}

// unavailable is what is not known now.
func unavailable(err error) error { return fmt.Errorf("%w: %w", mailbox.ErrUnavailable, err) }

// ask gives what is known, or joins or begins the asking.
func (c *Client) ask(q question) (a *asking, err error, known bool) { //nolint:revive // the error is an answer
	s := c.answers
	s.mu.Lock()
	defer s.mu.Unlock()
	if kept, ok := s.kept[q]; ok && s.now().Before(kept.until) {
		return nil, kept.err, true
	}
	if a := s.asking[q]; a != nil {
		return a, nil, false
	}
	if c.base.Err() != nil || !c.probes.TryAcquire(1) {
		return nil, unavailable(errors.New("too many questions at once")), true
	}
	a = &asking{done: make(chan struct{})}
	s.asking[q] = a
	c.running.Go(func() {
		defer c.probes.Release(1)
		c.answered(q, a, c.probe(q))
	})
	return a, nil, false
}

// answered keeps an answer and tells it to all who wait.
func (c *Client) answered(q question, a *asking, err error) {
	wait := unknownFor
	var said *mailbox.RemoteError
	switch {
	case err == nil:
		wait = yesFor
	case errors.As(err, &said) && !said.Temporary():
		wait = noFor
	}
	a.err = err
	s := c.answers
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.asking, q)
	makeRoom(s.kept, maxAnswers, func(old answer) bool { return !s.now().Before(old.until) })
	s.kept[q] = answer{err, s.now().Add(wait)}
	close(a.done)
}

// probe asks.
func (c *Client) probe(q question) error {
	ctx, cancel := context.WithTimeout(c.base, probeTime)
	defer cancel()
	smtp, f := c.dial(ctx, q.hop)
	if f != nil {
		return unavailable(f)
	}
	defer smtp.Quit()
	m := smtpclient.Mail{
		Message: &mailbox.Message{UTF8: q.to.NeedsUTF8(), Content: nothing{}},
		To:      []smtpclient.Rcpt{{Address: q.to}},
		Known:   &smtpclient.Octets{},
	}
	tx, err := smtp.Begin(ctx, m)
	if err != nil { // also a server that takes nothing from the null sender: that says nothing of the recipient
		return unavailable(errors.New(words(err)))
	}
	defer tx.Reset()
	err = tx.Results()[0]
	var said *mailbox.RemoteError
	if err == nil || errors.As(err, &said) && said.Code != 421 {
		return err
	}
	return unavailable(err)
}

// sameNetwork tells whether two addresses are in one network. On the machine itself every address is a host of its own.
func sameNetwork(a, b netip.Addr) bool {
	a, b = a.Unmap().WithZone(""), b.Unmap()
	switch {
	case !a.IsValid() || a.Is4() != b.Is4():
		return false
	case a.IsLoopback() || b.IsLoopback():
		return a == b
	}
	bits := network6
	if a.Is4() {
		bits = network4
	}
	network, err := a.Prefix(bits)
	return err == nil && network.Contains(b)
}
