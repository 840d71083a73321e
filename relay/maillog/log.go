package maillog

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"mxbypass/mailbox"
	"mxbypass/relay/reply"
)

// The bounds of what the network can write into the log.
const (
	connectRate  = 500 // connections per second with events of their own
	connectBurst = 2000

	turnedAwayRate  = 10
	turnedAwayBurst = 50

	maxText = 256 // octets of one value from the network
)

// Log writes the events. It is safe for concurrent use; its methods never fail.
type Log struct {
	logger *slog.Logger
	out    *bufferedWriter

	connects   *rate.Limiter
	turnedAway *rate.Limiter
	quiet      atomic.Int64 // connections without events of their own
	away       atomic.Int64 // turned away without an event
	closing    sync.Once
}

// Formats of the log.
const (
	Text = "text"
	JSON = "json"
)

// New starts a log that writes to w in the format "text" or "json" the events from level on. [Log.Close] ends it.
func New(w io.Writer, format string, level slog.Leveler) (*Log, error) {
	if format != Text && format != JSON {
		return nil, fmt.Errorf("maillog: unknown format %q", format)
	}
	l := &Log{
		out:        newBufferedWriter(w),
		connects:   rate.NewLimiter(connectRate, connectBurst),
		turnedAway: rate.NewLimiter(turnedAwayRate, turnedAwayBurst),
	}
	o := &slog.HandlerOptions{Level: level}
	var h slog.Handler = slog.NewTextHandler(l.out, o)
	if format == JSON {
		h = slog.NewJSONHandler(l.out, o)
	}
	l.logger = slog.New(urgent{h, l.out})
	return l, nil
}

// Close writes what is left, and returns the first error of writing that nobody was told of.
func (l *Log) Close() error {
	var err error
	l.closing.Do(func() {
		l.sum()
		err = l.out.Close()
	})
	return err
}

// Logger is for the parts of the relay that have something to say to the operator beside the events of mail.
func (l *Log) Logger() *slog.Logger { return l.logger }

// Started: the relay listens on these addresses.
func (l *Log) Started(version string, listeners []string) {
	l.event(slog.LevelInfo, "started", slog.String("version", version), slog.Any("listeners", listeners))
	_ = l.out.Flush() // it is what the operator waits for
}

// Reloaded: the new configuration is in use.
func (l *Log) Reloaded(listeners []string) {
	l.event(slog.LevelInfo, "reloaded", slog.Any("listeners", listeners))
	_ = l.out.Flush()
}

// ReloadFailed: the old configuration stays in use.
func (l *Log) ReloadFailed(err error) {
	l.event(slog.LevelError, "reload failed, the old configuration stays", errorAttr(err))
}

// Stopped: err is nil when every transaction came to its end.
func (l *Log) Stopped(err error) {
	l.sum()
	if err != nil {
		l.event(slog.LevelError, "stopped", errorAttr(err))
		return
	}
	l.event(slog.LevelInfo, "stopped")
	_ = l.out.Flush()
}

// TurnedAway: a connection was closed before it came to a session, for a limit. client and listener are addresses.
func (l *Log) TurnedAway(client, listener string, r reply.Reply) {
	if !l.turnedAway.Allow() {
		l.away.Add(1)
		return
	}
	l.event(slog.LevelInfo, "turned away", slog.String("client", clip(client)), slog.String("listener", listener),
		slog.String("reply", clip(r.String())), count("suppressed", l.away.Swap(0)))
}

// sum tells how many connections had no events of their own.
func (l *Log) sum() {
	if n, a := l.quiet.Swap(0), l.away.Swap(0); n+a > 0 {
		l.event(slog.LevelInfo, "suppressed", count("connections", n), count("turned_away", a))
	}
}

// event writes one line. Empty attributes (see optional and count) are left out by the handlers of slog.
func (l *Log) event(level slog.Level, msg string, attrs ...slog.Attr) {
	l.logger.LogAttrs(context.Background(), level, msg, attrs...)
}

// urgent writes at once what an operator must not miss should the process end with it.
type urgent struct {
	slog.Handler
	out *bufferedWriter
}

func (u urgent) Handle(ctx context.Context, r slog.Record) error {
	err := u.Handler.Handle(ctx, r)
	if r.Level >= slog.LevelError {
		u.out.flush()
	}
	return err
}

func (u urgent) WithAttrs(a []slog.Attr) slog.Handler { return urgent{u.Handler.WithAttrs(a), u.out} }

func (u urgent) WithGroup(name string) slog.Handler { return urgent{u.Handler.WithGroup(name), u.out} }

func optional(key, value string) slog.Attr {
	if value == "" {
		return slog.Attr{}
	}
	return slog.String(key, clip(value))
}

func count(key string, n int64) slog.Attr {
	if n == 0 {
		return slog.Attr{}
	}
	return slog.Int64(key, n)
}

func errorAttr(err error) slog.Attr {
	if err == nil {
		return slog.Attr{}
	}
	return slog.String("error", clip(err.Error()))
}

// took gives a duration in seconds, which reads the same in text and in JSON.
func took(d time.Duration) slog.Attr {
	return slog.Float64("duration", float64(d.Microseconds())/1e6)
}

// clip makes s fit for a terminal, and bounded.
func clip(s string) string {
	if len(s) > maxText {
		s = s[:maxText] + "..."
	}
	return mailbox.Printable(s)
}
