package filter

import (
	"log/slog"
	"sync"
	"time"
)

const (
	// A filter that has failed is left alone for a moment, and for twice as long when it fails again.
	firstPause = time.Second
	maxPause   = 30 * time.Second

	// maxFailures is how often in a row a filter may fail after it has answered, before it is left alone. A single failure
	// may be the doing of the message, and must not open a gap for the mail that comes after it.
	maxFailures = 3

	// maxError bounds what is logged of an error, in octets: it may quote what the filter said.
	maxError = 300
)

// health is what is known of how a filter does.
type health struct {
	log *slog.Logger

	mu       sync.Mutex
	failures int           // in a row, of sessions that had begun
	pause    time.Duration // that the last failure has cost; zero: the filter does well
	until    time.Time     // when it may be tried again
}

// try tells whether the filter may be asked now. After a pause one is let through, and the others wait for what becomes
// of it, for another pause at most.
func (h *health) try() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pause == 0 {
		return true
	}
	now := time.Now()
	if now.Before(h.until) {
		return false
	}
	h.until = now.Add(h.pause)
	return true
}

// well notes that the filter has done its part for a message.
func (h *health) well() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pause > 0 {
		h.log.Info("filter answers again")
	}
	h.pause, h.failures = 0, 0
}

// failed notes a failure: begun tells whether there was a session already.
func (h *health) failed(err error, begun bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failures++
	if begun && h.failures < maxFailures {
		return
	}
	before := h.pause
	h.pause = min(max(2*h.pause, firstPause), maxPause)
	h.until = time.Now().Add(h.pause)
	if before == 0 {
		h.log.Warn("filter is down", slog.String("error", clip(err.Error())))
	}
}

func clip(s string) string {
	if len(s) > maxError {
		return s[:maxError] + "..."
	}
	return s
}
