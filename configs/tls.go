package configs

import (
	"crypto/x509"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
)

// TLS is how clients' connections are encrypted, and which of their certificates make them trusted.
type TLS struct {
	MinVersion         string        `toml:"min_version"`         // "1.2" | "1.3"
	ClientCAFile       string        `toml:"client_ca_file"`      // absolute path, PEM; empty: nobody's certificates
	ClientFingerprints []Fingerprint `toml:"client_fingerprints"` // of clients' certificates
}

// Certificate is a certificate of ours with its key, in files.
type Certificate struct {
	Cert string `toml:"cert"` // absolute path, PEM, the whole chain
	Key  string `toml:"key"`  // absolute path, PEM
}

func (*Certificate) setDefaults() {}

// TLS versions.
const (
	TLS12 = "1.2"
	TLS13 = "1.3"
)

func defaultTLS() TLS { return TLS{MinVersion: TLS12} }

// Fingerprint is the SHA-256 digest of a certificate, written as openssl does: 64 hexadecimal digits, with colons or not.
type Fingerprint [32]byte

// UnmarshalText implements [encoding.TextUnmarshaler].
func (f *Fingerprint) UnmarshalText(text []byte) error {
	digits := strings.ReplaceAll(string(text), ":", "")
	sum, err := hex.DecodeString(digits)
	if err != nil || len(sum) != len(f) || len(digits) != len(text) && strings.Count(string(text), ":") != len(f)-1 {
		return errors.New(
			`want the SHA-256 digest of a certificate in hexadecimal, as "openssl x509 -fingerprint -sha256" gives it`)
	}
	*f = Fingerprint(sum)
	return nil
}

// String writes the fingerprint in hexadecimal, without colons.
func (f Fingerprint) String() string { return hex.EncodeToString(f[:]) }

// ReadCAs reads a file of certificates of authorities, in PEM. The error does not name the file; see [Config.Problem].
func ReadCAs(path string) (*x509.CertPool, error) {
	text, err := read(path, maxCredentials)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, errors.New("there is no certificate in it, want PEM")
	}
	return pool, nil
}

func (k checker) tls() {
	oneOf(k, "tls.min_version", k.TLS.MinVersion, TLS12, TLS13)
	if k.TLS.ClientCAFile != "" {
		k.absolute("tls.client_ca_file", k.TLS.ClientCAFile)
	}
	for i, f := range k.TLS.ClientFingerprints {
		if slices.Contains(k.TLS.ClientFingerprints[:i], f) {
			k.at(element("tls.client_fingerprints", i), "it is there twice")
		}
	}
	for i, c := range k.Certificates {
		path := element("certificate", i)
		if k.required(path+".cert", c.Cert == "", "the file of the certificate, with the whole chain") {
			k.absolute(path+".cert", c.Cert)
		}
		if k.required(path+".key", c.Key == "", "the file of the key") {
			k.absolute(path+".key", c.Key)
		}
	}
	k.acme()
}
