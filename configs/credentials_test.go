package configs

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const leastConfig = `
[[listener]]
address = "127.0.0.1:2525"
[[gateway]]
host = "mx.host.test"
sites = ["*"]
[[site]]
name = "cloud"
store = "maildir"
path = "/var/mail/{domain}/{user}"
`

// withFiles is a configuration whose [relay] names files in a folder that is returned too.
func withFiles(t *testing.T) (c *Config, folder string) {
	t.Helper()
	dir := t.TempDir()
	c, err := Parse("x.toml", []byte(leastConfig+`[relay]
smarthost = "smtp://mail.host.test"
smarthost_user = "relay"
smarthost_password_file = "`+dir+`/password"
smarthost_ca_file       = "`+dir+`/ca.pem"
srs_domain = "srs.host.test"
srs_key_file = "`+dir+`/keys"
`))
	if err != nil {
		t.Fatal(err)
	}
	return c, dir
}

func certificate(t *testing.T) string {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestCredentials(t *testing.T) {
	const key, otherKey = "0123456789abcdef", "fedcba9876543210!"
	cert := certificate(t)
	good := map[string]string{"password": "se cret\r\n", "ca.pem": "Our CA:\n" + cert, "keys": key + "\n"}
	for _, tt := range []struct {
		name, file, text string // one file that is other than the good one
		mode             os.FileMode
		want             string // the problem, without place and path; empty: none
	}{
		{name: "good"},
		{name: "several keys", file: "keys", text: "# new\n\n  " + key + " \r\n" + otherKey},
		{name: "of a group", file: "keys", text: key, mode: 0o640},
		{name: "certificates may be read by everybody", file: "ca.pem", text: cert, mode: 0o644},
		{name: "no password", file: "password", text: "\n", want: "it is empty"},
		{name: "nothing", file: "password", want: "it is empty"},
		{name: "two passwords", file: "password", text: "a\nb\n", want: "want one line, the password"},
		{name: "a NUL", file: "password", text: "a\x00b\n", want: "not text"},
		{name: "Latin-1", file: "password", text: "caf\xe9\n", want: "not text"},
		{name: "everybody's password", file: "password", text: "x", mode: 0o604,
			want: "everybody may read or change it (mode 0604): chmod 600"},
		{name: "everybody writes", file: "keys", text: key, mode: 0o602,
			want: "everybody may read or change it (mode 0602): chmod 600"},
		{name: "no key", file: "keys", text: "\n \n# " + key + "\n",
			want: "there is no key in it (openssl rand -hex 32 makes one)"},
		{name: "short key", file: "keys", text: key + "\n\n" + key[1:] + "\n",
			want: "line 3: a key has at least 16 characters (openssl rand -hex 32 makes one)"},
		{name: "no certificate", file: "ca.pem", text: key, want: "there is no certificate in it, want PEM"},
		{name: "long", file: "ca.pem", text: strings.Repeat(cert, 1<<20/len(cert)+1), want: "cannot be read: longer than 1MiB"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, dir := withFiles(t)
			for name, text := range good {
				mode := os.FileMode(0o600)
				if name == tt.file {
					text = tt.text
					if tt.mode != 0 {
						mode = tt.mode
					}
				}
				path := filepath.Join(dir, name)
				if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chmod(path, mode)); err != nil {
					t.Fatal(err)
				}
			}
			got, err := c.Credentials()
			if tt.want != "" {
				problems, ok := errors.AsType[Problems](err)
				if !ok || len(problems) != 1 || problems[0].Text != `"`+filepath.Join(dir, tt.file)+`": `+tt.want {
					t.Fatalf("%v, want %s", err, tt.want)
				}
				if got.SmarthostPassword != "" || got.SRSKeys != nil {
					t.Errorf("half of it: %+v", got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			keys := [][]byte{[]byte(key)}
			if tt.name == "several keys" {
				keys = append(keys, []byte(otherKey))
			}
			if diff := cmp.Diff(keys, got.SRSKeys); diff != "" || got.SmarthostPassword != "se cret" || got.SmarthostCAs == nil {
				t.Errorf("%+v\n%s", got, diff)
			}
		})
	}
}

// Every file that is missing is a problem where it is named; without names there is nothing to read.
func TestCredentialsMissing(t *testing.T) {
	c, dir := withFiles(t)
	if err := os.Mkdir(filepath.Join(dir, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := c.Credentials()
	want := []string{
		`x.toml:14:27: key "relay.smarthost_password_file": "DIR/password": cannot be read: no such file or directory`,
		`x.toml:15:27: key "relay.smarthost_ca_file": "DIR/ca.pem": cannot be read: no such file or directory`,
		`x.toml:17:16: key "relay.srs_key_file": "DIR/keys": cannot be read: not a file`,
	}
	if err == nil {
		t.Fatal("no error")
	}
	if diff := cmp.Diff(want, strings.Split(strings.ReplaceAll(err.Error(), dir, "DIR"), "\n")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	plain := Default()
	if got, err := plain.Credentials(); err != nil || got.SmarthostCAs != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

// What is found out later is reported where the key stands, or its table, or at the first line.
func TestProblem(t *testing.T) {
	c, _ := withFiles(t)
	for key, want := range map[string]string{
		"relay.smarthost":      `x.toml:12:13: key "relay.smarthost": "mail.host.test" does not exist`,
		"relay.srs_max_age":    `x.toml:11:2: key "relay.srs_max_age": "mail.host.test" does not exist`,
		"queue.retry_first":    `x.toml:1:1: key "queue.retry_first": "mail.host.test" does not exist`,
		"listener[0].protocol": `x.toml:2:3: key "listener.protocol": "mail.host.test" does not exist`,
	} {
		if got := c.Problem(key, "%q does not exist", "mail.host.test").Error(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	empty := Default()
	if got, want := empty.Problem("relay.smarthost", "wrong").Error(), `:1:1: key "relay.smarthost": wrong`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestTLSRequired(t *testing.T) {
	for _, tt := range []struct {
		r    Relay
		want bool
	}{
		{Relay{SmarthostTLS: TLSAuto}, false},
		{Relay{SmarthostTLS: TLSRequired}, true},
		{Relay{SmarthostTLS: TLSAuto, SmarthostUser: "relay"}, true},
		{Relay{SmarthostTLS: TLSAuto, Smarthost: Smarthost{Implicit: true}}, true},
	} {
		if got := tt.r.TLSRequired(); got != tt.want {
			t.Errorf("%+v: %v", tt.r, got)
		}
	}
}

func TestTSIGSecret(t *testing.T) {
	const secret = "MDEyMzQ1Njc4OWFiY2RlZg=="
	for _, tt := range []struct {
		name, text string
		mode       os.FileMode
		want       string // the error; empty: none
	}{
		{"good", secret, 0o600, ""},
		{"of a group, with the end of a line", secret + "\r\n", 0o640, ""},
		{"everybody's", secret, 0o644, "everybody may read or change it (mode 0644): chmod 600"},
		{"empty", "\n", 0o600, "it is empty"},
		{"no base64", "correct horse battery", 0o600, "want one line, the secret in base64"},
		{"cut off", secret[:len(secret)-1], 0o600, "want one line, the secret in base64"},
		{"another alphabet", "MDEyMzQ1Njc4OWFiY2Rl-_==", 0o600, "want one line, the secret in base64"},
		{"two", secret + "\n" + secret, 0o600, "want one line, the secret in base64"},
		{"a key of BIND", `key "x" { algorithm hmac-sha256; secret "` + secret + `"; };`, 0o600, "want one line"},
		{"short", "c2hvcnQ=", 0o600, "less than 128 bits"},
	} {
		file := filepath.Join(t.TempDir(), "tsig.key")
		if err := errors.Join(os.WriteFile(file, []byte(tt.text), 0o600), os.Chmod(file, tt.mode)); err != nil {
			t.Fatal(err)
		}
		got, err := ReadTSIGSecret(file)
		switch {
		case tt.want == "" && (err != nil || got != secret):
			t.Errorf("%s: %q, %v", tt.name, got, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || got != ""):
			t.Errorf("%s: %q, %v", tt.name, got, err)
		case err != nil && strings.Contains(err.Error(), secret[:8]):
			t.Errorf("%s: %v tells of the secret", tt.name, err)
		}
	}
	if _, err := ReadTSIGSecret(filepath.Join(t.TempDir(), "none")); err == nil || err.Error() != "cannot be read: no such file or directory" {
		t.Error(err)
	}
}
