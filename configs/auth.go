package configs

import "time"

// Auth is how users log in.
type Auth struct {
	Parallel  int             `toml:"parallel"`   // passwords that are verified at once
	CacheTime DurationOrNever `toml:"cache_time"` // how long a login that succeeded is known
}

// maxParallel bounds the memory for passwords that are verified at once: 64 MiB each.
const maxParallel = 64

func defaultAuth() Auth { return Auth{Parallel: 2, CacheTime: DurationOrNever(10 * time.Minute)} }

func (k checker) auth() {
	if n := k.Auth.Parallel; n < 1 || n > maxParallel {
		k.at("auth.parallel", "%d: want 1 to %d", n, maxParallel)
	}
}
