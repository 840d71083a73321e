// Package dane judges the certificates of SMTP servers by TLSA records (RFC 6698, RFC 7671, RFC 7672). Where the records
// come from, and whether they are secure, is its users' business.
package dane

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// Record is a TLSA record.
type Record struct {
	Usage    uint8
	Selector uint8
	Matching uint8
	Data     []byte
}

// The values that have a meaning for SMTP. The usages 0 and 1 (PKIX) have none (RFC 7672 section 3.1.3).
const (
	UsageTA = 2 // an authority of the domain's own choice
	UsageEE = 3 // the certificate of the server itself

	SelectorCert = 0
	SelectorKey  = 1 // SubjectPublicKeyInfo

	MatchFull   = 0
	MatchSHA256 = 1
	MatchSHA512 = 2
)

// ErrMismatch: the certificates are none of those that the records name.
var ErrMismatch = errors.New("no TLSA record fits the certificate of the server")

// String writes the record as a zone file has it, for reports.
func (r Record) String() string {
	return fmt.Sprintf("%d %d %d %x", r.Usage, r.Selector, r.Matching, r.Data)
}

// usable tells whether the record can match anything at all.
func (r Record) usable() bool {
	if r.Usage != UsageTA && r.Usage != UsageEE || r.Selector > SelectorKey {
		return false
	}
	switch r.Matching {
	case MatchFull:
		return len(r.Data) > 0
	case MatchSHA256:
		return len(r.Data) == sha256.Size
	case MatchSHA512:
		return len(r.Data) == sha512.Size
	}
	return false
}

// Usable gives the records that mean something: none of them leaves TLS that is required and proves nothing (RFC 7672
// section 2.2). Where there are digests of the same thing, the weaker ones are left out (RFC 7671 section 9).
func Usable(records []Record) []Record {
	type kind struct{ usage, selector uint8 }
	strongest := map[kind]uint8{}
	for _, r := range records {
		if r.usable() {
			k := kind{r.Usage, r.Selector}
			strongest[k] = max(strongest[k], r.Matching)
		}
	}
	var usable []Record
	for _, r := range records {
		if r.usable() && (r.Matching == MatchFull || r.Matching == strongest[kind{r.Usage, r.Selector}]) {
			usable = append(usable, r)
		}
	}
	return usable
}

// matches tells whether the record names the certificate.
func (r Record) matches(c *x509.Certificate) bool {
	data := c.Raw
	if r.Selector == SelectorKey {
		data = c.RawSubjectPublicKeyInfo
	}
	switch r.Matching {
	case MatchSHA256:
		sum := sha256.Sum256(data)
		data = sum[:]
	case MatchSHA512:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return bytes.Equal(r.Data, data)
}

// Verify judges the chain that a server has shown, its own certificate first. The records are usable ones. With DANE-EE
// neither names nor dates count (RFC 7672 section 3.1.1); with DANE-TA the certificate has to be for one of the names, and
// valid at now (section 3.1.2). The errors are ErrMismatch and those of crypto/x509.
func Verify(records []Record, chain []*x509.Certificate, names []string, now time.Time) error {
	if len(chain) == 0 {
		return ErrMismatch
	}
	roots, found := x509.NewCertPool(), false
	for _, r := range records {
		if r.Usage == UsageEE {
			if r.matches(chain[0]) {
				return nil
			}
			continue
		}
		for _, c := range chain {
			if r.matches(c) {
				roots.AddCert(c)
				found = true
			}
		}
		if r.Selector == SelectorCert && r.Matching == MatchFull { // it need not be sent
			if c, err := x509.ParseCertificate(r.Data); err == nil {
				roots.AddCert(c)
				found = true
			}
		}
	}
	if !found {
		return ErrMismatch
	}
	return underAnchor(chain, roots, names, now)
}

// underAnchor verifies a chain with anchors of the domain's own.
func underAnchor(chain []*x509.Certificate, roots *x509.CertPool, names []string, now time.Time) error {
	others := x509.NewCertPool()
	for _, c := range chain[1:] {
		others.AddCert(c)
	}
	if _, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: others, CurrentTime: now}); err != nil {
		return err
	}
	return ForOneOf(chain[0], names)
}

// ForOneOf tells whether a certificate is for one of the names: nil, or the error of the first.
func ForOneOf(c *x509.Certificate, names []string) error {
	var first error
	for _, name := range names {
		err := c.VerifyHostname(name)
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	if first == nil {
		first = errors.New("there is no name that the certificate could be for")
	}
	return first
}
