package guard

import "time"

// bucket is how much of a rate is used: the time at which all of it is there again, in nanoseconds of the guard's clock.
// Each use moves it on by the share of the span that is the use's own (the generic cell rate algorithm).
type bucket int64

// used is the time until the bucket is full, at most the span of the rate.
func (b bucket) used(now int64, r Rate) int64 {
	return min(max(int64(b)-now, 0), int64(r.Per))
}

// step is the time that one use takes.
func (r Rate) step() int64 { return max(int64(r.Per)/int64(r.Count), 1) }

// none tells whether there is no limit.
func (r Rate) none() bool { return r.Count <= 0 || r.Per <= 0 }

// exhausted tells whether there is room for none more.
func (b bucket) exhausted(now int64, r Rate) bool {
	return !r.none() && b.used(now, r)+r.step() > int64(r.Per)
}

// take uses one of the rate, or tells that there is none. The share is how much is used after it, from 0 to 1.
func (b *bucket) take(now int64, r Rate) (share float64, ok bool) {
	if r.none() {
		return 0, true
	}
	// After a change of the rate more may be used than there is.
	*b = min(*b, bucket(now+int64(r.Per)))
	if b.exhausted(now, r) {
		return 1, false
	}
	used := b.used(now, r) + r.step()
	*b = bucket(now + used)
	return float64(used) / float64(r.Per), true
}

// back returns one.
func (b *bucket) back(r Rate) {
	if !r.none() {
		*b -= bucket(r.step())
	}
}

// slowed gives the delay for a share of a rate: none up to from (in percent), and then up to most, evenly.
func slowed(share float64, from int, most time.Duration) time.Duration {
	start := float64(from) / 100
	if share <= start || start >= 1 {
		return 0
	}
	return time.Duration(min((share-start)/(1-start), 1) * float64(most))
}
