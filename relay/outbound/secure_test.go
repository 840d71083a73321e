package outbound

import (
	"context"
	"crypto/tls"
	"fmt"
	"strings"
	"testing"

	"mxbypass/mailbox"
	"mxbypass/relay/tlspolicy"
	"mxbypass/relay/tlspolicy/dane"
	"mxbypass/routing"
)

const (
	onMX    = "mx.d.test[127.0.0.1]"
	onWorse = "worse.d.test[127.0.0.2]"
)

// TestDANE: TLSA records hold, whoever is in between (RFC 7672).
func TestDANE(t *testing.T) {
	both := func(r ...dane.Record) tlsa { return tlsa{"mx": r, "worse": r} }
	unusable := dane.Record{Usage: 1, Selector: 1, Matching: 1, Data: make([]byte, 32)}
	for _, c := range []security{
		{title: "it fits", sure: true, tlsa: both(ee("mx.d.test")), best: good("mx.d.test"), want: onMX + " TLSv1.3, verified by DANE",
			report: "tlsa d.test good"},
		{title: "neither names nor dates count", sure: true, tlsa: both(ee("other.test expired")), best: good("other.test expired"),
			want: onMX + " TLSv1.3, verified by DANE", report: "tlsa d.test good"},
		{title: "another certificate", sure: true, tlsa: both(ee("mx.d.test")), best: good("mx.d.test expired"),
			want:   "4.7.5 " + onMX + ": TLS handshake: no TLSA record fits the certificate of the server (TLS is required: DANE)",
			report: "tlsa d.test validation-failure"},
		{title: "another host fits", sure: true, tlsa: both(ee("worse.d.test")), best: good("mx.d.test"), worse: good("worse.d.test"),
			want: onWorse + " TLSv1.3, verified by DANE", report: "tlsa d.test validation-failure, tlsa d.test good"},
		{title: "STARTTLS is hidden", sure: true, tlsa: both(ee("mx.d.test")), best: script{},
			want: "does not announce STARTTLS (TLS is required: DANE)", report: "tlsa d.test starttls-not-supported"},
		{title: "an authority", sure: true, tlsa: both(ta()), best: good("mx.d.test"), want: onMX + " TLSv1.3, verified by DANE",
			report: "tlsa d.test good"},
		{title: "an authority, and the domain", sure: true, tlsa: both(ta()), best: good("d.test"),
			want: onMX + " TLSv1.3, verified by DANE", report: "tlsa d.test good"},
		{title: "an authority, and another name", sure: true, tlsa: both(ta()), best: good("other.test"), want: "4.7.5 ",
			report: "tlsa d.test certificate-host-mismatch"},
		{title: "an authority, too late", sure: true, tlsa: both(ta()), best: good("mx.d.test expired"), want: "4.7.5 ",
			report: "tlsa d.test certificate-expired"},
		{title: "of no use", sure: true, tlsa: both(unusable), best: good("other.test"), want: onMX + " TLSv1.3, not verified (DANE)",
			report: "tlsa d.test good"},
		{title: "of no use, and no TLS", sure: true, tlsa: both(unusable), best: script{}, want: "4.7.5 ",
			report: "tlsa d.test starttls-not-supported"},
		{title: "they cannot be looked up", sure: true, tlsa: tlsa{"mx": nil}, best: good("mx.d.test"), worse: good("x.test"),
			want: onWorse + " TLSv1.3", report: "no-policy-found d.test good"},
		{title: "none can be looked up", sure: true, tlsa: tlsa{"mx": nil, "worse": nil}, best: good("mx.d.test"),
			want: "4.7.5 " + onMX + ": the TLSA records of mx.d.test cannot be looked up: ", report: "tlsa d.test dnssec-invalid"},
		{title: "not of DNSSEC", tlsa: both(ee("mx.d.test")), best: good("other.test"), want: onMX + " TLSv1.3",
			report: "no-policy-found d.test good"},
		{title: "no records", sure: true, best: script{}, want: onMX, report: "no-policy-found d.test starttls-not-supported"},
		{title: "before MTA-STS", sure: true, tlsa: both(ee("mx.d.test")), policy: enforce, best: good("mx.d.test expired"),
			want: "4.7.5 ", report: "tlsa d.test validation-failure"},
	} {
		t.Run(c.title, func(t *testing.T) { t.Parallel(); c.run(t) })
	}
}

