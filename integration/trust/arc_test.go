package trust

import (
	"fmt"
	"strings"
	"testing"

	"mxbypass/integration/peer"
)

const srs = "srs_domain = \"srs.host.test\"\nsrs_key_file = %q"

// What is sent on is sealed and has a sender of ours; dkimpy verifies the chain, also where others have begun it, and also
// where the message came to us without one.
func TestForwardedIsSealed(t *testing.T) {
	t.Parallel()
	remote, relay := outbox(t)
	key, err := peer.NewSigningKey("client.test", "s1", "rsa-sha256")
	must(t, err)
	list, err := peer.NewSigningKey("list.example", "arc", "rsa-sha256")
	must(t, err)
	secret := file(t, "srs.key", "0123456789abcdef0123456789abcdef\n")
	w := start(t, settings{
		relay:   relay + "\n" + fmt.Sprintf(srs, secret),
		records: []string{key.Record, list.Record, peer.TXT("client.test", "v=spf1 ip4:192.0.2.1 -all")},
		domains: strings.Replace(theDomains, "info = [", "away = [\"someone@remote.example\"]\ninfo = [", 1),
		more:    "[sign]\nseal_domain = \"host.test\"",
	})
	keysFor(w, "host.test")
	signed, err := dkimpy.Sign(key, text)
	must(t, err)
	// A list that alters the subject, and has written down what it had found before.
	listed := strings.Replace(signed, "Subject: hello", "Subject: [list] hello", 1)
	listed, err = dkimpy.Seal(list, "Authentication-Results: mx.list.example; dkim=pass header.d=client.test; "+
		"spf=pass smtp.mailfrom=client.test; dmarc=pass header.from=client.test\r\n"+listed, "mx.list.example")
	must(t, err)
	for i, c := range []struct {
		name, content string
		instances     int
		status        string // of the chain, as it came
	}{
		{"no chain", signed, 1, "none"},
		{"a chain", listed, 2, "pass"},
	} {
		m := w.got("192.0.2.1", "a@client.test", c.content)
		wantResult(t, m, "arc", c.status)
		wantReply(t, w.send("192.0.2.1", "a@client.test", "away@exemple.org", c.content), "250 2.0.0 queued")
		must(t, remote.Await(i+1))
		sent := remote.Messages()[i]
		if !strings.HasPrefix(sent.From, "SRS0=") {
			t.Errorf("%s: from %s", c.name, sent.From)
		}
		chain, err := dkimpy.VerifySeals(sent.Content, w.dns)
		must(t, err)
		if chain.Status != "pass" || chain.Instances != c.instances {
			t.Errorf("%s: dkimpy says %+v of\n%s", c.name, chain, sent.Content)
		}
		aar := fields(sent.Content, "ARC-Authentication-Results")[0]
		if !strings.Contains(aar, "mx.host.test") || !strings.Contains(aar, "spf=pass") {
			t.Errorf("%s: %s", c.name, aar)
		}
		// Whoever alters it afterwards is found out.
		if chain, err = dkimpy.VerifySeals(strings.Replace(sent.Content, "Hello.", "Hallo.", 1), w.dns); err != nil || chain.Status != "fail" {
			t.Errorf("%s: altered: %+v %v", c.name, chain, err)
		}
	}
	// A chain that is broken stays broken, and says so.
	broken := strings.Replace(listed, "Hello.", "Hallo.", 1)
	wantResult(t, w.got("192.0.2.1", "a@client.test", broken), "arc", "fail")
	wantReply(t, w.send("192.0.2.1", "a@client.test", "away@exemple.org", broken), "250 2.0.0 queued")
	must(t, remote.Await(3))
	if chain, err := dkimpy.VerifySeals(remote.Messages()[2].Content, w.dns); err != nil || chain.Status == "pass" {
		t.Errorf("a broken chain was mended: %+v %v", chain, err)
	}
}
