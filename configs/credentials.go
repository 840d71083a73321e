package configs

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"unicode/utf8"
)

// Credentials are what stands in the files that [Relay] and [Transport] name.
type Credentials struct {
	SmarthostPassword string
	SmarthostCAs      *x509.CertPool // nil: those of the system
	SRSKeys           [][]byte       // the first signs, all verify
	TransportCAs      *x509.CertPool // of servers elsewhere; nil: those of the system
}

const (
	// maxCredentials bounds such a file.
	maxCredentials = 1 << 20
	// leastKey is the shortest secret that signs: 128 bits, if they are random.
	leastKey = 16
)

// Credentials reads the files that [Relay] and [Transport] name. [Load] leaves them alone: most commands do not need
// them, and are used by people who may not read them. The error is a [Problems], each of them where the file is named.
func (c *Config) Credentials() (Credentials, error) {
	var found Credentials
	var problems Problems
	for _, f := range []struct {
		key, path string
		secret    bool
		take      func(text []byte) error
	}{
		{"relay.smarthost_password_file", c.Relay.SmarthostPasswordFile, true, found.takePassword},
		{"relay.smarthost_ca_file", c.Relay.SmarthostCAFile, false, takeCAs(&found.SmarthostCAs)},
		{"transport.ca_file", c.Transport.CAFile, false, takeCAs(&found.TransportCAs)},
		{"relay.srs_key_file", c.Relay.SRSKeyFile, true, found.takeKeys},
	} {
		if f.path == "" {
			continue
		}
		text, err := read(f.path, maxCredentials)
		if err == nil && f.secret {
			err = private(f.path)
		}
		if err == nil {
			err = f.take(text)
		}
		if err != nil {
			problems = append(problems, c.Problem(f.key, "%q: %v", f.path, err))
		}
	}
	if len(problems) > 0 {
		problems.Sort()
		return Credentials{}, problems
	}
	return found, nil
}

// private refuses a file that everybody on the machine can read or change.
func private(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o006 != 0 {
		return fmt.Errorf("everybody may read or change it (mode %04o): chmod 600", uint32(mode))
	}
	return nil
}

// takePassword takes the one line of a file.
func (c *Credentials) takePassword(text []byte) error {
	line := bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	switch {
	case len(line) == 0:
		return errors.New("it is empty")
	case bytes.ContainsAny(line, "\r\n"):
		return errors.New("want one line, the password")
	case bytes.IndexByte(line, 0) >= 0 || !utf8.Valid(line): // RFC 4616 section 2
		return errors.New("not text")
	}
	c.SmarthostPassword = string(line)
	return nil
}

// takeCAs takes the certificates of a file.
func takeCAs(into **x509.CertPool) func([]byte) error {
	return func(text []byte) error {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(text) {
			return errors.New("there is no certificate in it, want PEM")
		}
		*into = pool
		return nil
	}
}

// takeKeys takes the lines of a file, without blank ones and comments.
func (c *Credentials) takeKeys(text []byte) error {
	n := 0
	for line := range bytes.Lines(text) {
		n++
		line = bytes.TrimSpace(line)
		switch {
		case len(line) == 0 || line[0] == '#':
		case len(line) < leastKey:
			return fmt.Errorf("line %d: a key has at least %d characters (openssl rand -hex 32 makes one)", n, leastKey)
		default:
			c.SRSKeys = append(c.SRSKeys, bytes.Clone(line))
		}
	}
	if len(c.SRSKeys) == 0 {
		return errors.New("there is no key in it (openssl rand -hex 32 makes one)")
	}
	return nil
}
