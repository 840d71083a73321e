// Package dispatch brings queued mail away: it decides what is tried when, gives it to servers and stores, and writes
// what became of it.
package dispatch

import (
	"context"
	"time"

	"mxbypass/mailbox"
	"mxbypass/relay/maillog"
	"mxbypass/relay/outbound"
	"mxbypass/relay/queue"
	"mxbypass/routing"
)

// Schedule says when is tried again, and when enough is enough.
type Schedule struct {
	First          time.Duration // after the first failure; then twice as long each time, with jitter
	Max            time.Duration // never longer than this
	Lifetime       time.Duration // given up after it
	ReportLifetime time.Duration // the same for what has a null sender
	Notice         time.Duration // when the sender is told that it takes long; zero: never
}

// Limits bound what is under way.
type Limits struct {
	Connections    int // in all
	PerDestination int // at most; it starts at Initial
	Initial        int
	Recipients     int // of one transaction
}

// Conn is a connection to a server; *outbound.Conn is one.
type Conn interface {
	Host() string
	TLS() string
	Send(ctx context.Context, m outbound.Mail) []outbound.Result
	Usable() bool
	Release()
}

// Environment is what is worked with under one configuration.
type Environment struct {
	Hostname      mailbox.DomainName
	Postmaster    mailbox.Address // From of reports; null: postmaster at Hostname
	Connect       func(ctx context.Context, hop routing.Hop) (Conn, error)
	Stores        map[string]mailbox.Store // by site
	Route         func(ctx context.Context, p mailbox.Path, c routing.Client) routing.Route
	Rewrite       func(ctx context.Context, sender mailbox.Address) mailbox.Address // SRS for what is redirected; nil: none
	Schedule      Schedule
	Limits        Limits
	DoubleBounces bool // what cannot be delivered and has a null sender goes to the postmaster mailbox, else it is dropped
}

// Options of a dispatcher. All are needed.
type Options struct {
	Queue *queue.Queue
	Log   *maillog.Log
	// Acquire gives the environment to use now; release is called once, when the piece of work is done.
	Acquire func() (env *Environment, release func())
}

// Target is where a message is to go later: elsewhere, or to a store that could not take it now.
type Target = routing.Target

// Dispatcher works on one queue.
type Dispatcher struct{}

// New makes a dispatcher; Start begins the work, Shutdown ends it.
func New(o Options) *Dispatcher { panic("contract") }

// Start begins.
func (d *Dispatcher) Start() { panic("contract") }

// Shutdown begins nothing any more, lets what is under way end until ctx does, and breaks off the rest.
func (d *Dispatcher) Shutdown(ctx context.Context) error { panic("contract") }

// Accept takes responsibility for a message: nil means that it is durable. It may be on its way before Accept returns.
// The content is read before it returns, and later only if it was retained.
func (d *Dispatcher) Accept(ctx context.Context, m *mailbox.Message, to []Target) error {
	panic("contract")
}

// Delivered queues the reports of success that the senders asked for (NOTIFY=SUCCESS) on mailboxes that were served at
// once.
func (d *Dispatcher) Delivered(ctx context.Context, m *mailbox.Message, to []mailbox.Recipient) error {
	panic("contract")
}
