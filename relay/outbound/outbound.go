// Package outbound gives messages to servers elsewhere: it finds the servers of a hop, connects, and tells for each
// recipient what the server said. It also asks servers whether they take mail for an address, without sending any.
//
// # Which server
//
// The hosts of a hop are those of the MX records by preference, shuffled among equals (RFC 5321 section 5.1), or the
// domain itself where there are none, or the one server that the hop names. A null MX (RFC 7505) and a domain that does
// not exist are final; whatever DNS cannot tell is temporary. Where we are among the hosts, by name or by address, those
// of our preference and worse are left out, because they would bring the mail back; for an external hop only we are. An
// MX or an address literal that leads to the machine itself (127.0.0.1) counts as us. At most five addresses are tried, of
// two hosts and of both families where there are such, and those that failed just now come last. What is wrong with a
// server that the configuration or the directory names is temporary: the operator will mend it.
//
// # TLS
//
// How sure a connection has to be is the business of package tlspolicy. Where nobody says, STARTTLS is used where it is
// offered, without asking who the server is (RFC 7435); when the handshake fails, the same server is tried once more
// without it. A host that does not meet its rule is passed over like one that is dead, and when there is no other, mail
// waits. Connections are kept by hop and need: what a message with REQUIRETLS goes by is opened for such mail.
//
// # What went wrong
//
// Every failure says what it is about: the destination as a whole, the message, or one recipient; whether trying again is
// of use; and what the server said in answer to what.
package outbound

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"mxbypass/mailbox"
	"mxbypass/mailbox/smtpclient"
	"mxbypass/relay/tlspolicy"
	"mxbypass/relay/tlsrpt"
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
	Own       mx.Own            // who we are, to see loops
	Smarthost *Smarthost        // nil: there is none
	Policies  *tlspolicy.Finder // of TLS; nil: there are none, and TLS is opportunistic
	Reports   tlsrpt.Recorder   // of TLS; nil: none
	Sources   []netip.Addr      // local addresses to connect from, one per family at most; empty: the system's choice
	Timeouts  smtpclient.Timeouts
	IdleLimit time.Duration // how long an unused connection is kept; default 5 s
	MaxIdle   int           // unused connections in all; default 100
	MXPort    uint16        // of MX hosts; default 25
	// AllowLoopback takes an MX that leads to the machine itself for a server like others, and not for us. It is for tests.
	AllowLoopback bool
	Log           *slog.Logger     // default: discards
	Now           func() time.Time // of what is kept; default: time.Now
}

// Mail is what one transaction carries; see smtpclient.Mail.
type Mail = smtpclient.Mail

// Result is what a server said about one recipient; Failure is nil when it took the message.
type Result struct {
	Failure  *Failure
	Reply    string // the server's answer to the message, printable, bounded
	Reported bool   // the server knows DSN and was given the request: it reports successes itself
}

// Client delivers. It is safe for concurrent use, and keeps connections for a while.
type Client struct {
	o     Options
	pool  *smtpclient.Pool[routing.Hop]
	plans *plans
	sick  *sickbed

	answers *answers
	probes  *semaphore.Weighted
	base    context.Context // of probes: they outlive who asked first
	stop    context.CancelFunc
	running sync.WaitGroup
}

var _ routing.Verifier = (*Client)(nil)

const (
	defaultIdleLimit = 5 * time.Second
	defaultMaxIdle   = 100
	defaultPort      = 25
)

// New makes a client. [Client.Close] ends it.
func New(o Options) (*Client, error) {
	switch {
	case o.Hostname.IsZero() || o.Hostname.IsLiteral():
		return nil, errors.New("outbound: the hostname must be a name")
	case o.Resolver == nil:
		return nil, errors.New("outbound: a resolver is needed")
	case o.Smarthost != nil && o.Smarthost.User != "" && o.Smarthost.TLS == nil:
		return nil, errors.New("outbound: a password is sent under TLS only")
	}
	o.IdleLimit = cmp.Or(o.IdleLimit, defaultIdleLimit)
	o.MaxIdle = cmp.Or(o.MaxIdle, defaultMaxIdle)
	o.MXPort = cmp.Or(o.MXPort, defaultPort)
	o.Timeouts = withDefaults(o.Timeouts)
	o.Own.Addrs = slices.Clone(o.Own.Addrs)
	for i, a := range o.Own.Addrs {
		o.Own.Addrs[i] = a.Unmap()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Policies == nil {
		o.Policies = tlspolicy.New(tlspolicy.Options{})
	}
	c := &Client{
		o:       o,
		pool:    smtpclient.NewPool[routing.Hop](o.IdleLimit, o.MaxIdle),
		plans:   &plans{now: o.Now, kept: map[routing.Hop]plan{}, running: map[routing.Hop]chan struct{}{}},
		sick:    &sickbed{now: o.Now, until: map[netip.AddrPort]time.Time{}},
		answers: newAnswers(o.Now),
		probes:  semaphore.NewWeighted(maxProbes),
	}
	c.base, c.stop = context.WithCancel(context.Background())
	return c, nil
}

func withDefaults(t smtpclient.Timeouts) smtpclient.Timeouts {
	d := smtpclient.DefaultTimeouts()
	for _, f := range []struct{ value, fallback *time.Duration }{
		{&t.Connect, &d.Connect}, {&t.Greeting, &d.Greeting}, {&t.Hello, &d.Hello}, {&t.Mail, &d.Mail}, {&t.Rcpt, &d.Rcpt},
		{&t.DataStart, &d.DataStart}, {&t.DataBlock, &d.DataBlock}, {&t.DataEnd, &d.DataEnd}, {&t.TLS, &d.TLS},
		{&t.Reset, &d.Reset},
	} {
		*f.value = cmp.Or(*f.value, *f.fallback)
	}
	return t
}

// Close ends the questions under way and the connections that nobody uses, and those in use when they come back.
func (c *Client) Close() error {
	c.answers.mu.Lock() // a question is either begun before, and waited for, or not at all
	c.stop()
	c.answers.mu.Unlock()
	c.running.Wait()
	c.pool.Close()
	return nil
}
