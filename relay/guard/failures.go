package guard

import "time"

// judge tells whether a password may be tried where so much has failed.
func (f *failures) judge(now int64, r Rate, slowest time.Duration) Verdict {
	if now < f.locked {
		return Verdict{slowest, ErrLocked}
	}
	if r.none() {
		return Verdict{}
	}
	v := Verdict{Delay: doubled(f.used(now, r)/r.step(), slowest)}
	if f.exhausted(now, r) {
		v.Err = ErrLocked
	}
	return v
}

// doubled is the delay after n failures.
func doubled(n int64, slowest time.Duration) time.Duration {
	if n <= 0 {
		return 0
	}
	d := firstDelay
	for ; n > 1 && d < slowest; n-- {
		d *= 2
	}
	return min(d, slowest)
}

// fail counts a failure, and locks with the last one that there may be.
func (f *failures) fail(now int64, r Rate, lock time.Duration) {
	if r.none() {
		return
	}
	f.take(now, r)
	if f.exhausted(now, r) {
		f.locked = max(f.locked, now+int64(lock))
	}
}

// weightAt is for how long failures matter; a lock weighs more than anything else.
func weightAt(now int64) func(*failures) int64 {
	return func(f *failures) int64 {
		return max(int64(f.bucket)-now, 0) + max(f.locked-now, 0) + int64(f.underway)
	}
}

// failureTable is a table of failures by what they are counted for.
type failureTable struct{ *table[failures] }

func newFailures() failureTable { return failureTable{newTable[failures](failurePlaces)} }

func (t failureTable) judge(who uint64, now int64, r Rate, slowest time.Duration) (v Verdict) {
	t.look(who, func(f *failures) { v = f.judge(now, r, slowest) })
	return v
}

func (t failureTable) fail(who uint64, now int64, r Rate, lock time.Duration) {
	t.change(who, weightAt(now), func(f *failures) { f.fail(now, r, lock) })
}

// worse gives the verdict that is harder on the client.
func worse(a, b Verdict) Verdict {
	if a.Err == nil {
		a.Err = b.Err
	}
	a.Delay = max(a.Delay, b.Delay)
	return a
}
