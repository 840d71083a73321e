package sign

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"mxbypass/mailbox"
	"mxbypass/relay/msgauth/signature"
)

const (
	pemType = "PRIVATE KEY" // PKCS #8
	// maxFile bounds the file of a key. One of 8192 bits has 7 KiB.
	maxFile = 32 << 10
	// leastBits is the shortest RSA key that we sign with (RFC 8301 section 3.2 asks signers for 2048, for 1024 at least).
	leastBits = 1024
	// newBits is the length of those that we make: longer ones do not fit everywhere, shorter ones do not last.
	newBits = 2048
)

// Key is a signing key of a domain.
type Key struct {
	Domain    mailbox.DomainName
	Selector  string
	Algorithm string // signature.RSA, signature.Ed25519
	Enabled   bool
	Modified  time.Time // of the file: among keys of an algorithm the newest signs
	File      string

	signer crypto.Signer
}

// Name is where the record is to be in DNS.
func (k Key) Name() string { return signature.Name(k.Selector, k.Domain.ASCII()) }

// Record is the public half, as the text of a TXT record (RFC 6376 section 3.6.1, RFC 8463 section 4).
func (k Key) Record() string {
	switch public := k.signer.Public().(type) {
	case ed25519.PublicKey:
		return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public)
	case *rsa.PublicKey:
		der, err := x509.MarshalPKIXPublicKey(public)
		if err == nil {
			return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der)
		}
	}
	return "" // there are no other keys: see readKey and newKey
}

// maxString is what one string of a TXT record holds (RFC 1035 section 3.3.14).
const maxString = 255

// ZoneLine is the record as a line of a zone file. Long ones are several strings, which are read as one.
func (k Key) ZoneLine() string {
	var parts []string
	for rest := k.Record(); rest != ""; {
		n := min(len(rest), maxString)
		parts = append(parts, `"`+rest[:n]+`"`)
		rest = rest[n:]
	}
	text := strings.Join(parts, " ")
	if len(parts) > 1 {
		text = "( " + text + " )"
	}
	return k.Name() + ". 3600 IN TXT " + text
}

// newKey makes a key for an algorithm.
func newKey(algorithm string) (crypto.Signer, error) {
	switch algorithm {
	case signature.RSA:
		return rsa.GenerateKey(rand.Reader, newBits)
	case signature.Ed25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return nil, fmt.Errorf("no keys are made for %q", algorithm)
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), nil
}

// errExposed: a key that others know is nobody's signature.
var errExposed = errors.New("others than its owner can read or change it")

// readKey reads the file of a key. The error says in one line what is wrong with it, and never what is in it.
func readKey(path string) (crypto.Signer, time.Time, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not hold us up
	if err != nil {
		return nil, time.Time{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, time.Time{}, err
	}
	switch mode := info.Mode(); {
	case !mode.IsRegular():
		return nil, time.Time{}, fmt.Errorf("%s: it is no file", path)
	case mode.Perm()&0o077 != 0:
		return nil, time.Time{}, fmt.Errorf("%s: %w (mode %04o): chmod 600", path, errExposed, mode.Perm())
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, time.Time{}, err
	}
	key, err := decodeKey(text)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("%s: %w", path, err)
	}
	return key, info.ModTime(), nil
}

// decodeKey reads a key in PKCS #8, or an RSA key as OpenSSL wrote it before (PKCS #1).
func decodeKey(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no PEM in it")
	}
	var parsed any
	var err error
	switch block.Type {
	case pemType:
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("a %q instead of a private key in PKCS #8", mailbox.Printable(block.Type))
	}
	if err != nil {
		return nil, errors.New("the private key in it cannot be read")
	}
	switch key := parsed.(type) {
	case *rsa.PrivateKey:
		if bits := key.N.BitLen(); bits < leastBits {
			return nil, fmt.Errorf("an RSA key of %d bits is too short", bits)
		}
		return key, nil
	case ed25519.PrivateKey:
		return key, nil
	}
	return nil, errors.New("neither an RSA nor an Ed25519 key")
}
