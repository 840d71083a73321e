package dnslist

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"mxbypass/mailbox"
)

// ErrListed: a list tells of the client, and nothing is taken from it. The error is a [*ListedError].
var ErrListed = errors.New("the client is on a list")

const (
	defaultTimeout = 5 * time.Second
	// maxZone leaves room for the 32 nibbles of an IPv6 address and their dots (RFC 5782 section 2.4).
	maxZone = 253 - 64
	// maxReason bounds what is told of a list's words.
	maxReason = 200
	// maxUnderway bounds the questions of all clients together. Who finds them all in use is not asked about.
	maxUnderway = 4000
	// troubleEvery is how often trouble with a list is said.
	troubleEvery = time.Minute
)

// Action is what it means to be on a list.
type Action int

// The actions.
const (
	Refuse Action = iota // no mail is taken from the client
	Mark                 // it is told to whoever asks for the marks
	Allow                // the client is a good one, whatever other lists say
)

// Codes is a range of answers, both ends included.
type Codes struct{ First, Last netip.Addr }

// contains tells whether an answer is one of the range.
func (c Codes) contains(a netip.Addr) bool { return c.First.Compare(a) <= 0 && a.Compare(c.Last) <= 0 }

// Zone is a list.
type Zone struct {
	Zone   string // the domain, in ASCII
	Name   string // for replies and the log, as the domain of a list may hold a key; empty: the domain
	Action Action
	Codes  []Codes // answers that count; empty: see the package comment
}

// Lookup asks DNS. Errors are *net.DNSError; for a name that does not exist IsNotFound is set.
type Lookup interface {
	Addr4(ctx context.Context, name string) ([]netip.Addr, error)
	TXT(ctx context.Context, name string) ([]string, error)
}

// Options of [New].
type Options struct {
	Zones   []Zone
	Lookup  Lookup
	Timeout time.Duration // for all lists together, from [Lists.Begin] on; default 5 seconds
	Log     *slog.Logger
}

// ListedError tells which list refuses the client. It is an [ErrListed].
type ListedError struct {
	List   string // its name
	Code   netip.Addr
	Reason string // in the words of the list; one printable line, bounded, may be empty
}

// Error implements error.
func (e *ListedError) Error() string {
	s := fmt.Sprintf("listed by %s (%s)", e.List, e.Code)
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	return s
}

// Unwrap makes it an [ErrListed].
func (e *ListedError) Unwrap() error { return ErrListed }

// Told is what the client is told beside the reply: the list that it has to talk to.
func (e *ListedError) Told() string {
	if e.Reason == "" {
		return e.List
	}
	return e.List + ": " + e.Reason
}

// Verdict is what lists say of a client.
type Verdict struct {
	Err     error    // a [*ListedError] if it is to be refused
	Allowed bool     // a list knows it as a good one
	Marks   []string // lists that tell of it, each with its answer: "bl.example=127.0.0.2", printable
}

// Lists asks several lists. It is safe for concurrent use, and has nothing to close: its goroutines belong to the
// queries.
type Lists struct {
	lookup   Lookup
	timeout  time.Duration
	log      *slog.Logger
	zones    []*zone
	underway chan struct{}
}

type zone struct {
	Zone
	trouble atomic.Int64 // when trouble was last said, in unix nanoseconds
}

// New checks the options.
func New(o Options) (*Lists, error) {
	if o.Lookup == nil || o.Log == nil || len(o.Zones) == 0 {
		return nil, errors.New("dnslist: incomplete options")
	}
	l := &Lists{
		lookup: o.Lookup, timeout: cmp.Or(o.Timeout, defaultTimeout), log: o.Log,
		underway: make(chan struct{}, maxUnderway),
	}
	for _, z := range o.Zones {
		name, err := mailbox.ParseDomainName(z.Zone)
		if err != nil || len(name.ASCII()) > maxZone {
			return nil, fmt.Errorf("dnslist: %q cannot be the domain of a list", z.Zone)
		}
		z.Zone = name.ASCII()
		z.Name = oneLine(cmp.Or(z.Name, z.Zone), maxReason)
		l.zones = append(l.zones, &zone{Zone: z})
	}
	return l, nil
}

// unserved are answers by which lists tell that they do not serve whoever asks, or give up: the resolver is a public one,
// asks too much, the key is wrong, the domain was sold.
var unserved = []netip.Prefix{
	netip.MustParsePrefix("127.0.0.0/31"),
	netip.MustParsePrefix("127.0.0.255/32"),
	netip.MustParsePrefix("127.255.255.0/24"),
}

var answers = netip.MustParsePrefix("127.0.0.0/8")

// judge finds the answer that counts. trouble tells of one that no list should give.
func (z *zone) judge(addrs []netip.Addr) (code netip.Addr, listed bool, trouble string) {
	for _, a := range addrs {
		switch {
		case !answers.Contains(a):
			trouble = "an answer outside of 127.0.0.0/8: " + a.String()
		case len(z.Codes) > 0:
			for _, c := range z.Codes {
				if c.contains(a) {
					return a, true, ""
				}
			}
			if isUnserved(a) {
				trouble = "it does not serve us: " + a.String()
			}
		case isUnserved(a):
			trouble = "it does not serve us: " + a.String()
		default:
			return a, true, ""
		}
	}
	return code, false, trouble
}

func isUnserved(a netip.Addr) bool {
	for _, p := range unserved {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// oneLine makes one line of printable ASCII of at most limit octets.
func oneLine(s string, limit int) string {
	var b strings.Builder
	for _, r := range strings.Join(strings.Fields(s), " ") {
		if r < ' ' || r > '~' {
			r = '?'
		}
		if b.Len() == limit {
			break
		}
		b.WriteByte(byte(r))
	}
	return b.String()
}

// say logs trouble with a list, now and then.
func (l *Lists) say(z *zone, trouble string) {
	now := time.Now().UnixNano()
	if last := z.trouble.Load(); now-last >= int64(troubleEvery) && z.trouble.CompareAndSwap(last, now) {
		l.log.Warn("a list of addresses in DNS is of no use now", "list", z.Name, "trouble", trouble)
	}
}
