package mx

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/miekg/dns"

	"mxbypass/mailbox"
)

// maxAliases bounds a chain of CNAMEs inside one message.
const maxAliases = 16

// What makes an answer useless; another server may know better.
var (
	errLame      = errors.New("it is not responsible for the domain and does not ask others")
	errAliasLoop = errors.New("a loop or an endless chain of aliases (CNAME)")
)

// rcodeError is an answer that is an error.
type rcodeError int

func (e rcodeError) Error() string {
	if name, ok := dns.RcodeToString[int(e)]; ok {
		return name
	}
	return fmt.Sprintf("RCODE %d", int(e))
}

// reply is what one message says about one question.
type reply struct {
	outcome       Outcome
	records       []dns.RR // of the type that was asked, at the end of the chain of aliases
	name          string   // the end of that chain, folded and with its final dot
	ttl           time.Duration
	authoritative bool
	secure        bool // the AD bit, of whomever it comes from
	// unfinished: the chain of aliases ends at a name of which the message says nothing.
	unfinished bool
}

// interpret reads a message as the answer to a question. It trusts nothing in it. The error means that this server could
// not answer.
func interpret(m *dns.Msg, question dns.Question) (reply, error) {
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return reply{}, rcodeError(m.Rcode)
	}
	r := reply{name: dns.CanonicalName(question.Name), ttl: math.MaxInt64, authoritative: m.Authoritative,
		secure: m.AuthenticatedData}
	aliased, err := r.followAliases(m.Answer)
	if err != nil {
		return reply{}, err
	}
	for _, rr := range m.Answer {
		if isRecord(rr, r.name, question.Qtype) {
			r.records = append(r.records, rr)
			r.ttl = min(r.ttl, ttl(rr))
		}
	}
	if len(r.records) > 0 && m.Rcode == dns.RcodeSuccess {
		r.outcome = Found
		return r, nil
	}
	r.records = nil
	soa, referral := authority(m.Ns)
	switch {
	case m.Rcode == dns.RcodeNameError: // RFC 6604: it is about the end of the chain
		r.outcome = NXDomain
	case soa == nil && aliased:
		r.unfinished = true
		return r, nil
	case soa == nil && (referral || !m.Authoritative && !m.RecursionAvailable):
		return reply{}, errLame
	default:
		r.outcome = NoData
	}
	if soa == nil {
		r.ttl = 0 // RFC 2308 section 5: must not be kept
		return r, nil
	}
	r.ttl = min(r.ttl, ttl(soa), seconds(soa.Minttl))
	return r, nil
}

// followAliases walks the CNAMEs of an answer from r.name to the end of the chain.
func (r *reply) followAliases(answer []dns.RR) (aliased bool, err error) {
	for range maxAliases {
		alias := aliasOf(answer, r.name)
		if alias == nil {
			return aliased, nil
		}
		aliased = true
		r.name = dns.CanonicalName(alias.Target)
		r.ttl = min(r.ttl, ttl(alias))
	}
	return true, errAliasLoop
}

func aliasOf(answer []dns.RR, name string) *dns.CNAME {
	for _, rr := range answer {
		if alias, ok := rr.(*dns.CNAME); ok && isRecord(rr, name, dns.TypeCNAME) {
			return alias
		}
	}
	return nil
}

func isRecord(rr dns.RR, name string, qtype uint16) bool {
	h := rr.Header()
	return h.Class == dns.ClassINET && h.Rrtype == qtype && dns.CanonicalName(h.Name) == name
}

// authority looks for what RFC 2308 section 2 tells apart: a SOA record says "no", name servers without one say "ask them".
func authority(section []dns.RR) (soa *dns.SOA, referral bool) {
	for _, rr := range section {
		switch rr := rr.(type) {
		case *dns.SOA:
			return rr, false
		case *dns.NS:
			referral = true
		}
	}
	return nil, referral
}

func ttl(rr dns.RR) time.Duration { return seconds(rr.Header().Ttl) }

// seconds reads a TTL; one with the highest bit set is zero (RFC 2181 section 8).
func seconds(n uint32) time.Duration {
	if n > math.MaxInt32 {
		return 0
	}
	return time.Duration(n) * time.Second
}

// hostName reads a name of an answer as a host name; zero when it is none.
func hostName(name string) mailbox.DomainName {
	d, err := mailbox.ParseDomainName(name)
	if err != nil || strings.ContainsRune(name, '\\') {
		return mailbox.DomainName{}
	}
	return d
}
