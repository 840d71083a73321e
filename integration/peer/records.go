package peer

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// TXT writes a TXT record as in a zone file; what is longer than 255 octets becomes several strings.
func TXT(name, value string) string {
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	var parts []string
	for len(value) > 255 {
		parts, value = append(parts, escape.Replace(value[:255])), value[255:]
	}
	parts = append(parts, escape.Replace(value))
	return fmt.Sprintf("%s 60 IN TXT \"%s\"", dns.Fqdn(name), strings.Join(parts, `" "`))
}

// PTR writes the record that names an address.
func PTR(address, name string) (string, error) {
	reverse, err := dns.ReverseAddr(address)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s 60 IN PTR %s", reverse, dns.Fqdn(name)), nil
}

// TLSA writes the record that pins the key of a certificate for the SMTP server of that name (DANE-EE, RFC 7672).
func TLSA(host string, cert *x509.Certificate) string {
	return fmt.Sprintf("_25._tcp.%s 60 IN TLSA 3 1 1 %x", dns.Fqdn(host), sha256.Sum256(cert.RawSubjectPublicKeyInfo))
}
