package peer

import (
	"bufio"
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
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"syscall"
)

//go:embed dkimpy.py
var dkimpy string

// DKIMPy is dkimpy, an implementation of DKIM and ARC that is not ours, with authres beside it. One process serves all who
// ask, one after the other: to start it takes longer than to ask it.
type DKIMPy struct {
	mu     sync.Mutex
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	errors bytes.Buffer // what it has complained of; to be read after its end
}

// StartDKIMPy starts it.
func StartDKIMPy() (*DKIMPy, error) {
	p := &DKIMPy{cmd: exec.Command("/usr/bin/python3", "-c", dkimpy)}
	p.cmd.Stderr = &p.errors
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	return p, p.cmd.Start()
}

// Close ends it.
func (p *DKIMPy) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(p.in.Close(), p.cmd.Wait())
}

// ask puts a request and reads its answer.
func (p *DKIMPy) ask(answer any, do, message string, request map[string]any) error {
	request["do"], request["message"] = do, base64.StdEncoding.EncodeToString([]byte(message))
	if request["txt"] == nil {
		request["txt"] = map[string]string{}
	}
	text, err := json.Marshal(request)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := p.in.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("dkimpy, %s: %w", do, err)
	}
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("dkimpy, %s: %w", do, err)
	}
	var reply struct {
		Answer json.RawMessage
		Error  string
	}
	switch err := json.Unmarshal(line, &reply); {
	case err != nil:
		return fmt.Errorf("dkimpy, %s: %w", do, err)
	case reply.Error != "":
		return fmt.Errorf("dkimpy, %s: %s", do, reply.Error)
	}
	return json.Unmarshal(reply.Answer, answer)
}

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

// Sign gives a message with a signature on top.
func (p *DKIMPy) Sign(k *SigningKey, message string) (string, error) {
	var field string
	err := p.ask(&field, "sign", message, map[string]any{
		"domain": k.Domain, "selector": k.Selector, "key": k.key, "algorithm": k.algorithm,
	})
	return field + message, err
}

// Seal gives a message with an ARC set on top, which keeps the results of authserv in the message.
func (p *DKIMPy) Seal(k *SigningKey, message, authserv string) (string, error) {
	var fields string
	err := p.ask(&fields, "arc-seal", message, map[string]any{
		"domain": k.Domain, "selector": k.Selector, "key": k.key, "authserv": authserv,
	})
	return fields + message, err
}

// Verify judges the signatures of a message, from the top.
func (p *DKIMPy) Verify(message string, d *DNS) (all []Signature, err error) {
	err = p.ask(&all, "verify", message, map[string]any{"txt": d.Texts()})
	return all, err
}

// VerifySeals judges the ARC chain of a message.
func (p *DKIMPy) VerifySeals(message string, d *DNS) (s Sealed, err error) {
	err = p.ask(&s, "arc-verify", message, map[string]any{"txt": d.Texts()})
	return s, err
}

// Results has authres read a field, name included.
func (p *DKIMPy) Results(field string) (r Results, err error) {
	err = p.ask(&r, "results", "", map[string]any{"field": field})
	return r, err
}
