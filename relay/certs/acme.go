package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

// ACME says how certificates are had from an authority (RFC 8555). Names, Directory and Dir are needed, and HTTP, TLSALPN
// or DNS.
type ACME struct {
	Names     []string       // in ASCII; wildcards ("*.example.org") with DNS alone; each has its own certificate
	Directory string         // URL, https
	Email     string         // for the authority, about our account; empty: none
	Agree     bool           // to the terms of the authority; without it there is no account
	Roots     *x509.CertPool // whose certificates the authority itself may show; nil: those of the system
	Dir       string         // account and certificates are kept there

	// HTTP and TLSALPN open the listener at which the authority finds the proof that a name is ours, port 80 for HTTP-01
	// and port 443 for TLS-ALPN-01 (RFC 8737), and only while it looks; nil: that way is not offered.
	HTTP, TLSALPN func(ctx context.Context) (net.Listener, error)

	// DNS puts the proof into DNS (DNS-01); nil: that way is not offered.
	DNS *DNSUpdate
}

const (
	// lookAfter is how often it is asked whether a certificate is to be renewed, by its age or by what the authority says
	// (RFC 9773). That it was revoked is said there.
	lookAfter = time.Hour
	// roundLimit is for one certificate, with all the waiting.
	roundLimit = 10 * time.Minute
)

// retryAfter are the pauses after failures, the last of them again and again. Authorities count failures by the hour:
// Let's Encrypt allows five for a name.
func retryAfter(failures int) time.Duration {
	pauses := []time.Duration{time.Minute, 10 * time.Minute, 20 * time.Minute, 40 * time.Minute, 2 * time.Hour, 6 * time.Hour}
	return pauses[min(failures, len(pauses))-1]
}

// authority has certificates from an authority. Of certmagic it uses what loads, obtains, stores and renews one of them,
// in our own goroutine; not its queues, servers and limits, which are of the process, and outlive a configuration.
type authority struct {
	options ACME
	log     *slog.Logger
	take    func(name string, c *tls.Certificate)
	standIn *tls.Certificate
	storage *storage
	issuer  *issuer
	zap     *zap.Logger
}

func newAuthority(o ACME, log *slog.Logger, take func(string, *tls.Certificate)) (*authority, error) {
	c, err := standIn(o.Names)
	if err != nil {
		return nil, fmt.Errorf("acme: %w", err)
	}
	s := &storage{dir: o.Dir}
	return &authority{
		options: o, log: log, take: take, standIn: c, storage: s, issuer: newIssuer(o, s, log), zap: zap.New(&core{log: log}),
	}, nil
}

// close ends the connections to the authority.
func (a *authority) close() { a.issuer.http.CloseIdleConnections() }

// with calls f with what certmagic needs to look after a certificate; nothing of it goes on after that.
func (a *authority) with(f func(*certmagic.Config, *certmagic.Cache)) {
	var config *certmagic.Config
	cache := certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return config, nil },
		Logger:           a.zap,
	})
	defer cache.Stop()
	config = certmagic.New(cache, certmagic.Config{
		Issuers: []certmagic.Issuer{a.issuer},
		Storage: a.storage,
		Logger:  a.zap,
		// Servers of mail do not ask for it, authorities end it, and certmagic's way of fetching it has no end of its own.
		OCSP: certmagic.OCSPConfig{DisableStapling: true},
	})
	f(config, cache)
}

// stored gives what the authority has given before, as far as it is there and of use.
func (a *authority) stored(ctx context.Context) map[string]*tls.Certificate {
	found := map[string]*tls.Certificate{}
	a.with(func(config *certmagic.Config, _ *certmagic.Cache) {
		for _, name := range a.options.Names {
			if c, err := config.CacheManagedCertificate(ctx, name); err == nil && c.Leaf != nil {
				found[name] = &c.Certificate
			}
		}
	})
	return found
}

// run has certificates and keeps them new, until ctx ends.
func (a *authority) run(ctx context.Context) {
	failures := make([]int, len(a.options.Names))
	due := make([]time.Time, len(a.options.Names))
	for {
		next := time.Now().Add(lookAfter)
		for i, name := range a.options.Names {
			if !time.Now().Before(due[i]) {
				failures[i], due[i] = a.attempt(ctx, name, failures[i])
			}
			if due[i].Before(next) {
				next = due[i]
			}
		}
		timer := time.NewTimer(time.Until(next))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// attempt has the certificate of a name, if it is not there, or is to be renewed. It gives the failures so far, and when
// to come again.
func (a *authority) attempt(ctx context.Context, name string, failures int) (int, time.Time) {
	c, err := a.round(ctx, name)
	if c != nil {
		a.take(name, c)
	}
	if err == nil {
		return 0, time.Now().Add(lookAfter)
	}
	failures++
	pause := retryAfter(failures)
	if ctx.Err() == nil {
		a.log.Error("no certificate from the authority", "name", name, "error", err, "again_in", pause.String())
	}
	return failures, time.Now().Add(pause)
}

// round gives the best certificate for a name that there is: with an error, one that should have been renewed.
func (a *authority) round(ctx context.Context, name string) (found *tls.Certificate, err error) {
	ctx, cancel := context.WithTimeout(ctx, roundLimit)
	defer cancel()
	if err := a.mend(ctx, name); err != nil {
		return nil, err
	}
	a.with(func(config *certmagic.Config, cache *certmagic.Cache) {
		err = config.ManageSync(ctx, []string{name})
		for _, c := range cache.AllMatchingCertificates(name) {
			if c.Leaf != nil && (found == nil || c.Leaf.NotAfter.After(found.Leaf.NotAfter)) {
				found = &c.Certificate
			}
		}
	})
	if err == nil && found == nil {
		err = errors.New("no certificate was stored")
	}
	return found, err
}

// mend removes a stored certificate that is of no use. Key and certificate are two files: when the power fails while they
// are renewed, they may not belong together, and would stand in the way of a new one for ever. When one of them is not
// there, certmagic has both again.
func (a *authority) mend(ctx context.Context, name string) error {
	key := a.issuer.IssuerKey()
	cert, certErr := a.storage.Load(ctx, certmagic.StorageKeys.SiteCert(key, name))
	secret, keyErr := a.storage.Load(ctx, certmagic.StorageKeys.SitePrivateKey(key, name))
	if certErr == nil && keyErr == nil {
		if _, err := tls.X509KeyPair(cert, secret); err != nil {
			a.log.Error("a certificate of the authority was half stored, and is had again", "name", name, "error", err)
			return a.storage.Delete(ctx, certmagic.StorageKeys.CertsSitePrefix(key, name))
		}
	}
	return nil
}
