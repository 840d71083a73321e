package dispatch

import (
	"math/rand/v2"
	"time"
)

// jitter spreads what failed together, so that it does not come back together: up to a tenth more or less.
const jitter = 0.1

// shortestWait keeps a schedule of nothing from becoming a busy loop.
const shortestWait = 10 * time.Millisecond

// after gives the wait after so many failures in a row: First, then twice as long each time, up to Max.
func (s Schedule) after(failures int) time.Duration {
	wait, longest := max(s.First, shortestWait), max(s.Max, s.First, shortestWait)
	for ; failures > 1 && wait < longest; failures-- {
		wait *= 2
	}
	wait = min(wait, longest)
	return wait + time.Duration((rand.Float64()*2-1)*jitter*float64(wait))
}

// lifetime is how long a message is tried; what has a null sender is a report, and not worth as much.
func (s Schedule) lifetime(null bool) time.Duration {
	if null {
		return s.ReportLifetime
	}
	return s.Lifetime
}
