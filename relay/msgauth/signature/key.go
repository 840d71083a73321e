package signature

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
)

// The algorithms (RFC 8301, RFC 8463). What hashes with SHA-1 is refused.
const (
	RSA     = "rsa-sha256"
	Ed25519 = "ed25519-sha256"
)

var (
	// ErrInvalid: a signature or its key is not valid, for good.
	ErrInvalid = errors.New("invalid signature")
	// ErrPolicy: it may fit, but is too weak to be believed (RFC 8301, RFC 6376 section 8.2). It goes with ErrInvalid.
	ErrPolicy = errors.New("not accepted")
	// ErrTemporary: a key could not be asked for now.
	ErrTemporary = errors.New("the key cannot be looked up now")
)

// Bounds of the modulus of an RSA key, in bits: RFC 8301 section 3.2 asks for at least 1024; beyond the other one a check
// costs more than it should.
const (
	leastBits = 1024
	mostBits  = 8192
)

// Lookup asks for the TXT records of a name. Its error is a [net.DNSError] that says IsNotFound when there are none; any
// other one is temporary.
type Lookup func(ctx context.Context, name string) ([]string, error)

// Name is where DNS has the key of a selector (RFC 6376 section 3.6.2.1).
func Name(selector, domain string) string { return selector + "._domainkey." + domain }

// Key is a public key out of DNS.
type Key struct {
	public crypto.PublicKey
	hashes []string // h=; nil: any

	// Strict: it does not sign for subdomains (t=s).
	Strict bool
}

// FindKey asks DNS for a key. The error wraps [ErrInvalid] or [ErrTemporary].
func FindKey(ctx context.Context, lookup Lookup, selector, domain string) (Key, error) {
	name := Name(selector, domain)
	texts, err := lookup(ctx, name)
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound || err == nil && len(texts) == 0 {
		return Key{}, fmt.Errorf("%w: there is no key at %s", ErrInvalid, name)
	}
	if err != nil {
		return Key{}, fmt.Errorf("%w: %s: %w", ErrTemporary, name, err)
	}
	// A wildcard may have other records at the name. Two keys are a mistake of the signer's (section 3.6.2.2).
	var found []Key
	for _, text := range texts {
		key, keyErr := ParseKey(text)
		if keyErr == nil {
			found = append(found, key)
		} else if err == nil {
			err = keyErr
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return Key{}, fmt.Errorf("%s: %w", name, err)
	}
	return Key{}, fmt.Errorf("%w: there are %d keys at %s", ErrInvalid, len(found), name)
}

// ParseKey parses the record of a key (RFC 6376 section 3.6.1). The error wraps [ErrInvalid].
func ParseKey(record string) (Key, error) {
	tags, err := ParseTags([]byte(record))
	if err != nil {
		return Key{}, fmt.Errorf("%w: key record: %w", ErrInvalid, err)
	}
	version, versioned := tags.Get("v")
	data, keyed := tags.Get("p")
	services, limited := tags.Get("s")
	switch {
	case versioned && (version != "DKIM1" || tags.list[0].Name != "v"), !keyed:
		return Key{}, fmt.Errorf("%w: no key record", ErrInvalid)
	case bare(data) == "":
		return Key{}, fmt.Errorf("%w: the key is revoked", ErrInvalid)
	case limited && !slices.ContainsFunc(list(services), func(s string) bool { return s == "*" || s == "email" }):
		return Key{}, fmt.Errorf("%w: the key is not for mail", ErrInvalid)
	}
	var k Key
	if hashes, limited := tags.Get("h"); limited {
		k.hashes = list(hashes)
	}
	if flags, flagged := tags.Get("t"); flagged {
		k.Strict = slices.Contains(list(flags), "s")
	}
	octets, err := base64.StdEncoding.DecodeString(bare(data))
	if err != nil {
		return Key{}, fmt.Errorf("%w: the key is not base64", ErrInvalid)
	}
	kind, named := tags.Get("k")
	switch {
	case !named || kind == "rsa":
		k.public, err = parseRSA(octets)
	case kind == "ed25519" && len(octets) == ed25519.PublicKeySize:
		k.public = ed25519.PublicKey(octets)
	default:
		err = fmt.Errorf("%w: no key of a known kind", ErrInvalid)
	}
	if err != nil {
		return Key{}, err
	}
	return k, nil
}

// Equal tells whether two records have the same key.
func (k Key) Equal(other Key) bool {
	public, ok := k.public.(interface {
		Equal(other crypto.PublicKey) bool
	})
	return ok && public.Equal(other.public)
}

// parseRSA reads a key in either of the two ways in which they are published (RFC 6376 section 3.6.1, erratum 3017).
func parseRSA(der []byte) (*rsa.PublicKey, error) {
	key, err := x509.ParsePKCS1PublicKey(der)
	if err != nil {
		var other crypto.PublicKey
		if other, err = x509.ParsePKIXPublicKey(der); err == nil {
			var ok bool
			if key, ok = other.(*rsa.PublicKey); !ok {
				err = errors.New("another kind of key")
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the key cannot be read", ErrInvalid)
	}
	if bits := key.N.BitLen(); bits < leastBits || bits > mostBits {
		return nil, fmt.Errorf("%w: %w: the key has %d bits", ErrInvalid, ErrPolicy, bits)
	}
	return key, nil
}

// Verify checks the signature of a SHA-256 hash. The error wraps [ErrInvalid].
func (k Key) Verify(algorithm string, hashed, signature []byte) error {
	if k.hashes != nil && !slices.Contains(k.hashes, "sha256") {
		return fmt.Errorf("%w: the key is not for SHA-256", ErrInvalid)
	}
	ok := false
	switch public := k.public.(type) {
	case *rsa.PublicKey:
		ok = algorithm == RSA && rsa.VerifyPKCS1v15(public, crypto.SHA256, hashed, signature) == nil
	case ed25519.PublicKey:
		ok = algorithm == Ed25519 && ed25519.Verify(public, hashed, signature)
	}
	if !ok {
		return fmt.Errorf("%w: it does not fit", ErrInvalid)
	}
	return nil
}

// Algorithm is the one for which a key serves; empty for other kinds of keys.
func Algorithm(key crypto.Signer) string {
	switch key.Public().(type) {
	case *rsa.PublicKey:
		return RSA
	case ed25519.PublicKey:
		return Ed25519
	}
	return ""
}

// sign signs a SHA-256 hash. For Ed25519 the hash is the message (RFC 8463 section 3).
func sign(key crypto.Signer, hashed []byte) ([]byte, error) {
	options := crypto.SignerOpts(crypto.SHA256)
	if Algorithm(key) == Ed25519 {
		options = crypto.Hash(0)
	}
	s, err := key.Sign(rand.Reader, hashed, options)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return s, nil
}

// list takes a list with colons apart.
func list(value string) []string { return strings.Split(bare(value), ":") }
