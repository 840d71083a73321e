package sign

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mxbypass/relay/msgauth/signature"
)

func TestCreate(t *testing.T) {
	k := newKit(t)
	for _, algorithm := range []string{signature.RSA, ed} {
		key, err := k.Create(domain("exemple.org"), "s-"+algorithm, algorithm, true)
		if err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]fs.FileMode{key.File: 0o600, filepath.Dir(key.File): 0o700, k.dir: 0o700} {
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: %v, %v", path, info, err)
			}
		}
		if key.Name() != "s-"+algorithm+"._domainkey.exemple.org" || !strings.HasPrefix(key.ZoneLine(), key.Name()+". 3600 IN TXT ") {
			t.Error(key.ZoneLine())
		}
		if _, err := signature.ParseKey(key.Record()); err != nil {
			t.Error(err)
		}
		var joined string
		for i, s := range strings.Split(key.ZoneLine(), `"`) {
			if i%2 == 1 {
				joined += s
			}
			if len(s) > 255 {
				t.Errorf("a string of %d octets", len(s))
			}
		}
		if joined != key.Record() {
			t.Errorf("%s\n%s", joined, key.Record())
		}
		again, err := k.Create(domain("exemple.org"), "s-"+algorithm, algorithm, false)
		if !errors.Is(err, ErrExists) {
			t.Errorf("%+v, %v", again, err)
		}
	}
	for _, selector := range []string{"", "S", "a/b", "..", "a..b", ".a", "a b", strings.Repeat("x", 64), "é"} {
		if _, err := k.Create(domain("exemple.org"), selector, ed, true); !errors.Is(err, ErrSelector) {
			t.Errorf("%q: %v", selector, err)
		}
	}
	long := domain(strings.Repeat(strings.Repeat("x", 60)+".", 4) + "test")
	if _, err := k.Create(long, "s", ed, true); !errors.Is(err, ErrSelector) {
		t.Error(err)
	}
	if _, err := k.Create(domain("exemple.org"), "s", "dsa", true); err == nil {
		t.Error("a key for DSA")
	}
	var all []string
	for d, err := range k.Domains() {
		all = append(all, fmt.Sprint(d, err))
	}
	if !slices.Equal(all, []string{"exemple.org<nil>"}) && !slices.Equal(all, []string{"exemple.org <nil>"}) {
		t.Error(all)
	}
	left, err := os.ReadDir(filepath.Join(k.dir, "exemple.org"))
	if err != nil || len(left) != 2 {
		t.Error(left, err)
	}
}

// The newest key of each algorithm signs, RSA first.
func TestNewest(t *testing.T) {
	k := newKit(t)
	if got := k.signers("exemple.org"); got != "" {
		t.Error(got)
	}
	k.create("exemple.org", "old", ed, 3*time.Hour)
	k.create("exemple.org", "new", ed, time.Hour)
	k.create("exemple.org", "rsa", signature.RSA, 5*time.Hour)
	k.now = k.now.Add(checkEvery)
	if got := k.signers("exemple.org"); got != "rsa new" {
		t.Error(got)
	}
	k.must(k.Enable(domain("exemple.org"), "new", false))
	k.must(k.Enable(domain("exemple.org"), "new", false)) // it is so already
	if got := k.signers("exemple.org"); got != "rsa new" {
		t.Errorf("%s: looked at again within a second", got)
	}
	k.now = k.now.Add(checkEvery)
	if got := k.signers("exemple.org"); got != "rsa old" {
		t.Error(got)
	}
	k.must(k.Enable(domain("exemple.org"), "new", true))
	k.now = k.now.Add(checkEvery)
	if got := k.signers("exemple.org"); got != "rsa new" {
		t.Error(got)
	}
	if err := k.Enable(domain("exemple.org"), "none", true); !errors.Is(err, ErrNoKey) {
		t.Error(err)
	}
	if err := k.Enable(domain("exemple.org"), "../x", true); !errors.Is(err, ErrNoKey) {
		t.Error(err)
	}
	k.must(os.WriteFile(filepath.Join(k.dir, "exemple.org", "new.pem.disabled"), nil, 0o600))
	if err := k.Enable(domain("exemple.org"), "new", false); !errors.Is(err, ErrExists) {
		t.Error(err)
	}
	k.must(os.RemoveAll(filepath.Join(k.dir, "exemple.org")))
	k.now = k.now.Add(checkEvery)
	if got := k.signers("exemple.org"); got != "" {
		t.Error(got)
	}
}

// A folder that has not changed is not read again for a while; a file that is written over in place is found then.
func TestReadAgain(t *testing.T) {
	k := newKit(t)
	a := k.create("exemple.org", "a", ed, time.Hour)
	b := k.create("other.example", "b", ed, time.Hour)
	folder := filepath.Dir(a.File)
	k.must(os.Chtimes(folder, time.Time{}, k.now.Add(-time.Hour)))
	first, err := k.signing(a.Domain)
	k.must(err)
	text, err := os.ReadFile(b.File)
	k.must(err)
	k.must(os.WriteFile(a.File, text, 0o600))
	for _, c := range []struct {
		after time.Duration
		same  bool
	}{{0, true}, {checkEvery, true}, {loadEvery / 2, true}, {loadEvery / 2, false}} {
		k.now = k.now.Add(c.after)
		again, err := k.signing(a.Domain)
		k.must(err)
		if same := again[0].Record() == first[0].Record(); same != c.same {
			t.Errorf("after %v: the same %v", c.after, same)
		}
	}
}

