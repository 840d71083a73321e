package tlspolicy

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"time"

	"mxbypass/relay/tlspolicy/dane"
	"mxbypass/relay/tlsrpt"
	"mxbypass/routing"
)

// Level is how sure a connection has to be.
type Level uint8

// The levels.
const (
	None    Level = iota // no TLS
	May                  // TLS where it is offered, whoever it is with
	Encrypt              // TLS, whoever it is with
	Verify               // TLS with a certificate of a known authority for one of the names
	DANE                 // TLS with a certificate that fits the TLSA records
)

// Source is whose rule it is. It is a word for the log.
type Source string

// The sources.
const (
	Opportunistic Source = "opportunistic"
	Destination   Source = "destination"
	ByDANE        Source = "DANE"
	ByMTASTS      Source = "MTA-STS"
	ByRequireTLS  Source = "REQUIRETLS"
)

// Rule is what holds for connections to one host. It does not change.
type Rule struct {
	Source  Source
	Level   Level
	Testing bool          // of an MTA-STS policy: what it wants is tried, and missing it is only reported
	Names   []string      // Verify, DANE: whom the certificate has to be for, ASCII
	SNI     string        // DANE: the name to ask for (RFC 7672 section 8.1); empty: that of the host
	Records []dane.Record // DANE: usable ones
	Policy  tlsrpt.Policy // for reports

	// Refused says why the host is not to be used at all; empty: it can be. Result is the same for reports; empty: it is not
	// the host's failure.
	Refused string
	Result  tlsrpt.ResultType
	// Final: another try is of no use.
	Final bool

	roots *x509.CertPool
}

// Required tells whether there is no mail without TLS.
func (r *Rule) Required() bool { return r.Level >= Encrypt && !r.Testing }

// Sure tells whether the server of a connection that meets the rule is known.
func (r *Rule) Sure() bool { return r.Level >= Verify }

// String names the rule for the log: whose it is, and what it wants.
func (r *Rule) String() string {
	switch {
	case r.Testing:
		return string(r.Source) + ", testing"
	case r.Source == Destination:
		return string(r.Source) + ", " + r.Level.String()
	}
	return string(r.Source)
}

// String names the level as the configuration does.
func (l Level) String() string {
	return [...]string{None: "none", May: "may", Encrypt: "encrypt", Verify: "verify", DANE: "dane"}[l]
}

// Check judges the certificates of a server that has done its handshake, by the rule at now.
func (r *Rule) Check(state tls.ConnectionState, now time.Time) error {
	chain := state.PeerCertificates
	switch {
	case r.Level < Verify:
		return nil
	case len(chain) == 0:
		return errors.New("the server has shown no certificate")
	case r.Level == DANE:
		return dane.Verify(r.Records, chain, r.Names, now)
	}
	others := x509.NewCertPool()
	for _, c := range chain[1:] {
		others.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: r.roots, Intermediates: others, CurrentTime: now})
	if err != nil {
		return err
	}
	return dane.ForOneOf(chain[0], r.Names)
}

// ResultOf classifies an error of Check for reports.
func (r *Rule) ResultOf(err error) tlsrpt.ResultType {
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	var authority x509.UnknownAuthorityError
	switch {
	case errors.Is(err, dane.ErrMismatch):
		return tlsrpt.ValidationFailure
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return tlsrpt.CertificateExpired
	case errors.As(err, &host):
		return tlsrpt.CertificateHostMismatch
	case errors.As(err, &authority):
		return tlsrpt.CertificateNotTrusted
	}
	return tlsrpt.ValidationFailure
}

// Rules are the rules for one host, by what a message needs.
type Rules struct {
	Usual    Rule // routing.NeedPolicy
	Strict   Rule // routing.NeedTLS
	Tolerant Rule // routing.NeedDelivery
}

// For gives the rule for a need.
func (r *Rules) For(n routing.Need) *Rule {
	switch n {
	case routing.NeedTLS:
		return &r.Strict
	case routing.NeedDelivery:
		return &r.Tolerant
	case routing.NeedPolicy:
	}
	return &r.Usual
}
