package password

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/GehirnInc/crypt/sha512_crypt"
	"golang.org/x/crypto/bcrypt"
)

// The hashes of crypt(3).
const (
	bcryptPrefix = "$2"
	shaPrefix    = "$6$"
)

const (
	maxBcryptCost = 15        // some two seconds
	minRounds     = 1000      // of SHA-512-crypt; a smaller number means this one to some, and is an error to others
	maxRounds     = 1_000_000 // twice as long as the default of passlib
	usualRounds   = 5000
)

// bcryptHash is a bcrypt of the versions 2a, 2b or 2y, which are the same for us. It does not look past the 72nd octet.
type bcryptHash struct {
	text []byte
	cost int
}

func (b bcryptHash) verify(password []byte) (bool, error) {
	err := bcrypt.CompareHashAndPassword(b.text, password)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, bcrypt.ErrMismatchedHashAndPassword):
		return false, nil
	}
	return false, fmt.Errorf("%w: %w", ErrHash, err)
}

func (b bcryptHash) work() time.Duration { return 80 * time.Microsecond << b.cost }

func parseBcrypt(hash string) (verifier, error) {
	// $2b$12$ and 22 characters of salt, 31 of key.
	if len(hash) != 60 || !strings.ContainsRune("aby", rune(hash[2])) || !inCryptAlphabet(hash[7:]) {
		return nil, fmt.Errorf("%w: a damaged bcrypt, or one of another version than 2a, 2b and 2y", ErrHash)
	}
	cost, err := bcrypt.Cost([]byte(hash))
	if err != nil {
		return nil, fmt.Errorf("%w: a damaged bcrypt", ErrHash)
	}
	if cost > maxBcryptCost {
		return nil, fmt.Errorf("%w: a bcrypt may cost up to %d", ErrHash, maxBcryptCost)
	}
	return bcryptHash{[]byte(hash), cost}, nil
}

// shaHash is a SHA-512-crypt.
type shaHash struct {
	text   string
	rounds int
}

func (s shaHash) verify(password []byte) (bool, error) {
	// The library is not asked to verify: behind "rounds=" it would take the key for a part of the salt.
	got, err := sha512_crypt.New().Generate(password, []byte(s.text[:strings.LastIndexByte(s.text, '$')]))
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrHash, err)
	}
	return subtle.ConstantTimeCompare([]byte(got), []byte(s.text)) == 1, nil
}

func (s shaHash) work() time.Duration { return time.Duration(s.rounds) * time.Microsecond }

// parseSHA reads $6$salt$key or $6$rounds=5000$salt$key.
func parseSHA(hash string) (verifier, error) {
	s := shaHash{hash, usualRounds}
	fields := strings.Split(hash[len(shaPrefix):], "$")
	if digits, ok := strings.CutPrefix(fields[0], "rounds="); ok {
		rounds, err := strconv.ParseUint(digits, 10, 32)
		if err != nil || strconv.FormatUint(rounds, 10) != digits || rounds < minRounds || rounds > maxRounds {
			return nil, fmt.Errorf("%w: a SHA-512-crypt has %d to %d rounds", ErrHash, minRounds, maxRounds)
		}
		s.rounds, fields = int(rounds), fields[1:]
	}
	// The salt may be anything but a dollar, and is made of the same characters in practice.
	if len(fields) != 2 || fields[0] == "" || len(fields[0]) > 16 || !inCryptAlphabet(fields[0]) ||
		len(fields[1]) != 86 || !inCryptAlphabet(fields[1]) {
		return nil, fmt.Errorf("%w: a damaged SHA-512-crypt", ErrHash)
	}
	return s, nil
}

func inCryptAlphabet(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '/') {
			return false
		}
	}
	return true
}
