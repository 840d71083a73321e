package certs

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
)

// Pair is a certificate with its key, in files in PEM. The certificate's file has the whole chain, ours first.
type Pair struct{ Cert, Key string }

// Fingerprint is the SHA-256 digest of a certificate in DER.
type Fingerprint [32]byte

// Options of a [Manager]; Log is needed, and Files or ACME.
type Options struct {
	Files []Pair // the first of them is shown to clients that name no server of ours
	ACME  *ACME  // nil: none

	MinVersion   uint16         // tls.VersionTLS12 or later; 0: that
	ClientCAs    *x509.CertPool // whose certificates make a client trusted; nil: nobody's
	Fingerprints []Fingerprint  // certificates that make a client trusted, whoever has signed them

	Log *slog.Logger
}

// Manager has the certificates.
type Manager struct {
	options Options
	config  *tls.Config
}

// ACME says how certificates are had from an authority.
type ACME struct{}

// New reads the files. It starts nothing; see [Manager.Start]. The error tells of every file that is of no use.
func New(o Options) (*Manager, error) {
	return &Manager{options: o, config: &tls.Config{MinVersion: max(o.MinVersion, tls.VersionTLS12)}}, nil
}

// Config is for all listeners, and not to be changed. It is the same one at every call, so that sessions can be resumed.
func (m *Manager) Config() *tls.Config { return m.config }

// Start begins to look after the certificates. [Manager.Close] ends it.
func (m *Manager) Start() {}

// Close ends what Start has begun. The configuration can still be used, with the certificates as they are.
func (m *Manager) Close() error { return nil }

// Trusted tells whether the client has shown a certificate that makes it trusted, and what to call it in the log: one
// printable line. Whoever has only shown a certificate is nobody.
func (m *Manager) Trusted(state tls.ConnectionState) (name string, ok bool) { return "", false }
