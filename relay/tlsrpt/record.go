package tlsrpt

import (
	"fmt"
	"net/url"
	"strings"

	"mxbypass/mailbox"
)

const (
	// maxURIs is how many places of one record get the report.
	maxURIs = 5
	maxURI  = 1000
)

// place is where a report is wanted: by mail, or over HTTPS.
type place struct {
	mail  mailbox.Address
	https string
}

func (p place) String() string {
	if p.https != "" {
		return p.https
	}
	return p.mail.String()
}

// parseRecord reads the TXT records of _smtp._tls (RFC 8460 section 3). No places: no report is wanted, because there is
// not exactly one record that says so, or nothing in it can be used; why tells of what cannot.
func parseRecord(texts []string) (places []place, why []error) {
	rua := ""
	there := false
	for _, text := range texts {
		version, fields, _ := strings.Cut(text, ";")
		if strings.TrimSpace(version) != "v=TLSRPTv1" {
			continue
		}
		if there {
			return nil, []error{fmt.Errorf("there is more than one record")}
		}
		there = true
		for f := range strings.SplitSeq(fields, ";") {
			name, value, _ := strings.Cut(f, "=")
			if strings.TrimSpace(name) == "rua" && rua == "" {
				rua = value
			}
		}
	}
	for uri := range strings.SplitSeq(rua, ",") {
		if uri = strings.TrimSpace(uri); uri == "" {
			continue
		}
		if len(places) == maxURIs {
			break
		}
		p, err := parsePlace(uri)
		if err != nil {
			why = append(why, err)
			continue
		}
		places = append(places, p)
	}
	return places, why
}

func parsePlace(uri string) (place, error) {
	u, err := url.Parse(uri)
	if err != nil || len(uri) > maxURI {
		return place{}, fmt.Errorf("%q is no URI", mailbox.Printable(uri[:min(len(uri), 100)]))
	}
	switch strings.ToLower(u.Scheme) {
	case "mailto":
		text, err := url.PathUnescape(u.Opaque)
		if err != nil {
			return place{}, fmt.Errorf("mailto: %w", err)
		}
		a, err := mailbox.ParseAddress(text)
		if err != nil || a.IsNull() || a.NeedsUTF8() {
			return place{}, fmt.Errorf("%q is no address for a report", mailbox.Printable(text))
		}
		return place{mail: a}, nil
	case "https":
		if u.Host == "" || u.User != nil {
			return place{}, fmt.Errorf("%q is no place for a report", mailbox.Printable(uri))
		}
		u.Fragment = ""
		return place{https: u.String()}, nil
	}
	return place{}, fmt.Errorf("reports do not go by %q", mailbox.Printable(u.Scheme))
}
