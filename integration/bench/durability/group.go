package main

import "sync"

// job is one message that waits for its commit.
type job struct {
	box  *box
	name string
	fd   int
}

// grouper commits for all who wait, at most inFlight groups at a time, without timers: who arrives during a commit is
// in the next group.
type grouper struct {
	commit   func([]job) error
	mu       sync.Mutex
	free     int
	waiting  []job
	outcomes []chan error
}

func newGrouper(inFlight int, commit func([]job) error) *grouper {
	return &grouper{commit: commit, free: inFlight}
}

func (g *grouper) do(j job) error {
	done := make(chan error, 1)
	g.mu.Lock()
	g.waiting = append(g.waiting, j)
	g.outcomes = append(g.outcomes, done)
	if g.free > 0 {
		g.free--
		go g.run()
	}
	g.mu.Unlock()
	return <-done
}

func (g *grouper) run() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.waiting) > 0 {
		jobs, outcomes := g.waiting, g.outcomes
		g.waiting, g.outcomes = nil, nil
		g.mu.Unlock()
		err := g.commit(jobs)
		for _, o := range outcomes {
			o <- err
		}
		g.mu.Lock()
	}
	g.free++
}
