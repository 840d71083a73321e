package filter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"mxbypass/mailbox"
	"mxbypass/relay/spool"
)

// Errors of filters, beside [*Rejection].
var (
	// ErrDown: the filter cannot be asked, or failed while it was, and mail does not go on without it. Temporary.
	ErrDown = errors.New("a filter cannot be asked")
	// ErrFieldTooBig: a header field is longer than the protocol of filters can carry, so that no filter can judge the
	// message. Final.
	ErrFieldTooBig = errors.New("a header field is too long for filters")
)

// WhenDown is what becomes of mail that a filter should see and cannot.
type WhenDown int

// What can become of it.
const (
	Tempfail WhenDown = iota // it is refused for now: [ErrDown]
	Accept                   // it goes on as if there were no such filter
)

// Options of a filter. A zero duration or size means its default.
type Options struct {
	Name     string // for the log and for errors
	Network  string // "tcp" or "unix"
	Address  string // for package net
	MTA      string // our name and version, as filters are told: the macro v
	WhenDown WhenDown

	Connect time.Duration // to connect and to agree on a protocol; default 5 seconds
	Timeout time.Duration // for all that is to be said to one command of the client, or to a message; default 30 seconds

	MaxSize    int64  // longer messages are not shown to it; default: all are shown
	MaxMessage int64  // the longest body that it may write; default 50 MiB
	Dir        string // where long bodies that it writes are kept; made when the first one comes

	Log *slog.Logger
}

const (
	defaultConnect    = 5 * time.Second
	defaultTimeout    = 30 * time.Second
	defaultMaxMessage = 50 << 20

	// bodyMemory bounds the memory for bodies that one filter has written; beyond it they go to files.
	bodyMemory = 32 << 20
)

// Filter is a program that judges mail. It is safe for concurrent use.
type Filter struct {
	options Options
	health  health
	dial    func(context.Context) (net.Conn, error)

	mu     sync.Mutex
	bodies *spool.Spool // nil until the first body is replaced
}

// New makes a filter from its options. Nothing is connected before there is mail.
func New(o Options) (*Filter, error) {
	if o.Network != "tcp" && o.Network != "unix" || o.Address == "" || o.Dir == "" || o.Log == nil {
		return nil, fmt.Errorf("filter %q: address, folder or log missing", o.Name)
	}
	if o.Connect <= 0 {
		o.Connect = defaultConnect
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.MaxMessage <= 0 {
		o.MaxMessage = defaultMaxMessage
	}
	o.Log = o.Log.With(slog.String("filter", o.Name))
	dialer := net.Dialer{Timeout: o.Connect}
	return &Filter{
		options: o,
		health:  health{log: o.Log},
		dial:    func(ctx context.Context) (net.Conn, error) { return dialer.DialContext(ctx, o.Network, o.Address) },
	}, nil
}

// Close ends the filter, of which no session may be left.
func (f *Filter) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bodies == nil {
		return nil
	}
	if err := f.bodies.Close(); err != nil {
		return fmt.Errorf("filter %q: %w", f.options.Name, err)
	}
	return nil
}

// newBody gives what a body that the filter writes is kept in.
func (f *Filter) newBody() (*spool.Writer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bodies == nil {
		s, err := spool.New(spool.Options{Dir: f.options.Dir, MemoryTotal: bodyMemory, MaxMessage: f.options.MaxMessage})
		if err != nil {
			return nil, fmt.Errorf("%w: %w", mailbox.ErrUnavailable, err)
		}
		f.bodies = s
	}
	return f.bodies.NewWriter(), nil
}
