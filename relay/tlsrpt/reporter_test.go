package tlsrpt

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mxbypass/mailbox"
)

// TestReport: a day is counted over restarts, and reported on once, when it is over, to who wants it.
func TestReport(t *testing.T) {
	w := newWorld(t)
	w.texts["_smtp._tls.d.test"] = []string{"v=TLSRPTv1; rua=mailto:reports@d.test"}
	for range 3 {
		w.Record(sts, nil)
	}
	w.Record(sts, alien)
	w.restart()
	w.Record(sts, alien)
	w.Record(sts, hidden)
	w.Record(noSTS, nil)
	w.Record(others, nil)
	w.after(12*time.Hour - 1)
	w.after(w.delay("2026-03-04"))
	w.restart()
	if len(w.sent) != 0 || strings.Join(w.files(), " ") != "2026-03-04.json" {
		t.Fatalf("%d sent, %v", len(w.sent), w.files())
	}
	w.Record(sts, nil) // of the next day
	w.after(1)
	if len(w.sent) != 1 || w.sent[0].to != "reports@d.test" || strings.Join(w.files(), " ") != "2026-03-05.json" {
		t.Fatalf("%v, %v", w.sent, w.files())
	}
	got, err := json.Marshal(reportIn(t, w.sent[0].mail))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"contact-info":"tls@us.test",` +
		`"date-range":{"end-datetime":"2026-03-04T23:59:59Z","start-datetime":"2026-03-04T00:00:00Z"},` +
		`"organization-name":"Us","policies":[` +
		`{"policy":{"policy-domain":"d.test","policy-type":"no-policy-found"},` +
		`"summary":{"total-failure-session-count":0,"total-successful-session-count":1}},` +
		`{"failure-details":[{"failed-session-count":2,"failure-reason-code":"for another name","receiving-ip":"2001:db8::1",` +
		`"receiving-mx-hostname":"mx.d.test","result-type":"certificate-host-mismatch","sending-mta-ip":"192.0.2.1"},` +
		`{"failed-session-count":1,"receiving-mx-hostname":"mx.d.test","result-type":"starttls-not-supported"}],` +
		`"policy":{"mx-host":["*.d.test"],"policy-domain":"d.test","policy-string":["version: STSv1","mode: enforce"],"policy-type":"sts"},` +
		`"summary":{"total-failure-session-count":3,"total-successful-session-count":3}}],"report-id":"2026-03-04-d.test@mx.us.test"}`
	if string(got) != want {
		t.Errorf("%s", got)
	}
}

// TestRetry: what does not go is tried again, without telling anybody twice, and not for ever.
func TestRetry(t *testing.T) {
	w := newWorld(t)
	for _, domain := range []string{"a.test", "b.test", "c.test"} {
		w.texts["_smtp._tls."+domain] = []string{"v=TLSRPTv1; rua=mailto:reports@" + domain}
		w.Record(Policy{Type: NoPolicy, Domain: domain}, nil)
	}
	w.set(func() { w.broken = true })
	w.after(16 * time.Hour)
	w.set(func() { w.broken = false })
	submit := w.Reporter.o.Submit
	w.Reporter.o.Submit = func(ctx context.Context, m *mailbox.Message, to mailbox.Address) error {
		if to.Domain.ASCII() == "b.test" {
			return errors.New("no way")
		}
		return submit(ctx, m, to)
	}
	w.after(time.Hour)
	w.restart() // with the Submit of before
	w.set(func() { w.refuse = true })
	w.after(time.Hour)
	w.set(func() { w.refuse = false })
	w.after(time.Hour)
	w.after(time.Hour)
	var to []string
	for _, s := range w.sent {
		to = append(to, s.to)
	}
	if got := strings.Join(to, " "); got != "reports@a.test reports@c.test reports@b.test" || len(w.files()) != 0 {
		t.Errorf("%s, %v", got, w.files())
	}
	w.Record(others, nil)
	w.set(func() { w.broken = true })
	w.after(4 * 24 * time.Hour)
	w.after(time.Hour)
	if len(w.files()) != 0 {
		t.Errorf("%v", w.files())
	}
}

// TestUnwritable: a day whose counts cannot be written when it is over is written once they can be.
func TestUnwritable(t *testing.T) {
	w := newWorld(t)
	w.Record(sts, alien)
	away := w.dir + "-away"
	if err := os.Rename(w.dir, away); err != nil {
		t.Fatal(err)
	}
	w.set(func() { w.now = w.now.Add(24 * time.Hour) })
	w.Record(sts, nil)
	for range 2 {
		if err := w.save(); err == nil {
			t.Fatal("written where there is no folder")
		}
	}
	if err := os.Rename(away, w.dir); err != nil {
		t.Fatal(err)
	}
	if err := w.save(); err != nil || strings.Join(w.files(), " ") != "2026-03-04.json 2026-03-05.json" {
		t.Errorf("%v, %v", w.files(), err)
	}
	if d, err := readDay(w.dir, "2026-03-04"); err != nil || len(d.of("d.test")) != 1 || d.of("d.test")[0].Bad != 1 {
		t.Errorf("%+v, %v", d, err)
	}
}

// TestFirst: a day that has ended while nobody counted is reported on soon after the start, not only when it has been
// long.
func TestFirst(t *testing.T) {
	w := newWorld(t)
	w.texts["_smtp._tls.d.test"] = []string{"v=TLSRPTv1; rua=mailto:reports@d.test"}
	w.Record(sts, alien)
	w.options.First = time.Millisecond
	w.set(func() { w.now = w.now.Add(16 * time.Hour) })
	submitted := make(chan struct{})
	submit := w.options.Submit
	w.options.Submit = func(ctx context.Context, m *mailbox.Message, to mailbox.Address) error {
		defer close(submitted)
		return submit(ctx, m, to)
	}
	w.restart()
	<-submitted
}

// TestHTTPS: a report can go to a server, whose certificate must be right.
func TestHTTPS(t *testing.T) {
	w := newWorld(t)
	status := http.StatusOK
	var bodies [][]byte
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != mediaType || r.URL.String() != "/v1?x=y" {
			t.Errorf("%s %s %v, %v", r.Method, r.URL, r.Header, err)
		}
		bodies = append(bodies, body)
		rw.WriteHeader(status)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	w.texts["_smtp._tls.d.test"] = []string{"v=TLSRPTv1; rua=https://example.com:" + port + "/v1?x=y"}
	w.Record(sts, nil)
	w.after(24 * time.Hour) // nobody trusts it
	if len(bodies) != 0 || len(w.files()) != 1 {
		t.Fatalf("%d, %v", len(bodies), w.files())
	}
	w.options.Roots = x509.NewCertPool()
	w.options.Roots.AddCert(server.Certificate())
	w.restart()
	status = http.StatusFound
	w.after(time.Minute)
	status = http.StatusInternalServerError
	w.after(time.Minute)
	if len(bodies) != 2 || len(w.files()) != 1 {
		t.Fatalf("%d, %v", len(bodies), w.files())
	}
	status = http.StatusCreated
	w.after(time.Minute)
	w.after(time.Minute)
	if len(bodies) != 3 || len(w.files()) != 0 || unpack(t, bodies[2])["organization-name"] != "Us" {
		t.Fatalf("%d, %v", len(bodies), w.files())
	}
	w.Reporter.o.AllowLoopback = false // strangers' DNS leads nobody to ourselves
	w.Record(sts, nil)
	w.after(24 * time.Hour)
	if len(bodies) != 3 || len(w.files()) != 1 {
		t.Errorf("%d, %v", len(bodies), w.files())
	}
}

// A file that is damaged costs the counts in it, and nothing else.
func TestDamage(t *testing.T) {
	w := newWorld(t)
	for name, text := range map[string]string{
		"2026-03-04.json": "{", "2026-03-02.json": `{"day":"2026-03-01"}`, "2026-03-01.json": `{"day":"2026-03-01","policies":{"x":null}}`,
		"notes.json": "", "x": "",
	} {
		if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.restart()
	w.Record(sts, nil)
	w.after(time.Minute)
	if got := strings.Join(w.files(), " "); got != "2026-03-04.json notes.json x" {
		t.Errorf("%s", got)
	}
	if d, err := readDay(w.dir, "2026-03-04"); err != nil || len(d.Policies) != 1 {
		t.Errorf("%v, %v", d, err)
	}
	w.options.Dir = filepath.Join(w.dir, "x")
	if r, err := Open(w.options); err == nil {
		t.Error("a file is no folder")
		r.Close()
	}
}

// TestBounds: however much fails, in however many ways.
func TestBounds(t *testing.T) {
	d := newDay(noon)
	for i := range 2 * maxDetails {
		d.record(sts, &Failure{Type: ValidationFailure, Reason: fmt.Sprint(i, strings.Repeat("ü", maxString))})
	}
	c := d.of("d.test")[0]
	if len(c.Details) != maxDetails || c.Bad != 2*maxDetails || len(c.details()[0].Failure.Reason) > maxString {
		t.Errorf("%d details, %d failures", len(c.Details), c.Bad)
	}
	for i := range maxPolicies + 10 {
		d.record(Policy{Type: NoPolicy, Domain: fmt.Sprint(i, ".test")}, nil)
	}
	if len(d.Policies) != maxPolicies {
		t.Errorf("%d policies", len(d.Policies))
	}
	d.record(sts, nil)
	if c.Good != 1 {
		t.Error("what is counted goes on being counted")
	}
	long := Policy{Type: TLSA, Domain: "long.test", Strings: make([]string, 3*maxStrings)}
	if p := bounded(long); len(p.Strings) != maxStrings || len(long.Strings) != 3*maxStrings {
		t.Errorf("%d", len(p.Strings))
	}
}

func TestRecordOfDomain(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"v=TLSRPTv1; rua=mailto:reports@example.com", "reports@example.com"},
		{"v=TLSRPTv1;rua=https://reporting.example.com/v1/tlsrpt;", "https://reporting.example.com/v1/tlsrpt"},
		{"v=TLSRPTv1; rua=mailto:a@b.test , https://c.test/x#y", "a@b.test https://c.test/x"},
		{"v=TLSRPTv1; rua=mailto:a%21b@c.test", "a!b@c.test"},
		{"v=TLSRPTv1; x=y; rua=MAILTO:a@b.test; rua=mailto:c@d.test", "a@b.test"},
		{"v=TLSRPTv1; rua=mailto:1@a.test,mailto:2@a.test,mailto:3@a.test,mailto:4@a.test,mailto:5@a.test,mailto:6@a.test",
			"1@a.test 2@a.test 3@a.test 4@a.test 5@a.test"},
		{"v=TLSRPTv1; rua=http://plain.test/", ""},
		{"v=TLSRPTv1; rua=https://user:secret@c.test/", ""},
		{"v=TLSRPTv1; rua=mailto:nobody,mailto:,https://,:", ""},
		{"v=TLSRPTv1; rua=mailto:a@b.test%0D%0ABcc: x@y.test", ""},
		{"v=TLSRPTv1", ""},
		{"v=TLSRPTv2; rua=mailto:a@b.test", ""},
		{"v=spf1 -all", ""},
		{"", ""},
	} {
		places, _ := parseRecord([]string{c.text})
		var got []string
		for _, p := range places {
			got = append(got, p.String())
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q", c.text, got)
		}
	}
	if places, why := parseRecord([]string{"v=TLSRPTv1; rua=mailto:a@b.test", "v=TLSRPTv1; rua=mailto:c@b.test"}); places != nil || why == nil {
		t.Errorf("%v", places)
	}
}

// FuzzRecord: whatever stands in DNS, what comes out is bounded, and an address or a URL that can be written in a line.
func FuzzRecord(f *testing.F) {
	for _, s := range []string{"v=TLSRPTv1; rua=mailto:a@b.test", "v=TLSRPTv1;rua=https://c.test/x,mailto:%61@b.test", "v=TLSRPTv1;rua=mailto:\"%0a\"@b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		places, _ := parseRecord([]string{s})
		if len(places) > maxURIs {
			t.Fatalf("%d places", len(places))
		}
		for _, p := range places {
			if (p.https == "") == p.mail.IsNull() || strings.ContainsFunc(p.String(), func(r rune) bool { return r < ' ' || r == 0x7f }) {
				t.Fatalf("%q: %q", s, p)
			}
		}
	})
}
