package relaying

import (
	"fmt"
	"testing"

	"mxbypass/integration/peer"
)

// checker holds what was acknowledged against what arrived.
type checker struct {
	t     *testing.T
	loads []acknowledged
	ends  int // how often the relay was ended without warning
}

// acknowledged tells the subjects of what got a 250.
type acknowledged interface{ Acknowledged() map[string]bool }

// inFlight is what one end can leave in doubt: one message of each connection to the destination.
const inFlight = 20

// check wants everything that got a 250 at the remote, at least once, and no more copies than can have been in flight.
func (c *checker) check(r *peer.Remote) {
	c.t.Helper()
	found := map[string]int{}
	for _, m := range r.Messages() {
		subject, whole := peer.Whole(m.Content)
		if !whole {
			c.t.Errorf("a message did not arrive as it was sent: %s", subject)
		}
		found[subject]++
	}
	acknowledged, lost, again := 0, 0, 0
	for _, l := range c.loads {
		for subject := range l.Acknowledged() {
			acknowledged++
			if found[subject] == 0 {
				lost++
				c.t.Errorf("%s got a 250 and did not arrive", subject)
			}
		}
	}
	for _, n := range found {
		again += n - 1
	}
	if again > inFlight*c.ends {
		c.t.Errorf("%d copies too many, after %d ends with at most %d in flight", again, c.ends, inFlight)
	}
	c.t.Logf("%d acknowledged, %d arrived, %d lost, %d copies too many after %d ends", acknowledged, len(found), lost, again, c.ends)
}

func (c *checker) load(addr, name string, after int) *peer.Load {
	return c.loadOf(20, addr, name, after)
}

func (c *checker) loadOf(clients int, addr, name string, after int) *peer.Load {
	l := peer.StartLoad(addr, clients, after, func(client, n int) (string, string, int) {
		size := 3000
		if n%7 == 6 {
			size = 300000 // more than one chunk
		}
		subject := fmt.Sprintf("%s client %d message %d", name, client, n)
		return subject, recipientOf(subject), size
	})
	c.loads = append(c.loads, l)
	return l
}

// Killed again and again while many clients send and the queue sends on: all that got a 250 arrives.
func TestKilledUnderLoad(t *testing.T) {
	r := remoteAt(t, "127.0.0.1:0", nil)
	s := settings{dir: t.TempDir(), queue: "retry_first = \"1s\"\nretry_max = \"1s\""}
	c := &checker{t: t}
	var w *world
	for round := range 5 {
		w = toRemote(t, r.Addr, s)
		if round == 3 {
			r.Hold() // the remote has the whole message, and has not answered
		}
		l := c.load(w.Addr, fmt.Sprintf("round %d", round), 150)
		must(t, l.Until(w.Done(), w.Kill))
		r.Release()
		c.ends++
	}
	w = toRemote(t, r.Addr, s)
	w.empty()
	c.check(r)
}

// Killed at the nth of each kind of system call that writes: at every step of the queue and of the dialogues.
func TestKilledAtEveryStep(t *testing.T) {
	for _, calls := range []string{"pwrite64", "fsync,fdatasync", "write"} {
		t.Run(calls, func(t *testing.T) {
			t.Parallel()
			r := remoteAt(t, "127.0.0.1:0", nil)
			s := settings{dir: t.TempDir(), queue: "retry_first = \"1s\"\nretry_max = \"1s\""}
			w := toRemote(t, r.Addr, s) // makes the queue
			must(t, w.Close())
			c := &checker{t: t}
			for i, when := range []int{40, 61, 95, 160, 333} {
				s.wrapper = []string{"strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=" + calls,
					"-e", fmt.Sprintf("inject=%s:signal=SIGKILL:when=%d", calls, when*(i+1))}
				w := toRemote(t, r.Addr, s)
				l := c.load(w.Addr, fmt.Sprintf("%s %d", calls, when), 400)
				must(t, l.Until(w.Done(), w.Kill))
				<-w.Done()
				c.ends++
			}
			s.wrapper = nil
			w = toRemote(t, r.Addr, s)
			w.empty()
			c.check(r)
		})
	}
}
