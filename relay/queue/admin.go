package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"time"
)

// State is how an item stands.
type State string

// The states.
const (
	Waiting     State = "waiting"
	Active      State = "active"      // an attempt is under way
	Held        State = "held"        // by the operator
	Quarantined State = "quarantined" // damaged
)

// Filter selects items. Zero fields select everything.
type Filter struct {
	IDs       []string      // of messages
	Sender    string        // exactly this address, "@domain", or "<>"
	Recipient string        // exactly this address, or "@domain"
	Domain    string        // of the recipient
	OlderThan time.Duration // since it was queued
	Reason    string        // part of the last failure's text, without regard to case
	State     State
}

// Listed is an item as the commands show it.
type Listed struct {
	*Item
	State       State
	Destination Destination // with the failure of the destination as a whole, which may be the newer one
}

// Stats are figures of the whole queue.
type Stats struct {
	Messages     int64              `json:"messages"`
	Recipients   map[State]int64    `json:"recipients"`
	Octets       int64              `json:"octets"`       // of the contents
	Oldest       time.Time          `json:"oldest"`       // zero: empty
	Destinations []DestinationStats `json:"destinations"` // those with most mail first, at most 20
}

// DestinationStats are figures of one destination.
type DestinationStats struct {
	Name       string    `json:"name"`
	Recipients int64     `json:"recipients"`
	Oldest     time.Time `json:"oldest"`
	Failures   int       `json:"failures"`
	Next       time.Time `json:"next"`
	Reason     string    `json:"reason,omitempty"`
}

// Admin is the queue as the commands see it, whether a relay runs on it or not.
type Admin struct {
	path    string
	readers *reader
	now     func() time.Time
}

// OpenAdmin opens the queue of a relay for a command. The error wraps fs.ErrNotExist when there is none, fs.ErrPermission
// when it may not be read.
func OpenAdmin(ctx context.Context, path string) (*Admin, error) {
	if err := reachable(path); err != nil {
		return nil, opening(path, err)
	}
	r, err := openReader(path, 2)
	if err != nil {
		return nil, opening(path, err)
	}
	version, err := schemaVersion(ctx, r.db)
	switch newest := len(migrations()); {
	case err != nil:
	case version == 0:
		err = errEmpty
	case version < newest:
		err = fmt.Errorf("the queue has schema version %d, this mxbypass wants %d: start the relay, which brings it there",
			version, newest)
	}
	if err != nil {
		return nil, opening(path, errors.Join(err, r.close()))
	}
	return &Admin{path: path, readers: r, now: time.Now}, nil
}

// reachable finds out whether the database may be opened at all. SQLite's own answer does not say what is in the way.
func reachable(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = errFolder
	}
	return err
}

// Close closes it.
func (a *Admin) Close() error { return a.readers.close() }

// listPage is how many items a command reads at a time.
const listPage = 500

// List yields what the filter selects, oldest first, in pages of its own: nothing is locked meanwhile. It ends after
// the first error.
func (a *Admin) List(ctx context.Context, f Filter) iter.Seq2[Listed, error] {
	return func(yield func(Listed, error) bool) {
		for page, err := range a.pages(ctx, f, itemColumns) {
			if err != nil {
				yield(Listed{}, err)
				return
			}
			g := newReading()
			for _, r := range page {
				if !yield(listed(g, r), nil) {
					return
				}
			}
		}
	}
}

// listed gives an item with what can be read of it.
func listed(g *reading, r *record) Listed {
	i, err := g.item(r)
	l := Listed{Item: i.Item, State: Waiting, Destination: *i.Fate}
	switch {
	case i.state == stateQuarantined:
		l.State = Quarantined
	case i.state == stateHeld:
		l.State = Held
	case i.Lease != 0:
		l.State = Active
	}
	if err != nil && l.Last == nil {
		l.Last = &Attempt{Enhanced: [3]int{4, 3, 0}, Text: err.Error()}
	}
	return l
}

// Cat writes a message as it will be sent (Received on top, then the content). ErrNotFound when there is none.
func (a *Admin) Cat(ctx context.Context, id string, w io.Writer) error {
	h, err := a.header(ctx, id)
	if err != nil {
		return fmt.Errorf("queue: %s: %w", id, err)
	}
	if _, err := w.Write(h.Trace); err != nil {
		return err
	}
	_, err = io.Copy(w, (&content{ctx: ctx, readers: a.readers, header: h}).NewReader())
	return err
}

const selectHeader = "SELECT " + headerColumns + " FROM message m WHERE m.name = ? ORDER BY m.id LIMIT 1"

func (a *Admin) header(ctx context.Context, id string) (h *Header, err error) {
	damage := error(nil)
	err = a.readers.each(ctx, selectHeader, func(r *record) bool {
		h, damage = r.header(), r.err
		return false
	}, id)
	switch {
	case err != nil || damage != nil:
		return nil, errors.Join(err, damage)
	case h == nil:
		return nil, ErrNotFound
	}
	return h, nil
}
