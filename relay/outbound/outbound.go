// Package outbound gives messages to servers elsewhere: it finds the servers of a hop, connects, and tells for each
// recipient what the server said.
package outbound

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/netip"
	"time"

	"mxbypass/mailbox"
	"mxbypass/mailbox/smtpclient"
	"mxbypass/routing"
	"mxbypass/routing/mx"
)

// Smarthost is the server that takes all mail for elsewhere.
type Smarthost struct {
	Host     mailbox.NextHop
	Implicit bool        // TLS from the first octet (smtps://)
	TLS      *tls.Config // not nil: TLS is required, and the certificate must fit; nil: opportunistic
	User     string      // AUTH, only ever under TLS; empty: none
	Password string
}

// Options of a client. Hostname and Resolver are needed; what else is zero has its default.
type Options struct {
	Hostname  mailbox.DomainName // EHLO
	Resolver  mx.Resolver
	Own       mx.Own       // who we are, to see loops
	Smarthost *Smarthost   // nil: there is none
	Sources   []netip.Addr // local addresses to connect from, one per family at most; empty: the system's choice
	Timeouts  smtpclient.Timeouts
	IdleLimit time.Duration // how long an unused connection is kept; default 5 s
	MaxIdle   int           // unused connections in all; default 100
	MXPort    uint16        // of MX hosts; default 25. Tests have no port 25.
	Log       *slog.Logger
	Now       func() time.Time
}

// Scope is what a failure is about.
type Scope uint8

// The scopes.
const (
	ScopeDestination Scope = iota + 1 // nothing for this hop can be delivered now (DNS, connecting, greeting, TLS, AUTH)
	ScopeMessage                      // this message (MAIL, DATA, size), for all of its recipients
	ScopeRecipient                    // this recipient
)

// Failure is why something could not be delivered.
type Failure struct {
	Scope     Scope
	Permanent bool   // trying again is of no use
	InDoubt   bool   // the connection was lost after the final dot: it may have been delivered
	Host      string // the server: "name[address]"; empty: none was reached
	MTA       string // its name for Remote-MTA; empty: none
	Command   string // in answer to what: "connect", "MAIL", …; "DNS" for a lookup
	Code      int    // of its reply; 0: there was none
	Enhanced  [3]int // RFC 3463; always set: the server's, or one that fits
	Text      string // the server's words as they came, bounded; or ours
	Err       error  // the cause, for the log
}

// Error implements error, safely printable.
func (f *Failure) Error() string { panic("contract") }

// Unwrap gives the cause.
func (f *Failure) Unwrap() error { return f.Err }

// Mail is what one transaction carries; see smtpclient.Mail.
type Mail = smtpclient.Mail

// Result is what a server said about one recipient; Failure is nil when it took the message.
type Result struct {
	Failure  *Failure
	Reply    string // the server's answer to the message, printable, bounded
	Reported bool   // the server knows DSN and was given the request: it reports successes itself
}

// Client delivers. It is safe for concurrent use, and keeps connections for a while.
type Client struct{}

// New makes a client. [Client.Close] ends it.
func New(o Options) (*Client, error) { panic("contract") }

// Close ends the connections that nobody uses, and those in use when they come back.
func (c *Client) Close() error { panic("contract") }

// Connect gives a connection to a server of the hop: a kept one, or a new one to the best server that can be had. The
// error is always a *[Failure] of ScopeDestination. Failures of servers that were passed over are in its text.
func (c *Client) Connect(ctx context.Context, hop routing.Hop) (*Conn, error) { panic("contract") }

// Conn is a connection that is ready for a transaction. It is used by one goroutine.
type Conn struct{}

// Host names the server: "name[address]".
func (c *Conn) Host() string { panic("contract") }

// TLS describes the encryption for the log, such as "TLSv1.3"; empty: none.
func (c *Conn) TLS() string { panic("contract") }

// Send runs one transaction and gives one result per recipient, in order. A kept connection that turns out to be dead
// before the message was sent is replaced once. After it [Conn.Usable] tells whether another one can follow.
func (c *Conn) Send(ctx context.Context, m Mail) []Result { panic("contract") }

// Usable tells whether another transaction can be tried on this connection.
func (c *Conn) Usable() bool { panic("contract") }

// Release gives the connection back: it is kept for a while when it is usable.
func (c *Conn) Release() { panic("contract") }