// TestMTASTS: so do policies, once they are known (RFC 8461).
func TestMTASTS(t *testing.T) {
	alien := strings.Replace(enforce, "mx.d.test", "mx.elsewhere.test", 1)
	for _, c := range []security{
		{title: "it fits", policy: enforce, best: good("mx.d.test"), want: onMX + " TLSv1.3, verified by MTA-STS", report: "sts d.test good"},
		{title: "another name", policy: enforce, best: good("other.test"), want: "(TLS is required: MTA-STS)",
			report: "sts d.test certificate-host-mismatch"},
		{title: "too old", policy: enforce, best: good("mx.d.test expired"), want: "4.7.5 ",
			report: "sts d.test certificate-expired"},
		{title: "STARTTLS is hidden", policy: enforce, best: script{}, want: "4.7.5 " + onMX + ": the server does not announce STARTTLS (TLS is required: MTA-STS)",
			report: "sts d.test starttls-not-supported"},
		{title: "STARTTLS is refused", policy: enforce, best: script{"EHLO": offers, "STARTTLS": "454 4.7.0 no"}, want: "4.7.0 ",
			report: "sts d.test validation-failure"},
		{title: "TLS is broken", policy: enforce, best: script{"EHLO": offers, "STARTTLS": broken}, want: "4.7.5 ",
			report: "sts d.test validation-failure"},
		{title: "no other host will do", policy: enforce, worse: good("worse.d.test"), want: "4.4.1 " + onMX + ": connect"},
		{title: "MX records of somebody else", policy: alien, best: good("mx.d.test"), worse: good("worse.d.test"),
			want: "mx.d.test is not among the servers that the MTA-STS policy of d.test names", report: "sts d.test validation-failure"},
		{title: "testing", policy: inTesting, best: good("mx.d.test"), want: onMX + " TLSv1.3, verified by MTA-STS, testing",
			report: "sts d.test good"},
		{title: "testing, another name", policy: inTesting, best: good("other.test"),
			want: onMX + " TLSv1.3, not verified (MTA-STS, testing)", report: "sts d.test certificate-host-mismatch"},
		{title: "testing, no TLS", policy: inTesting, best: script{}, want: onMX, report: "sts d.test starttls-not-supported"},
		{title: "testing, another host", policy: inTesting, worse: good("worse.d.test"),
			want: onWorse + " TLSv1.3, not verified (MTA-STS, testing)", report: "sts d.test validation-failure"},
		{title: "none any more", policy: "version: STSv1\nmode: none\nmax_age: 1\n", best: script{}, want: onMX,
			report: "no-policy-found d.test starttls-not-supported"},
		{title: "nonsense", policy: "mode: enforce", best: script{}, want: onMX,
			report: "sts d.test sts-policy-invalid, no-policy-found d.test starttls-not-supported"},
	} {
		t.Run(c.title, func(t *testing.T) { t.Parallel(); c.run(t) })
	}
}

