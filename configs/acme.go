package configs

import (
	"bytes"
	"encoding/base64"
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"mxbypass/mailbox"
)

// ACME is how certificates are had from an authority (RFC 8555).
type ACME struct {
	Names          []CertName      `toml:"names"` // a certificate for each; none: no ACME
	Email          mailbox.Address `toml:"email"` // null: none
	Directory      string          `toml:"directory"`
	CAFile         string          `toml:"ca_file"` // absolute path, PEM; empty: those of the system
	Challenge      Challenge       `toml:"challenge"`
	HTTPAddress    Endpoint        `toml:"http_address"`     // for HTTP-01; zero: not offered
	TLSALPNAddress Endpoint        `toml:"tls_alpn_address"` // for TLS-ALPN-01; zero: not offered
	Agree          bool            `toml:"agree"`            // to the terms of the authority

	// For DNS-01: updates (RFC 2136) with a signature (TSIG, RFC 8945).
	DNSServer      NameServer         `toml:"dns_server"`      // that takes them; zero: none
	DNSSecondaries []netip.AddrPort   `toml:"dns_secondaries"` // that the authority may ask as well
	DNSZone        mailbox.DomainName `toml:"dns_zone"`        // zero: the server tells
	TSIGKey        string             `toml:"tsig_key"`        // its name
	TSIGAlgorithm  TSIGAlgorithm      `toml:"tsig_algorithm"`
	TSIGSecretFile string             `toml:"tsig_secret_file"` // absolute path; see [ReadTSIGSecret]
}

// Challenge is the way in which an authority is shown that a name is ours.
type Challenge string

// The ways.
const (
	ChallengeAuto Challenge = "auto" // at the addresses: HTTP-01, TLS-ALPN-01
	ChallengeDNS  Challenge = "dns-01"
)

// TSIGAlgorithm is how updates are signed.
type TSIGAlgorithm string

// The algorithms that RFC 8945 section 6 recommends, or allows without advising against.
const (
	TSIGSHA256 TSIGAlgorithm = "hmac-sha256"
	TSIGSHA384 TSIGAlgorithm = "hmac-sha384"
	TSIGSHA512 TSIGAlgorithm = "hmac-sha512"
)

func defaultACME() ACME {
	return ACME{
		Directory: "https://acme-v02.api.letsencrypt.org/directory", Challenge: ChallengeAuto,
		HTTPAddress: Endpoint{"tcp", ":80"}, TSIGAlgorithm: TSIGSHA256,
	}
}

// CertName is what a certificate is for: a domain name, or all names one label below it, written "*.example.org".
type CertName struct {
	Domain   mailbox.DomainName
	Wildcard bool
}

const wildcard = "*."

// UnmarshalText implements [encoding.TextUnmarshaler].
func (n *CertName) UnmarshalText(text []byte) error {
	base, all := strings.CutPrefix(string(text), wildcard)
	domain, err := parseName(base)
	if err == nil {
		*n = CertName{domain, all}
	}
	return err
}

// ASCII is the name as certificates have it.
func (n CertName) ASCII() string {
	if n.Wildcard {
		return wildcard + n.Domain.ASCII()
	}
	return n.Domain.ASCII()
}

// String is [CertName.ASCII].
func (n CertName) String() string { return n.ASCII() }

// NameServer is the address of a DNS server, or zero.
type NameServer struct{ netip.AddrPort }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (n *NameServer) UnmarshalText(text []byte) error {
	return optional(&n.AddrPort, parseServer)(string(text))
}

// ReadTSIGSecret reads the file of a key that updates are signed with: one line, base64. The error does not name the file;
// see [Config.Problem].
func ReadTSIGSecret(path string) (string, error) {
	text, err := read(path, maxCredentials)
	if err == nil {
		err = private(path)
	}
	if err != nil {
		return "", err
	}
	line := string(bytes.TrimSpace(text))
	secret, err := base64.StdEncoding.Strict().DecodeString(line)
	switch {
	case line == "":
		return "", errors.New("it is empty")
	case err != nil || strings.ContainsAny(line, "\r\n"):
		return "", errors.New("want one line, the secret in base64 (openssl rand -base64 32 makes one)")
	case len(secret) < leastKey:
		return "", errors.New("the secret has less than 128 bits (openssl rand -base64 32 makes one)")
	}
	return line, nil
}

