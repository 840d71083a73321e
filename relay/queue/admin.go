package queue

import (
	"context"
	"io"
	"iter"
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
type Admin struct{}

// OpenAdmin opens the queue of a relay for a command. The error wraps fs.ErrNotExist when there is none, fs.ErrPermission
// when it may not be read.
func OpenAdmin(ctx context.Context, path string) (*Admin, error) { panic("contract") }

// Close closes it.
func (a *Admin) Close() error { panic("contract") }

// List yields what the filter selects, oldest first, in pages of its own: nothing is locked meanwhile. It ends after
// the first error.
func (a *Admin) List(ctx context.Context, f Filter) iter.Seq2[Listed, error] { panic("contract") }

// Stats counts.
func (a *Admin) Stats(ctx context.Context) (Stats, error) { panic("contract") }

// Cat writes a message as it will be sent (Received on top, then the content). ErrNotFound when there is none.
func (a *Admin) Cat(ctx context.Context, id string, w io.Writer) error { panic("contract") }

// Retry makes what the filter selects due now, its destinations too, and returns how many items it changed. The same for
// the others: Hold and Release keep items from being tried; Remove drops them without any report.
func (a *Admin) Retry(ctx context.Context, f Filter) (int64, error)   { panic("contract") }
func (a *Admin) Hold(ctx context.Context, f Filter) (int64, error)    { panic("contract") }
func (a *Admin) Release(ctx context.Context, f Filter) (int64, error) { panic("contract") }
func (a *Admin) Remove(ctx context.Context, f Filter) (int64, error)  { panic("contract") }
