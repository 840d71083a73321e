package relaying

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mxbypass/integration/peer"
)

// reported is a report on TLS (RFC 8460 section 4.4), as far as it is looked at.
type reported struct {
	Organization string `json:"organization-name"`
	Range        struct {
		Start time.Time `json:"start-datetime"`
		End   time.Time `json:"end-datetime"`
	} `json:"date-range"`
	Contact  string `json:"contact-info"`
	Policies []struct {
		Policy struct {
			Type   string   `json:"policy-type"`
			String []string `json:"policy-string"`
			Domain string   `json:"policy-domain"`
			MX     []string `json:"mx-host"`
		} `json:"policy"`
		Summary struct {
			Good int `json:"total-successful-session-count"`
			Bad  int `json:"total-failure-session-count"`
		} `json:"summary"`
		Details []struct {
			Type      string `json:"result-type"`
			SendingIP string `json:"sending-mta-ip"`
			MX        string `json:"receiving-mx-hostname"`
			IP        string `json:"receiving-ip"`
			Count     int    `json:"failed-session-count"`
		} `json:"failure-details"`
	} `json:"policies"`
}

// unpacked gives the report in a message, which must be as RFC 8460 section 5.3 has it, and the name of its file.
func unpacked(t *testing.T, content string) (r reported, file string) {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(content))
	must(t, err)
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || params["report-type"] != "tlsrpt" {
		t.Fatalf("%s %v %v", kind, params, err)
	}
	parts := multipart.NewReader(m.Body, params["boundary"])
	_, err = parts.NextPart() // for people
	must(t, err)
	part, err := parts.NextPart()
	must(t, err)
	if kind := part.Header.Get("Content-Type"); kind != "application/tlsrpt+gzip" {
		t.Errorf("the report is %s", kind)
	}
	zipped, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, part))
	must(t, err)
	z, err := gzip.NewReader(bytes.NewReader(zipped))
	must(t, err)
	must(t, json.NewDecoder(z).Decode(&r))
	return r, part.FileName()
}

// yesterday makes the counts of today those of the day before yesterday: a day that is over for as long as a report may
// take.
func yesterday(t *testing.T, dir string) (day string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "tlsrpt", "*.json"))
	must(t, err)
	if len(files) == 0 {
		t.Fatal("nothing was counted")
	}
	for _, f := range files { // two, if this is midnight
		raw, err := os.ReadFile(f)
		must(t, err)
		today := strings.TrimSuffix(filepath.Base(f), ".json")
		at, err := time.Parse(time.DateOnly, today)
		must(t, err)
		day = at.AddDate(0, 0, -2).Format(time.DateOnly)
		must(t, os.WriteFile(filepath.Join(dir, "tlsrpt", day+".json"), bytes.ReplaceAll(raw, []byte(today), []byte(day)), 0o600))
		must(t, os.Remove(f))
	}
	return day
}

// What failed on a day is told to the domain whose policy it was under: the relay that comes up after the end of that day
// reports, once, by signed mail to where the domain wants it.
func TestTLSReport(t *testing.T) {
	ca, err := peer.NewCA(t.TempDir())
	must(t, err)
	strangers, err := peer.NewCA(t.TempDir())
	must(t, err)
	const web = "198.51.100.70"
	policies(t, ca, web, map[string]string{
		"mta-sts.half.example": "version: STSv1\r\nmode: enforce\r\nmx: *.half.example\r\nmax_age: 86400\r\n",
	})
	good, _ := withCertificate(t, ca, "198.51.100.71", "mx1.half.example")
	bad, _ := withCertificate(t, strangers, "198.51.100.72", "mx2.half.example")
	reports := remote(t, "198.51.100.73", nil)
	s := settings{
		dir: t.TempDir(),
		records: []string{
			"half.example. IN MX 20 mx1.half.example.", "half.example. IN MX 10 mx2.half.example.",
			"mx1.half.example. IN A 198.51.100.71", "mx2.half.example. IN A 198.51.100.72",
			peer.TXT("_mta-sts.half.example", "v=STSv1; id=1;"), "mta-sts.half.example. IN A " + web,
			peer.TXT("_smtp._tls.half.example", "v=TLSRPTv1; rua=mailto:tls@reports.example"),
			"reports.example. IN MX 10 mx.reports.example.", "mx.reports.example. IN A 198.51.100.73",
		},
		more: fmt.Sprintf("[transport]\nca_file = %q\ntlsrpt_contact = \"postmaster@exemple.org\"\ntlsrpt_organization = \"Example\"", ca.File),
	}
	w := start(t, s)
	created, ok := w.command("dkim", "create", "exemple.org", "--type", "rsa", "--json")
	var key struct{ Name, Record string }
	if err := json.Unmarshal([]byte(created), &key); err != nil || !ok {
		t.Fatal(created, err)
	}
	must(t, w.dns.Add(peer.TXT(key.Name, key.Record)))
	// The best server has a certificate of nobody's: it is passed over, and the next one has the message.
	w.submit("foobar@exemple.org", "a@half.example", text)
	must(t, good.Await(1))
	w.empty()
	must(t, w.Close())
	day := yesterday(t, filepath.Join(w.dir, "state"))
	w.run(s)
	must(t, reports.Await(1))
	w.empty()
	got := reports.Messages()[0]
	if got.From != "postmaster@exemple.org" || strings.Join(got.To, " ") != "tls@reports.example" {
		t.Errorf("from %s to %s", got.From, got.To)
	}
	r, file := unpacked(t, got.Content)
	if !strings.HasPrefix(file, "mx.host.test!half.example!") || !strings.HasSuffix(file, ".json.gz") {
		t.Errorf("file %s", file)
	}
	if from := r.Range.Start.Format(time.DateOnly); from != day || r.Range.End.Sub(r.Range.Start) != 24*time.Hour-time.Second ||
		r.Organization != "Example" || r.Contact != "postmaster@exemple.org" {
		t.Errorf("%+v", r)
	}
	if len(r.Policies) != 1 {
		t.Fatalf("%+v", r.Policies)
	}
	p := r.Policies[0]
	if p.Policy.Type != "sts" || p.Policy.Domain != "half.example" || strings.Join(p.Policy.MX, " ") != "*.half.example" ||
		!strings.Contains(strings.Join(p.Policy.String, " "), "mode: enforce") || p.Summary.Good != 1 || p.Summary.Bad != 1 {
		t.Errorf("%+v", p)
	}
	if len(p.Details) != 1 || p.Details[0].Count != 1 || p.Details[0].Type != "certificate-not-trusted" ||
		p.Details[0].MX != "mx2.half.example" || p.Details[0].IP != "198.51.100.72" || p.Details[0].SendingIP == "" {
		t.Errorf("%+v", p.Details)
	}
	if len(bad.Messages()) > 0 {
		t.Error("a server that nobody vouches for had the message")
	}
	// It is signed by who sends it (RFC 8460 section 5.3), and nothing is left to be told again.
	dkimpy, err := peer.StartDKIMPy()
	must(t, err)
	defer dkimpy.Close()
	signatures, err := dkimpy.Verify(got.Content, w.dns)
	if err != nil || len(signatures) != 1 || !signatures[0].Holds || signatures[0].Domain != "exemple.org" {
		t.Errorf("%+v %v in\n%s", signatures, err, got.Content)
	}
	if files, err := filepath.Glob(filepath.Join(w.dir, "state", "tlsrpt", day+"*")); err != nil || len(files) > 0 {
		t.Errorf("%v %v", files, err)
	}
}