// TestWishes: the operator comes first.
func TestWishes(t *testing.T) {
	wish := func(l tlspolicy.Level, names ...string) *tlspolicy.Wish {
		return &tlspolicy.Wish{Level: l, Names: names}
	}
	sts := &tlspolicy.Wish{Level: tlspolicy.Verify, MTASTS: true}
	fits := tlsa{"mx": {ee("mx.d.test")}}
	for _, c := range []security{
		{title: "none", wish: wish(tlspolicy.None), policy: enforce, best: good("mx.d.test"), want: onMX},
		{title: "may", wish: wish(tlspolicy.May), policy: enforce, best: good("other.test"),
			want: onMX + " TLSv1.3, not verified (destination, may)", report: "no-policy-found d.test good"},
		{title: "encrypt", wish: wish(tlspolicy.Encrypt), best: good("other.test"),
			want: onMX + " TLSv1.3, not verified (destination, encrypt)", report: "no-policy-found d.test good"},
		{title: "encrypt, and no TLS", wish: wish(tlspolicy.Encrypt), best: script{}, want: "(TLS is required: destination, encrypt)",
			report: "no-policy-found d.test starttls-not-supported"},
		{title: "verify", wish: wish(tlspolicy.Verify), best: good("mx.d.test"), want: onMX + " TLSv1.3, verified as configured",
			report: "no-policy-found d.test good"},
		{title: "verify, the domain", wish: wish(tlspolicy.Verify), best: good("d.test"), want: onMX + " TLSv1.3, verified as configured",
			report: "no-policy-found d.test good"},
		{title: "verify, another name", wish: wish(tlspolicy.Verify), best: good("mx.other.test"), want: "4.7.5 ",
			report: "no-policy-found d.test certificate-host-mismatch"},
		{title: "verify, a name", wish: wish(tlspolicy.Verify, "mx.other.test"), best: good("mx.other.test"),
			want: onMX + " TLSv1.3, verified as configured", report: "no-policy-found d.test good"},
		{title: "verify, the host is not among them", wish: wish(tlspolicy.Verify, "mx.other.test"), best: good("mx.d.test"), want: "4.7.5 ",
			report: "no-policy-found d.test certificate-host-mismatch"},
		{title: "sts, testing", wish: sts, policy: inTesting, best: good("other.test"), want: "(TLS is required: MTA-STS)",
			report: "sts d.test certificate-host-mismatch"},
		{title: "sts, none", wish: sts, best: good("mx.d.test"), want: "the configuration wants a policy of MTA-STS, and none is known"},
		{title: "dane", sure: true, tlsa: fits, wish: wish(tlspolicy.DANE), best: good("mx.d.test"), want: onMX + " TLSv1.3, verified by DANE",
			report: "tlsa d.test good"},
		{title: "dane, none", sure: true, wish: wish(tlspolicy.DANE), best: good("mx.d.test"),
			want: "the configuration wants DANE, and there are no TLSA records"},
		{title: "dane, not of DNSSEC", tlsa: fits, wish: wish(tlspolicy.DANE), best: good("mx.d.test"), want: "4.7.5 "},
		{title: "none, and DANE", sure: true, tlsa: fits, wish: wish(tlspolicy.None), best: script{}, want: onMX},
	} {
		t.Run(c.title, func(t *testing.T) { t.Parallel(); c.run(t) })
	}
}

// TestNeeds: what a message wants of its way (RFC 8689).
func TestNeeds(t *testing.T) {
	fits := tlsa{"mx": {ee("mx.d.test")}}
	for _, c := range []security{
		{title: "DANE", sure: true, tlsa: fits, best: strict("mx.d.test"), want: onMX + " TLSv1.3, verified by DANE"},
		{title: "MTA-STS", policy: inTesting, best: strict("mx.d.test"), want: onMX + " TLSv1.3, verified by MTA-STS"},
		{title: "MTA-STS, another name", policy: inTesting, best: strict("other.test"), want: "5.7.10 "},
		{title: "DNSSEC", sure: true, best: strict("mx.d.test"), want: onMX + " TLSv1.3, verified for REQUIRETLS"},
		{title: "configured", wish: &tlspolicy.Wish{Level: tlspolicy.Verify}, best: strict("mx.d.test"),
			want: onMX + " TLSv1.3, verified as configured"},
		{title: "configured to be weak", sure: true, wish: &tlspolicy.Wish{Level: tlspolicy.None}, best: strict("mx.d.test"),
			want: onMX + " TLSv1.3, verified for REQUIRETLS"},
		{title: "nobody knows whose it is", best: strict("mx.d.test"), worse: strict("worse.d.test"),
			want: "5.7.30 " + onMX + ": REQUIRETLS needs a server that is known for sure"},
		{title: "no promise", sure: true, best: good("mx.d.test"), worse: good("worse.d.test"),
			want: "5.7.30 " + onMX + ": the message needs REQUIRETLS, which the server does not offer"},
		{title: "a promise in the clear", sure: true, best: script{"EHLO": "250-mx.d.test\r\n250 REQUIRETLS"},
			worse: strict("other.test"), want: "5.7.10 "},
		{title: "the next one does", sure: true, best: good("mx.d.test"), worse: strict("worse.d.test"),
			want: onWorse + " TLSv1.3, verified for REQUIRETLS"},
		{title: "the next one may", sure: true, best: good("mx.d.test"), want: "4.7.30 " + onMX},
		{title: "lost", sure: true, best: script{"EHLO": offers, "STARTTLS": drop}, want: "4.7.5 " + onMX},
	} {
		c.need = routing.NeedTLS
		t.Run(c.title, func(t *testing.T) { t.Parallel(); c.run(t) })
	}
	for _, c := range []security{
		{title: "DANE does not count", sure: true, tlsa: tlsa{"mx": {ee("mx.d.test")}}, best: script{}, want: onMX},
		{title: "MTA-STS does not count", policy: enforce, best: good("other.test"), want: onMX + " TLSv1.3"},
		{title: "nor do its hosts", policy: strings.Replace(enforce, "mx.d", "x.d", 1), best: good("other.test"), want: onMX + " TLSv1.3"},
		{title: "the operator does", wish: &tlspolicy.Wish{Level: tlspolicy.Encrypt}, best: script{}, want: "4.7.5 "},
	} {
		c.need = routing.NeedDelivery
		t.Run(c.title, func(t *testing.T) { t.Parallel(); c.run(t) })
	}
}

