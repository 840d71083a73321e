package mx

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"mxbypass/mailbox"
)

// addressLookups is how many MX hosts of one domain are looked up at the same time.
const addressLookups = 4

// Own says which MX hosts are ours.
type Own struct {
	Hosts []mailbox.DomainName // gateways and host names
	Addrs []netip.Addr         // empty: no addresses of MX hosts are looked up
}

func (o Own) hasHost(host mailbox.DomainName) bool { return slices.Contains(o.Hosts, host) }

// hasAddr tells whether one of the addresses is ours.
func (o Own) hasAddr(addrs []netip.Addr) bool {
	for _, own := range o.Addrs {
		if slices.Contains(addrs, own.Unmap()) {
			return true
		}
	}
	return false
}

// classifier turns records into a state.
type classifier struct {
	resolver  Resolver
	providers Providers
	own       Own
}

// look asks for the MX state of a domain. The duration is how long DNS lets it be kept; it is zero for Unknown.
func (c classifier) look(ctx context.Context, domain mailbox.DomainName) (State, time.Duration) {
	if domain.IsZero() || domain.IsLiteral() {
		return State{Domain: domain, Kind: None}, time.Hour
	}
	return c.classify(ctx, domain, c.resolver.LookupMX(ctx, domain))
}

// classify judges an answer. It asks for addresses where the names of the hosts do not tell enough.
func (c classifier) classify(ctx context.Context, domain mailbox.DomainName, answer Answer[MX]) (State, time.Duration) {
	s := State{Domain: domain}
	switch {
	case answer.Outcome == Failed:
		s.Kind, s.Err = Unknown, answer.Err
		return s, 0
	case answer.Outcome != Found:
		s.Kind = None
		return s, answer.TTL
	case len(answer.Records) == 1 && answer.Records[0].Root:
		s.Kind = Null
		return s, answer.TTL
	}
	for _, r := range answer.Records {
		h := Host{Preference: r.Preference, Name: r.Host, TTL: r.TTL, Ours: c.own.hasHost(r.Host)}
		if p, ok := c.providers.Of(r.Host); ok && !h.Ours {
			h.Provider = p.Name
		}
		s.Hosts = append(s.Hosts, h)
	}
	ttl, err := c.lookAtAddresses(ctx, s.Hosts)
	if ours := countOurs(s.Hosts); ours == 0 && err != nil {
		return State{Domain: domain, Kind: Unknown, Err: fmt.Errorf("whether a host is ours: %w", err)}, 0
	} else if ours == 0 {
		s.Kind = External
	} else if ours == len(s.Hosts) {
		s.Kind = Self
	} else {
		s.Kind = Mixed
	}
	s.Provider = providersOf(s.Hosts)
	return s, min(ttl, answer.TTL)
}

// lookAtAddresses marks the hosts that are ours by their addresses. The error says that at least one of the others could
// not be told.
func (c classifier) lookAtAddresses(ctx context.Context, hosts []Host) (time.Duration, error) {
	kept := make([]time.Duration, len(hosts))
	for i := range kept {
		kept[i] = maxTTL
	}
	if len(c.own.Addrs) == 0 {
		return maxTTL, nil
	}
	var g errgroup.Group
	g.SetLimit(addressLookups)
	for i := range hosts {
		h := &hosts[i]
		if h.Ours || h.Provider != "" || h.Name.IsZero() {
			continue
		}
		g.Go(func() error {
			answer := c.resolver.LookupAddr(ctx, h.Name)
			h.Ours = c.own.hasAddr(answer.Records)
			if answer.Outcome != Failed {
				kept[i] = answer.TTL
			}
			if h.Ours {
				return nil
			}
			return answer.Err
		})
	}
	err := g.Wait()
	return slices.Min(kept), err
}

func countOurs(hosts []Host) int {
	n := 0
	for _, h := range hosts {
		if h.Ours {
			n++
		}
	}
	return n
}

// providersOf names who runs the hosts that are not ours, most preferred first.
func providersOf(hosts []Host) string {
	var names []string
	for _, h := range hosts {
		if h.Provider != "" && !slices.Contains(names, h.Provider) {
			names = append(names, h.Provider)
		}
	}
	return strings.Join(names, ", ")
}
