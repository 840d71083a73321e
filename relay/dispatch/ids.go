package dispatch

import (
	crand "crypto/rand"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
)

// ids makes identifiers of reports: ULIDs, as those of the messages that were received.
type ids struct {
	mu      sync.Mutex
	entropy *ulid.MonotonicEntropy
}

func newIDs() *ids {
	var seed [32]byte
	_, _ = crand.Read(seed[:]) // never fails (see its documentation)
	return &ids{entropy: ulid.Monotonic(rand.NewChaCha8(seed), 0)}
}

func (g *ids) next() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	id, err := ulid.New(ulid.Timestamp(time.Now()), g.entropy)
	if err != nil { // 2^80 identifiers within one millisecond
		return ulid.Make().String()
	}
	return id.String()
}