// A report on mail that had to stay under TLS says so where that can be, and arrives where it cannot.
func TestRequireTLSReport(t *testing.T) {
	for _, c := range []struct {
		title string
		sure  bool
		best  script
		says  bool
	}{
		{"by DANE", true, strict("mx.d.test"), true},
		{"no promise", true, good("mx.d.test"), false},
		{"nobody knows who it is", false, strict("mx.d.test"), false},
		{"in the clear", false, script{}, false},
	} {
		t.Run(c.title, func(t *testing.T) {
			w := newWorld(t, Options{})
			records := tlsa{fmt.Sprintf("_%d._tcp.mx.d.test", w.port): {ee("mx.d.test")}}
			w.o.Policies, w.dns.sure = tlspolicy.New(tlspolicy.Options{TLSA: records.lookup}), c.sure
			s := w.serve("127.0.0.1", always(c.best))
			m := mailTo("<a@d.test>")
			m.Message.Reverse, m.Message.RequireTLS = mailbox.Address{}, true
			if f := w.connect(hopMX("d.test")).Send(t.Context(), m)[0].Failure; f != nil {
				t.Error(f)
			}
			if strings.Contains(s.heard(), "MAIL FROM:<> REQUIRETLS") != c.says {
				t.Error(s.heard())
			}
		})
	}
}

