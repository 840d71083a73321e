package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"github.com/miekg/dns"

	"mxbypass/configs"
	"mxbypass/relay/certs"
	"mxbypass/relay/inherited"
)

// openCerts opens and starts what keeps our certificates, and notes its end in opened; nil when there are none to keep.
func openCerts(_ context.Context, c *configs.Config, log *slog.Logger, opened *closers) (*certs.Manager, error) {
	if !c.HasCertificate() {
		return nil, nil
	}
	m, err := newCerts(c, log, true)
	if err != nil {
		return nil, err
	}
	m.Start()
	opened.add(m.Close)
	return m, nil
}

// certsSettings are what a Manager is made of, printed: with the same it can be kept over a reload. Files of certificates
// are not in it, as it looks at them itself.
func certsSettings(c *configs.Config) string {
	settings := fmt.Sprint(c.StateDir, c.TLS, c.Certificates, c.ACME, c.DNS)
	for _, path := range []string{c.TLS.ClientCAFile, c.ACME.CAFile, c.ACME.TSIGSecretFile} {
		settings += digest(path)
	}
	return settings
}

// digest stands for what is in a file.
func digest(path string) string {
	text, err := os.ReadFile(path)
	return fmt.Sprintf(" %x %v", sha256.Sum256(text), err)
}

// newCerts makes what keeps our certificates; without state it does not know what an authority has given before. The error
// tells of every file that is of no use, where it is named.
func newCerts(c *configs.Config, log *slog.Logger, state bool) (*certs.Manager, error) {
	o := certs.Options{Log: log, MinVersion: tls.VersionTLS12}
	if c.TLS.MinVersion == configs.TLS13 {
		o.MinVersion = tls.VersionTLS13
	}
	for _, f := range c.TLS.ClientFingerprints {
		o.Fingerprints = append(o.Fingerprints, certs.Fingerprint(f))
	}
	for _, p := range c.Certificates {
		o.Files = append(o.Files, certs.Pair(p))
	}
	var errs []error
	o.ClientCAs = authorities(c, "tls.client_ca_file", c.TLS.ClientCAFile, &errs)
	if len(c.ACME.Names) > 0 {
		o.ACME = acmeOptions(c, &errs)
		if !state {
			o.ACME.Dir = os.DevNull // in which nothing is found
		}
	}
	m, err := certs.New(o)
	return m, errors.Join(append(errs, placed(c, err))...)
}

// placed gives the problems with files where the configuration names them.
func placed(c *configs.Config, err error) error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return err
	}
	var problems []error
	for _, err := range joined.Unwrap() {
		if e, ok := errors.AsType[*certs.FileError](err); ok {
			key := fmt.Sprintf("certificate[%d].cert", e.Pair)
			if e.Key {
				key = fmt.Sprintf("certificate[%d].key", e.Pair)
			}
			err = configs.Problems{c.Problem(key, "%v", e)}
		}
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// authorities reads a file of certificates; nil without one.
func authorities(c *configs.Config, key, path string, errs *[]error) *x509.CertPool {
	if path == "" {
		return nil
	}
	pool, err := configs.ReadCAs(path)
	if err != nil {
		*errs = append(*errs, configs.Problems{c.Problem(key, "%q: %v", path, err)})
	}
	return pool
}

func acmeOptions(c *configs.Config, errs *[]error) *certs.ACME {
	o := &certs.ACME{
		Directory: c.ACME.Directory,
		Agree:     c.ACME.Agree,
		Roots:     authorities(c, "acme.ca_file", c.ACME.CAFile, errs),
		Dir:       filepath.Join(c.StateDir, "acme"),
	}
	if c.ACME.Challenge == configs.ChallengeDNS {
		o.DNS = dnsUpdate(c, errs)
	} else {
		o.HTTP, o.TLSALPN = opener(c.ACME.HTTPAddress), opener(c.ACME.TLSALPNAddress)
	}
	if !c.ACME.Email.IsNull() {
		o.Email = c.ACME.Email.Wire()
	}
	for _, name := range c.ACME.Names {
		o.Names = append(o.Names, name.ASCII())
	}
	return o
}

// dnsUpdate is how the proof that a name is ours gets into DNS.
func dnsUpdate(c *configs.Config, errs *[]error) *certs.DNSUpdate {
	secret, err := configs.ReadTSIGSecret(c.ACME.TSIGSecretFile)
	if err != nil {
		*errs = append(*errs, configs.Problems{c.Problem("acme.tsig_secret_file", "%q: %v", c.ACME.TSIGSecretFile, err)})
	}
	resolver, err := openResolver(c)
	if err != nil {
		*errs = append(*errs, err)
	}
	return &certs.DNSUpdate{
		Server: c.ACME.DNSServer.AddrPort, Secondaries: c.ACME.DNSSecondaries, Zone: c.ACME.DNSZone.ASCII(),
		Key: c.ACME.TSIGKey, Algorithm: string(c.ACME.TSIGAlgorithm), Secret: secret,
		Alias: func(ctx context.Context, name string) (string, error) {
			a := resolver.Ask(ctx, name, dns.TypeTXT)
			return cmp.Or(a.Alias, name), a.Err
		},
	}
}

// opener gives what opens a listener at an address; nil for none.
func opener(e configs.Endpoint) func(context.Context) (net.Listener, error) {
	switch e.Network {
	case "":
		return nil
	case configs.NetworkSystemd:
		return func(context.Context) (net.Listener, error) { return inherited.Listen(e.Address) }
	}
	return func(ctx context.Context) (net.Listener, error) {
		return new(net.ListenConfig).Listen(ctx, e.Network, e.Address)
	}
}
