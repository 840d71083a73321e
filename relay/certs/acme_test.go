package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
)

// listening is a way to open a door; it gives the address as well.
func listening(t testing.TB) (address string, listen func(context.Context) (net.Listener, error)) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = l.Addr().String()
	l.Close()
	return address, func(ctx context.Context) (net.Listener, error) {
		return new(net.ListenConfig).Listen(ctx, "tcp", address)
	}
}

// client gives the settings for an authority, which checks in the way.
func (a *testAuthority) client(way string, names ...string) *ACME {
	o := &ACME{
		Names: names, Directory: a.URL + "/dir", Agree: true, Roots: a.roots(), Dir: filepath.Join(a.t.TempDir(), "acme"),
	}
	address, listen := listening(a.t)
	a.set(func() { a.way, a.door = way, address })
	if way == "http-01" {
		o.HTTP = listen
	} else {
		o.TLSALPN = listen
	}
	return o
}

func round(t *testing.T, m *Manager, name string) error {
	t.Helper()
	c, err := m.authority.round(context.Background(), name)
	if c != nil {
		m.take(name, c)
	}
	return err
}

func trusts(a *testAuthority, m *Manager, name string) error {
	_, _, err := shake(m.Config(), &tls.Config{ServerName: name, RootCAs: a.ca.pool()})
	return err
}

func TestObtain(t *testing.T) {
	for _, way := range []string{"http-01", "tls-alpn-01"} {
		t.Run(way, func(t *testing.T) {
			a := newTestAuthority(t)
			o := a.client(way, "mx.host.test", "mx2.host.test")
			log, said := newLog(t)
			m := newManager(t, Options{ACME: o, Log: log})
			// Until then there is something to encrypt to.
			if _, _, err := shake(m.Config(), &tls.Config{ServerName: "mx.host.test", InsecureSkipVerify: true}); err != nil {
				t.Error(err)
			}
			if trusts(a, m, "mx.host.test") == nil {
				t.Error("a certificate before there is one")
			}
			taken := make(chan struct{}, 2)
			m.authority.take = func(name string, c *tls.Certificate) {
				m.take(name, c)
				taken <- struct{}{}
			}
			m.Start()
			for range 2 {
				select {
				case <-taken:
				case <-time.After(20 * time.Second):
					t.Error("nothing was given")
				}
			}
			if err := errors.Join(trusts(a, m, "mx.host.test"), trusts(a, m, "mx2.host.test"), m.Close()); err != nil {
				t.Error(err)
			}
			if _, err := net.Dial("tcp", a.door); err == nil {
				t.Error("the door is open")
			}
			if strings.Contains(said.String(), "certmagic") || strings.Count(said.String(), "certificate obtained") != 2 {
				t.Error(said.String())
			}
			modes(t, o.Dir)

			// The next start has it from the disk, before any question.
			again := newManager(t, Options{ACME: o})
			if err := trusts(a, again, "mx2.host.test"); err != nil {
				t.Error(err)
			}
			if err := round(t, again, "mx.host.test"); err != nil {
				t.Error(err)
			}
			if accounts, orders := a.given(); accounts != 1 || orders != 2 {
				t.Errorf("%d accounts, %d orders", accounts, orders)
			}
			_ = again.Close()
		})
	}
}

// modes holds that nobody else can read what is in a folder.
func modes(t *testing.T, dir string) {
	t.Helper()
	n := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		if err == nil && info.Mode().Perm() != want {
			t.Errorf("%s: %v", path, info.Mode())
		}
		n++
		return err
	})
	if err != nil || n < 6 {
		t.Error(n, err)
	}
}

// What is about to end is renewed, and shown until it is.
func TestRenew(t *testing.T) {
	a := newTestAuthority(t)
	a.set(func() { a.life = 10 * time.Minute }) // of an hour: less than a third
	m := newManager(t, Options{ACME: a.client("http-01", "mx.host.test")})
	defer m.Close()
	if err := round(t, m, "mx.host.test"); err != nil {
		t.Fatal(err)
	}
	old := shows(t, m, "mx.host.test")
	a.set(func() { a.refuse = true })
	if err := round(t, m, "mx.host.test"); err == nil || !strings.Contains(err.Error(), "rateLimited") {
		t.Error(err)
	}
	if shows(t, m, "mx.host.test").Cmp(old) != 0 {
		t.Error("what works is not shown any more")
	}
	a.set(func() { a.refuse, a.life = false, 90*24*time.Hour })
	if err := round(t, m, "mx.host.test"); err != nil {
		t.Fatal(err)
	}
	if shows(t, m, "mx.host.test").Cmp(old) == 0 {
		t.Error("not renewed")
	}
	_, before := a.given()
	if err := round(t, m, "mx.host.test"); err != nil {
		t.Fatal(err)
	}
	if _, orders := a.given(); orders != before || orders != 2 {
		t.Errorf("%d orders, %d before", orders, before)
	}
}