// What needs another way has another connection.
func TestNeedsDoNotShare(t *testing.T) {
	w := newWorld(t, Options{})
	_, roots := certificate()
	w.o.Policies, w.dns.sure = tlspolicy.New(tlspolicy.Options{Roots: roots}), true
	s := w.serve("127.0.0.1", always(strict("mx.d.test")))
	for i, c := range []struct {
		need     routing.Need
		sessions int
	}{{routing.NeedPolicy, 1}, {routing.NeedTLS, 2}, {routing.NeedDelivery, 3}, {routing.NeedTLS, 3}, {routing.NeedPolicy, 3}} {
		h := hopMX("d.test")
		h.Need = c.need
		conn, err := w.Connect(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		m := mailTo("<a@d.test>")
		m.Message.RequireTLS = c.need == routing.NeedTLS
		if f := conn.Send(t.Context(), m)[0].Failure; f != nil {
			t.Error(f)
		}
		conn.Release()
		if n, _ := s.count(); n != c.sessions {
			t.Errorf("%d: %d sessions", i, n)
		}
	}
	if n := w.dns.questions(); n != 3 {
		t.Errorf("%d questions: the plan is one", n)
	}
}

// A server that is named, and the smarthost: by their own names, and by what is configured.
func TestNamedServers(t *testing.T) {
	_, roots := certificate()
	for _, c := range []struct {
		title string
		hop   routing.Hop
		need  routing.Need
		sure  bool
		tlsa  []dane.Record // nil: they cannot be looked up
		smart bool          // the smarthost is made to prove its name
		level *tlspolicy.Wish
		with  script
		want  string
	}{
		{title: "anybody", hop: hop("smtp://mx.d.test"), tlsa: []dane.Record{}, with: good("other.test"), want: "TLSv1.3"},
		{title: "DANE", hop: hop("smtp://mx.d.test"), sure: true, tlsa: []dane.Record{ee("mx.d.test")}, with: good("mx.d.test"),
			want: "TLSv1.3, verified by DANE"},
		{title: "DANE, another", hop: hop("smtp://mx.d.test"), sure: true, tlsa: []dane.Record{ee("mx.d.test")}, with: good("d.test"),
			want: "no TLSA record fits"},
		{title: "configured", hop: hop("smtp://mx.d.test"), tlsa: []dane.Record{}, level: &tlspolicy.Wish{Level: tlspolicy.Verify},
			with: good("mx.d.test"), want: "TLSv1.3, verified as configured"},
		{title: "configured, another", hop: hop("smtp://mx.d.test"), tlsa: []dane.Record{}, level: &tlspolicy.Wish{Level: tlspolicy.Verify},
			with: good("other.test"), want: "TLS is required: destination, verify"},
		{title: "MTA-STS is for domains", hop: hop("smtp://mx.d.test"), tlsa: []dane.Record{},
			level: &tlspolicy.Wish{Level: tlspolicy.Verify, MTASTS: true}, with: good("mx.d.test"), want: "none is known"},
		{title: "REQUIRETLS", hop: hop("smtp://mx.d.test"), need: routing.NeedTLS, tlsa: []dane.Record{}, with: strict("mx.d.test"),
			want: "TLSv1.3, verified for REQUIRETLS"},
		{title: "REQUIRETLS, another", hop: hop("smtp://mx.d.test"), need: routing.NeedTLS, tlsa: []dane.Record{}, with: strict("other.test"),
			want: "TLS is required: REQUIRETLS"},
		{title: "an address", hop: hop("mx:[127.0.0.1]"), need: routing.NeedTLS, tlsa: []dane.Record{}, with: strict("mx.d.test"),
			want: "TLS is required: REQUIRETLS"},
		{title: "smarthost", hop: routing.Hop{Kind: routing.HopSmarthost}, smart: true, sure: true, with: good("mx.d.test"),
			want: "TLSv1.3, verified as configured"},
		{title: "smarthost, REQUIRETLS", hop: routing.Hop{Kind: routing.HopSmarthost}, need: routing.NeedTLS, smart: true, with: strict("mx.d.test"),
			want: "TLSv1.3, verified as configured"},
		{title: "smarthost, no promise", hop: routing.Hop{Kind: routing.HopSmarthost}, need: routing.NeedTLS, smart: true, with: good("mx.d.test"),
			want: "which the server does not offer"},
		{title: "any smarthost, REQUIRETLS", hop: routing.Hop{Kind: routing.HopSmarthost}, need: routing.NeedTLS, tlsa: []dane.Record{},
			with: strict("mx.d.test"), want: "TLSv1.3, verified for REQUIRETLS"},
		{title: "any smarthost, DANE that cannot be known", hop: routing.Hop{Kind: routing.HopSmarthost}, sure: true, with: good("mx.d.test"),
			want: "cannot be looked up"},
	} {
		t.Run(c.title, func(t *testing.T) {
			smart := &Smarthost{}
			w := newWorld(t, Options{Smarthost: smart})
			*smart = Smarthost{Host: mailbox.NextHop{Host: name("mx.d.test"), Port: w.port}}
			if c.smart {
				smart.TLS = &tls.Config{RootCAs: roots}
			}
			o := tlspolicy.Options{Roots: roots, TLSA: tlsa{fmt.Sprintf("_%d._tcp.mx.d.test", w.port): c.tlsa}.lookup}
			if c.level != nil {
				o.Wishes = map[mailbox.DomainName]tlspolicy.Wish{name("mx.d.test"): *c.level}
			}
			w.o.Policies, w.dns.sure = tlspolicy.New(o), c.sure
			w.serve("127.0.0.1", always(c.with))
			h := c.hop
			h.Need = c.need
			if h.Kind == routing.HopServer {
				h.Server.Port = w.port
			}
			conn, err := w.Connect(t.Context(), h)
			var got string
			if err != nil {
				got = err.Error()
			} else {
				got = conn.TLS()
				conn.Release()
			}
			if got != c.want && (err == nil || !strings.Contains(got, c.want)) {
				t.Errorf("%s", got)
			}
		})
	}
}

// A plan is the questions of MX and addresses and nothing else, whatever a domain does not have.
func TestPlainCostsNothing(t *testing.T) {
	w := newWorld(t, Options{})
	asked := 0
	w.o.Policies = tlspolicy.New(tlspolicy.Options{TLSA: func(context.Context, string) ([]dane.Record, bool, error) {
		asked++
		return nil, true, nil
	}})
	w.serve("127.0.0.1", always(nil))
	for range 10 {
		conn, err := w.Connect(t.Context(), hopMX("d.test"))
		if err != nil {
			t.Fatal(err)
		}
		conn.smtp.Quit()
		conn.Release()
	}
	if n := w.dns.questions(); n != 3 || asked != 0 {
		t.Errorf("%d questions, %d of TLSA records where nothing is signed", n, asked)
	}
}
