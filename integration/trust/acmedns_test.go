package trust

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mxbypass/integration/peer"
)

// Names are proved in DNS, by updates of real name servers, and nothing stays there. Whatever is wrong with that later is
// said once, and changes nothing for the certificates that are there.
func TestACMEByDNS(t *testing.T) {
	for name, run := range map[string]func(string, peer.UpdatedOptions) (*peer.Updated, error){
		"knot": peer.StartKnot, "bind": peer.StartBIND,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := startProved(t, run)
			w.wantCertificates("host.test", "*.host.test", "mail.host.test")
			if serial, err := w.server.Serial("host.test"); err != nil || serial < 7 {
				t.Errorf("the zone has version %d, want 7 or more: three proofs were there, and are gone; %v", serial, err)
			}

			// Another secret than that of the server, and an additional name.
			w.configure("b3RoZXIgdGhhbiB0aGF0IG9mIHRoZSBzZXJ2ZXI=", "host.test", "*.host.test", "mail.host.test", "mx2.host.test")
			w.wantFailure("does not take our signature: the secret is not that of its key \\\"mxbypass\\\", BADSIG")
			w.wantCertificates("host.test", "*.host.test", "mail.host.test")

			// The right one is noticed.
			w.configure(updateSecret, "host.test", "*.host.test", "mail.host.test", "mx2.host.test")
			w.wantCertificates("host.test", "*.host.test", "mail.host.test", "mx2.host.test")

			// The server is gone.
			must(t, w.server.Close())
			w.configure(updateSecret, "host.test", "*.host.test", "mail.host.test", "mx2.host.test", "mx3.host.test")
			w.wantFailure("connection refused")
			w.wantCertificates("host.test", "*.host.test", "mail.host.test", "mx2.host.test")

			must(t, w.relay.Close())
			if strings.Contains(w.relay.Output(), updateSecret[:8]) || strings.Contains(w.relay.Output(), "stays in DNS") {
				t.Error("the log has the secret, or a proof that stays")
			}
		})
	}
}

const updateSecret = "c2VjcmV0IG9mIHRoZSB1cGRhdGVzIG9mIHRoZSB6b25l"

// proved is a relay whose names are proved in DNS.
type proved struct {
	t        *testing.T
	dir      string
	server   *peer.Updated
	relay    *peer.Relay
	roots    *x509.CertPool
	settings string // in which the names are to be filled in
	failures int    // so far in the log
}

// startProved runs a name server, an authority that asks it, and a relay that asks both for three certificates. The proof
// of mail.host.test stands elsewhere in the zone.
func startProved(t *testing.T, run func(string, peer.UpdatedOptions) (*peer.Updated, error)) *proved {
	t.Helper()
	w := &proved{t: t, dir: t.TempDir()}
	const alias = "_acme-challenge.mail.host.test. 60 IN CNAME mail.proofs.host.test."
	zones := filepath.Join(w.dir, "server")
	must(t, os.Mkdir(zones, 0o755))
	var err error
	w.server, err = run(zones, peer.UpdatedOptions{
		Zone: "host.test", Key: "mxbypass", Algorithm: "hmac-sha384", Secret: updateSecret, Records: []string{alias},
	})
	must(t, err)
	t.Cleanup(w.server.Kill)
	dns, err := peer.StartDNS(alias)
	must(t, err)
	t.Cleanup(func() { dns.Close() })
	p, err := peer.StartPebble(w.dir, peer.PebbleOptions{DNS: w.server.Addr, HTTPPort: 1, TLSPort: 1, Life: 90 * 24 * time.Hour})
	must(t, err)
	t.Cleanup(p.Kill)
	w.roots, err = p.Roots()
	must(t, err)
	w.settings = fmt.Sprintf(`[log]
level = "debug"
[dns]
servers = [%q]
[acme]
agree = true
directory = %q
ca_file = %q
challenge = "dns-01"
dns_server = %[4]q
dns_secondaries = [%[4]q]
tsig_key = "mxbypass"
tsig_algorithm = "hmac-sha384"
tsig_secret_file = %[5]q
names = `, dns.Addr, p.Directory, p.CAFile, w.server.Addr, w.secretFile())
	must(t, os.WriteFile(w.secretFile(), []byte(updateSecret+"\n"), 0o600))
	w.relay = secured(t, w.dir, w.settings+`["host.test", "*.host.test", "mail.host.test"]`+"\n")
	return w
}

func (w *proved) secretFile() string { return filepath.Join(w.dir, "tsig.key") }

// configure gives the running relay a secret and names.
func (w *proved) configure(secret string, names ...string) {
	w.t.Helper()
	config := filepath.Join(w.dir, "mxbypass.toml")
	text, err := os.ReadFile(config)
	must(w.t, err)
	before, _, _ := bytes.Cut(text, []byte(w.settings))
	must(w.t, errors.Join(
		os.WriteFile(w.secretFile(), []byte(secret), 0o600),
		os.WriteFile(config, fmt.Appendf(before, "%s[\"%s\"]\n", w.settings, strings.Join(names, `", "`)), 0o600),
		w.relay.Cmd.Process.Signal(syscall.SIGHUP),
	))
}

// wantCertificates waits until each name is shown a certificate of its own that the authority has given, and wants no
// proof to be left in DNS.
func (w *proved) wantCertificates(names ...string) {
	w.t.Helper()
	for _, name := range names {
		shown := func() error {
			state, err := startTLS(w.relay.Addr, strings.Replace(name, "*", "any", 1), w.roots)
			if err == nil && state.PeerCertificates[0].DNSNames[0] != name {
				err = fmt.Errorf("the certificate is for %v", state.PeerCertificates[0].DNSNames)
			}
			return err
		}
		if err := peer.Until(soon, "the certificate of "+name, func() bool { return shown() == nil }); err != nil {
			w.t.Fatalf("%v: %v", err, shown())
		}
	}
	select {
	case <-w.server.Done():
		return // as the test wants it
	default:
	}
	for _, name := range []string{"_acme-challenge.host.test", "mail.proofs.host.test", "_acme-challenge.mx2.host.test"} {
		if texts, err := w.server.TXT(name); err != nil || len(texts) > 0 {
			w.t.Errorf("%s: %q, %v", name, texts, err)
		}
	}
}

// wantFailure waits for one line of the log that says why there is no certificate, and wants no other.
func (w *proved) wantFailure(why string) {
	w.t.Helper()
	const failure = "no certificate from the authority"
	w.failures++
	if err := peer.Until(soon, "the log", func() bool { return strings.Count(w.relay.Output(), failure) >= w.failures }); err != nil {
		w.t.Fatal(err)
	}
	lines := strings.SplitAfter(w.relay.Output(), failure)
	if line, _, _ := strings.Cut(lines[len(lines)-1], "\n"); len(lines)-1 != w.failures || !strings.Contains(line, why) {
		w.t.Errorf("%d failures, the last one%s; want %d, and %s", len(lines)-1, line, w.failures, why)
	}
}
