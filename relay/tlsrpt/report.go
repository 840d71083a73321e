package tlsrpt

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"time"
)

// report is what RFC 8460 section 4.4 has.
type report struct {
	Organization string         `json:"organization-name"`
	Range        dateRange      `json:"date-range"`
	Contact      string         `json:"contact-info"`
	ID           string         `json:"report-id"`
	Policies     []policyReport `json:"policies"`
}

type dateRange struct {
	Start time.Time `json:"start-datetime"`
	End   time.Time `json:"end-datetime"`
}

type policyReport struct {
	Policy  policyShown     `json:"policy"`
	Summary summary         `json:"summary"`
	Details []failureReport `json:"failure-details,omitempty"`
}

type policyShown struct {
	Type    PolicyType `json:"policy-type"`
	Strings []string   `json:"policy-string,omitempty"`
	Domain  string     `json:"policy-domain"`
	MX      []string   `json:"mx-host,omitempty"`
}

type summary struct {
	Good int64 `json:"total-successful-session-count"`
	Bad  int64 `json:"total-failure-session-count"`
}

type failureReport struct {
	Type        ResultType `json:"result-type"`
	SendingIP   string     `json:"sending-mta-ip,omitempty"`
	MX          string     `json:"receiving-mx-hostname,omitempty"`
	ReceivingIP string     `json:"receiving-ip,omitempty"`
	Count       int64      `json:"failed-session-count"`
	Reason      string     `json:"failure-reason-code,omitempty"`
}

// reportOn makes the report of a day for a domain, compressed.
func (r *Reporter) reportOn(d *day, domain string) (id string, compressed []byte, err error) {
	start := d.start()
	id = d.Day + "-" + domain + "@" + r.o.Hostname.ASCII()
	out := report{Organization: r.o.Organization, Contact: r.o.Contact.Wire(), ID: id,
		Range: dateRange{start, start.Add(24*time.Hour - time.Second)}}
	for _, c := range d.of(domain) {
		p := policyReport{Policy: policyShown(shown(c.Policy)), Summary: summary{c.Good, c.Bad}}
		for _, f := range c.details() {
			p.Details = append(p.Details, failureReport{Type: f.Failure.Type, SendingIP: shownAddr(f.Failure.SendingIP),
				MX: f.Failure.MX, ReceivingIP: shownAddr(f.Failure.ReceivingIP), Count: f.Count, Reason: f.Failure.Reason})
		}
		out.Policies = append(out.Policies, p)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if err := json.NewEncoder(z).Encode(out); err != nil {
		return "", nil, err
	}
	if err := z.Close(); err != nil {
		return "", nil, err
	}
	return id, b.Bytes(), nil
}

func shown(p Policy) policyShown {
	return policyShown{Type: p.Type, Strings: p.Strings, Domain: p.Domain, MX: p.MX}
}

// name is that of the file (RFC 8460 section 5.1).
func (r *Reporter) name(d *day, domain string) string {
	start := d.start().Unix()
	return r.o.Hostname.ASCII() + "!" + domain + "!" + itoa(start) + "!" + itoa(start+24*3600-1) + ".json.gz"
}
