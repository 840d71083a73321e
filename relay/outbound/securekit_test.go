package outbound

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"mxbypass/mailbox"
	"mxbypass/relay/tlspolicy"
	"mxbypass/relay/tlspolicy/dane"
	"mxbypass/relay/tlspolicy/mtasts"
	"mxbypass/relay/tlsrpt"
	"mxbypass/routing"
)

// recorder keeps what is reported: the kind of policy and the result, once each.
type recorder struct {
	mu   sync.Mutex
	seen []string
}

func (r *recorder) Record(p tlsrpt.Policy, f *tlsrpt.Failure) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := string(p.Type) + " " + p.Domain + " good"
	if f != nil {
		s = string(p.Type) + " " + p.Domain + " " + string(f.Type)
		if talked(f.Type) && !f.SendingIP.IsValid() {
			s += " from nowhere"
		}
	}
	if !slices.Contains(r.seen, s) {
		r.seen = append(r.seen, s)
	}
}

// talked tells whether a result is always one of a connection that was made.
func talked(t tlsrpt.ResultType) bool {
	return slices.Contains([]tlsrpt.ResultType{tlsrpt.StartTLSNotSupported, tlsrpt.CertificateHostMismatch,
		tlsrpt.CertificateExpired, tlsrpt.CertificateNotTrusted}, t)
}

// tlsa are the records of names; a nil list fails.
type tlsa map[string][]dane.Record

func (z tlsa) lookup(_ context.Context, name string) ([]dane.Record, bool, error) {
	records, ok := z[name]
	switch {
	case !ok:
		return nil, true, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	case records == nil:
		return nil, false, &net.DNSError{Err: "SERVFAIL", Name: name, IsTemporary: true}
	}
	return records, true, nil
}

// ee is a record of the certificate itself, ta one of its authority.
func ee(who string) dane.Record {
	sum := sha256.Sum256(issued(who).Certificate[0])
	return dane.Record{Usage: 3, Selector: 0, Matching: 1, Data: sum[:]}
}

func ta() dane.Record {
	authority, _ := certificate()
	sum := sha256.Sum256(authority.Certificate[0])
	return dane.Record{Usage: 2, Selector: 0, Matching: 1, Data: sum[:]}
}

// policies is a cache for d.test, whose server has this policy; "" is none.
func policies(t *testing.T, c *clock, text string) *mtasts.Cache {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, text)
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{issued("mta-sts.d.test")}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	_, roots := certificate()
	cache, err := mtasts.Open(mtasts.Options{
		Dir: t.TempDir(), Roots: roots, Port: uint16(server.Listener.Addr().(*net.TCPAddr).Port), AllowLoopback: true, Now: c.Now,
		TXT: func(_ context.Context, name string) ([]string, error) {
			if name != "_mta-sts.d.test" || text == "" {
				return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
			}
			return []string{"v=STSv1; id=1"}, nil
		},
		Addr: func(context.Context, string) ([]netip.Addr, error) { return []netip.Addr{ip("127.0.0.1")}, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cache.Close(); err != nil {
			t.Error(err)
		}
	})
	return cache
}

const (
	offers = "250-mx.d.test\r\n250 STARTTLS"
	keeps  = "250-mx.d.test\r\n250 REQUIRETLS"
)

// good is a server with TLS and a certificate for a name.
func good(who string) script {
	return script{"EHLO": offers, "STARTTLS": handshake, "certificate": who}
}

// strict is one that promises to keep mail under TLS.
func strict(who string) script {
	return script{"EHLO": offers, "STARTTLS": handshake, "EHLO/TLS": keeps, "certificate": who}
}

const (
	enforce   = "version: STSv1\nmode: enforce\nmx: mx.d.test\nmax_age: 600000\n"
	inTesting = "version: STSv1\nmode: testing\nmx: mx.d.test\nmax_age: 600000\n"
)

// security is one destination: how it presents itself, what a message needs, and what comes of it.
type security struct {
	title  string
	sure   bool   // DNSSEC
	tlsa   tlsa   // of "mx" and "worse"
	policy string // of MTA-STS
	wish   *tlspolicy.Wish
	need   routing.Need
	best   script // of mx.d.test; nil: nobody is there
	worse  script
	want   string // host and TLS, or the code and the words of the failure
	report string // what is reported, in order, with commas
}

func (c *security) run(t *testing.T) {
	reports := &recorder{}
	w := newWorld(t, Options{Reports: reports})
	_, roots := certificate()
	o := tlspolicy.Options{Roots: roots, MTASTS: policies(t, w.clock, c.policy)}
	records := tlsa{}
	for host, r := range c.tlsa {
		records[fmt.Sprintf("_%d._tcp.%s.d.test", w.port, host)] = r
	}
	o.TLSA = records.lookup
	if c.wish != nil {
		o.Wishes = map[mailbox.DomainName]tlspolicy.Wish{name("d.test"): *c.wish}
	}
	w.dns.sure = c.sure
	w.o.Policies = tlspolicy.New(o)
	var servers []*server
	if c.best != nil {
		servers = append(servers, w.serve("127.0.0.1", always(c.best)))
	}
	if c.worse != nil {
		servers = append(servers, w.serve("127.0.0.2", always(c.worse)))
	}
	h := hopMX("d.test")
	h.Need = c.need
	conn, err := w.Connect(t.Context(), h)
	var got string
	var f *Failure
	if errors.As(err, &f) {
		got = fmt.Sprintf("%d.%d.%d %s", f.Enhanced[0], f.Enhanced[1], f.Enhanced[2], f.Error())
		if f.Permanent != (f.Enhanced[0] == 5) || f.Scope != ScopeDestination || strings.Contains(f.Text, "TLS is required") && f.TLS == "" {
			t.Errorf("%+v", f)
		}
		for _, s := range servers {
			if strings.Contains(s.heard(), "MAIL") {
				t.Errorf("%s", s.heard())
			}
		}
	} else {
		got = strings.TrimSuffix(conn.Host()+" "+conn.TLS(), " ")
		m := mailTo("<a@d.test>")
		m.Message.RequireTLS = c.need == routing.NeedTLS
		for _, r := range conn.Send(t.Context(), m) {
			if r.Failure != nil {
				t.Errorf("%v", r.Failure)
			}
		}
		heard := ""
		for _, s := range servers {
			heard += s.heard()
		}
		if strings.Contains(heard, " REQUIRETLS") != m.Message.RequireTLS {
			t.Errorf("%s", heard)
		}
		conn.Release()
	}
	if conn == nil != !strings.HasPrefix(c.want, "mx") && conn == nil != !strings.HasPrefix(c.want, "worse") || !strings.Contains(got, c.want) {
		t.Errorf("%s\nwant %s", got, c.want)
	}
	if seen := strings.Join(reports.seen, ", "); seen != c.report {
		t.Errorf("reported: %s\nwant: %s", seen, c.report)
	}
}
