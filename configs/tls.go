package configs

import (
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net/url"
	"slices"
	"strings"

	"mxbypass/mailbox"
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

// ACME is how certificates are had from an authority (RFC 8555).
type ACME struct {
	Names          []mailbox.DomainName `toml:"names"` // a certificate for each; none: no ACME
	Email          mailbox.Address      `toml:"email"` // null: none
	Directory      string               `toml:"directory"`
	CAFile         string               `toml:"ca_file"`          // absolute path, PEM; empty: those of the system
	HTTPAddress    Endpoint             `toml:"http_address"`     // for HTTP-01; zero: not offered
	TLSALPNAddress Endpoint             `toml:"tls_alpn_address"` // for TLS-ALPN-01; zero: not offered
	Agree          bool                 `toml:"agree"`            // to the terms of the authority
}

// TLS versions.
const (
	TLS12 = "1.2"
	TLS13 = "1.3"
)

func defaultTLS() TLS { return TLS{MinVersion: TLS12} }

func defaultACME() ACME {
	return ACME{Directory: "https://acme-v02.api.letsencrypt.org/directory", HTTPAddress: Endpoint{"tcp", ":80"}}
}

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

func (k checker) acme() {
	a := k.ACME
	for i, name := range a.Names {
		item := element("acme.names", i)
		if slices.Contains(a.Names[:i], name) {
			k.at(item, "%q is there twice", name)
		}
		if !strings.Contains(name.ASCII(), ".") {
			k.at(item, "%q: no authority knows a name without a dot", name)
		}
	}
	u, err := url.Parse(a.Directory)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" {
		k.at("acme.directory", `%q: want the URL of a directory, such as "https://acme.example/directory"`, a.Directory)
	}
	if a.CAFile != "" {
		k.absolute("acme.ca_file", a.CAFile)
	}
	if len(a.Names) == 0 {
		return
	}
	k.door("acme.http_address", a.HTTPAddress)
	k.door("acme.tls_alpn_address", a.TLSALPNAddress)
	if !a.Agree {
		k.at("acme.names", `want "agree = true" beside them: certificates are given to who agrees to the terms of the authority`)
	}
	if a.HTTPAddress == (Endpoint{}) && a.TLSALPNAddress == (Endpoint{}) {
		k.at("acme.names", "want an http_address or a tls_alpn_address: how else should we show that they are ours?")
	}
}

// door checks where an authority finds us.
func (k checker) door(path string, e Endpoint) {
	if !k.sound(path) || e == (Endpoint{}) {
		return
	}
	if _, _, ok := e.ip(); !ok && e.Network != NetworkSystemd {
		k.at(path, `%q: want an IP address and a port, or "systemd:NAME"`, e)
		return
	}
	for i, l := range k.Listeners {
		if overlap(l.Address, e) {
			k.at(path, "%q is taken by the listener in line %d (%s)", e, k.doc.line(element("listener", i)), l.Address)
		}
	}
}
