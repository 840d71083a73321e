package certs

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"slices"
	"unicode/utf8"

	"mxbypass/mailbox"
)

// longestName bounds what a client can have us write into every line of the log.
const longestName = 64

// Trusted tells whether the client has shown a certificate that makes it trusted, and what to call it in the log: one
// printable line. A certificate that is known by its fingerprint is believed as long as it is configured; one that an
// authority of ours has signed must be for clients, and in its time. Sessions that are resumed are judged anew.
func (m *Manager) Trusted(state tls.ConnectionState) (name string, ok bool) {
	if len(state.PeerCertificates) == 0 {
		return "", false
	}
	leaf := state.PeerCertificates[0]
	if !slices.Contains(m.options.Fingerprints, Fingerprint(sha256.Sum256(leaf.Raw))) && !m.signed(state.PeerCertificates) {
		return "", false
	}
	return nameOf(leaf), true
}

// signed tells whether a chain leads to an authority that we believe. Without one, crypto/x509 would ask the system's.
func (m *Manager) signed(chain []*x509.Certificate) bool {
	if m.options.ClientCAs == nil {
		return false
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: m.options.ClientCAs, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return err == nil
}

func nameOf(c *x509.Certificate) string {
	name := c.Subject.CommonName
	for _, list := range [][]string{c.EmailAddresses, c.DNSNames} {
		if len(list) > 0 {
			name = cmp.Or(name, list[0])
		}
	}
	if name == "" {
		sum := sha256.Sum256(c.Raw)
		name = "sha256:" + hex.EncodeToString(sum[:8])
	}
	name = mailbox.Printable(name)
	if len(name) > longestName {
		name = name[:longestName]
		for !utf8.ValidString(name) {
			name = name[:len(name)-1]
		}
	}
	return name
}
