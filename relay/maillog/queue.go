package maillog

import (
	"log/slog"
	"time"

	"mxbypass/mailbox"
)

// Parcel is one recipient of a queued message, as the events of the queue name it.
type Parcel struct {
	ID          string // of the message
	From        mailbox.Address
	To          mailbox.Address
	Destination string        // a hop, or "store:" and a site
	Purpose     string        // why it is there
	Delay       time.Duration // since it was queued
	Attempts    int
	Err         error  // of an attempt that failed: the cause, where the reason does not tell it
	TLS         string // of an attempt that failed: how it was encrypted, or whose rule for that was not met; empty: neither
}

// Sending is how a parcel was given away.
type Sending struct {
	Host  string // the server, or the store
	TLS   string // the encryption; empty: none
	Reply string // the server's answer to the message
}

// Queued: the message is in the queue, on disk; direct tells that it is on its way at once.
func (l *Log) Queued(m *mailbox.Message, recipients, destinations int, direct bool) {
	l.event(slog.LevelInfo, "queued", slog.String("id", m.ID), slog.String("from", clip(m.Reverse.String())),
		slog.Int64("size", m.Content.Size()), slog.Int("recipients", recipients), slog.Int("destinations", destinations),
		slog.Bool("direct", direct))
}

// Sent: the server, or the store, has the message for this recipient.
func (l *Log) Sent(p Parcel, s Sending) {
	l.parcel("sent", p, optional("host", s.Host), optional("tls", s.TLS), optional("reply", s.Reply))
}

// Deferred: this recipient does not have the message yet. doubt tells that it may have it after all, because the server
// was lost before it answered.
func (l *Log) Deferred(p Parcel, reason string, next time.Time, doubt bool) {
	l.parcel("deferred", p, optional("reason", reason), slog.Time("next", next), flag("doubt", doubt))
}

// InDoubt: a recipient is tried again who may have the message: an earlier process ended while it worked on it.
func (l *Log) InDoubt(p Parcel) { l.parcel("in doubt", p) }

// Bounced: this recipient was refused for good.
func (l *Log) Bounced(p Parcel, reason string) { l.parcel("bounced", p, optional("reason", reason)) }

// GivenUp: it took too long; reason is why the last attempt failed.
func (l *Log) GivenUp(p Parcel, reason string) { l.parcel("given up", p, optional("reason", reason)) }

// Quarantined: the message of this recipient is damaged, and put aside.
func (l *Log) Quarantined(p Parcel, err error) { l.parcel("quarantined", p, errorAttr(err)) }

// Notified: a report on the message about is queued under the identifier id. action is that of RFC 3464.
func (l *Log) Notified(id, about string, to mailbox.Address, action string, recipients int) {
	l.event(slog.LevelInfo, "notified", slog.String("id", id), slog.String("about", about),
		slog.String("to", clip(to.String())), slog.String("action", action), slog.Int("recipients", recipients))
}

// Postmaster: what can neither be delivered nor reported to its sender is queued for the postmaster under the
// identifier id.
func (l *Log) Postmaster(id, about, reason string) {
	l.event(slog.LevelInfo, "to postmaster", slog.String("id", id), slog.String("about", about), optional("reason", reason))
}

// Dropped: nobody is told of what became of the message: a report cannot be delivered, or its recipient does not exist.
func (l *Log) Dropped(about string, to mailbox.Address, action, reason string) {
	l.event(slog.LevelWarn, "dropped", slog.String("about", about), slog.String("to", clip(to.String())),
		optional("action", action), optional("reason", reason))
}

// DestinationDown: nothing can be delivered to a destination; failures counts how often in a row.
func (l *Log) DestinationDown(destination, reason string, cause error, failures int, next time.Time) {
	l.event(slog.LevelWarn, "destination down", slog.String("destination", clip(destination)), optional("reason", reason),
		errorAttr(cause), slog.Int("failures", failures), slog.Time("next", next))
}

// DestinationUp: a destination that was down answers again.
func (l *Log) DestinationUp(destination string) {
	l.event(slog.LevelInfo, "destination up", slog.String("destination", clip(destination)))
}

func (l *Log) parcel(msg string, p Parcel, more ...slog.Attr) {
	a := append(make([]slog.Attr, 0, 14), slog.String("id", p.ID), slog.String("from", clip(p.From.String())),
		slog.String("to", clip(p.To.String())), slog.String("destination", clip(p.Destination)), optional("purpose", p.Purpose))
	a = append(a, more...)
	a = append(a, errorAttr(p.Err), optional("tls", p.TLS), slog.Int("attempts", p.Attempts),
		slog.Float64("delay", float64(p.Delay.Milliseconds())/1e3))
	l.event(slog.LevelInfo, msg, a...)
}

func flag(key string, is bool) slog.Attr {
	if !is {
		return slog.Attr{}
	}
	return slog.Bool(key, true)
}
