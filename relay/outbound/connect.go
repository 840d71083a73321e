package outbound

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"mxbypass/mailbox"
	"mxbypass/mailbox/smtpclient"
	"mxbypass/routing"
)

const (
	// sickFor is how long an address that failed is tried after the others.
	sickFor = time.Minute
	maxSick = 10_000

	// maxAge is how long a connection is used: whoever is better may be back.
	maxAge = 5 * time.Minute
)

// Connect gives a connection to a server of the hop: a kept one, or a new one to the best server that can be had. The
// error is always a *[Failure] of ScopeDestination. Failures of servers that were passed over are in its text.
func (c *Client) Connect(ctx context.Context, hop routing.Hop) (*Conn, error) {
	dial := func(ctx context.Context) (*smtpclient.Client, error) {
		smtp, f := c.dial(ctx, hop, c.o.Timeouts)
		if f != nil {
			return nil, f // and not a nil in an interface
		}
		return smtp, nil
	}
	smtp, reused, err := c.pool.Get(ctx, hop, dial)
	if err != nil {
		return nil, failureOf(err, "", "")
	}
	return &Conn{client: c, hop: hop, smtp: smtp, used: reused}, nil
}

// dial makes a new connection.
func (c *Client) dial(ctx context.Context, hop routing.Hop, patience smtpclient.Timeouts) (*smtpclient.Client, *Failure) {
	targets, f := c.plan(ctx, hop)
	if f != nil {
		return nil, f
	}
	var failures []*Failure
	for _, t := range c.sick.last(targets) {
		smtp, err := c.open(ctx, hop, t, patience)
		if err == nil {
			c.sick.recovered(t.addr)
			return smtp, nil
		}
		failures = append(failures, failureOf(err, t.host(), nameOf(t)))
		if ctx.Err() != nil { // that says nothing of the server
			return nil, together(failures)
		}
		if hop.Need != routing.NeedTLS { // it can be well for others
			c.sick.failed(t.addr)
		}
		c.o.Log.Debug("a server was passed over", "hop", hop.String(), "server", t.host(), "error", err)
	}
	c.plans.forget(hop)
	return nil, together(failures)
}

// together makes one failure of those of all servers: the first one, which is the best server's, with the words of the
// others behind. Where there is no server to speak with, nothing is final, unless none of them can keep what the message
// needs (RFC 8689 section 4.2.1).
func together(failures []*Failure) *Failure {
	f := *failures[0]
	final := !slices.ContainsFunc(failures, func(f *Failure) bool { return !f.Permanent })
	if f.Scope, f.Permanent = ScopeDestination, final; !final {
		f.Enhanced[0] = 4
	}
	if len(failures) == 1 {
		return &f
	}
	var more []string
	for _, other := range failures[1:] {
		more = append(more, shorten(other.Error(), maxText/maxTargets))
	}
	others := " (then " + strings.Join(more, "; ") + ")"
	f.Text = shorten(oneLine(f.Text), maxText-len(others)) + others
	return &f
}

func nameOf(t target) string {
	if t.name.IsLiteral() {
		return ""
	}
	return t.name.ASCII()
}

// serverName is the name that a certificate has to be for; it can be an address.
func serverName(d mailbox.DomainName) string {
	if d.IsLiteral() {
		return inLiteral(d)
	}
	return d.ASCII()
}

// source is the local address to connect from; zero: the system's choice.
func (c *Client) source(to netip.AddrPort) netip.Addr {
	for _, a := range c.o.Sources {
		if a.Unmap().Is4() == to.Addr().Is4() && !to.Addr().IsLoopback() {
			return a
		}
	}
	return netip.Addr{}
}

// sickbed remembers addresses that failed, so that not every message runs into the same dead server first.
type sickbed struct {
	now func() time.Time

	mu    sync.Mutex
	until map[netip.AddrPort]time.Time
}

func (s *sickbed) failed(a netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	makeRoom(s.until, maxSick, func(until time.Time) bool { return !s.now().Before(until) })
	s.until[a] = s.now().Add(sickFor)
}

func (s *sickbed) recovered(a netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.until, a)
}

// last puts those that failed just now behind the others.
func (s *sickbed) last(targets []target) []target {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.until) == 0 {
		return targets
	}
	now := s.now()
	sick := func(t target) bool { return now.Before(s.until[t.addr]) }
	ordered := slices.DeleteFunc(slices.Clone(targets), sick)
	for _, t := range targets {
		if sick(t) {
			ordered = append(ordered, t)
		}
	}
	return ordered
}

// Conn is a connection that is ready for a transaction. It is used by one goroutine.
type Conn struct {
	client *Client
	hop    routing.Hop
	smtp   *smtpclient.Client
	used   bool // it had a transaction before, and can have been closed since
}

// Host names the server: "name[address]".
func (c *Conn) Host() string { return c.smtp.Host() }

// TLS describes the encryption for the log, such as "TLSv1.3" or "TLSv1.3, verified by DANE"; empty: none.
func (c *Conn) TLS() string { return describe(c.smtp) }

// Usable tells whether another transaction can be tried on this connection.
func (c *Conn) Usable() bool { return c.smtp.Usable() }

// Release gives the connection back: it is kept for a while when it is usable.
func (c *Conn) Release() {
	if c.smtp.Age() > maxAge {
		c.smtp.Quit()
		return
	}
	c.client.pool.Put(c.hop, c.smtp)
}

// mta is the server's name for Remote-MTA.
func (c *Conn) mta() string {
	name, _, _ := strings.Cut(c.smtp.Host(), "[")
	return name
}

// failure judges an error of this connection.
func (c *Conn) failure(err error) *Failure {
	f := failureOf(err, c.smtp.Host(), c.mta())
	f.TLS = cmp.Or(f.TLS, c.TLS())
	return f
}

// printableReply is the server's answer to a message for the log.
func printableReply(s string) string {
	return mailbox.Printable(shorten(strings.ReplaceAll(s, "\n", " / "), maxText))
}
