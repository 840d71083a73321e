package password

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"
)

const argonPrefix = "$argon2id$"

// The cost of new hashes; see [Hash].
const (
	newPasses = 3
	newMemory = 64 << 10 // KiB
	newLanes  = 4
	newSalt   = 16
	newKey    = 32
)

// What others' hashes may cost.
const (
	maxMemory = 256 << 10 // KiB
	maxPassed = 2 << 20   // KiB in all passes: some two seconds
	maxLanes  = 64
	minSalt   = 8
	maxSalt   = 64
	minKey    = 16
	maxKey    = 64
)

// argon is an argon2id of version 1.3.
type argon struct {
	passes, memory uint32 // memory in KiB
	lanes          uint8
	salt, key      []byte
}

func newArgon(password []byte) string {
	a := argon{passes: newPasses, memory: newMemory, lanes: newLanes, salt: random(newSalt)}
	a.key = a.derive(password, newKey)
	return a.String()
}

func newDecoy() string {
	return argon{passes: newPasses, memory: newMemory, lanes: newLanes, salt: random(newSalt), key: random(newKey)}.String()
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func (a argon) derive(password []byte, n uint32) []byte {
	return argon2.IDKey(password, a.salt, a.passes, a.memory, a.lanes, n)
}

// String writes the PHC form.
func (a argon) String() string {
	b := base64.RawStdEncoding
	return fmt.Sprintf("%sv=%d$m=%d,t=%d,p=%d$%s$%s", argonPrefix, argon2.Version, a.memory, a.passes, a.lanes,
		b.EncodeToString(a.salt), b.EncodeToString(a.key))
}

func (a argon) verify(password []byte) (bool, error) {
	return subtle.ConstantTimeCompare(a.derive(password, uint32(len(a.key))), a.key) == 1, nil
}

func (a argon) work() time.Duration {
	return time.Duration(a.passes) * time.Duration(a.memory) * time.Microsecond
}

// parseArgon reads the PHC form, with its parameters in the order that its inventors gave them.
func parseArgon(hash string) (verifier, error) {
	fields := strings.Split(hash, "$")
	if len(fields) != 6 {
		return nil, fmt.Errorf("%w: want $argon2id$v=19$m=…,t=…,p=…$salt$key", ErrHash)
	}
	if fields[2] != "v=19" {
		return nil, fmt.Errorf("%w: an argon2id of another version than v=19", ErrHash)
	}
	a, ok := argonCost(fields[3])
	if !ok {
		return nil, fmt.Errorf("%w: the parameters of argon2id are not understood", ErrHash)
	}
	if a.passes < 1 || a.lanes < 1 || a.lanes > maxLanes || a.memory < 8*uint32(a.lanes) || a.memory > maxMemory ||
		uint64(a.passes)*uint64(a.memory) > maxPassed {
		return nil, fmt.Errorf("%w: argon2id may cost up to %d MiB, %d MiB in all passes, with up to %d lanes", ErrHash,
			maxMemory>>10, maxPassed>>10, maxLanes)
	}
	var err, wrong error
	a.salt, err = base64.RawStdEncoding.Strict().DecodeString(fields[4])
	a.key, wrong = base64.RawStdEncoding.Strict().DecodeString(fields[5])
	if err != nil || wrong != nil || a.String() != hash || len(a.salt) < minSalt || len(a.salt) > maxSalt ||
		len(a.key) < minKey || len(a.key) > maxKey {
		return nil, fmt.Errorf("%w: salt or key of the argon2id are damaged", ErrHash)
	}
	return a, nil
}

func argonCost(s string) (a argon, ok bool) {
	values := strings.Split(s, ",")
	if len(values) != 3 {
		return a, false
	}
	var n [3]uint64
	for i, name := range []string{"m=", "t=", "p="} {
		digits, found := strings.CutPrefix(values[i], name)
		bits := 32
		if i == 2 {
			bits = 8
		}
		var err error
		if n[i], err = strconv.ParseUint(digits, 10, bits); !found || err != nil {
			return a, false
		}
	}
	return argon{memory: uint32(n[0]), passes: uint32(n[1]), lanes: uint8(n[2])}, true
}
