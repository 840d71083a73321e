package sqldir

import (
	"context"
	"os"
	"time"
)

// watch looks for changes until the context ends. It is the only one who replaces d.db.
func (d *Directory) watch(ctx context.Context) {
	defer close(d.ended)
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := d.check(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !failing {
			d.o.Log.Error("directory cannot answer", "path", d.o.Path, "error", err)
		} else if err == nil && failing {
			d.o.Log.Info("directory answers again", "path", d.o.Path)
		}
		failing = err != nil
	}
}

// check looks once. It marks the cache as looked after only when there was an answer.
func (d *Directory) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	info, err := os.Stat(d.o.Path)
	if err != nil {
		return err
	}
	db := d.db.Load()
	if !os.SameFile(info, db.info) {
		return d.reopen(ctx, db)
	}
	version, err := db.version(ctx)
	if err != nil {
		return err
	}
	if version != db.seen {
		db.seen = version
		d.age.changed()
	}
	d.age.checked()
	return nil
}

// reopen takes the database that is now under the path, which somebody put there in place of the old one. It may be a
// backup of an old version.
func (d *Directory) reopen(ctx context.Context, old *database) error {
	if err := d.closeWriter(); err != nil { // it is of the old one
		d.o.Log.Warn("closing the replaced directory", "path", d.o.Path, "error", err)
	}
	if err := d.prepare(ctx); err != nil {
		return d.classify(err)
	}
	db, err := openDatabase(ctx, d.o.Path)
	if err != nil {
		return d.classify(err)
	}
	d.db.Store(db)
	d.age.changed()
	d.age.checked()
	d.o.Log.Info("directory was replaced", "path", d.o.Path)
	if err := old.close(); err != nil {
		d.o.Log.Warn("closing the replaced directory", "path", d.o.Path, "error", err)
	}
	return nil
}
