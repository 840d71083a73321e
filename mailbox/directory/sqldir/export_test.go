package sqldir

import (
	"context"
	"time"
)

// Check does what the watcher does at every tick.
func (d *Directory) Check(ctx context.Context) error { return d.check(ctx) }

// StopWatching leaves the looking to the test.
func (d *Directory) StopWatching() {
	d.cancel()
	<-d.ended
}

// FallBehind makes the cache as if nobody had looked for a while.
func (d *Directory) FallBehind() { d.age.looked.Store(int64(time.Since(d.age.started) - 2*maxStale)) }

// Writer runs a statement on the connection that writes.
func (d *Directory) Writer(ctx context.Context, statement string) error {
	w, err := d.openWriter(ctx)
	if err != nil {
		return err
	}
	_, err = w.ExecContext(ctx, statement)
	return err
}

// Schemas is the newest schema version.
var Schemas = len(migrations)
