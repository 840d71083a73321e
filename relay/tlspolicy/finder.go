package tlspolicy

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strconv"

	"mxbypass/mailbox"
	"mxbypass/relay/tlspolicy/dane"
	"mxbypass/relay/tlspolicy/mtasts"
	"mxbypass/relay/tlsrpt"
)

// Wish is what the operator wants of a destination.
type Wish struct {
	Level Level
	// MTASTS wants the policy of the domain met as if it were enforced; without one nothing is delivered. Level is Verify.
	MTASTS bool
	// Names are whom the certificate may be for, in ASCII, beside the host itself where it is one of them; "*." stands for
	// one label. Empty: the domain and the hosts in it.
	Names []string
}

// Options of a finder. What is zero is off.
type Options struct {
	MTASTS *mtasts.Cache
	// TLSA gives the TLSA records of a name, and whether the answer, a "no" as well, is secure. Errors are *net.DNSError.
	TLSA   func(ctx context.Context, name string) (records []dane.Record, secure bool, err error)
	Wishes map[mailbox.DomainName]Wish // by domain, or the host of a server that is named
	Roots  *x509.CertPool              // whose certificates are believed; nil: those of the system
}

// Finder finds the rules of hosts. It is safe for concurrent use.
type Finder struct{ o Options }

// New makes a finder.
func New(o Options) *Finder { return &Finder{o} }

// Domain is what is known of a domain, or of a server that is named: what its hosts have in common.
type Domain struct {
	name   mailbox.DomainName
	wish   *Wish
	policy *mtasts.Policy
	err    error // why there may be a policy that we do not know
}

// Domain finds out what a domain wants. It takes as long as the policy takes to be fetched, when that is a new one.
func (f *Finder) Domain(ctx context.Context, name mailbox.DomainName) *Domain {
	d := &Domain{name: name}
	if w, ok := f.o.Wishes[name]; ok {
		d.wish = &w
		if !w.MTASTS {
			return d
		}
	}
	if f.o.MTASTS == nil || name.IsLiteral() {
		return d
	}
	d.policy, d.err = f.o.MTASTS.Policy(ctx, name)
	if d.policy != nil && d.policy.Mode == mtasts.None {
		d.policy = nil
	}
	return d
}

// Server is what is known of a server that the operator names: nothing but his wish.
func (f *Finder) Server(name mailbox.DomainName) *Domain {
	d := &Domain{name: name}
	if w, ok := f.o.Wishes[name]; ok {
		d.wish = &w
	}
	return d
}

// Problem tells what went wrong in finding the policy of the domain; false: nothing. It has no type when it is nothing
// to report.
func (d *Domain) Problem() (tlsrpt.Policy, *tlsrpt.Failure, bool) {
	f := &tlsrpt.Failure{}
	switch {
	case errors.Is(d.err, mtasts.ErrFetch):
		f.Type = tlsrpt.STSPolicyFetchError
	case errors.Is(d.err, mtasts.ErrInvalid):
		f.Type = tlsrpt.STSPolicyInvalid
	case d.err == nil:
		return tlsrpt.Policy{}, nil, false
	}
	f.Reason = mailbox.Printable(d.err.Error())
	return tlsrpt.Policy{Type: tlsrpt.STS, Domain: d.name.ASCII()}, f, true
}

// Host is one server of a domain.
type Host struct {
	Name   mailbox.DomainName
	Alias  string // the end of its CNAMEs; empty: none
	Port   uint16
	Secure bool // its addresses are, with the CNAMEs
	// Sure: nobody but the operator, the recipient's address or DNSSEC has named it.
	Sure bool
	// Signed: the way from the domain to it is secure: its MX records, or there is none but what the operator says.
	Signed bool
}

// Rules gives the rules for a host of the domain. It asks for TLSA records where they would count.
func (f *Finder) Rules(ctx context.Context, d *Domain, h Host) *Rules {
	byDANE := f.dane(ctx, d, h)
	r := &Rules{
		Usual:    f.usual(d, h, byDANE),
		Tolerant: Rule{Source: Opportunistic, Level: May, Policy: d.noPolicy()},
	}
	if d.wish != nil {
		r.Tolerant = r.Usual
	}
	r.Strict = f.strict(d, h, byDANE, r.Usual)
	return r
}

func (d *Domain) noPolicy() tlsrpt.Policy {
	return tlsrpt.Policy{Type: tlsrpt.NoPolicy, Domain: d.name.ASCII()}
}

// usual is the rule for mail that wants nothing of its own.
func (f *Finder) usual(d *Domain, h Host, byDANE *Rule) Rule {
	if w := d.wish; w != nil {
		return f.wished(d, h, byDANE, w)
	}
	if byDANE != nil {
		return *byDANE
	}
	if d.policy != nil {
		return f.sts(d, h, d.policy.Mode == mtasts.Testing)
	}
	return Rule{Source: Opportunistic, Level: May, Policy: d.noPolicy()}
}

