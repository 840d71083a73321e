package trust

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"mxbypass/integration/peer"
)

// keysFor makes the keys of a domain as an operator would, and publishes what he is told to.
func keysFor(w *world, domain string) {
	w.t.Helper()
	for line := range strings.Lines(w.command("", "dkim", "create", domain, "--type", "both", "--json")) {
		var key struct{ Name, Record string }
		must(w.t, json.Unmarshal([]byte(line), &key))
		must(w.t, w.dns.Add(peer.TXT(key.Name, key.Record)))
	}
}

// holding wants signatures of a domain that hold, and no others, in the order that dkimpy finds them.
func holding(w *world, message, domain string, algorithms ...string) {
	w.t.Helper()
	found, err := dkimpy.Verify(message, w.dns)
	must(w.t, err)
	got := map[string]bool{}
	for _, s := range found {
		if got[s.Algorithm] = true; !s.Holds || s.Domain != domain {
			w.t.Errorf("%+v", s)
		}
	}
	for _, a := range algorithms {
		if !got[a] {
			w.t.Errorf("no %s by %s in\n%s", a, domain, message)
		}
	}
	if len(found) != len(algorithms) {
		w.t.Errorf("%d signatures, want %v", len(found), algorithms)
	}
}

// What users send is signed with both kinds of keys, whatever the message looks like, and dkimpy finds that they hold.
func TestOutgoingIsSigned(t *testing.T) {
	t.Parallel()
	remote, relay := outbox(t)
	w := start(t, settings{relay: relay})
	keysFor(w, "exemple.org")
	c := w.user("foobar@exemple.org")
	head := "From: foobar@exemple.org\r\nTo: someone@remote.example\r\n"
	for i, content := range []string{
		head + "Subject: plain\r\n\r\nHello.\r\n",
		head + "Subject: lines\r\n at the\r\n\tfold\r\n\r\n  spaces  and\ttabs \t\r\n\r\n.dots\r\n..\r\n\r\n\r\n\r\n",
		head + "Subject: nothing\r\n\r\n",
		head + "Subject: no body\r\nMIME-Version: 1.0\r\nReply-To: b@exemple.org\r\nCc: c@exemple.org\r\n\r\n\r\n\r\n",
		"from:foobar@exemple.org\r\nTO:someone@remote.example\r\nSubject:\r\n\r\n" + strings.Repeat("long "+strings.Repeat("x", 900)+"\r\n", 3000),
	} {
		reply, err := c.Message("foobar@exemple.org", "someone@remote.example", content)
		must(t, err)
		wantReply(t, reply, "250 2.0.0 ")
		must(t, remote.Await(i+1))
		m := remote.Messages()[i].Content
		holding(w, m, "exemple.org", "rsa-sha256", "ed25519-sha256")
		// A second From, which readers might show, breaks it.
		forged, err := dkimpy.Verify(strings.Replace(m, "\r\nSubject:", "\r\nFrom: boss@exemple.org\r\nSubject:", 1), w.dns)
		must(t, err)
		for _, s := range forged {
			if strings.Contains(content, "Subject:") && s.Holds {
				t.Errorf("message %d: the signature holds with a second From", i)
			}
		}
	}
}

