package certs

import (
	"crypto/tls"
	"errors"
	"testing"
)

// Which certificate a client is shown depends on the name that it asks for, and on what it understands.
func TestChoose(t *testing.T) {
	ca := newCA(t)
	dir := t.TempDir()
	mxRSA := issue(t, ca, "rsa", nil, "mx.host.test", "MX2.Host.Test")
	mx := issue(t, ca, "ecdsa", nil, "mx.host.test", "mx2.host.test")
	wild := issue(t, ca, "ecdsa", nil, "*.vps.test")
	m := newManager(t, Options{Files: []Pair{mxRSA.pair(t, dir+"/rsa"), mx.pair(t, dir+"/ec"), wild.pair(t, dir+"/wild")}})

	onlyRSA := []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
	onlyECDSA := []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
	for _, tt := range []struct {
		name   string
		suites []uint16 // of TLS 1.2; nil: whatever, TLS 1.3
		want   *signer  // nil: none
	}{
		{"mx.host.test", nil, mx},
		{"MX.HOST.TEST", nil, mx},
		{"mx2.host.test", nil, mx},
		{"mx.host.test", onlyRSA, mxRSA},
		{"mx2.host.test", onlyRSA, mxRSA},
		{"mx.host.test", onlyECDSA, mx},
		{"a.vps.test", nil, wild},
		{"a.vps.test", onlyRSA, mxRSA}, // it is that or nothing
		{"a.b.vps.test", nil, mx},      // one label
		{"vps.test", nil, mx},
		{"elsewhere.test", nil, mx},
		{"elsewhere.test", onlyRSA, mxRSA},
		{"", nil, mx},
		{"", onlyRSA, mxRSA},
	} {
		client := &tls.Config{ServerName: tt.name, InsecureSkipVerify: true}
		if tt.suites != nil {
			client.CipherSuites, client.MaxVersion = tt.suites, tls.VersionTLS12
		}
		_, state, err := shake(m.Config(), client)
		if err != nil {
			t.Errorf("%q, %v: %v", tt.name, tt.suites, err)
			continue
		}
		if got := state.PeerCertificates[0]; !got.Equal(tt.want.cert) {
			t.Errorf("%q, %v: %v, %T", tt.name, tt.suites, got.DNSNames, got.PublicKey)
		}
	}
}

func TestChooseNone(t *testing.T) {
	m := newManager(t, Options{Files: []Pair{issue(t, nil, "ecdsa", nil, "mx.host.test").pair(t, inDir(t, "a"))}})
	_, _, err := shake(m.Config(), &tls.Config{
		ServerName: "mx.host.test", InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12,
		CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256},
	})
	if !errors.Is(err, errNoCertificate) {
		t.Error(err)
	}
}

// Old versions are refused, and what is left is forward secret.
func TestVersions(t *testing.T) {
	pair := issue(t, nil, "rsa", nil, "mx.host.test").pair(t, inDir(t, "a"))
	for _, tt := range []struct {
		least, client uint16
		suites        []uint16
		want          bool
	}{
		{0, tls.VersionTLS11, nil, false},
		{tls.VersionTLS10, tls.VersionTLS11, nil, false},
		{0, tls.VersionTLS12, nil, true},
		{0, tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}, false},
		{0, tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA}, false},
		{0, tls.VersionTLS13, nil, true},
		{tls.VersionTLS13, tls.VersionTLS12, nil, false},
		{tls.VersionTLS13, tls.VersionTLS13, nil, true},
	} {
		m := newManager(t, Options{Files: []Pair{pair}, MinVersion: tt.least})
		_, state, err := shake(m.Config(), &tls.Config{
			InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tt.client, CipherSuites: tt.suites,
		})
		if (err == nil) != tt.want || err == nil && state.Version != tt.client {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}

// A client that comes again need not have it all anew.
func TestResumed(t *testing.T) {
	m := newManager(t, Options{Files: []Pair{issue(t, nil, "ecdsa", nil, "mx.host.test").pair(t, inDir(t, "a"))}})
	client := &tls.Config{
		ServerName: "mx.host.test", InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(1),
	}
	for i := range 2 {
		_, state, err := shake(m.Config(), client)
		if err != nil || state.DidResume != (i > 0) {
			t.Error(i, state.DidResume, err)
		}
	}
}