// What must not or cannot be used is refused in one line, and the others sign.
func TestUnusable(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecText, err := x509.MarshalPKCS8PrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	for want, damage := range map[string]func(path string) error{
		"others than its owner can read or change it (mode 0640): chmod 600": func(path string) error { return os.Chmod(path, 0o640) },
		"(mode 0604)": func(path string) error { return os.Chmod(path, 0o604) },
		"no PEM":      func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) },
		`a "CERTIFICATE" instead`: func(path string) error {
			return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE"}), 0o600)
		},
		"cannot be read": func(path string) error {
			return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: []byte("secret")}), 0o600)
		},
		"neither an RSA nor": func(path string) error {
			return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: ecText}), 0o600)
		},
		"it is no file":             func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) },
		"no such file or directory": func(path string) error { return errors.Join(os.Remove(path), os.Symlink("none", path)) },
	} {
		k := newKit(t)
		key := k.create("exemple.org", "bad", ed, time.Hour)
		k.must(damage(key.File))
		_, err := k.signing(key.Domain)
		if !errors.Is(err, ErrKeys) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") ||
			strings.Contains(err.Error(), "secret") {
			t.Errorf("%v instead of %q", err, want)
		}
		if log := k.log.String(); strings.Count(log, "\n") != 1 || !strings.Contains(log, "bad.pem") {
			t.Error(log)
		}
		k.create("exemple.org", "good", ed, 2*time.Hour)
		k.now = k.now.Add(checkEvery)
		if got := k.signers("exemple.org"); got != "good" {
			t.Errorf("%s: %s", want, got)
		}
		k.must(os.Remove(filepath.Join(k.dir, "exemple.org", "good.pem")))
		k.must(os.Rename(key.File, key.File+disabled)) // of no interest any more
		k.now = k.now.Add(checkEvery)
		if got := k.signers("exemple.org"); got != "" {
			t.Errorf("%s: %s", want, got)
		}
	}
}

func TestFolder(t *testing.T) {
	k := newKit(t)
	key := k.create("exemple.org", "s", ed, time.Hour)
	k.must(os.Chmod(filepath.Dir(key.File), 0o770))
	if _, err := k.signing(key.Domain); !errors.Is(err, ErrKeys) || !strings.Contains(err.Error(), "(mode 0770)") {
		t.Error(err)
	}
	k.must(os.Chmod(filepath.Dir(key.File), 0o750))
	for _, name := range []string{".new-1", "note.txt", "UPPER.pem", "s.pem~", "x.disabled"} {
		k.must(os.WriteFile(filepath.Join(filepath.Dir(key.File), name), nil, 0o644))
	}
	k.now = k.now.Add(checkEvery)
	if got := k.signers("exemple.org"); got != "s" {
		t.Error(got)
	}
	text, err := os.ReadFile(key.File)
	k.must(err)
	for i := range maxKeys {
		k.must(os.WriteFile(filepath.Join(filepath.Dir(key.File), fmt.Sprintf("a%d.pem", i)), text, 0o600))
	}
	if all, err := k.Of(key.Domain); len(all) != maxKeys || err == nil {
		t.Error(len(all), err)
	}
	k.must(os.WriteFile(filepath.Join(k.dir, "file.example"), nil, 0o600))
	if _, err := k.signing(domain("file.example")); !errors.Is(err, ErrKeys) {
		t.Error(err)
	}
	for _, err := range OpenKeys(key.File, slog.New(slog.DiscardHandler)).Domains() {
		if err == nil {
			t.Error("a file has domains")
		}
	}
	if _, err := OpenKeys(filepath.Join(key.File, "dkim"), slog.New(slog.DiscardHandler)).Create(key.Domain, "s", ed, true); err == nil {
		t.Error("a key below a file")
	}
}

// Keys that OpenSSL makes are read: PKCS #8, and PKCS #1 as it was before.
func TestForms(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, newBits)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range [][]byte{
		pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}),
		append([]byte("a comment\n"), mustEncode(t, key)...),
	} {
		got, err := decodeKey(text)
		if err != nil || !key.Equal(got) {
			t.Error(err)
		}
	}
}

func mustEncode(t *testing.T, key *rsa.PrivateKey) []byte {
	t.Helper()
	text, err := encodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Many ask at once while keys come and go.
func TestTogether(t *testing.T) {
	k := newKit(t)
	k.Keys.now = func() time.Time { return time.Now().Add(time.Since(k.now) * 1000) } // a second is a millisecond
	k.create("exemple.org", "stays", ed, time.Hour)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 200 {
				if got := k.signers("exemple.org"); got != "stays" && got != "goes" {
					t.Error(got)
				}
			}
		})
	}
	for range 5 {
		k.must(func() error { _, err := k.Create(domain("exemple.org"), "goes", ed, true); return err }())
		k.must(os.Remove(filepath.Join(k.dir, "exemple.org", "goes.pem")))
	}
	all.Wait()
}
