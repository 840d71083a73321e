package peer

import (
	"errors"
	"net"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// DNS is a server that answers as the test says, and lets it change its mind.
type DNS struct {
	Addr string

	server *dns.Server
	ended  chan error

	mu      sync.Mutex
	records map[string][]dns.RR // by name, folded, with its final dot
	broken  map[string]int      // names, or "name TYPE", that are answered with this RCODE
	asked   map[string]int      // by "name TYPE"
	secure  bool                // answers say that DNSSEC was checked
}

// StartDNS serves on a UDP port of 127.0.0.1 the records, each written as in a zone file ("example.org. 60 IN MX 10 mx").
func StartDNS(records ...string) (*DNS, error) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d := &DNS{Addr: conn.LocalAddr().String(), ended: make(chan error, 1), records: map[string][]dns.RR{},
		broken: map[string]int{}, asked: map[string]int{}}
	for _, r := range records {
		if err := d.Add(r); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	started := make(chan struct{})
	d.server = &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(d.answer), NotifyStartedFunc: func() { close(started) }}
	go func() { d.ended <- d.server.ActivateAndServe() }()
	<-started
	return d, nil
}

// Close ends the server.
func (d *DNS) Close() error {
	if err := d.server.Shutdown(); err != nil {
		return err
	}
	return <-d.ended
}

// Add adds a record.
func (d *DNS) Add(record string) error {
	rr, err := dns.NewRR(record)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	name := dns.CanonicalName(rr.Header().Name)
	d.records[name] = append(d.records[name], rr)
	return nil
}

// Remove removes all records of a name.
func (d *DNS) Remove(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.records, dns.CanonicalName(name))
}

// Break answers a name, or a name with a type ("example.org. MX"), with an error from now on; with dns.RcodeSuccess it is
// well again.
func (d *DNS) Break(question string, rcode int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name, kind, _ := strings.Cut(question, " ")
	key := strings.TrimSpace(dns.CanonicalName(name) + " " + kind)
	if d.broken[key] = rcode; rcode == dns.RcodeSuccess {
		delete(d.broken, key)
	}
}

// Asked tells how often a question was put, such as "example.org. MX".
func (d *DNS) Asked(question string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked[question]
}

// Secure has every answer say from now on whether DNSSEC was checked, as a validating resolver does.
func (d *DNS) Secure(yes bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.secure = yes
}

// Texts gives the TXT record of every name that has one, for programs that take a table instead of a resolver.
func (d *DNS) Texts() map[string]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := map[string]string{}
	for name, records := range d.records {
		for _, rr := range records {
			if txt, ok := rr.(*dns.TXT); ok {
				all[name] = strings.Join(txt.Txt, "")
			}
		}
	}
	return all
}

func (d *DNS) answer(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(q)
	m.Authoritative, m.RecursionAvailable = true, true
	d.mu.Lock()
	m.AuthenticatedData = d.secure
	d.mu.Unlock()
	if len(q.Question) == 1 {
		d.fill(m, q.Question[0])
	}
	_ = w.WriteMsg(m) // who asked has gone
}

func (d *DNS) fill(m *dns.Msg, q dns.Question) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name, kind := dns.CanonicalName(q.Name), dns.TypeToString[q.Qtype]
	d.asked[name+" "+kind]++
	for _, key := range []string{name, name + " " + kind} {
		if rcode, ok := d.broken[key]; ok {
			m.Rcode = rcode
			return
		}
	}
	for range 8 { // aliases
		for _, rr := range d.records[name] {
			if t := rr.Header().Rrtype; t == q.Qtype || t == dns.TypeCNAME {
				m.Answer = append(m.Answer, rr)
			}
		}
		alias := ""
		for _, rr := range d.records[name] {
			if c, ok := rr.(*dns.CNAME); ok {
				alias = dns.CanonicalName(c.Target)
			}
		}
		if alias == "" {
			break
		}
		name = alias
	}
	if len(m.Answer) > 0 {
		return
	}
	if len(d.records[name]) == 0 {
		m.Rcode = dns.RcodeNameError
	}
	soa, _ := dns.NewRR(". 5 IN SOA ns.test. hostmaster.test. 1 60 60 60 5")
	m.Ns = []dns.RR{soa}
}
