package tlsrpt

import "net/netip"

// PolicyType says what kind of policy a session was under (RFC 8460 section 4.3.1).
type PolicyType string

// The kinds.
const (
	TLSA     PolicyType = "tlsa"
	STS      PolicyType = "sts"
	NoPolicy PolicyType = "no-policy-found"
)

// ResultType is why TLS failed (RFC 8460 section 4.3.2).
type ResultType string

// The results.
const (
	StartTLSNotSupported    ResultType = "starttls-not-supported"
	CertificateHostMismatch ResultType = "certificate-host-mismatch"
	CertificateExpired      ResultType = "certificate-expired"
	CertificateNotTrusted   ResultType = "certificate-not-trusted"
	ValidationFailure       ResultType = "validation-failure" // all others
	TLSAInvalid             ResultType = "tlsa-invalid"
	DNSSECInvalid           ResultType = "dnssec-invalid"
	STSPolicyFetchError     ResultType = "sts-policy-fetch-error"
	STSPolicyInvalid        ResultType = "sts-policy-invalid"
	STSWebPKIInvalid        ResultType = "sts-webpki-invalid"
)

// Policy is what a session was under.
type Policy struct {
	Type    PolicyType
	Domain  string   // who gets the report: of the recipients, ASCII
	Strings []string // the lines of the MTA-STS policy, or the TLSA records
	MX      []string // the patterns of the MTA-STS policy
}

// Failure is a session that failed for TLS, whether mail was delivered without it or not.
type Failure struct {
	Type        ResultType
	SendingIP   netip.Addr // zero: not known
	ReceivingIP netip.Addr
	MX          string // name of the server; empty: none was connected to
	Reason      string // printable, bounded by us
}

// Recorder counts sessions. It is safe for concurrent use and does not wait.
type Recorder interface {
	// Record counts one session; a nil failure is success.
	Record(p Policy, f *Failure)
}
