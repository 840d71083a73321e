package arc

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mxbypass/relay/header"
)

// memory is a content.
type memory []byte

func (m memory) Size() int64          { return int64(len(m)) }
func (m memory) Buffers() [][]byte    { return [][]byte{m} }
func (m memory) NewReader() io.Reader { return bytes.NewReader(m) }

func read(t testing.TB, message string) *header.Header {
	t.Helper()
	h, err := header.Read(memory(message), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// sealerKey is the key of a domain, always the same.
func sealerKey(domain string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(domain))
	return ed25519.NewKeyFromSeed(seed[:])
}

// world is a DNS in which every domain has its key as the selector s, but those that are named.
type world struct {
	failing string // has no answer now
	missing string // has no key
	asked   atomic.Int32
}

func (w *world) lookup(_ context.Context, name string) ([]string, error) {
	w.asked.Add(1)
	domain, ok := strings.CutPrefix(name, "s._domainkey.")
	switch {
	case ok && domain == w.failing:
		return nil, &net.DNSError{Name: name, IsTimeout: true}
	case !ok || domain == w.missing:
		return nil, &net.DNSError{Name: name, IsNotFound: true}
	}
	public := sealerKey(domain).Public().(ed25519.PublicKey)
	return []string{"v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public)}, nil
}

const plain = "Received: from a\r\nFrom: a@sender.example\r\nTo: b@forward.example\r\nSubject: one\r\n two\r\n\r\nHello\r\n"

var names = []string{"from", "from", "to", "to", "subject", "subject", "dkim-signature"}

func domainOf(instance int) string { return fmt.Sprintf("hop%d.example", instance) }

// input is what the sealer of an instance says.
func input(instance int, chain Chain) SealInput {
	return SealInput{
		Results: fmt.Sprintf(" %s;\r\n\tarc=%s;\r\n\tspf=pass\r\n", domainOf(instance), chain.Status), Chain: chain,
		Domain: domainOf(instance), Selector: "s", Key: crypto.Signer(sealerKey(domainOf(instance))), Fields: names,
		Time: time.Unix(1795000000, 0),
	}
}

// passOn adds a set to a message as the next hop does, which has found that chain.
func passOn(t testing.TB, message string, chain Chain) string {
	t.Helper()
	fields, err := Seal(read(t, message), input(chain.Instances+1, chain))
	if err != nil {
		t.Fatal(err)
	}
	return string(fields) + message
}

// chainOf makes a message with so many sets.
func chainOf(t testing.TB, n int) string {
	t.Helper()
	message, chain := plain, Chain{Status: None}
	for i := range n {
		message = passOn(t, message, chain)
		chain = Chain{Status: Pass, Instances: i + 1}
	}
	return message
}
