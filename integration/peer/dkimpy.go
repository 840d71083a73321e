package peer

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os/exec"
)

//go:embed dkimpy.py
var dkimpy string

// Signature is what dkimpy says of a DKIM signature.
type Signature struct {
	Domain, Algorithm string
	Holds             bool
	Why               string
}

// Sealed is what dkimpy says of an ARC chain: none, pass or fail.
type Sealed struct {
	Status    string
	Instances int
	Why       string
}

// Results are an Authentication-Results field as authres reads it.
type Results struct {
	AuthServ string
	Results  []struct {
		Method, Result string
		Properties     map[string]string // by type and name, such as "header.d"
	}
}

// Of gives the results of a method, in order.
func (r Results) Of(method string) (all []string) {
	for _, one := range r.Results {
		if one.Method == method {
			all = append(all, one.Result)
		}
	}
	return all
}

// SigningKey is a key for DKIM or ARC, with the name under which its record is.
type SigningKey struct {
	Domain, Selector string
	Record           string // as in a zone file

	algorithm string
	key       string // as dkimpy wants it
	PEM       string // PKCS #8, as OpenDKIM wants it
}

// NewSigningKey makes a key of 2048 bits for rsa-sha256, or one for ed25519-sha256.
func NewSigningKey(domain, selector, algorithm string) (*SigningKey, error) {
	k := &SigningKey{Domain: domain, Selector: selector, algorithm: algorithm}
	var key crypto.PrivateKey
	var record string
	switch algorithm {
	case "rsa-sha256":
		pair, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return nil, err
		}
		public, err := x509.MarshalPKIXPublicKey(pair.Public())
		if err != nil {
			return nil, err
		}
		key, record = pair, "v=DKIM1; k=rsa; p="+base64.StdEncoding.EncodeToString(public)
	case "ed25519-sha256":
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		key, record = private, "v=DKIM1; k=ed25519; p="+base64.StdEncoding.EncodeToString(public)
		k.key = base64.StdEncoding.EncodeToString(private.Seed())
	default:
		return nil, fmt.Errorf("algorithm %q", algorithm)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	k.PEM = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if k.key == "" {
		k.key = k.PEM
	}
	k.Record = TXT(selector+"._domainkey."+domain, record)
	return k, nil
}

// Sign gives a message with a signature by dkimpy on top.
func (k *SigningKey) Sign(message string) (string, error) {
	var field string
	err := askDKIMPy(&field, "sign", message, map[string]any{
		"domain": k.Domain, "selector": k.Selector, "key": k.key, "algorithm": k.algorithm,
	})
	return field + message, err
}

// Seal gives a message with an ARC set by dkimpy on top, which keeps the results of authserv in the message.
func (k *SigningKey) Seal(message, authserv string, d *DNS) (string, error) {
	var fields string
	err := askDKIMPy(&fields, "arc-seal", message, map[string]any{
		"domain": k.Domain, "selector": k.Selector, "key": k.key, "authserv": authserv, "txt": d.Texts(),
	})
	return fields + message, err
}

// Verify is what dkimpy says of the signatures of a message, from the top.
func Verify(message string, d *DNS) (all []Signature, err error) {
	return all, askDKIMPy(&all, "verify", message, map[string]any{"txt": d.Texts()})
}

// VerifySeals is what dkimpy says of the ARC chain of a message.
func VerifySeals(message string, d *DNS) (s Sealed, err error) {
	return s, askDKIMPy(&s, "arc-verify", message, map[string]any{"txt": d.Texts()})
}

// ReadResults has authres read a field, name included.
func ReadResults(field string) (r Results, err error) {
	return r, askDKIMPy(&r, "results", "", map[string]any{"field": field})
}

func askDKIMPy(answer any, do, message string, request map[string]any) error {
	request["do"], request["message"] = do, base64.StdEncoding.EncodeToString([]byte(message))
	if request["txt"] == nil {
		request["txt"] = map[string]string{}
	}
	text, err := json.Marshal(request)
	if err != nil {
		return err
	}
	cmd := exec.Command("/usr/bin/python3", "-c", dkimpy)
	cmd.Stdin = bytes.NewReader(text)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("dkimpy, %s: %w: %s", do, err, stderr.Bytes())
	}
	return json.Unmarshal(out, answer)
}
