package mx

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"mxbypass/mailbox"
)

const (
	// defaultTimeout bounds a lookup when nobody says otherwise.
	defaultTimeout = 5 * time.Second
	// rounds is how often a silent server is asked: a datagram may be lost.
	rounds = 2
	// minTry and maxTry bound the wait for one server.
	minTry, maxTry = 300 * time.Millisecond, 2 * time.Second
	// maxQuestions bounds how often an unfinished chain of aliases is asked on.
	maxQuestions = 8
	// maxRecords bounds what is kept of one answer.
	maxRecords = 50
)

// DNSOptions say whom [DNS] asks.
type DNSOptions struct {
	// Servers, see [ParseServer]. Empty: those of SystemFile.
	Servers []string
	// Timeout bounds a lookup over all servers, with its aliases and retries. Zero: 5 s.
	Timeout time.Duration
	// Validating says that the servers validate (DNSSEC), and that nobody can come between: their word that an answer is
	// secure is believed. Of the system's servers only those on this machine are.
	Validating bool
	// SystemFile replaces /etc/resolv.conf. It is read again when it changes.
	SystemFile string
}

// DNS asks recursive (or authoritative) servers over the network, and nothing else: no hosts file and no search list. The
// server that answered last is asked first.
type DNS struct {
	servers func() []string
	trusted func(server string) bool // whose word on DNSSEC is believed; nil: nobody's
	timeout time.Duration
	good    atomic.Uint32 // index of the server that answered last
}

var _ Resolver = (*DNS)(nil)

// NewDNS checks the options. The error names every server that is wrong.
func NewDNS(o DNSOptions) (*DNS, error) {
	d := &DNS{timeout: cmp.Or(o.Timeout, defaultTimeout)}
	if len(o.Servers) == 0 {
		system := &systemServers{path: cmp.Or(o.SystemFile, systemFile)}
		d.servers = system.list
		if o.Validating {
			d.trusted = onThisMachine
		}
		return d, nil
	}
	var servers []string
	var errs []error
	for _, s := range o.Servers {
		at, err := ParseServer(s)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		servers = append(servers, at.String())
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	d.servers = func() []string { return servers }
	if o.Validating {
		d.trusted = func(string) bool { return true } // the operator has named them
	}
	return d, nil
}

func onThisMachine(server string) bool {
	at, err := netip.ParseAddrPort(server)
	return err == nil && at.Addr().Unmap().IsLoopback()
}

// LookupMX implements [Resolver].
func (d *DNS) LookupMX(ctx context.Context, name mailbox.DomainName) Answer[MX] {
	return Questions{d}.LookupMX(ctx, name)
}

// LookupAddr implements [Resolver].
func (d *DNS) LookupAddr(ctx context.Context, name mailbox.DomainName) Answer[netip.Addr] {
	return Questions{d}.LookupAddr(ctx, name)
}

// follow asks for one type of records of a name in the form of dns.Fqdn.
func (d *DNS) follow(ctx context.Context, name string, qtype uint16) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	question := dns.Question{Name: name, Qtype: qtype, Qclass: dns.ClassINET}
	kept, secure := time.Duration(math.MaxInt64), true
	for range maxQuestions {
		r, err := d.ask(ctx, question)
		if err != nil {
			return reply{}, err
		}
		r.ttl, r.secure = min(r.ttl, kept), r.secure && secure
		if !r.unfinished {
			return r, nil
		}
		kept, secure, question.Name = r.ttl, r.secure, r.name
	}
	return reply{}, errAliasLoop
}

// ask puts one question to the servers, one after the other, until one can answer. Servers that were silent are asked a
// second time; those that had no answer are not.
func (d *DNS) ask(ctx context.Context, question dns.Question) (reply, error) {
	servers := d.servers()
	wait := min(max(d.timeout/time.Duration(rounds*len(servers)), minTry), maxTry)
	first := int(d.good.Load())
	useless := make([]error, len(servers)) // what a server said that is no answer
	silent := make([]error, len(servers))
	for range rounds {
		for i := range servers {
			at := (first + i) % len(servers)
			if useless[at] != nil {
				continue
			}
			trusted := d.trusted != nil && d.trusted(servers[at])
			m, err := try(ctx, servers[at], question, trusted, wait)
			if err != nil {
				silent[at] = fmt.Errorf("%s: %w", servers[at], err)
				if ctx.Err() != nil {
					return reply{}, joined(useless, silent)
				}
				continue
			}
			r, err := interpret(m, question)
			if err == nil {
				r.secure = r.secure && trusted
				d.good.Store(uint32(at))
				return r, nil
			}
			useless[at], silent[at] = fmt.Errorf("%s: %w", servers[at], err), nil
		}
	}
	return reply{}, joined(useless, silent)
}

func try(ctx context.Context, server string, question dns.Question, secure bool, wait time.Duration) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	return exchange(ctx, server, question, secure)
}

// serverErrors is what each server did wrong, in one line.
type serverErrors []error

func joined(lists ...[]error) error {
	return serverErrors(slices.DeleteFunc(slices.Concat(lists...), func(err error) bool { return err == nil }))
}

func (e serverErrors) Error() string {
	var b strings.Builder
	for i, err := range e {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(err.Error())
	}
	return b.String()
}

func (e serverErrors) Unwrap() []error { return e }
