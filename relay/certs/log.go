package certs

import (
	"context"
	"log/slog"
	"maps"
	"slices"

	"go.uber.org/zap/zapcore"
)

// core takes what certmagic logs. What goes well there is for people who look into it, at level debug: what they need to
// know we log ourselves. What went wrong comes back as an error as well, and is logged with that.
type core struct {
	log    *slog.Logger
	fields []zapcore.Field
}

var _ zapcore.Core = (*core)(nil)

// Enabled implements zapcore.Core.
func (c *core) Enabled(zapcore.Level) bool {
	return c.log.Enabled(context.Background(), slog.LevelDebug)
}

// With implements zapcore.Core.
func (c *core) With(fields []zapcore.Field) zapcore.Core {
	return &core{log: c.log, fields: slices.Concat(c.fields, fields)}
}

// Check implements zapcore.Core.
func (c *core) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

// Write implements zapcore.Core.
func (c *core) Write(e zapcore.Entry, fields []zapcore.Field) error {
	values := zapcore.NewMapObjectEncoder()
	for _, f := range slices.Concat(c.fields, fields) {
		f.AddTo(values)
	}
	args := []any{"part", "certmagic", "as", e.Level.String()}
	for _, key := range slices.Sorted(maps.Keys(values.Fields)) {
		args = append(args, slog.Any(key, values.Fields[key]))
	}
	c.log.Debug(e.Message, args...)
	return nil
}

// Sync implements zapcore.Core.
func (*core) Sync() error { return nil }

// quiet is the same for acmez, which logs to slog by itself.
type quiet struct{ slog.Handler }

// Enabled implements [slog.Handler].
func (q quiet) Enabled(ctx context.Context, _ slog.Level) bool {
	return q.Handler.Enabled(ctx, slog.LevelDebug)
}

// Handle implements [slog.Handler].
func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	r.AddAttrs(slog.String("part", "acmez"), slog.String("as", r.Level.String()))
	r.Level = slog.LevelDebug
	return q.Handler.Handle(ctx, r)
}

// WithAttrs implements [slog.Handler].
func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(attrs)} }

// WithGroup implements [slog.Handler].
func (q quiet) WithGroup(name string) slog.Handler { return quiet{q.Handler.WithGroup(name)} }
