package inbound

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"mxbypass/mailbox"
	"mxbypass/relay/maillog"
	"mxbypass/relay/reply"
	"mxbypass/relay/spool"
	"mxbypass/routing"
)

// Core is the relay behind the sessions: one snapshot of the configuration, for one transaction. It is safe for
// concurrent use, and its methods return soon after the end of their context.
type Core interface {
	// Route decides about one recipient.
	Route(ctx context.Context, p mailbox.Path, c routing.Client) routing.Route
	// Deliver hands over a message. It returns one outcome per target, in order: without an error the message is in the
	// mailbox or in the queue, durably. A mailbox may be there twice. With each, every recipient has an answer of its own
	// (LMTP); without it there is one answer for all. When the context ends first, a store may still read the content
	// after Deliver has returned only if it retained it (see package spool).
	Deliver(ctx context.Context, m *mailbox.Message, to []routing.Target, each bool) []reply.Outcome
	// Trusted tells whether a client at this address may submit mail for elsewhere.
	Trusted(addr netip.Addr) bool
	// Trust is what there is for knowing whom and what to trust. It is never nil.
	Trust() *Trust
}

// DefaultMessageSize is the longest message in octets when the limits do not say.
const DefaultMessageSize = 50 << 20

// Limits bound what clients can use. Zero values mean the defaults, which are those of knowledgeable mail servers.
type Limits struct {
	MessageSize          int64 // octets; default 50 MiB
	Header               int64 // octets of a message's header; default 1 MiB
	Line                 int64 // octets of a line of a message; default 1 MiB
	Received             int   // Received fields; default 50
	Recipients           int   // of one message; default 1000
	Connections          int   // in all; default 20,000
	ConnectionsPerClient int   // per client address, for IPv6 per /64; default 50
	ErrorsSlow           int   // refusals in one connection before answers slow down; default 10
	ErrorsClose          int   // refusals in one connection before it is closed; default 20
}

// Timeouts of a session. Zero values mean the defaults, which are those of RFC 5321 section 4.5.3.2 where it has one.
type Timeouts struct {
	Command     time.Duration // wait for a command; default 5 minutes
	CommandBusy time.Duration // the same when nearly all connections are in use; default 10 seconds
	DataStart   time.Duration // wait for the first octets of content; default 2 minutes
	DataBlock   time.Duration // wait for each of the next pieces; default 3 minutes
	DataTotal   time.Duration // for a whole message; default 1 hour
	Answer      time.Duration // for a route, and for delivery after the end of data; default 60 seconds
	Write       time.Duration // for the client to take a reply; default 1 minute
	ErrorDelay  time.Duration // before each refusal once there were ErrorsSlow; default 1 second
	Handshake   time.Duration // for that of TLS; default 30 seconds
	Greeting    time.Duration // how long a client must be silent before it is greeted; default: it is only looked at
}

// Options of a server. All but Limits, Timeouts and Guard must be given.
type Options struct {
	Hostname string // banner, EHLO, Received
	Limits   Limits
	Timeouts Timeouts
	Log      *maillog.Log
	Spool    *spool.Spool
	Guard    Guard // nil: nothing is counted over time
	// Acquire returns the snapshot of the configuration that a transaction uses, at MAIL. release is called once, when
	// the transaction is over.
	Acquire func() (core Core, release func())
}

func (o *Options) check() error {
	switch {
	case o.Log == nil || o.Spool == nil || o.Acquire == nil:
		return errors.New("inbound: incomplete options")
	}
	if _, err := mailbox.ParseDomainName(o.Hostname); err != nil {
		return fmt.Errorf("inbound: hostname: %w", err)
	}
	return nil
}

func (l *Limits) setDefaults() {
	orDefault(&l.MessageSize, DefaultMessageSize)
	orDefault(&l.Header, 1<<20)
	orDefault(&l.Line, 1<<20)
	orDefault(&l.Received, 50)
	orDefault(&l.Recipients, 1000)
	orDefault(&l.Connections, 20000)
	orDefault(&l.ConnectionsPerClient, 50)
	orDefault(&l.ErrorsSlow, 10)
	orDefault(&l.ErrorsClose, 20)
}

func (t *Timeouts) setDefaults() {
	orDefault(&t.Command, 5*time.Minute)
	orDefault(&t.CommandBusy, 10*time.Second)
	orDefault(&t.DataStart, 2*time.Minute)
	orDefault(&t.DataBlock, 3*time.Minute)
	orDefault(&t.DataTotal, time.Hour)
	orDefault(&t.Answer, time.Minute)
	orDefault(&t.Write, time.Minute)
	orDefault(&t.ErrorDelay, time.Second)
	orDefault(&t.Handshake, 30*time.Second)
}

func orDefault[T int | int64 | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}