// wished is the rule that the operator has set.
func (f *Finder) wished(d *Domain, h Host, byDANE *Rule, w *Wish) Rule {
	r := Rule{Source: Destination, Level: w.Level, Policy: d.noPolicy(), roots: f.o.Roots}
	switch {
	case w.MTASTS && d.policy != nil:
		r = f.sts(d, h, false)
	case w.MTASTS:
		r.Refused = "the configuration wants a policy of MTA-STS, and none is known"
		if d.err != nil {
			r.Refused += ": " + mailbox.Printable(d.err.Error())
		}
	case w.Level == DANE && byDANE != nil && (byDANE.Level == DANE || byDANE.Refused != ""):
		r = *byDANE
	case w.Level == DANE:
		r.Refused = "the configuration wants DANE, and there are no TLSA records that are secure and of use"
	case w.Level == Verify:
		r.Names = certificateNames(d, h, w)
	}
	return r
}

// certificateNames are whom the certificate of a host may be for.
func certificateNames(d *Domain, h Host, w *Wish) []string {
	patterns := w.Names
	if len(patterns) == 0 {
		patterns = []string{d.name.ASCII(), "*." + d.name.ASCII()}
	}
	var names []string
	for _, p := range patterns {
		if p[0] != '*' {
			names = append(names, p)
		}
	}
	if host := certificateName(h.Name); mtasts.FitsOne(patterns, host) {
		names = append(names, host)
	}
	return names
}

// certificateName is how a certificate names a host.
func certificateName(d mailbox.DomainName) string {
	if !d.IsLiteral() {
		return d.ASCII()
	}
	return addressIn(d)
}

// sts is the rule of the MTA-STS policy of the domain.
func (f *Finder) sts(d *Domain, h Host, testing bool) Rule {
	p := d.policy
	r := Rule{Source: ByMTASTS, Level: Verify, Testing: testing, Names: []string{h.Name.ASCII()}, roots: f.o.Roots,
		Policy: tlsrpt.Policy{Type: tlsrpt.STS, Domain: p.Domain, Strings: p.Lines, MX: p.MX}}
	if !p.Fits(h.Name.ASCII()) {
		r.Result = tlsrpt.ValidationFailure
		r.Refused = fmt.Sprintf("%s is not among the servers that the MTA-STS policy of %s names", h.Name, p.Domain)
	}
	return r
}

// strict is the rule for REQUIRETLS (RFC 8689 section 4.2.1).
func (f *Finder) strict(d *Domain, h Host, byDANE *Rule, usual Rule) Rule {
	switch {
	case byDANE != nil && (byDANE.Level == DANE || byDANE.Refused != ""):
		return *byDANE
	case usual.Refused != "" && !usual.Testing, usual.Source == Destination && usual.Level == Verify:
		return usual
	case d.policy != nil && d.policy.Fits(h.Name.ASCII()):
		return f.sts(d, h, false)
	}
	r := Rule{Source: ByRequireTLS, Level: Verify, Names: []string{certificateName(h.Name)}, Policy: d.noPolicy(),
		roots: f.o.Roots}
	if !h.Sure {
		r.Final = true
		r.Refused = "REQUIRETLS needs a server that is known for sure, and neither DNSSEC nor MTA-STS says that it is " +
			h.Name.ASCII()
	}
	return r
}

// dane is the rule of the TLSA records of the host; nil: there are none that count (RFC 7672 section 2.2).
func (f *Finder) dane(ctx context.Context, d *Domain, h Host) *Rule {
	if f.o.TLSA == nil || !h.Signed || !h.Secure || h.Name.IsLiteral() {
		return nil
	}
	bases := []string{h.Name.ASCII()}
	if h.Alias != "" { // section 2.2.2: first the end of the CNAMEs
		bases = []string{h.Alias, h.Name.ASCII()}
	}
	for _, base := range bases {
		records, secure, err := f.o.TLSA(ctx, "_"+strconv.Itoa(int(h.Port))+"._tcp."+base)
		var dns *net.DNSError
		switch {
		case errors.As(err, &dns) && dns.IsNotFound, err == nil && (!secure || len(records) == 0):
			continue
		case err != nil: // section 2.1.1: whoever can forge failures must not get rid of the records
			return &Rule{Source: ByDANE, Level: DANE, Policy: tlsrpt.Policy{Type: tlsrpt.TLSA, Domain: d.name.ASCII()},
				Result:  tlsrpt.DNSSECInvalid,
				Refused: fmt.Sprintf("the TLSA records of %s cannot be looked up: %s", base, mailbox.Printable(err.Error()))}
		}
		return daneRule(d, h, base, records)
	}
	return nil
}

// daneRule is that of records which are secure.
func daneRule(d *Domain, h Host, base string, records []dane.Record) *Rule {
	r := &Rule{Source: ByDANE, Level: DANE, Records: dane.Usable(records), SNI: base,
		Policy: tlsrpt.Policy{Type: tlsrpt.TLSA, Domain: d.name.ASCII()}}
	for _, record := range records {
		r.Policy.Strings = append(r.Policy.Strings, record.String())
	}
	if len(r.Records) == 0 { // section 2.2: somebody, but encrypted
		r.Level = Encrypt
		return r
	}
	// Section 3.2.2: the base of the records, the domain, and the name before the CNAMEs.
	r.Names = []string{base, d.name.ASCII()}
	if host := h.Name.ASCII(); host != base {
		r.Names = append(r.Names, host)
	}
	return r
}

// addressIn is the address in an address literal.
func addressIn(d mailbox.DomainName) string {
	s := d.ASCII()
	s = s[1 : len(s)-1]
	if len(s) > 5 && (s[:5] == "IPv6:" || s[:5] == "ipv6:") {
		s = s[5:]
	}
	return s
}
