package inbound

import (
	"crypto/tls"
	"net/netip"
	"slices"
)

// Protocol is what a listener speaks.
type Protocol string

// The protocols.
const (
	SMTP       Protocol = "smtp"
	LMTP       Protocol = "lmtp"
	Submission Protocol = "submission" // RFC 6409: SMTP for users, who log in
)

// Encryption is how clients of a listener get TLS.
type Encryption string

// The ways.
const (
	Plain    Encryption = "none"
	StartTLS Encryption = "starttls" // RFC 3207, when they ask for it
	Implicit Encryption = "implicit" // RFC 8314, from the first octet
)

// Service is what a listener offers.
type Service struct {
	Protocol Protocol
	TLS      Encryption     // Plain when it is empty
	Auth     bool           // AUTH is offered under TLS; Submission needs it
	Proxies  []netip.Prefix // who connects for others, and says so in a PROXY header
	Filters  []string       // names of [Trust.Filters], in order
}

// Equal tells whether two services are the same.
func (s Service) Equal(o Service) bool {
	return s.Protocol == o.Protocol && s.TLS == o.TLS && s.Auth == o.Auth && slices.Equal(s.Proxies, o.Proxies) &&
		slices.Equal(s.Filters, o.Filters)
}

// secured describes the TLS of a connection.
type secured struct {
	version string // such as "TLSv1.3"
	cipher  string
	name    string // of the server, as the client asked for it
}

func describe(state tls.ConnectionState) *secured {
	return &secured{
		version: "TLSv" + tls.VersionName(state.Version)[len("TLS "):],
		cipher:  tls.CipherSuiteName(state.CipherSuite),
		name:    state.ServerName,
	}
}