// An authority that says no is asked again later and later; one that has lost our account is given another.
func TestFailures(t *testing.T) {
	a := newTestAuthority(t)
	o := a.client("http-01", "mx.host.test")
	log, said := newLog(t)
	m := newManager(t, Options{ACME: o, Log: log})
	defer m.Close()
	a.set(func() { a.refuse = true })
	failures := 0
	var due time.Time
	for _, want := range []float64{1, 10, 20, 40, 120, 360, 360} {
		failures, due = m.authority.attempt(context.Background(), "mx.host.test", failures)
		if got := time.Until(due).Round(time.Minute); got.Minutes() != want {
			t.Errorf("after %d failures again in %v", failures, got)
		}
	}
	if !strings.Contains(said.String(), "rateLimited") || strings.Contains(said.String(), "\nthanks") {
		t.Error(said.String())
	}
	a.set(func() { a.refuse, a.forget, a.accounts = false, true, 7 })
	if failures, due = m.authority.attempt(context.Background(), "mx.host.test", failures); failures != 0 ||
		time.Until(due).Round(time.Minute) != lookAfter {
		t.Error(failures, due)
	}
	if accounts, _ := a.given(); accounts != 8 {
		t.Errorf("%d accounts", accounts)
	}

	// Wrong proofs: what the world sees at the address is somebody else.
	elsewhere, _ := listening(t)
	other := newManager(t, Options{ACME: a.client("http-01", "mx3.host.test")})
	defer other.Close()
	a.set(func() { a.door = elsewhere })
	if err := round(t, other, "mx3.host.test"); err == nil || !strings.Contains(err.Error(), "not yours") {
		t.Error(err)
	}
}

// Another address for the authority's mail is told, and nothing else is.
func TestContact(t *testing.T) {
	a := newTestAuthority(t)
	o := a.client("http-01", "mx.host.test", "mx2.host.test", "mx3.host.test")
	for i, email := range []string{"a@host.test", "a@host.test", "b@host.test"} {
		o.Email = email
		m := newManager(t, Options{ACME: o})
		if err := round(t, m, o.Names[i]); err != nil {
			t.Error(err)
		}
		_ = m.Close()
	}
	if accounts, orders := a.given(); accounts != 1 || orders != 3 {
		t.Errorf("%d accounts, %d orders", accounts, orders)
	}
	if len(a.contacts) != 2 || !strings.Contains(a.contacts[0], "mailto:a@host.test") ||
		!strings.Contains(a.contacts[0], `"termsOfServiceAgreed":true`) || !strings.Contains(a.contacts[1], "mailto:b@host.test") {
		t.Error(a.contacts)
	}
}

// A crash between the key and the certificate of a renewal leaves two that do not belong together.
func TestHalfStored(t *testing.T) {
	a := newTestAuthority(t)
	o := a.client("tls-alpn-01", "mx.host.test")
	m := newManager(t, Options{ACME: o})
	if err := round(t, m, "mx.host.test"); err != nil {
		t.Fatal(err)
	}
	_ = m.Close()
	key := certmagic.StorageKeys.SitePrivateKey(m.authority.issuer.IssuerKey(), "mx.host.test")
	write(t, filepath.Join(o.Dir, key), issue(t, nil, "ecdsa", nil, "mx.host.test").keyPEM(t))

	log, said := newLog(t)
	again := newManager(t, Options{ACME: o, Log: log}) // it starts
	defer again.Close()
	if err := round(t, again, "mx.host.test"); err != nil {
		t.Error(err)
	}
	if err := trusts(a, again, "mx.host.test"); err != nil || !strings.Contains(said.String(), "half stored") {
		t.Error(err, said.String())
	}
}

// Close does not wait for an authority that does not answer, nor for a door that others have.
func TestCloseWhileAsking(t *testing.T) {
	a := newTestAuthority(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	o := a.client("http-01", "mx.host.test")
	o.Directory = "https://" + silent.Addr().String() + "/dir"
	m := newManager(t, Options{ACME: o})
	m.Start()
	c, err := silent.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = m.Close()

	taken, err := net.Listen("tcp", a.door)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	o.Directory = a.URL + "/dir"
	m = newManager(t, Options{ACME: o})
	m.Start()
	select {
	case <-a.ordered:
	case <-time.After(20 * time.Second):
		t.Error("nothing was asked for")
	}
	_ = m.Close()
}

func TestStorage(t *testing.T) {
	ctx := context.Background()
	dir := filepath.Join(t.TempDir(), "acme")
	s, other := &storage{dir: dir}, &storage{dir: dir}
	if _, err := s.Load(ctx, "a/b"); !errors.Is(err, fs.ErrNotExist) || s.Exists(ctx, "a") {
		t.Error(err)
	}
	for _, key := range []string{"a/b", "a/c/d", "../../e"} {
		if err := s.Store(ctx, key, []byte(key)); err != nil {
			t.Fatal(err)
		}
		if text, err := other.Load(ctx, key); err != nil || string(text) != key {
			t.Errorf("%q, %v", text, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "e")); err != nil {
		t.Error("a key leads out of the folder: ", err)
	}
	for recursive, want := range map[bool]string{false: "a/b a/c", true: "a/b a/c a/c/d"} {
		if keys, err := s.List(ctx, "a", recursive); err != nil || strings.Join(keys, " ") != want {
			t.Error(keys, err)
		}
	}
	if info, err := s.Stat(ctx, "a/b"); err != nil || info.Size != 3 || !info.IsTerminal || info.Key != "a/b" {
		t.Error(info, err)
	}
	if err := errors.Join(s.Delete(ctx, "a"), s.Delete(ctx, "a")); err != nil || s.Exists(ctx, "a/c/d") {
		t.Error(err)
	}

	if err := s.Lock(ctx, "x"); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	if err := other.Lock(short, "x"); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	got := make(chan error)
	go func() { got <- other.Lock(ctx, "x") }()
	if err := s.Unlock(ctx, "x"); err != nil {
		t.Error(err)
	}
	if err := <-got; err != nil {
		t.Error(err)
	}
	if err := errors.Join(other.Unlock(ctx, "x")); err != nil || s.Unlock(ctx, "x") == nil {
		t.Error(err)
	}
}
