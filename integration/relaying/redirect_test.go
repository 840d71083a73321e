package relaying

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const redirecting = theDomains + `[domain.aliases]
away = ["someone@remote.example"]
team = ["foobar@exemple.org", "away@exemple.org"]
[domain.copies]
contact = ["copy@remote.example"]
`

func srsKeys(t *testing.T) string {
	file := filepath.Join(t.TempDir(), "srs.key")
	must(t, os.WriteFile(file, []byte("0123456789abcdef0123456789abcdef\n"), 0o600))
	return file
}

// The directory sends mail on, for every client and also by bypass address; the sender is rewritten, and a bounce to
// the rewritten address goes home.
func TestRedirect(t *testing.T) {
	w := start(t, settings{
		domains: redirecting,
		relay:   "srs_domain = \"srs.host.test\"\nsrs_key_file = \"" + srsKeys(t) + "\"",
		records: []string{
			"remote.example. IN MX 10 mx.remote.example.", "mx.remote.example. IN A 198.51.100.30",
			"client.test. IN MX 10 mx.client.test.", "mx.client.test. IN A 198.51.100.31",
		},
	})
	r, home := remote(t, "198.51.100.30", nil), remote(t, "198.51.100.31", nil)
	wantReply(t, w.send("127.0.0.2", "a@client.test", "away@exemple.org", text), "250 2.0.0 queued for ")
	must(t, r.Await(1))
	m := r.Messages()[0]
	if m.To[0] != "someone@remote.example" || !strings.HasPrefix(m.From, "SRS0=") || !strings.HasSuffix(m.From, "@srs.host.test") ||
		!strings.Contains(m.Content, "Delivered-To: away@exemple.org\r\n") || !strings.HasSuffix(m.Content, text) {
		t.Errorf("%+v", m)
	}
	// With a copy here.
	wantReply(t, w.send("127.0.0.2", "a@client.test", "contact%exemple.org@mx.host.test", text), "250 2.0.0 delivered to contact@exemple.org")
	must(t, r.Await(2))
	if n := len(w.inbox("contact@exemple.org")); n != 1 {
		t.Errorf("%d messages here", n)
	}
	// An alias with both.
	wantReply(t, w.send("127.0.0.2", "a@client.test", "team@exemple.org", text), "250 2.0.0 ")
	must(t, r.Await(3))
	w.mailAt("foobar@exemple.org", 1)
	// It comes around.
	wantReply(t, w.send("127.0.0.2", "a@client.test", "away@exemple.org", m.Content), "554 5.4.6 ")

	// A bounce goes home, and nothing else does.
	wantReply(t, w.send("127.0.0.2", "", m.From, text), "250 2.0.0 queued for ")
	must(t, home.Await(1))
	if b := home.Messages()[0]; b.From != "" || b.To[0] != "a@client.test" {
		t.Errorf("%+v", b)
	}
	// On the way it was folded.
	wantReply(t, w.send("127.0.0.2", "", strings.ToLower(m.From), text), "250 2.0.0 queued for ")
	must(t, home.Await(2)) // the third is the report below
	wantReply(t, w.send("127.0.0.2", "spammer@client.test", m.From, text), "550 5.7.1 ")
	forged := strings.Replace(m.From, "=a@", "=b@", 1)
	wantReply(t, w.send("127.0.0.2", "", forged, text), "550 5.7.1 ")

	// What cannot be delivered there is reported to the sender, at home.
	r.Refuse("someone@remote.example", "550 5.1.1 not any more")
	wantReply(t, w.send("127.0.0.2", "a@client.test", "away@exemple.org", text), "250 2.0.0 queued for ")
	must(t, home.Await(3))
	report := home.Messages()[2]
	if report.From != "" || report.To[0] != "a@client.test" || !strings.Contains(report.Content, "not any more") {
		t.Errorf("the report: %+v", report)
	}
	w.empty()
}
