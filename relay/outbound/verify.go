package outbound

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"mxbypass/mailbox"
	"mxbypass/mailbox/smtpclient"
	"mxbypass/routing"
)

const (
	// probeTime bounds a whole question: a client waits for its answer. It leaves time for a second server.
	probeTime, probeConnect, probeStep = 30 * time.Second, 5 * time.Second, 10 * time.Second

	// maxProbes bounds the connections to ask with, to all and to one hop; the others wait for their turn, unless there
	// are too many already. A hop that hangs does not keep others from being asked.
	maxProbes, maxProbesPerHop = 100, 10
	maxAsking                  = 1000

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

// line is where the questions to one hop wait for their turn.
type line struct {
	turns   *semaphore.Weighted
	waiting int // and being asked
}

// answers keeps them for a while, and has each question asked once at a time.
type answers struct {
	now func() time.Time

	mu     sync.Mutex
	kept   map[question]answer
	asking map[question]*asking
	lines  map[routing.Hop]*line
}

func newAnswers(now func() time.Time) *answers {
	return &answers{now: now, kept: map[question]answer{}, asking: map[question]*asking{}, lines: map[routing.Hop]*line{}}
}

// Verify implements [routing.Verifier]: it asks with the null sender, up to RCPT, on a connection of its own.
func (c *Client) Verify(ctx context.Context, p routing.Probe) error {
	ctx, cancel := context.WithTimeoutCause(ctx, probeTime, errors.New("no answer in time"))
	defer cancel()
	targets, f := c.plan(ctx, p.Hop)
	if f != nil {
		return unavailable(f)
	}
	for _, t := range targets {
		if sameNetwork(p.Client, t.addr.Addr()) {
			return fmt.Errorf("%w: %s is in the network of %s", routing.ErrBackToSource, p.Client, t.host())
		}
	}
	a, err, known := c.ask(question{p.To, p.Hop})
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

// unavailable is what is not known now. What a server said is in its words only: it is no answer to the question.
func unavailable(err error) error { return fmt.Errorf("%w: %s", mailbox.ErrUnavailable, words(err)) }

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
	switch {
	case c.base.Err() != nil:
		return nil, unavailable(errors.New("the relay is stopping")), true
	case len(s.asking) >= maxAsking:
		return nil, unavailable(errors.New("too many questions at once")), true
	}
	a = &asking{done: make(chan struct{})}
	s.asking[q] = a
	l := s.lines[q.hop]
	if l == nil {
		l = &line{turns: semaphore.NewWeighted(maxProbesPerHop)}
		s.lines[q.hop] = l
	}
	l.waiting++
	c.running.Go(func() { c.askInTurn(q, a, l) })
	return a, nil, false
}

// askInTurn asks when it is the question's turn.
func (c *Client) askInTurn(q question, a *asking, l *line) {
	ctx, cancel := context.WithTimeout(c.base, probeTime)
	defer cancel()
	for _, turns := range []*semaphore.Weighted{l.turns, c.probes} {
		if err := turns.Acquire(ctx, 1); err != nil {
			c.answered(q, a, l, unavailable(errors.New("too many questions at once")))
			return
		}
		defer turns.Release(1)
	}
	smtp, f := c.dial(ctx, q.hop, impatient(c.o.Timeouts))
	if f != nil {
		c.answered(q, a, l, unavailable(f))
		return
	}
	defer smtp.Quit() // the answer does not wait for it
	c.answered(q, a, l, probe(ctx, smtp, q.to))
}

// impatient bounds the steps of a question.
func impatient(t smtpclient.Timeouts) smtpclient.Timeouts {
	t.Connect = min(t.Connect, probeConnect)
	for _, step := range []*time.Duration{&t.Greeting, &t.Hello, &t.TLS, &t.Mail, &t.Rcpt} {
		*step = min(*step, probeStep)
	}
	return t
}

// answered keeps an answer and tells it to all who wait.
func (c *Client) answered(q question, a *asking, l *line, err error) {
	wait := unknownFor
	var said *mailbox.RemoteError
	switch {
	case err == nil:
		wait = yesFor
	case errors.As(err, &said):
		wait = noFor
	}
	a.err = err
	s := c.answers
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.asking, q)
	if l.waiting--; l.waiting == 0 {
		delete(s.lines, q.hop)
	}
	makeRoom(s.kept, maxAnswers, func(old answer) bool { return !s.now().Before(old.until) })
	s.kept[q] = answer{err, s.now().Add(wait)}
	close(a.done)
}

// probe asks. The error is the server's (*mailbox.RemoteError) when it will never take mail for the address; whatever
// else is not known now.
func probe(ctx context.Context, smtp *smtpclient.Client, to mailbox.Address) error {
	m := smtpclient.Mail{
		Message: &mailbox.Message{UTF8: to.NeedsUTF8(), Content: nothing{}},
		To:      []smtpclient.Rcpt{{Address: to}},
		Known:   &smtpclient.Octets{},
	}
	tx, err := smtp.Begin(ctx, m)
	if err != nil { // also a server that takes nothing from the null sender: that says nothing of the recipient
		return unavailable(err)
	}
	defer tx.Reset()
	if err = tx.Results()[0]; err == nil {
		return nil
	}
	switch f := failureOf(err, smtp.Host(), ""); {
	case errors.Is(err, mailbox.ErrNoUTF8): // the other half can have no such mailbox (RFC 6531 section 3.5)
		return &mailbox.RemoteError{Code: 553, Enhanced: f.Enhanced, Text: f.Text, Host: smtp.Host(), Command: "RCPT"}
	case f.Permanent:
		return err
	}
	return unavailable(err)
}

// sameNetwork tells whether two addresses are in one network. On the machine itself every address is a host of its own.
func sameNetwork(a, b netip.Addr) bool {
	a, b = a.Unmap().WithZone(""), b.Unmap().WithZone("")
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
