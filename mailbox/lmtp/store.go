package lmtp

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"mxbypass/mailbox"
	"mxbypass/mailbox/smtpclient"
)

// Defaults of Options.
const (
	DefaultConnections = 10
	DefaultIdleLimit   = 30 * time.Second
)

// Options of a store. Address, Protocol and Hostname are needed; what else is zero has its default.
type Options struct {
	Address     string              // "unix:/path" or "host:port"
	Protocol    smtpclient.Protocol // smtpclient.LMTP or smtpclient.SMTP
	Hostname    mailbox.DomainName  // our name, for LHLO and EHLO
	Connections int                 // open at a time, at most
	IdleLimit   time.Duration       // how long an unused connection is kept
	Timeouts    smtpclient.Timeouts // zero fields: smtpclient.DefaultTimeouts
	Logger      *slog.Logger        // default: discards
}

// Store is a mailbox.Store behind an LMTP or SMTP server.
type Store struct {
	opts    Options
	network string
	address string // as network wants it
	pool    *pool
}

// New makes a store. It connects when the first message comes. Close ends it.
func New(opts Options) (*Store, error) {
	s := &Store{opts: withDefaults(opts), network: "tcp", address: opts.Address}
	switch opts.Protocol {
	case smtpclient.LMTP, smtpclient.SMTP:
	default:
		return nil, fmt.Errorf("unknown protocol %q: lmtp or smtp is needed", opts.Protocol)
	}
	if path, ok := strings.CutPrefix(opts.Address, "unix:"); ok {
		if path == "" {
			return nil, fmt.Errorf("address %q has no path", opts.Address)
		}
		s.network, s.address = "unix", path
	} else if host, port, err := net.SplitHostPort(opts.Address); err != nil || host == "" || port == "" {
		return nil, fmt.Errorf("address %q is neither unix:/path nor host:port", opts.Address)
	}
	switch {
	case opts.Hostname.IsZero():
		return nil, fmt.Errorf("no host name")
	case opts.Connections < 0 || opts.IdleLimit < 0:
		return nil, fmt.Errorf("connections and the idle limit cannot be negative")
	}
	s.pool = newPool(s.opts.Connections, s.opts.IdleLimit, s.dial)
	return s, nil
}

func withDefaults(o Options) Options {
	if o.Connections == 0 {
		o.Connections = DefaultConnections
	}
	if o.IdleLimit == 0 {
		o.IdleLimit = DefaultIdleLimit
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	t, d := &o.Timeouts, smtpclient.DefaultTimeouts()
	for _, f := range []struct {
		value    *time.Duration
		fallback time.Duration
	}{
		{&t.Connect, d.Connect}, {&t.Greeting, d.Greeting}, {&t.Hello, d.Hello}, {&t.Mail, d.Mail}, {&t.Rcpt, d.Rcpt},
		{&t.DataStart, d.DataStart}, {&t.DataBlock, d.DataBlock}, {&t.DataEnd, d.DataEnd},
		{&t.TLS, d.TLS}, {&t.Reset, d.Reset},
	} {
		if *f.value <= 0 {
			*f.value = f.fallback
		}
	}
	return o
}

// Close ends the unused connections and waits until that is done. Deliveries under way can be finished, and their
// connections are closed then; new ones are refused.
func (s *Store) Close() error {
	s.pool.kept.Close()
	return nil
}

func (s *Store) dial(ctx context.Context) (*smtpclient.Client, error) {
	return smtpclient.Dial(ctx, s.network, s.address, smtpclient.Options{
		Protocol: s.opts.Protocol, Hostname: s.opts.Hostname, Host: s.opts.Address, Timeouts: s.opts.Timeouts,
	})
}
