package dispatch

import (
	"context"
	"time"
)

const (
	// longestSleep is how long the loop goes without looking at the queue.
	longestSleep = 30 * time.Second
	// shortestSleep keeps a queue in which much happens from being looked at for each of it.
	shortestSleep = 100 * time.Millisecond
	// troubleSleep gives a queue that fails time to recover.
	troubleSleep = 10 * time.Second
	// overdueSleep is for what is due and could not be taken.
	overdueSleep = time.Second
	// maxTaken bounds the destinations that are taken in one look.
	maxTaken = 1000
)

// loop finds destinations that are due, and takes them up while there is room.
func (d *Dispatcher) loop() {
	ctx := d.stopping
	refresh := time.Now()
	for ctx.Err() == nil {
		wait := d.fill(ctx)
		if now := time.Now(); now.Sub(refresh) >= longestSleep {
			refresh = now
			d.refresh()
		}
		rest := shortestSleep
		if d.troubled.Swap(false) {
			rest = troubleSleep
		}
		if !pause(ctx, rest) {
			return
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-d.wake:
		case <-d.queue.Changed():
			d.mu.Lock()
			clear(d.fates) // the operator wants it to be tried
			d.mu.Unlock()
			d.refresh()
		}
		timer.Stop()
	}
}

// fill takes up destinations that are due, and tells how long nothing else will be.
func (d *Dispatcher) fill(ctx context.Context) time.Duration {
	_, release := d.environment() // the limits of a new configuration
	release()
	now := time.Now()
	d.mu.Lock()
	room := min(d.maxActive()-len(d.active), maxTaken)
	taken := make(map[int64]bool, len(d.active))
	for _, t := range d.active {
		taken[t.id] = true
	}
	d.mu.Unlock()
	if room <= 0 {
		return longestSleep // whoever ends wakes us
	}
	due, err := d.queue.Destinations(ctx, now, room, func(id int64) bool { return taken[id] })
	if err != nil {
		d.trouble("the queue cannot be read", err)
		return longestSleep
	}
	d.mu.Lock()
	for _, at := range due {
		if d.fates.down(at.Name, now) { // its fate could not be written
			continue
		}
		t := d.activate(at.Name, at.ID, at.Failures)
		t.more = true
		d.line(t)
	}
	d.grant()
	d.mu.Unlock()
	next, some, err := d.queue.NextDue(ctx)
	switch {
	case err != nil:
		d.trouble("the queue cannot be read", err)
		return longestSleep
	case !some:
		return longestSleep
	case !next.After(now):
		return overdueSleep
	}
	return min(next.Sub(now), longestSleep)
}

// refresh has destinations that are busy with fresh mail look for what became due meanwhile.
func (d *Dispatcher) refresh() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range d.active {
		if !t.down {
			t.more = true
			d.line(t)
		}
	}
	d.grant()
}
