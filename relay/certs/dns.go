package certs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
	"github.com/miekg/dns"
)

// DNSUpdate says how the proof that a name is ours gets into DNS (DNS-01, RFC 8555 section 8.4): by updates (RFC 2136)
// with a signature (TSIG, RFC 8945). All but Secondaries and Zone are needed.
type DNSUpdate struct {
	Server      netip.AddrPort   // that takes updates
	Secondaries []netip.AddrPort // other servers of the zone, that the authority may ask as well
	Zone        string           // empty: Server tells
	Key         string           // its name
	Algorithm   string           // "hmac-sha256", "hmac-sha384" or "hmac-sha512"
	Secret      string           // base64

	// Alias gives the name at which the records of a name stand: itself, or where its CNAME leads. With one, the zone of
	// the name itself need not take updates.
	Alias func(ctx context.Context, name string) (string, error)
}

const (
	// updateTime is for an update with the questions before it.
	updateTime = 30 * time.Second
	// removeTime is for the update that takes a proof away, as it may be the last thing that is waited for at the end.
	removeTime = 10 * time.Second
	// secondaryPatience is how long it is waited for secondaries, and secondaryPause what lies between two questions.
	secondaryPatience = 2 * time.Minute
	secondaryPause    = time.Second
	// proofTTL is that of the record, in seconds: it is read once or twice.
	proofTTL = 60
)

// dnsSolver shows proofs in DNS.
type dnsSolver struct {
	options  DNSUpdate
	log      *slog.Logger
	patience time.Duration // with secondaries

	mu    sync.Mutex
	shown map[string]dnsProof // by the URL of the challenge
}

// dnsProof is a record that stands in a zone, or may.
type dnsProof struct {
	zone, value string
	record      *dns.TXT
}

// name is that of the record, as people write it.
func (p dnsProof) name() string { return strings.TrimSuffix(p.record.Hdr.Name, ".") }

var (
	_ acmez.Solver = (*dnsSolver)(nil)
	_ acmez.Waiter = (*dnsSolver)(nil)
)

func newDNSSolver(o DNSUpdate, log *slog.Logger) *dnsSolver {
	return &dnsSolver{options: o, log: log, patience: secondaryPatience, shown: map[string]dnsProof{}}
}

// Present implements acmez.Solver. Other proofs at the same name stay: a wildcard has the name of what it stands below.
func (s *dnsSolver) Present(ctx context.Context, c acme.Challenge) error {
	ctx, cancel := context.WithTimeout(ctx, updateTime)
	defer cancel()
	name, err := s.options.Alias(ctx, c.DNS01TXTRecordName())
	if err != nil {
		return err
	}
	name = dns.CanonicalName(name)
	zone, err := s.zone(ctx, name)
	if err != nil {
		return err
	}
	p := dnsProof{zone: zone, value: c.DNS01KeyAuthorization()}
	p.record = &dns.TXT{
		Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: proofTTL}, Txt: []string{p.value},
	}
	err = s.update(ctx, p, (*dns.Msg).Insert)
	if _, no := errors.AsType[notDone](err); !no { // also without an answer it may be there
		s.mu.Lock()
		s.shown[c.URL] = p
		s.mu.Unlock()
	}
	return err
}

// notDone is the error of an update that has certainly changed nothing.
type notDone struct{ error }

func (e notDone) Unwrap() error { return e.error }

// Wait implements acmez.Waiter: the authority may ask any server of the zone, and counts what it does not find there.
// A secondary that is away for long is no reason to have no certificate: the authority asks more than one as well.
func (s *dnsSolver) Wait(ctx context.Context, c acme.Challenge) error {
	s.mu.Lock()
	p, ok := s.shown[c.URL]
	s.mu.Unlock()
	if !ok {
		return nil
	}
	missing := slices.Clone(s.options.Secondaries)
	patience := time.After(s.patience)
	for {
		why := map[netip.AddrPort]error{}
		missing = slices.DeleteFunc(missing, func(server netip.AddrPort) bool {
			why[server] = s.shows(ctx, server, p)
			return why[server] == nil
		})
		if len(missing) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(secondaryPause):
			continue
		case <-patience:
		}
		for _, server := range missing {
			s.log.Warn("a secondary does not show the proof for the authority", "server", server.String(), "name", p.name(),
				"error", why[server])
		}
		return nil
	}
}

// CleanUp implements acmez.Solver. It goes on when the relay ends, as nobody else would take the record away.
func (s *dnsSolver) CleanUp(ctx context.Context, c acme.Challenge) error {
	s.mu.Lock()
	p, ok := s.shown[c.URL]
	delete(s.shown, c.URL)
	s.mu.Unlock()
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTime)
	defer cancel()
	err := s.update(ctx, p, (*dns.Msg).Remove)
	if err != nil {
		s.log.Warn("the proof for the authority stays in DNS", "name", p.name(), "zone", strings.TrimSuffix(p.zone, "."),
			"error", err)
	}
	return err
}

