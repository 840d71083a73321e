package msgauth

import (
	"crypto/rand"
	"crypto/rsa"
	"net/netip"
	"strings"
	"testing"

	"mxbypass/mailbox"
)

// BenchmarkCheck is a message of 10 KiB that RSA-2048 signs, with SPF and DMARC, all of it known to the cache.
func BenchmarkCheck(b *testing.B) {
	k := newKit(b, nil)
	k.author("author.test", "p=reject")
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		b.Fatal(err)
	}
	k.publish("r", "author.test", key, "")
	k.dns.Add(b, "1.2.0.192.in-addr.arpa. PTR author.test.")
	body := strings.Repeat("The quick brown fox jumps over the lazy dog, as it does every day.\r\n", 150)
	message := signed(b, plainMessage+body, "author.test", key, tag("s", "r"))
	m := &Message{Client: netip.MustParseAddr("192.0.2.1"), Hello: "author.test", Reverse: address("a@author.test"),
		Domains: []mailbox.Domain{hosted()}, Content: memory(message), ID: "id"}
	b.ReportAllocs()
	b.SetBytes(int64(len(message)))
	for b.Loop() {
		v, err := k.Check(b.Context(), m)
		if err != nil || !strings.Contains(string(v.Results), "dkim=pass") {
			b.Fatal(v, err)
		}
	}
}
