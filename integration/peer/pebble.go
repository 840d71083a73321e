package peer

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Pebble is a private ACME authority, that of Let's Encrypt's own tests. It refuses some requests with a wrong nonce on
// purpose.
type Pebble struct {
	*Process
	Directory  string // URL
	CAFile     string // who has signed the certificate of Directory
	management string
	client     *http.Client
}

// PebbleOptions say how names are checked, and for how long certificates are given.
type PebbleOptions struct {
	DNS               string // address of the server that knows the names
	HTTPPort, TLSPort int    // in the place of 80 and 443
	Life              time.Duration
}

// StartPebble runs an authority with its files in a folder.
func StartPebble(dir string, o PebbleOptions) (*Pebble, error) {
	certFile, keyFile := filepath.Join(dir, "pebble.pem"), filepath.Join(dir, "pebble.key")
	pool, err := SelfSigned(certFile, keyFile, "127.0.0.1")
	if err != nil {
		return nil, err
	}
	var ports [2]int
	for i := range ports {
		if ports[i], err = FreePort(); err != nil {
			return nil, err
		}
	}
	listen, management := fmt.Sprintf("127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
	text, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": listen, "managementListenAddress": management,
		"certificate": certFile, "privateKey": keyFile,
		"httpPort": o.HTTPPort, "tlsPort": o.TLSPort,
		"certificateValidityPeriod": int(o.Life.Seconds()),
		"retryAfter":                map[string]int{"authz": 1, "order": 1},
	}})
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "pebble.json")
	if err := os.WriteFile(config, text, 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command("/usr/bin/pebble", "-config", config, "-dnsserver", o.DNS)
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=20", "PEBBLE_AUTHZREUSE=0")
	p, err := Start(cmd)
	if err != nil {
		return nil, err
	}
	for _, addr := range []string{listen, management} {
		if err := p.listening(addr, ""); err != nil {
			return nil, err
		}
	}
	return &Pebble{
		Process: p, Directory: "https://" + listen + "/dir", CAFile: certFile, management: "https://" + management,
		client: &http.Client{
			Timeout:   patience,
			Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true},
		},
	}, nil
}

// Roots are who signs what the authority gives; it makes them anew with every start.
func (p *Pebble) Roots() (*x509.CertPool, error) {
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, p.management+"/roots/0", nil)
	if err != nil {
		return nil, err
	}
	res, err := p.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("pebble gives no root: %s", text)
	}
	return pool, nil
}

// SelfSigned writes a certificate for names and addresses that nobody has signed, and its key.
func SelfSigned(certFile, keyFile string, names ...string) (*x509.CertPool, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().AddDate(0, 3, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
			continue
		}
		template.DNSNames = append(template.DNSNames, name)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(certFile, cert, 0o644); err != nil {
		return nil, err
	}
	err = os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(cert)
	return pool, nil
}