// zone gives the zone of a name, as the server knows it: the one whose SOA record is in the answer, or stands beside a
// "no" (RFC 2308 section 3).
func (s *dnsSolver) zone(ctx context.Context, name string) (string, error) {
	if s.options.Zone != "" {
		return dns.CanonicalName(s.options.Zone), nil
	}
	m := new(dns.Msg).SetQuestion(name, dns.TypeSOA)
	m.RecursionDesired = false
	r, err := s.signed(ctx, m)
	if err != nil {
		return "", fmt.Errorf("the zone of %s: %w", strings.TrimSuffix(name, "."), err)
	}
	for _, rr := range slices.Concat(r.Answer, r.Ns) {
		if soa, ok := rr.(*dns.SOA); ok && dns.IsSubDomain(soa.Hdr.Name, name) {
			return dns.CanonicalName(soa.Hdr.Name), nil
		}
	}
	return "", fmt.Errorf("the name server %s has no zone of %s (%s)", s.options.Server, strings.TrimSuffix(name, "."),
		dns.RcodeToString[r.Rcode])
}

// update changes one record of a zone.
func (s *dnsSolver) update(ctx context.Context, p dnsProof, change func(*dns.Msg, []dns.RR)) error {
	m := new(dns.Msg).SetUpdate(p.zone)
	change(m, []dns.RR{dns.Copy(p.record)})
	r, err := s.signed(ctx, m)
	if err != nil {
		return fmt.Errorf("the update of %s: %w", p.name(), err)
	}
	if r.Rcode != dns.RcodeSuccess {
		return notDone{fmt.Errorf("the name server %s refuses the update of %s in the zone %s: %s", s.options.Server,
			p.name(), strings.TrimSuffix(p.zone, "."), refusal(r.Rcode))}
	}
	return nil
}

// refusal is what an RCODE means for an update (RFC 2136 section 2.2).
func refusal(rcode int) string {
	why := map[int]string{
		dns.RcodeRefused:        "the key may not do that",
		dns.RcodeNotAuth:        "it is not the primary server of that zone",
		dns.RcodeNotZone:        "the name is in another zone",
		dns.RcodeNotImplemented: "it takes no updates",
	}[rcode]
	return strings.TrimPrefix(why+", "+dns.RcodeToString[rcode], ", ")
}

// shows tells whether a server has the record, by an error that says why not.
func (s *dnsSolver) shows(ctx context.Context, server netip.AddrPort, p dnsProof) error {
	m := new(dns.Msg).SetQuestion(p.record.Hdr.Name, dns.TypeTXT)
	m.RecursionDesired = false
	r, err := exchange(ctx, new(dns.Client), server, m)
	if err != nil {
		return err
	}
	for _, rr := range r.Answer {
		if t, ok := rr.(*dns.TXT); ok && strings.Join(t.Txt, "") == p.value {
			return nil
		}
	}
	return fmt.Errorf("it does not have it yet (%s)", dns.RcodeToString[r.Rcode])
}

// signed asks the server that takes updates, and wants a signature under its answer.
func (s *dnsSolver) signed(ctx context.Context, m *dns.Msg) (*dns.Msg, error) {
	key := dns.CanonicalName(s.options.Key)
	m.SetTsig(key, dns.Fqdn(s.options.Algorithm), fudge, time.Now().Unix())
	client := &dns.Client{TsigSecret: map[string]string{key: s.options.Secret}}
	r, err := exchange(ctx, client, s.options.Server, m)
	if err != nil && r == nil {
		return nil, fmt.Errorf("the name server %s: %w", s.options.Server, err)
	}
	// Who does not know the key cannot sign that he does not (RFC 8945 section 5.2).
	t := r.IsTsig()
	switch {
	case t != nil && t.Error != dns.RcodeSuccess:
		return nil, notDone{fmt.Errorf("the name server %s does not take our signature: %s", s.options.Server,
			s.mistrust(int(t.Error)))}
	case err != nil && !errors.Is(err, dns.ErrAuth): // which is said of NOTAUTH, whether the signature fits or not
		return nil, fmt.Errorf("the name server %s: %w", s.options.Server, err)
	case t == nil && r.Rcode == dns.RcodeSuccess:
		return nil, fmt.Errorf("the name server %s: its answer has no signature", s.options.Server)
	}
	return r, nil
}

// fudge is by how many seconds the clocks may differ (RFC 8945 section 10).
const fudge = 300

func (s *dnsSolver) mistrust(code int) string {
	why := map[int]string{
		dns.RcodeBadSig:  fmt.Sprintf("the secret is not that of its key %q", s.options.Key),
		dns.RcodeBadKey:  fmt.Sprintf("it has no key %q for %s", s.options.Key, s.options.Algorithm),
		dns.RcodeBadTime: "its clock and ours differ",
	}[code]
	return strings.TrimPrefix(why+", "+dns.RcodeToString[code], ", ")
}

// exchange asks by TCP, so that nothing is sent twice, and no answer is too long.
func exchange(ctx context.Context, client *dns.Client, server netip.AddrPort, m *dns.Msg) (*dns.Msg, error) {
	client.Net, client.Timeout = "tcp", removeTime
	conn, err := client.DialContext(ctx, server.String())
	if err != nil {
		return nil, notDone{err}
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	r, _, err := client.ExchangeWithConnContext(ctx, m, conn)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return r, err
}
