package password

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"
)

// MaxLength is the longest password in octets of UTF-8. SHA-512-crypt costs time by the length.
const MaxLength = 512

// maxHash bounds the text of a hash: an argon2id with the longest salt and key has 220 octets.
const maxHash = 256

var (
	// ErrHash: this is no hash, or one of a kind or a cost that is not accepted.
	ErrHash = errors.New("not a usable password hash")
	// ErrPassword: no password can be like that.
	ErrPassword = errors.New("not a usable password")
)

// verifier is a hash that was understood.
type verifier interface {
	verify(password []byte) (bool, error)
	work() time.Duration
}

// Hash gives the argon2id of a password for a directory, in PHC form, with a salt of its own: 64 MiB, three passes, four
// lanes, the second choice of RFC 9106 section 4. The error wraps [ErrPassword].
func Hash(password string) (string, error) {
	p, err := prepare(password)
	if err != nil {
		return "", err
	}
	return newArgon(p), nil
}

// Decoy gives a hash that is nobody's, at the cost of those of [Hash]: verified for those who have none, it takes as long.
func Decoy() string { return newDecoy() }

// Verify tells whether this is the password of the hash. What can be no password is not. The error wraps [ErrHash]; it
// says nothing of either.
func Verify(hash, password string) (bool, error) {
	v, err := parse(hash)
	if err != nil {
		return false, err
	}
	p, err := prepare(password)
	if err != nil {
		return false, nil //nolint:nilerr // a wrong one, like any other
	}
	return v.verify(p)
}

// Check tells whether a directory may have this hash. The error wraps [ErrHash], and does not show it.
func Check(hash string) error {
	_, err := parse(hash)
	return err
}

// Work estimates how long [Verify] takes with this hash on a machine of today, rather more than less; zero for what is no
// hash. So those who must not show which kind of hash somebody has can wait for that long.
func Work(hash string) time.Duration {
	v, err := parse(hash)
	if err != nil {
		return 0
	}
	return v.work()
}

// Usable tells whether this can be a password. The error wraps [ErrPassword].
func Usable(password string) error {
	_, err := prepare(password)
	return err
}

// prepare gives a password the one form that is hashed: the profile OpaqueString of PRECIS (RFC 8265 section 4.2), by
// which the same characters are the same octets from whatever keyboard they come.
func prepare(password string) ([]byte, error) {
	switch {
	case password == "":
		return nil, fmt.Errorf("%w: it is empty", ErrPassword)
	case len(password) > MaxLength:
		return nil, fmt.Errorf("%w: longer than %d octets", ErrPassword, MaxLength)
	}
	p, err := precis.OpaqueString.Bytes([]byte(password))
	switch {
	case err != nil || !utf8.ValidString(password):
		return nil, fmt.Errorf("%w: characters that cannot be typed, or no valid UTF-8", ErrPassword)
	case len(p) == 0 || len(p) > MaxLength:
		return nil, fmt.Errorf("%w: longer than %d octets", ErrPassword, MaxLength)
	}
	return p, nil
}

// schemes are the prefixes of Dovecot, with what may stand behind them. CRYPT is whatever crypt(3) knows.
var schemes = map[string][]string{
	"ARGON2ID":     {argonPrefix},
	"BLF-CRYPT":    {bcryptPrefix},
	"SHA512-CRYPT": {shaPrefix},
	"CRYPT":        {bcryptPrefix, shaPrefix},
}

// parse reads a hash, with a prefix of Dovecot or without.
func parse(hash string) (verifier, error) {
	if len(hash) > maxHash {
		return nil, fmt.Errorf("%w: longer than %d octets", ErrHash, maxHash)
	}
	if rest, ok := strings.CutPrefix(hash, "{"); ok {
		name, bare, _ := strings.Cut(rest, "}")
		allowed, ok := schemes[strings.ToUpper(name)]
		if !ok {
			return nil, fmt.Errorf("%w: want {ARGON2ID}, {BLF-CRYPT}, {SHA512-CRYPT}, or none of these prefixes", ErrHash)
		}
		if !hasPrefix(bare, allowed) {
			return nil, fmt.Errorf("%w: what follows {%s} is something else", ErrHash, strings.ToUpper(name))
		}
		hash = bare
	}
	switch {
	case strings.HasPrefix(hash, argonPrefix):
		return parseArgon(hash)
	case strings.HasPrefix(hash, bcryptPrefix):
		return parseBcrypt(hash)
	case strings.HasPrefix(hash, shaPrefix):
		return parseSHA(hash)
	}
	return nil, fmt.Errorf("%w: want argon2id, bcrypt or SHA-512-crypt", ErrHash)
}

func hasPrefix(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}
