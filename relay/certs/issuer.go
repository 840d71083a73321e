package certs

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

// maxAnswer bounds what an authority may answer.
const maxAnswer = 1 << 20

// issuer speaks with the authority. It is certmagic's Issuer, and its RenewalInfoGetter.
type issuer struct {
	options ACME
	storage *storage
	log     *slog.Logger
	http    *http.Client
	solvers map[string]acmez.Solver
}

func newIssuer(o ACME, s *storage, log *slog.Logger) *issuer {
	i := &issuer{options: o, storage: s, log: log, solvers: map[string]acmez.Solver{}}
	i.http = &http.Client{
		Timeout: time.Minute,
		Transport: bounded{&http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 30 * time.Second}).DialContext,
			TLSClientConfig:       &tls.Config{RootCAs: o.Roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:   30 * time.Second,
			ResponseHeaderTimeout: 30 * time.Second,
			IdleConnTimeout:       30 * time.Second,
			MaxConnsPerHost:       2,
			ForceAttemptHTTP2:     true,
		}},
	}
	if o.HTTP != nil {
		i.solvers[acme.ChallengeTypeHTTP01] = newHTTPSolver(o.HTTP)
	}
	if o.TLSALPN != nil {
		i.solvers[acme.ChallengeTypeTLSALPN01] = newALPNSolver(o.TLSALPN)
	}
	if o.DNS != nil {
		i.solvers[acme.ChallengeTypeDNS01] = newDNSSolver(*o.DNS, log)
	}
	return i
}

// bounded gives no more of an answer than maxAnswer.
type bounded struct{ *http.Transport }

// RoundTrip implements [http.RoundTripper].
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := b.Transport.RoundTrip(r)
	if err == nil {
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(res.Body, maxAnswer), res.Body}
	}
	return res, err
}

// client makes a client. It knows nothing from before, so that what an authority has changed is seen.
func (i *issuer) client() *acmez.Client {
	return &acmez.Client{
		Client: &acme.Client{
			Directory: i.options.Directory, HTTPClient: i.http, UserAgent: "mxbypass", Logger: slog.New(quiet{i.log.Handler()}),
		},
		ChallengeSolvers: i.solvers,
	}
}

// IssuerKey implements certmagic.Issuer: what is had from one directory is not taken for what is had from another.
func (i *issuer) IssuerKey() string {
	_, rest, _ := strings.Cut(i.options.Directory, "://")
	return strings.NewReplacer("/", "-", ":", "-").Replace(strings.TrimSuffix(rest, "/"))
}

// Issue implements certmagic.Issuer.
func (i *issuer) Issue(ctx context.Context, csr *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	chain, err := i.order(ctx, csr)
	var problem acme.Problem
	if errors.As(err, &problem) && problem.Type == acme.ProblemTypeAccountDoesNotExist {
		// The authority has forgotten us, or was set up anew: so do we forget.
		if err := i.storage.Delete(ctx, i.accountKey()); err != nil {
			return nil, err
		}
		chain, err = i.order(ctx, csr)
	}
	if err != nil {
		return nil, err
	}
	i.log.Info("certificate obtained", "names", strings.Join(csr.DNSNames, " "), "authority", i.options.Directory)
	return &certmagic.IssuedCertificate{Certificate: chain.ChainPEM, Metadata: chain}, nil
}

func (i *issuer) order(ctx context.Context, csr *x509.CertificateRequest) (acme.Certificate, error) {
	client := i.client()
	account, err := i.account(ctx, client)
	if err != nil {
		return acme.Certificate{}, fmt.Errorf("the account: %w", err)
	}
	order, err := acmez.OrderParametersFromCSR(account, csr)
	if err != nil {
		return acme.Certificate{}, err
	}
	chains, err := client.ObtainCertificate(ctx, order)
	if err != nil {
		return acme.Certificate{}, err
	}
	if len(chains) == 0 {
		return acme.Certificate{}, errors.New("the authority has given no certificate")
	}
	return chains[0], nil
}

// GetRenewalInfo implements certmagic.RenewalInfoGetter (RFC 9773).
func (i *issuer) GetRenewalInfo(ctx context.Context, c certmagic.Certificate) (acme.RenewalInfo, error) {
	return i.client().GetRenewalInfo(ctx, c.Leaf)
}

// registration is an account as it is stored: one file, so that it is there as a whole.
type registration struct {
	Account acme.Account `json:"account"`
	Key     []byte       `json:"key"` // PKCS #8
}

func (i *issuer) accountKey() string {
	return "accounts/" + certmagic.StorageKeys.Safe(i.IssuerKey()) + ".json"
}

// account gives our account, and makes one when there is none.
func (i *issuer) account(ctx context.Context, client *acmez.Client) (acme.Account, error) {
	var contact []string
	if i.options.Email != "" {
		contact = []string{"mailto:" + i.options.Email}
	}
	account, err := i.loadAccount(ctx)
	switch {
	case err == nil && slices.Equal(account.Contact, contact):
		return account, nil
	case err == nil:
		key := account.PrivateKey
		if _, err = client.GetDirectory(ctx); err != nil { // UpdateAccount does not ask for it
			return acme.Account{}, err
		}
		account.Contact = contact
		updated, err := client.UpdateAccount(ctx, account)
		if err != nil {
			return acme.Account{}, err
		}
		account.Status, account.PrivateKey = updated.Status, key
		return account, i.saveAccount(ctx, account)
	case !errors.Is(err, fs.ErrNotExist):
		return acme.Account{}, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return acme.Account{}, err
	}
	account, err = client.NewAccount(ctx, acme.Account{
		Contact: contact, TermsOfServiceAgreed: i.options.Agree, PrivateKey: key,
	})
	if err != nil {
		return acme.Account{}, err
	}
	account.Contact = contact // some authorities do not tell it back
	i.log.Info("account opened", "authority", i.options.Directory)
	return account, i.saveAccount(ctx, account)
}

func (i *issuer) loadAccount(ctx context.Context) (acme.Account, error) {
	text, err := i.storage.Load(ctx, i.accountKey())
	if err != nil {
		return acme.Account{}, err
	}
	var r registration
	if err := json.Unmarshal(text, &r); err != nil {
		return acme.Account{}, fmt.Errorf("%s: %w", i.accountKey(), err)
	}
	key, err := x509.ParsePKCS8PrivateKey(r.Key)
	if err != nil {
		return acme.Account{}, fmt.Errorf("%s: %w", i.accountKey(), err)
	}
	signer, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return acme.Account{}, fmt.Errorf("%s: no key that we have made", i.accountKey())
	}
	r.Account.PrivateKey = signer
	return r.Account, nil
}

func (i *issuer) saveAccount(ctx context.Context, account acme.Account) error {
	key, err := x509.MarshalPKCS8PrivateKey(account.PrivateKey)
	if err != nil {
		return err
	}
	text, err := json.Marshal(registration{Account: account, Key: key})
	if err != nil {
		return err
	}
	return i.storage.Store(ctx, i.accountKey(), text)
}
