package relaying

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"mxbypass/integration/peer"
)

// withCertificate starts a mail server at an address that becomes a host, with a certificate of an authority.
func withCertificate(t *testing.T, ca *peer.CA, address, name string) (*peer.Remote, *peer.Issued) {
	t.Helper()
	cert, err := ca.Issue(name)
	must(t, err)
	return remote(t, address, &tls.Config{Certificates: []tls.Certificate{cert.Certificate}}), cert
}

// A server that does not fit its TLSA records gets nothing, however it is asked; one that does is known for sure, also to
// messages that need that. Only a resolver that the operator believes is believed.
func TestDANE(t *testing.T) {
	ca, err := peer.NewCA(t.TempDir())
	must(t, err)
	good, cert := withCertificate(t, ca, "198.51.100.60", "mx.good.example")
	bad, _ := withCertificate(t, ca, "198.51.100.61", "mx.bad.example")
	records := []string{
		"good.example. IN MX 10 mx.good.example.", "mx.good.example. IN A 198.51.100.60", peer.TLSA("mx.good.example", cert.Leaf),
		"bad.example. IN MX 10 mx.bad.example.", "mx.bad.example. IN A 198.51.100.61", peer.TLSA("mx.bad.example", cert.Leaf),
	}
	w := start(t, settings{records: records, lookups: "validating = true", queue: `retry_first = "1h"`})
	w.dns.Secure(true)
	w.submit("a@client.test", "b@good.example", text)
	must(t, good.Await(1))
	w.until("the log", func() bool { return strings.Contains(w.Output(), `verified by DANE"`) })
	w.submit("a@client.test", "b@bad.example", text)
	w.until("a deferral", func() bool { return strings.Contains(w.Output(), "msg=deferred") })
	out, _ := w.command("queue", "list")
	if !strings.Contains(out, "b@bad.example") || len(bad.Messages()) != 0 {
		t.Errorf("%d messages, and\n%s", len(bad.Messages()), out)
	}
	// To a resolver that nobody vouches for, or that does not say so, records are just records.
	for _, c := range []struct {
		lookups string
		secure  bool
	}{{"", true}, {"validating = true", false}} {
		before := len(bad.Messages())
		w := start(t, settings{records: records, lookups: c.lookups})
		w.dns.Secure(c.secure)
		w.submit("a@client.test", "b@bad.example", text)
		must(t, bad.Await(before+1))
		if m := bad.Messages()[before]; !m.TLS {
			t.Errorf("%+v: without TLS", c)
		}
	}
}

// policies serves MTA-STS policies at port 443 of an address, until the test ends.
func policies(t *testing.T, ca *peer.CA, address string, texts map[string]string) {
	t.Helper()
	var names []string
	for name := range texts {
		names = append(names, name)
	}
	cert, err := ca.Issue(names...)
	must(t, err)
	host(t, address)
	l, err := net.Listen("tcp", address+":443")
	must(t, err)
	s := &http.Server{
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert.Certificate}},
		Handler: http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
			text, ok := texts[r.Host]
			if !ok || r.URL.Path != "/.well-known/mta-sts.txt" {
				http.NotFound(out, r)
				return
			}
			out.Header().Set("Content-Type", "text/plain")
			fmt.Fprint(out, text)
		}),
	}
	ended := make(chan error, 1)
	go func() { ended <- s.ServeTLS(l, "", "") }()
	t.Cleanup(func() {
		s.Close()
		<-ended
	})
}

// A policy of MTA-STS holds once it was seen, over a start and when its host is gone; one that is only tested stops
// nothing; a server that it does not name gets nothing.
func TestMTASTS(t *testing.T) {
	ca, err := peer.NewCA(t.TempDir())
	must(t, err)
	strangers, err := peer.NewCA(t.TempDir())
	must(t, err)
	policy := func(mode, mx string) string {
		return "version: STSv1\r\nmode: " + mode + "\r\nmx: " + mx + "\r\nmax_age: 86400\r\n"
	}
	const web = "198.51.100.62"
	policies(t, ca, web, map[string]string{
		"mta-sts.good.example": policy("enforce", "mx.good.example"), "mta-sts.bad.example": policy("enforce", "mx.bad.example"),
		"mta-sts.other.example": policy("enforce", "*.elsewhere.example"), "mta-sts.tested.example": policy("testing", "mx.bad.example"),
	})
	good, _ := withCertificate(t, ca, "198.51.100.63", "mx.good.example")
	bad, _ := withCertificate(t, strangers, "198.51.100.64", "mx.bad.example")
	var records []string
	for domain, mx := range map[string]string{"good": "good", "bad": "bad", "other": "good", "tested": "bad"} {
		records = append(records, domain+".example. IN MX 10 mx."+mx+".example.", peer.TXT("_mta-sts."+domain+".example", "v=STSv1; id=1;"),
			"mta-sts."+domain+".example. IN A "+web)
	}
	records = append(records, "mx.good.example. IN A 198.51.100.63", "mx.bad.example. IN A 198.51.100.64")
	s := settings{dir: t.TempDir(), records: records, queue: `retry_first = "1h"`, more: fmt.Sprintf("[transport]\nca_file = %q", ca.File)}
	w := start(t, s)
	w.submit("a@client.test", "b@good.example", text)
	must(t, good.Await(1))
	w.until("the log", func() bool { return strings.Contains(w.Output(), `verified by MTA-STS"`) })
	w.submit("a@client.test", "b@tested.example", text)
	must(t, bad.Await(1))
	for _, domain := range []string{"bad", "other"} {
		w.submit("a@client.test", "b@"+domain+".example", text)
	}
	w.until("deferrals", func() bool { return strings.Count(w.Output(), "msg=deferred") >= 2 })
	if n, m := len(good.Messages()), len(bad.Messages()); n != 1 || m != 1 {
		t.Errorf("%d and %d messages", n, m)
	}
	// The domain's owner has lost its DNS and its host: what was promised holds.
	must(t, w.Close())
	for _, domain := range []string{"good", "bad"} {
		w.dns.Remove("_mta-sts." + domain + ".example")
		w.dns.Remove("mta-sts." + domain + ".example")
	}
	w.run(s)
	w.submit("a@client.test", "c@bad.example", text)
	w.until("a deferral", func() bool { return strings.Contains(w.Output(), "msg=deferred") })
	w.submit("a@client.test", "c@good.example", text)
	must(t, good.Await(2))
	if n := len(bad.Messages()); n != 1 {
		t.Errorf("%d messages without the policy", n)
	}
}
