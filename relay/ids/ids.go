// Package ids makes the identifiers of connections, messages and reports.
package ids

import (
	crand "crypto/rand"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
)

// Source makes identifiers: ULIDs, which sort by time. They are no secrets, so their entropy need not cost a system call.
// It is safe for concurrent use.
type Source struct {
	mu      sync.Mutex
	entropy *ulid.MonotonicEntropy
}

// New makes a source.
func New() *Source {
	var seed [32]byte
	_, _ = crand.Read(seed[:]) // never fails (see its documentation)
	return &Source{entropy: ulid.Monotonic(rand.NewChaCha8(seed), 0)}
}

// Next gives an identifier that no other source has given.
func (s *Source) Next() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, err := ulid.New(ulid.Timestamp(time.Now()), s.entropy)
	if err != nil { // 2^80 identifiers within one millisecond
		return ulid.Make().String()
	}
	return id.String()
}
