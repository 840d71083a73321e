package maillog

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"mxbypass/mailbox"
	"mxbypass/relay/reply"
	"mxbypass/routing"
)

// How many events without a message one connection may write.
const (
	refusedPerConn = 20
	routedPerConn  = 1100 // a message with the usual limit of recipients, and some; again with every message
)

// Conn writes the events of one connection. Its methods may be called by several goroutines.
type Conn struct {
	log   *Log
	id    string
	start time.Time
	quiet bool // a flood of connections: this one speaks only of messages

	// Of the connection as it is now. They are set and read by the goroutine that has the dialogue.
	tls, login string

	messages   atomic.Int64
	refused    atomic.Int64
	logins     atomic.Int64 // that failed
	suppressed atomic.Int64
	routes     atomic.Int64 // left until the next message
}

// Connected: a session begins. id is ours; client and listener are addresses.
func (l *Log) Connected(id, client, listener string) *Conn {
	c := &Conn{log: l, id: id, start: time.Now()}
	c.routes.Store(routedPerConn)
	if !l.connects.Allow() {
		c.quiet = true
		l.quiet.Add(1)
		return c
	}
	if n := l.quiet.Load(); n > 0 {
		l.sum()
	}
	c.event(slog.LevelInfo, "connected", slog.String("client", clip(client)), slog.String("listener", listener))
	return c
}

// Greeted: HELO, EHLO or LHLO; protocol as in Received (RFC 3848).
func (c *Conn) Greeted(helo, protocol string) {
	if c.enabled(slog.LevelDebug) && !c.quiet {
		c.event(slog.LevelDebug, "greeted", optional("helo", helo), slog.String("protocol", protocol))
	}
}

// Routed: a recipient was accepted with this route. msg is the identifier of the message that begins.
func (c *Conn) Routed(msg string, from mailbox.Address, r routing.Route) {
	if c.routes.Add(-1) < 0 {
		c.suppressed.Add(1)
		return
	}
	if !c.enabled(slog.LevelInfo) {
		return
	}
	a := append(make([]slog.Attr, 0, 10), slog.String("id", msg), slog.String("from", clip(from.String())), to(r),
		slog.String("action", string(r.Action)))
	a = append(a, where(r)...)
	if n := len(r.Steps); n > 0 {
		a = append(a, optional("why", r.Steps[n-1].Detail()))
	}
	c.event(slog.LevelInfo, "routed", a...)
}

// Received: the whole message is here; duration since MAIL.
func (c *Conn) Received(m *mailbox.Message, recipients int, d time.Duration) {
	c.messages.Add(1)
	c.routes.Store(routedPerConn)
	c.event(slog.LevelInfo, "received", slog.String("id", m.ID), slog.String("from", clip(m.Reverse.String())),
		slog.Int64("size", m.Content.Size()), slog.Int("recipients", recipients), optional("tls", c.tls),
		optional("login", c.login), took(d))
}

// Delivered: the message is in the mailboxes of this route, on disk; duration since the end of data.
func (c *Conn) Delivered(msg string, r routing.Route, d time.Duration) {
	if !c.enabled(slog.LevelInfo) {
		return
	}
	a := append(make([]slog.Attr, 0, 10), slog.String("id", msg), to(r))
	a = append(a, mailboxes(r))
	a = append(a, where(r)...)
	c.event(slog.LevelInfo, "delivered", append(a, took(d))...)
}

// NotDelivered: the message was received, and this recipient does not have it: deferred or refused, as the reply says.
// err has the detail that the client is not told.
func (c *Conn) NotDelivered(msg string, r routing.Route, rep reply.Reply, err error) {
	c.event(slog.LevelInfo, outcome(rep), slog.String("id", msg), to(r), slog.String("stage", "delivery"),
		slog.String("reply", clip(rep.String())), errorAttr(err))
}

// Refused: a command, a recipient or a message was refused or deferred. stage is the command ("MAIL", "RCPT", "DATA");
// about is what it was about (an address as the client wrote it), msg the identifier of the message. All three may be
// empty: stage is when the line was no command at all.
// Beyond the first ones of a connection they are counted.
func (c *Conn) Refused(msg, stage, about string, rep reply.Reply, err error) {
	if c.refused.Add(1) > refusedPerConn {
		c.suppressed.Add(1)
		return
	}
	if c.quiet && c.messages.Load() == 0 {
		return
	}
	c.event(slog.LevelInfo, outcome(rep), optional("id", msg), optional("to", about), optional("stage", stage),
		slog.String("reply", clip(rep.String())), errorAttr(err))
}

// Disconnected: the session is over.
func (c *Conn) Disconnected() {
	if c.quiet && c.messages.Load() == 0 {
		return
	}
	c.event(slog.LevelInfo, "disconnected", slog.Int64("messages", c.messages.Load()), count("refused", c.refused.Load()),
		count("suppressed", c.suppressed.Load()), took(time.Since(c.start)))
}

func (c *Conn) enabled(level slog.Level) bool {
	return c.log.logger.Enabled(context.Background(), level)
}

func (c *Conn) event(level slog.Level, msg string, attrs ...slog.Attr) {
	if !c.enabled(level) {
		return
	}
	r := slog.NewRecord(time.Now(), level, msg, 0)
	r.AddAttrs(slog.String("conn", c.id))
	r.AddAttrs(attrs...)
	_ = c.log.logger.Handler().Handle(context.Background(), r) // the writer never fails
}

func outcome(r reply.Reply) string {
	if r.Permanent() {
		return "refused"
	}
	return "deferred"
}

func to(r routing.Route) slog.Attr { return slog.String("to", clip(r.Path.Written)) }

func mailboxes(r routing.Route) slog.Attr {
	if len(r.Recipients) == 1 {
		return slog.String("mailbox", r.Recipients[0].Delivered.String())
	}
	names := make([]string, len(r.Recipients))
	for i, box := range r.Recipients {
		names[i] = box.Delivered.String()
	}
	return slog.String("mailbox", clip(strings.Join(names, ",")))
}

// where tells the site, the gateway, and past which MX a bypass address went.
func where(r routing.Route) []slog.Attr {
	var a []slog.Attr
	if len(r.Recipients) > 0 {
		a = append(a, slog.String("site", r.Recipients[0].Mailbox.Site))
	}
	if !r.Gateway.IsZero() {
		a = append(a, slog.String("gateway", r.Gateway.ASCII()))
	}
	if b := r.Bypassed; b != nil {
		a = append(a, slog.String("mx", string(b.Kind)), optional("provider", b.Provider))
	}
	return a
}
