package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
)

// Pair is a certificate with its key, in files in PEM. The certificate's file has the whole chain, ours first.
type Pair struct{ Cert, Key string }

// Fingerprint is the SHA-256 digest of a certificate in DER.
type Fingerprint [32]byte

// Options of a [Manager]; Log is needed, and Files or ACME.
type Options struct {
	Files []Pair // the first of them is shown to clients that name no server of ours
	ACME  *ACME  // nil: none

	MinVersion   uint16         // tls.VersionTLS12 or later; 0: that
	ClientCAs    *x509.CertPool // whose certificates make a client trusted; nil: nobody's
	Fingerprints []Fingerprint  // certificates that make a client trusted, whoever has signed them

	Log *slog.Logger
}

// Manager has the certificates. Its methods may be called by anybody at any time.
type Manager struct {
	options Options
	config  *tls.Config
	shown   atomic.Pointer[shelf]

	mu        sync.Mutex // held to change what is shown
	files     []*file
	authority *authority                  // nil: none
	issued    map[string]*tls.Certificate // by name, what the authority has given

	stop context.CancelFunc // nil: not started
	work sync.WaitGroup
}

// New reads the files, and what the authority has given before. It starts nothing; see [Manager.Start]. The error has a
// [FileError] for every file that is of no use.
func New(o Options) (*Manager, error) {
	m := &Manager{options: o, issued: map[string]*tls.Certificate{}}
	var errs []error
	for i, pair := range o.Files {
		f := &file{pair: pair}
		if err := f.read(); err != nil {
			err.Pair = i
			errs = append(errs, err)
		}
		m.files = append(m.files, f)
	}
	if o.ACME != nil {
		var err error
		if m.authority, err = newAuthority(*o.ACME, o.Log, m.take); err != nil {
			errs = append(errs, err)
		}
	}
	if len(m.files) == 0 && m.authority == nil {
		errs = append(errs, errors.New("certs: no certificate"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if m.authority != nil {
		m.issued = m.authority.stored(context.Background())
	}
	m.arrange()
	for _, f := range m.files {
		f.warn(o.Log)
	}
	m.config = m.newConfig()
	return m, nil
}

// newConfig leaves the suites and curves to crypto/tls: all that it offers from TLS 1.2 on is forward secret, in an order
// that knows the machine. Servers that encrypt when they can, and send in the clear otherwise, are helped by none less.
// Session tickets are its own as well: keys of a day, believed for a week.
func (m *Manager) newConfig() *tls.Config {
	c := &tls.Config{
		MinVersion: max(m.options.MinVersion, tls.VersionTLS12),
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return m.shown.Load().choose(hello)
		},
	}
	// Clients are asked for a certificate when one could matter: some old ones fail at the question. What they show is
	// looked at by Trusted, so that a certificate of no use is no reason to refuse a message.
	if m.options.ClientCAs != nil || len(m.options.Fingerprints) > 0 {
		c.ClientAuth = tls.RequestClientCert
	}
	// A client whose certificate is none of the authorities that it is told keeps it to itself.
	if len(m.options.Fingerprints) == 0 {
		c.ClientCAs = m.options.ClientCAs
	}
	return c
}

// Config is for all listeners, and not to be changed. It is the same one at every call, so that sessions can be resumed.
func (m *Manager) Config() *tls.Config { return m.config }

// Leaf is the certificate in files that was the pair of that place in [Options.Files].
func (m *Manager) Leaf(pair int) *x509.Certificate {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.files[pair].cert.Leaf
}

// Covers tells whether a certificate in files is for a host name.
func (m *Manager) Covers(host string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(m.files, func(f *file) bool { return f.cert.Leaf.VerifyHostname(host) == nil })
}

// Start begins to look after the certificates. [Manager.Close] ends it.
func (m *Manager) Start() {
	ctx, stop := context.WithCancel(context.Background())
	m.stop = stop
	if len(m.files) > 0 {
		m.work.Go(func() { m.watch(ctx) })
	}
	if m.authority != nil {
		m.work.Go(func() { m.authority.run(ctx) })
	}
}

// Close ends what Start has begun. The configuration can still be used, with the certificates as they are.
func (m *Manager) Close() error {
	if m.stop != nil {
		m.stop()
	}
	m.work.Wait()
	if m.authority != nil {
		m.authority.close()
	}
	return nil
}

// take shows what the authority has given for a name.
func (m *Manager) take(name string, c *tls.Certificate) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.issued[name] = c
	m.arrange()
}

// arrange puts all certificates where handshakes find them. While there is none yet, the authority's stand-in is shown.
func (m *Manager) arrange() {
	var all []*tls.Certificate
	for _, f := range m.files {
		all = append(all, f.cert)
	}
	if m.authority != nil {
		for _, name := range m.authority.options.Names {
			if c := m.issued[name]; c != nil {
				all = append(all, c)
			}
		}
		if len(all) == 0 {
			all = append(all, m.authority.standIn)
		}
	}
	m.shown.Store(newShelf(all))
}