// Signatures of others survive the way through us, into a mailbox and on to elsewhere; dkimpy says so, and we say of
// them what dkimpy says.
func TestSignaturesSurvive(t *testing.T) {
	t.Parallel()
	remote, relay := outbox(t)
	w := start(t, settings{relay: relay, domains: strings.Replace(theDomains, "info = [", "away = [\"someone@remote.example\"]\ninfo = [", 1)})
	body := "Hello.  \r\n\r\n \tworld\r\n\r\n\r\n"
	for i, algorithm := range []string{"rsa-sha256", "ed25519-sha256"} {
		key, err := peer.NewSigningKey("client.test", fmt.Sprintf("s%d", i), algorithm)
		must(t, err)
		must(t, w.dns.Add(key.Record))
		message := strings.Replace(text, "Hello.\r\n", body, 1)
		signed, err := dkimpy.Sign(key, message)
		must(t, err)
		// What claims to be ours goes, what others have found stays.
		theirs := "Authentication-Results: mx.other.example; dkim=fail\r\n"
		spoofed := "Authentication-Results: mx.host.test; dkim=pass header.d=bank.example\r\n" + theirs + signed
		m := w.got("192.0.2.1", "a@client.test", spoofed)
		holding(w, m, "client.test", algorithm)
		wantResult(t, m, "dkim", "pass")
		if !strings.HasSuffix(m, signed) || !strings.Contains(m, theirs) || strings.Contains(m, "bank.example") {
			t.Errorf("the message is another one:\n%s", m)
		}
		// The results are above everything that was there, and above them only what we have written.
		if top, _, _ := strings.Cut(m, theirs); strings.Count(top, "Authentication-Results:") != 1 || !strings.Contains(top, "Received: from client.test") {
			t.Errorf("above it:\n%s", top)
		}

		wantReply(t, w.send("192.0.2.1", "a@client.test", "away@exemple.org", signed), "250 2.0.0 queued")
		must(t, remote.Await(i+1))
		holding(w, remote.Messages()[i].Content, "client.test", algorithm)

		broken := strings.Replace(signed, "Hello.", "Hallo.", 1)
		m = w.got("192.0.2.1", "a@client.test", broken)
		wantResult(t, m, "dkim", "fail")
		if found, err := dkimpy.Verify(m, w.dns); err != nil || len(found) != 1 || found[0].Holds {
			t.Errorf("dkimpy: %v %v", found, err)
		}
	}
	// A signature of SHA-1 is none (RFC 8301): opendkim-testmsg makes no others.
	key, err := peer.NewSigningKey("client.test", "old", "rsa-sha256")
	must(t, err)
	must(t, w.dns.Add(key.Record))
	old := exec.Command("opendkim-testmsg", "-C", "-d", "client.test", "-s", "old", "-k", file(t, "old.pem", key.PEM))
	old.Stdin = strings.NewReader(text)
	signed, err := old.Output()
	must(t, err)
	m := w.got("192.0.2.1", "a@client.test", string(signed))
	if all := results(t, m).Of("dkim"); len(all) != 1 || all[0] == "pass" {
		t.Errorf("rsa-sha1: %v", all)
	}
}

// OpenDKIM verifies what we sign, and we verify what it signs.
func TestOpenDKIM(t *testing.T) {
	t.Parallel()
	key, err := peer.NewSigningKey("client.example", "s1", "rsa-sha256")
	must(t, err)
	signer, err := peer.StartOpenDKIMSigner(t.TempDir(), key.Domain, key.Selector, key.PEM)
	must(t, err)
	t.Cleanup(signer.Close)
	remote, relay := outbox(t)
	filter := func(o *peer.OpenDKIM) string {
		return fmt.Sprintf("[[filter]]\nname = \"opendkim\"\naddress = %q\n", o.Addr)
	}
	theirs := start(t, settings{relay: relay, listener: `filters = ["opendkim"]`, more: filter(signer)})
	keysFor(theirs, "exemple.org")
	must(t, theirs.dns.Add(key.Record))
	verifier, err := peer.StartOpenDKIMVerifier(t.TempDir(), "opendkim.example", theirs.dns.Addr)
	must(t, err)
	t.Cleanup(verifier.Close)
	var records []string
	for name, text := range theirs.dns.Texts() {
		records = append(records, peer.TXT(name, text))
	}
	ours := start(t, settings{records: records, listener: `filters = ["opendkim"]`, more: filter(verifier)})

	message := strings.ReplaceAll(text, "client.test", "client.example")
	wantReply(t, theirs.send("127.0.0.9", "a@client.example", box, message), "250 ")
	signed := theirs.inbox("foobar@exemple.org")[0]
	says := func(message, who string, passes int) {
		t.Helper()
		for _, r := range fields(message, "Authentication-Results") {
			if strings.HasPrefix(r, who+";") && strings.Count(r, "dkim=pass") == passes {
				return
			}
		}
		t.Errorf("%s says otherwise:\n%s", who, message)
	}
	says(ours.got("192.0.2.1", "a@client.example", signed[strings.Index(signed, "DKIM-Signature:"):]), "mx.host.test", 1)

	reply, err := theirs.user("foobar@exemple.org").Message("foobar@exemple.org", "someone@remote.example",
		"From: foobar@exemple.org\r\nSubject: hello\r\n\r\nHello.\r\n")
	must(t, err)
	wantReply(t, reply, "250 ")
	must(t, remote.Await(1))
	says(ours.got("192.0.2.1", "foobar@exemple.org", remote.Messages()[0].Content), "opendkim.example", 2)
}