func (k checker) acme() {
	a := k.ACME
	for i, name := range a.Names {
		item := element("acme.names", i)
		if slices.Contains(a.Names[:i], name) {
			k.at(item, "%q is there twice", name)
		}
		if !strings.Contains(name.Domain.ASCII(), ".") {
			k.at(item, "%q: no authority knows a name without a dot", name)
		}
		if name.Wildcard && a.Challenge == ChallengeAuto && k.sound("acme.challenge") {
			k.at(item, "%q: a certificate for all names below one needs challenge = %q", name, ChallengeDNS)
		}
	}
	u, err := url.Parse(a.Directory)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" {
		k.at("acme.directory", `%q: want the URL of a directory, such as "https://acme.example/directory"`, a.Directory)
	}
	if a.CAFile != "" {
		k.absolute("acme.ca_file", a.CAFile)
	}
	if oneOf(k, "acme.challenge", a.Challenge, ChallengeAuto, ChallengeDNS) && k.sound("acme.challenge") {
		k.update()
	}
	if len(a.Names) == 0 {
		return
	}
	if !a.Agree {
		k.at("acme.names", `want "agree = true" beside them: certificates are given to who agrees to the terms of the authority`)
	}
	if a.Challenge != ChallengeAuto {
		return
	}
	k.door("acme.http_address", a.HTTPAddress)
	k.door("acme.tls_alpn_address", a.TLSALPNAddress)
	if a.HTTPAddress == (Endpoint{}) && a.TLSALPNAddress == (Endpoint{}) {
		k.at("acme.names", "want an http_address or a tls_alpn_address: how else should we show that they are ours?")
	}
}

// update checks what is for one challenge and not for the other.
func (k checker) update() {
	a := k.ACME
	oneOf(k, "acme.tsig_algorithm", a.TSIGAlgorithm, TSIGSHA256, TSIGSHA384, TSIGSHA512)
	k.file("acme.tsig_secret_file", a.TSIGSecretFile)
	if a.TSIGKey != "" && !isKeyName(a.TSIGKey) {
		k.at("acme.tsig_key", `%q: want the name that the key has at the server, such as "mxbypass"`, a.TSIGKey)
	}
	if a.Challenge == ChallengeDNS {
		k.required("acme.dns_server", !a.DNSServer.IsValid(), "the name server that takes updates")
		k.required("acme.tsig_key", a.TSIGKey == "", "the name of the key that updates are signed with")
		k.required("acme.tsig_secret_file", a.TSIGSecretFile == "", "the file with the secret of the key")
		for path, e := range map[string]Endpoint{"http_address": a.HTTPAddress, "tls_alpn_address": a.TLSALPNAddress} {
			if path = "acme." + path; e != (Endpoint{}) && k.doc.has(path) {
				k.at(path, "means nothing with challenge = %q", ChallengeDNS)
			}
		}
		return
	}
	for path, set := range map[string]bool{
		"dns_server": a.DNSServer.IsValid(), "dns_secondaries": len(a.DNSSecondaries) > 0, "dns_zone": !a.DNSZone.IsZero(),
		"tsig_key": a.TSIGKey != "", "tsig_secret_file": a.TSIGSecretFile != "",
	} {
		if set {
			k.at("acme."+path, "means nothing without challenge = %q", ChallengeDNS)
		}
	}
}

// isKeyName tells whether this can be the name of a key: one of DNS, in which nothing has to be escaped.
func isKeyName(s string) bool {
	odd := func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '\\' }
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, odd) {
			return false
		}
	}
	return len(s) <= mailbox.MaxDomainName
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
