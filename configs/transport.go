package configs

import (
	"errors"
	"strings"

	"mxbypass/mailbox"
)

// Transport is how connections to servers elsewhere are secured where no [[destination]] says, and who is told of those
// that fail.
type Transport struct {
	MTASTS bool   `toml:"mta_sts"` // policies of domains are looked for and kept (RFC 8461)
	CAFile string `toml:"ca_file"` // absolute path, PEM; empty: the authorities of the system

	TLSRPTContact      mailbox.Address `toml:"tlsrpt_contact"`      // stands in reports (RFC 8460); null: none are sent
	TLSRPTFrom         mailbox.Address `toml:"tlsrpt_from"`         // sends reports; null: the contact
	TLSRPTOrganization string          `toml:"tlsrpt_organization"` // empty: the hostname
}

// DestinationTLS is how a destination is connected to, whatever it says itself.
type DestinationTLS string

// The ways, from the weakest on.
const (
	DestinationNone    DestinationTLS = "none"
	DestinationMay     DestinationTLS = "may"
	DestinationEncrypt DestinationTLS = "encrypt"
	DestinationVerify  DestinationTLS = "verify"
	DestinationSTS     DestinationTLS = "sts"
	DestinationDANE    DestinationTLS = "dane"
)

// Destination is what the operator knows of one domain, or of a server that the directory names.
type Destination struct {
	Domain mailbox.DomainName `toml:"domain"`
	TLS    DestinationTLS     `toml:"tls"`
	Names  []HostPattern      `toml:"names"` // for verify; empty: the domain and the hosts in it
}

func (*Destination) setDefaults() {}

// HostPattern is a host name, or "*." and a name for the hosts in it, in ASCII.
type HostPattern string

// UnmarshalText implements [encoding.TextUnmarshaler].
func (p *HostPattern) UnmarshalText(text []byte) error {
	rest, wild := strings.CutPrefix(string(text), "*.")
	name, err := mailbox.ParseDomainName(rest)
	if err != nil {
		return errors.New(`want a host name, or "*." and a name for the hosts in it`)
	}
	*p = HostPattern(name.ASCII())
	if wild {
		*p = "*." + *p
	}
	return nil
}

func defaultTransport() Transport { return Transport{MTASTS: true} }

func (k checker) transport() {
	t := k.Transport
	k.file("transport.ca_file", t.CAFile)
	const contact = "transport.tlsrpt_contact"
	if t.TLSRPTContact.IsNull() {
		k.needs("transport.tlsrpt_from", !t.TLSRPTFrom.IsNull(), contact)
		k.needs("transport.tlsrpt_organization", t.TLSRPTOrganization != "", contact)
	}
	if strings.ContainsFunc(t.TLSRPTOrganization, func(r rune) bool { return r < ' ' || r > '~' }) {
		k.at("transport.tlsrpt_organization", "%q: want printable ASCII", t.TLSRPTOrganization)
	}
	for _, a := range []struct {
		key string
		mailbox.Address
	}{{contact, t.TLSRPTContact}, {"transport.tlsrpt_from", t.TLSRPTFrom}} {
		if a.NeedsUTF8() {
			k.at(a.key, "%q: reports go to servers that know ASCII only", a.Address)
		}
	}
	for i, d := range k.Destinations {
		k.destination(element("destination", i), i, d)
	}
}

func (k checker) destination(path string, i int, d Destination) {
	if k.required(path+".domain", d.Domain.IsZero() && k.sound(path+".domain"), "of the mail, or the host of a server") {
		for j, other := range k.Destinations[:i] {
			if other.Domain == d.Domain && !d.Domain.IsZero() {
				k.at(path+".domain", "%q is there already, in line %d", d.Domain, k.doc.line(element("destination", j)))
				break
			}
		}
	}
	if !k.required(path+".tls", d.TLS == "" && k.sound(path+".tls"), "none, may, encrypt, verify, sts or dane") {
		return
	}
	if !oneOf(k, path+".tls", d.TLS, DestinationNone, DestinationMay, DestinationEncrypt, DestinationVerify, DestinationSTS,
		DestinationDANE) {
		return
	}
	switch {
	case d.TLS == DestinationDANE && !k.DNS.Validating:
		k.at(path+".tls", `%q needs a resolver that validates: set "validating" of [dns]`, d.TLS)
	case d.TLS == DestinationSTS && !k.Transport.MTASTS:
		k.at(path+".tls", `%q means nothing with "mta_sts = false" of [transport]`, d.TLS)
	}
	if len(d.Names) > 0 && d.TLS != DestinationVerify {
		k.at(path+".names", `means nothing without tls = %q`, DestinationVerify)
	}
}
