package msgauth

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mxbypass/mailbox"
	"mxbypass/relay/header"
	"mxbypass/relay/lookup"
	"mxbypass/relay/lookup/dnstest"
	"mxbypass/relay/msgauth/arc"
	"mxbypass/relay/msgauth/signature"
	"mxbypass/routing/mx"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a content.
type memory []byte

func (m memory) Size() int64          { return int64(len(m)) }
func (m memory) Buffers() [][]byte    { return [][]byte{m} }
func (m memory) NewReader() io.Reader { return bytes.NewReader(m) }

// crlf makes a message out of text with plain line ends.
func crlf(text string) string { return strings.ReplaceAll(text, "\n", "\r\n") }

func text(t testing.TB, c mailbox.Content) string {
	t.Helper()
	b, err := io.ReadAll(c.NewReader())
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func read(t testing.TB, message string) *header.Header {
	t.Helper()
	h, err := header.Read(memory(message), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// kit is a checker with the DNS that it asks.
type kit struct {
	*Checker
	t   testing.TB
	dns *dnstest.Server
}

func newKit(t testing.TB, change func(*Options)) *kit {
	t.Helper()
	k := &kit{t: t, dns: dnstest.New(t)}
	asks, err := lookup.New(lookup.Options{Servers: []string{k.dns.Addr}})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Hostname: name("mx.host.test"), Lookup: asks, MaxHeader: 1 << 20, Policy: mailbox.AuthenticationEnforce}
	if change != nil {
		change(&o)
	}
	if k.Checker, err = New(o); err != nil {
		t.Fatal(err)
	}
	return k
}

func name(s string) mailbox.DomainName { return mailbox.MustDomainName(s) }

func address(s string) mailbox.Address {
	if s == "" {
		return mailbox.Address{}
	}
	a, err := mailbox.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

// edKey is the Ed25519 key of a domain, always the same.
func edKey(domain string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(domain))
	return ed25519.NewKeyFromSeed(seed[:])
}

// publish puts the public half of a key into DNS.
func (k *kit) publish(selector, domain string, key crypto.Signer, flags string) {
	record := "v=DKIM1; " + flags
	switch public := key.Public().(type) {
	case ed25519.PublicKey:
		record += "k=ed25519; p=" + base64.StdEncoding.EncodeToString(public)
	case *rsa.PublicKey:
		der, err := x509.MarshalPKIXPublicKey(public)
		if err != nil {
			k.t.Fatal(err)
		}
		record += "k=rsa; p=" + base64.StdEncoding.EncodeToString(der)
	}
	k.dns.AddTXT(signature.Name(selector, domain)+".", record)
}

// signed puts a DKIM signature on top of a message. Tags replace those of the usual signature.
func signed(t testing.TB, message, domain string, key crypto.Signer, tags ...signature.Tag) string {
	t.Helper()
	h := read(t, message)
	form := signature.Relaxed
	all := []signature.Tag{
		{Name: "v", Value: "1"}, {Name: "a", Value: signature.Algorithm(key)}, {Name: "c", Value: "relaxed/relaxed"},
		{Name: "d", Value: domain}, {Name: "s", Value: "s"}, {Name: "h", Value: "from:to:subject"}, {Name: "bh"},
	}
	for _, tag := range tags {
		replaced := false
		for i := range all {
			if all[i].Name == tag.Name {
				all[i].Value, replaced = tag.Value, true
			}
		}
		if !replaced {
			all = append(all, tag)
		}
	}
	body, err := signature.BodyHash(h.Body(), form)
	if err != nil {
		t.Fatal(err)
	}
	all[6].Value = body
	field, err := signature.NewDraft("DKIM-Signature", all).SignMessage(key, signature.NewFields(h.Fields),
		strings.Split(all[5].Value, ":"))
	if err != nil {
		t.Fatal(err)
	}
	return string(field) + message
}

// sealed puts a set of ARC on top of a message, with these results.
func (k *kit) sealed(message, domain, results string) string {
	k.t.Helper()
	h := read(k.t, message)
	set, err := arc.Seal(h, arc.SealInput{
		Results: results, Chain: arc.Validate(k.t.Context(), h, k.o.Lookup.TXT), Domain: domain, Selector: "s",
		Key: edKey(domain), Fields: []string{"from", "to", "subject"}, Time: time.Unix(1_700_000_000, 0),
	})
	if err != nil || set == nil {
		k.t.Fatal(set, err)
	}
	return string(set) + message
}

// hosted is a domain of ours that enforces.
func hosted(upstreams ...string) mailbox.Domain {
	return mailbox.Domain{Name: name("ours.test"), Upstreams: upstreams}
}

// check judges a message for one domain.
func (k *kit) check(client, reverse, message string, domains ...mailbox.Domain) *Verdict {
	k.t.Helper()
	v, err := k.Check(k.t.Context(), &Message{
		Client: netip.MustParseAddr(client), Hello: "client.test", Reverse: address(reverse), Domains: domains,
		Content: memory(message), ID: "id",
	})
	if err != nil {
		k.t.Fatal(err)
	}
	return v
}

// runBy is an MX state that names one host.
func runBy(host string) mx.State {
	return mx.State{Domain: name("ours.test"), Kind: mx.External, Hosts: []mx.Host{{Name: name(host)}}}
}
