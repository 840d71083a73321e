package dispatch

import (
	"time"

	"mxbypass/relay/outbound"
	"mxbypass/relay/queue"
)

// room tells whether mail for these destinations can be on its way at once.
func (d *Dispatcher) room(names []string) bool {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.open {
		return false
	}
	unknown := 0
	for _, name := range names {
		t := d.active[name]
		switch {
		case d.fallen(name, now) != nil, t != nil && t.full():
			return false
		case t == nil:
			unknown++
		}
	}
	return len(d.active)+unknown <= d.maxActive()
}

// fallen gives why a destination is not to be tried now; nil: it is not known to be down. It runs under mu.
func (d *Dispatcher) fallen(name string, now time.Time) *queue.Attempt {
	if t := d.active[name]; t != nil && t.down {
		return t.last
	}
	if d.fates.down(name, now) {
		return d.fates[name].last
	}
	return nil
}

// maxActive bounds the destinations in memory.
func (d *Dispatcher) maxActive() int { return 2 * d.limits.Connections }

// begin gives groups that were just accepted to workers.
func (d *Dispatcher) begin(groups []*group, kept *holding) {
	now := time.Now()
	d.mu.Lock()
	late := map[*queue.Attempt][]*group{} // by why it cannot be begun after all
	ended := stopped()
	for _, g := range groups {
		g.kept, g.leased = kept, true
		kept.use()
		at := g.items[0].Fate
		if !d.open { // Shutdown came between
			late[ended] = append(late[ended], g)
			continue
		}
		if last := d.fallen(at.Name, now); last != nil { // meanwhile
			late[last] = append(late[last], g)
			continue
		}
		t := d.activate(at.Name, at.ID, d.fates[at.Name].failures)
		t.fresh = append(t.fresh, g)
		d.line(t)
	}
	d.grant()
	d.mu.Unlock()
	for why, groups := range late {
		d.giveBack(groups, why)
	}
}

// activate gives the destination, which is in memory from now on. It runs under mu. The queue removes a destination that
// has no mail, and gives it a new ID, which is greater, when there is some again.
func (d *Dispatcher) activate(name string, id int64, failures int) *destination {
	t := d.active[name]
	if t == nil {
		t = newDestination(name, id, failures, d.limits)
		d.active[name] = t
	}
	t.id = max(t.id, id)
	return t
}

// queued: there is mail for these destinations that nobody has leased.
func (d *Dispatcher) queued(names []string) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, name := range names {
		if t := d.active[name]; t != nil {
			t.more = true
			d.line(t)
		} else if d.fallen(name, now) != nil {
			continue
		}
		d.rouse() // a busy one too: it may have a new ID
	}
	d.grant()
}

// line puts a destination at the end of those that wait for a worker, if it needs one. It runs under mu.
func (d *Dispatcher) line(t *destination) {
	if d.open && !t.waiting && t.wants(d.limits, d.workers) {
		t.waiting = true
		d.turn = append(d.turn, t)
	}
}

// grant starts workers while there may be more of them, one for each destination in turn. It runs under mu.
func (d *Dispatcher) grant() {
	for len(d.turn) > 0 && d.workers < d.limits.Connections {
		t := d.turn[0]
		d.turn[0] = nil
		d.turn, t.waiting = d.turn[1:], false
		if !d.open || !t.wants(d.limits, d.workers) {
			d.retire(t)
			continue
		}
		g, _ := t.next()
		t.workers++
		d.workers++
		d.running.Go(func() { d.work(t, g) })
		d.line(t)
	}
}

// carryOn gives a worker what it does next; false: it is to end.
func (d *Dispatcher) carryOn(t *destination, willing bool) (g *group, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.line(t)
	others := len(d.turn) > 1 || len(d.turn) == 1 && d.turn[0] != t
	switch {
	case !willing, !d.open, t.workers > t.limit(d.limits, d.workers), d.workers > d.limits.Connections:
	case others && d.workers >= d.limits.Connections: // its connection is kept for a while, so this costs little
	default:
		if g, read := t.next(); g != nil || read {
			return g, true
		}
	}
	return nil, false
}

// leave gives the place of a worker away.
func (d *Dispatcher) leave(t *destination) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t.workers--
	d.workers--
	d.line(t)
	d.grant()
	d.retire(t)
}

// retire forgets a destination without work. It runs under mu.
func (d *Dispatcher) retire(t *destination) {
	if t.workers == 0 && !t.waiting && len(t.fresh) == 0 && d.active[t.name] == t {
		delete(d.active, t.name)
		d.rouse()
	}
}

// verdict gives the failure that all mail for a destination has for now; nil: it is not known to fail for good.
func (d *Dispatcher) verdict(t *destination) *outbound.Failure {
	d.mu.Lock()
	defer d.mu.Unlock()
	if v := d.fates[t.name]; v.final != nil && time.Now().Before(v.until) {
		return v.final
	}
	return nil
}

// condemn: the destination fails for good. That is remembered for a while only, because domains are mended.
func (d *Dispatcher) condemn(t *destination, f *outbound.Failure, s Schedule) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	t.failures = 0
	d.fates.set(t.name, fate{until: now.Add(max(s.First, time.Minute)), final: f}, now)
}

// answered: the destination said something, if only no.
func (d *Dispatcher) answered(t *destination) {
	d.mu.Lock()
	rose := t.succeeded(d.limits)
	if rose {
		delete(d.fates, t.name)
	}
	d.line(t)
	d.grant()
	d.mu.Unlock()
	if rose {
		d.tell(t, nil)
		d.log.DestinationUp(t.name)
	}
}

// silent: the destination could not be reached, or did not serve us. It tells whether the destination is down.
func (d *Dispatcher) silent(t *destination, f *outbound.Failure, s Schedule) (down bool) {
	now, a := time.Now(), attemptOf(f)
	d.mu.Lock()
	fell := t.failed()
	down = t.down
	var unbegun []*group
	var v fate
	if fell {
		unbegun = t.unbegun()
		t.drop()
		t.until, t.last = now.Add(s.after(t.failures)), a
		v = fate{until: t.until, failures: t.failures, last: a}
		d.fates.set(t.name, v, now)
	}
	d.mu.Unlock()
	if fell {
		d.giveBack(unbegun, a)
		d.tell(t, a)
		d.log.DestinationDown(t.name, words(a), untold(f), v.failures, v.until)
	}
	return down
}

// tell writes to the queue how the destination fares: what failed, or nil. Who comes late with old news says nothing.
func (d *Dispatcher) tell(t *destination, a *queue.Attempt) {
	t.telling.Lock()
	defer t.telling.Unlock()
	d.mu.Lock()
	down, next, id := t.down, t.until, t.id
	d.mu.Unlock()
	if down != (a != nil) {
		return
	}
	if !down {
		next = time.Now()
	}
	if err := d.queue.Postpone(d.writing, id, next, a); err != nil {
		d.trouble("the fate of a destination cannot be written", err)
	}
}

// takeFresh takes what was accepted and not yet begun. It runs under mu.
func (d *Dispatcher) takeFresh() (all []*group) {
	for _, t := range d.active {
		all = append(all, t.unbegun()...)
	}
	return all
}
