package trust

import (
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

// Certificates are had from a real authority, in both ways, kept over a start, and had again when they are about to end.
func TestACME(t *testing.T) {
	for _, way := range []string{"http_address", "tls_alpn_address"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			dns, err := peer.StartDNS("mx.host.test. 60 IN A 127.0.0.1", "mx2.host.test. 60 IN A 127.0.0.1")
			if err != nil {
				t.Fatal(err)
			}
			defer dns.Close()
			door, err := peer.FreePort()
			if err != nil {
				t.Fatal(err)
			}
			p, err := peer.StartPebble(dir, peer.PebbleOptions{DNS: dns.Addr, HTTPPort: door, TLSPort: door, Life: 90 * 24 * time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Kill()
			roots, err := p.Roots()
			if err != nil {
				t.Fatal(err)
			}
			settings := func(names string) string {
				text := fmt.Sprintf("[acme]\nnames = [%s]\nemail = \"postmaster@host.test\"\ndirectory = %q\nca_file = %q\nagree = true\n",
					names, p.Directory, p.CAFile)
				if way != "http_address" {
					text += "http_address = \"\"\n"
				}
				return text + fmt.Sprintf("%s = \"127.0.0.1:%d\"\n", way, door)
			}

			r := secured(t, dir, settings(`"mx.host.test", "mx2.host.test"`))
			both := func() error {
				_, err := startTLS(r.Addr, "mx.host.test", roots)
				_, err2 := startTLS(r.Addr, "mx2.host.test", roots)
				return errors.Join(err, err2)
			}
			if err := peer.Until(soon, "certificates", func() bool { return both() == nil }); err != nil {
				t.Fatalf("%v: %v\n%s", err, both(), p.Output())
			}
			first, err := startTLS(r.Addr, "mx.host.test", roots)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			if out := r.Output(); strings.Count(out, "certificate obtained") != 2 || strings.Contains(out, "PRIVATE KEY") {
				t.Error("want two certificates in the log, and no key")
			}
			private(t, dir+"/state")

			// The authority is not asked again, and not needed, for what was had before.
			p.Kill()
			r = secured(t, dir, settings(`"mx.host.test", "mx2.host.test"`))
			again, err := startTLS(r.Addr, "mx.host.test", roots)
			if err != nil || !again.PeerCertificates[0].Equal(first.PeerCertificates[0]) {
				t.Errorf("another certificate after a start: %v", err)
			}
			if err := both(); err != nil {
				t.Error(err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Renewed files are shown without a restart or a reload; a broken one is said, and changes nothing.
func TestRenewedFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "mx.pem"), filepath.Join(dir, "mx.key")
	renew := func(name string) *x509.CertPool {
		pool, err := peer.SelfSigned(cert+".new", key+".new", name)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Rename(cert+".new", cert), os.Rename(key+".new", key)); err != nil {
			t.Fatal(err)
		}
		return pool
	}
	roots := renew("mx.host.test")
	r := secured(t, dir, fmt.Sprintf("[[certificate]]\ncert = %q\nkey = %q\n", cert, key))
	if _, err := startTLS(r.Addr, "mx.host.test", roots); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cert, []byte("not a certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := peer.Until(soon, "the log", func() bool { return strings.Contains(r.Output(), "the one before is kept") }); err != nil {
		t.Error(err)
	}
	if _, err := startTLS(r.Addr, "mx.host.test", roots); err != nil {
		t.Error(err)
	}
	roots = renew("mx2.host.test")
	if err := peer.Until(soon, "the new certificate", func() bool {
		_, err := startTLS(r.Addr, "mx2.host.test", roots)
		return err == nil
	}); err != nil {
		t.Error(err)
	}
	// A reload looks at once.
	roots = renew("mx3.host.test")
	if err := r.Cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Error(err)
	}
	if err := peer.Until(soon, "the new certificate", func() bool {
		_, err := startTLS(r.Addr, "mx3.host.test", roots)
		return err == nil
	}); err != nil {
		t.Error(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}
