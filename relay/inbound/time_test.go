package inbound

import (
	"bufio"
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"mxbypass/mailbox"
	"mxbypass/relay/reply"
	"mxbypass/routing"
)

// inTime runs a test in a bubble, where time passes only while everybody waits.
func inTime(t *testing.T, change func(*Options), test func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := startOn(t, newHanded(), SMTP, func(o *Options) {
			o.Timeouts = Timeouts{} // those of the RFC
			if change != nil {
				change(o)
			}
		})
		test(t, r)
		r.close()
	})
}

// pipe connects a client within a bubble.
func (r *rig) pipe() *client {
	here, there := net.Pipe()
	r.listener.(*handed).conns <- there
	r.t.Cleanup(func() { _ = here.Close() })
	return &client{t: r.t, conn: here, in: bufio.NewReader(here), timeless: true}
}

const toData = hello + `
	C: MAIL FROM:<a@client.test>
	S: 250 *
	C: RCPT TO:<foobar@exemple.org>
	S: 250 *
	C: DATA
	S: 354 *`

// after runs a dialogue that lasts between low and high.
func after(t *testing.T, low, high time.Duration, dialogue func()) {
	t.Helper()
	begin := time.Now()
	dialogue()
	if d := time.Since(begin); d < low || d > high {
		t.Fatalf("it took %v, not between %v and %v", d, low, high)
	}
}

func TestIdleClient(t *testing.T) {
	inTime(t, nil, func(t *testing.T, r *rig) {
		c := r.pipe()
		c.talk(hello)
		time.Sleep(5*time.Minute - time.Second)
		c.talk("C: NOOP\nS: 250 *")
		after(t, 5*time.Minute, 5*time.Minute+5*time.Second, func() { c.talk("S: 421 4.4.2 *\nS.") })
	})
}

func TestCommandInDrops(t *testing.T) {
	inTime(t, nil, func(t *testing.T, r *rig) {
		c := r.pipe()
		c.talk(hello)
		var drops sync.WaitGroup
		after(t, 5*time.Minute, 5*time.Minute+5*time.Second, func() {
			drops.Go(func() {
				for range 100 {
					if _, err := c.conn.Write([]byte("x")); err != nil {
						return
					}
					time.Sleep(time.Minute)
				}
			})
			c.talk("S: 421 4.4.2 *\nS.")
		})
		_ = c.conn.Close()
		drops.Wait()
	})
}

func TestStallInData(t *testing.T) {
	for name, row := range map[string]struct {
		sent string
		wait time.Duration
	}{
		"before the first octet": {"", 2 * time.Minute},
		"within a message":       {`C" Subject: x\r\n\r\ntext\r\n.`, 3 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			inTime(t, nil, func(t *testing.T, r *rig) {
				c := r.pipe()
				c.talk(toData)
				c.talk(row.sent)
				after(t, row.wait, row.wait+5*time.Second, func() { c.talk("S: 421 4.4.2 *\nS.") })
				if n := len(r.core.all()); n != 0 {
					t.Errorf("%d messages delivered", n)
				}
			})
		})
	}
}

func TestStallInChunk(t *testing.T) {
	inTime(t, nil, func(t *testing.T, r *rig) {
		c := r.pipe()
		c.talk(strings.ReplaceAll(toData, "C: DATA\n\tS: 354 *", `C" BDAT 10 LAST\r\nabc`))
		after(t, 3*time.Minute, 3*time.Minute+5*time.Second, func() { c.talk("S: 421 4.4.2 *\nS.") })
		if n := len(r.core.all()); n != 0 {
			t.Errorf("%d messages delivered", n)
		}
	})
}

// pace sends lines of n octets every so often, until the server has had enough or the time is over. Then it ends the
// message.
func (c *client) pace(n int, every, whole time.Duration) {
	line := []byte(strings.Repeat("x", n-2) + "\r\n")
	for end := time.Now().Add(whole); time.Now().Before(end); time.Sleep(every) {
		if _, err := c.conn.Write(line); err != nil {
			return
		}
	}
	_, _ = c.conn.Write([]byte(".\r\n"))
}

func TestSlowSenders(t *testing.T) {
	for name, row := range map[string]struct {
		n         int
		every     time.Duration
		whole     time.Duration
		answer    string
		low, high time.Duration
	}{
		"slow and honest":    {100, time.Second, 50 * time.Minute, "S: 250 *", 50 * time.Minute, 51 * time.Minute},
		"in bursts":          {10000, 2 * time.Minute, 50 * time.Minute, "S: 250 *", 50 * time.Minute, 52 * time.Minute},
		"slow, but short":    {4, time.Second, 4 * time.Minute, "S: 250 *", 4 * time.Minute, 5 * time.Minute},
		"in drops":           {4, time.Second, 50 * time.Minute, "S: 421 4.4.2 *\nS.", 5 * time.Minute, 6 * time.Minute},
		"longer than we can": {100, time.Second, 2 * time.Hour, "S: 421 4.4.2 *\nS.", time.Hour, 61 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			inTime(t, nil, func(t *testing.T, r *rig) {
				c := r.pipe()
				c.talk(toData)
				var sender sync.WaitGroup
				after(t, row.low, row.high, func() {
					sender.Go(func() { c.pace(row.n, row.every, row.whole) })
					c.talk(row.answer)
				})
				_ = c.conn.Close()
				sender.Wait()
			})
		})
	}
}

func TestErrorsSlowDownAndClose(t *testing.T) {
	inTime(t, nil, func(t *testing.T, r *rig) {
		c := r.pipe()
		c.talk(hello)
		after(t, 0, 0, func() { c.talk(strings.Repeat("C: X\nS: 500 *\n", 9)) })
		after(t, 10*time.Second, 10*time.Second, func() { c.talk(strings.Repeat("C: X\nS: 500 *\n", 10)) })
		c.talk("C: MAIL FROM:<>\nS: 250 *")
		after(t, time.Second, time.Second, func() {
			c.talk("C: RCPT TO:<nobody@exemple.org>\nS: 550 *\nS: 421 4.7.0 *\nS.")
		})
	})
}

func TestPatienceFalls(t *testing.T) {
	change := func(o *Options) { o.Limits.Connections = 8 }
	inTime(t, change, func(t *testing.T, r *rig) {
		var clients []*client
		for range 6 {
			c := r.pipe()
			c.talk(hello)
			clients = append(clients, c)
		}
		for range 2 {
			c := r.pipe()
			c.talk(hello)
			clients = append(clients, c)
		}
		after(t, 10*time.Second, 11*time.Second, func() { clients[7].talk("S: 421 4.4.2 *\nS.") })
		c := r.pipe() // there is room for one again; the next one is beyond
		c.talk(hello)
		r.pipe().talk("S: 421 4.3.2 too many connections*\nS.")
	})
}

func TestDeliveryTakesTooLong(t *testing.T) {
	inTime(t, nil, func(t *testing.T, r *rig) {
		r.core.deliver = func(ctx context.Context, _ *mailbox.Message, to []routing.Target) []reply.Outcome {
			<-ctx.Done()
			return []reply.Outcome{{Err: ctx.Err()}}
		}
		c := r.pipe()
		c.talk(toData)
		after(t, time.Minute, time.Minute, func() { c.talk("C: .\nS: 451 4.3.0 *") })
		c.talk("C: NOOP\nS: 250 *")
	})
}

func TestShutdown(t *testing.T) {
	inTime(t, nil, func(t *testing.T, r *rig) {
		greeted, inData, inBetween := r.pipe(), r.pipe(), r.pipe()
		greeted.talk(hello)
		inData.talk(toData)
		inBetween.talk(hello + "C: MAIL FROM:<>\nS: 250 *\n")
		ended := make(chan error)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			ended <- r.Shutdown(ctx)
		}()
		after(t, 0, 0, func() { greeted.talk("S: 421 4.3.2 *\nS.") })
		inData.talk("C: text")
		time.Sleep(30 * time.Second)
		// What comes after the transaction is not begun any more.
		inData.talk("C+ .\nC+ MAIL FROM:<>\nC: QUIT\nS: 250 2.0.0 delivered *\nS: 421 4.3.2 *\nS.")
		after(t, 30*time.Second, 30*time.Second, func() { inBetween.talk("S: 421 4.3.2 *\nS.") })
		if err := <-ended; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v", err)
		}
		r.closing.Do(func() {
			if err := <-r.served; err != nil {
				t.Error(err)
			}
		})
	})
}

func TestShutdownWithoutClients(t *testing.T) {
	inTime(t, nil, func(t *testing.T, r *rig) {
		r.pipe().talk(hello + "C: QUIT\nS: 221 *\nS.")
		if err := r.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-r.served; err != nil {
			t.Error(err)
		}
		r.closing.Do(func() {})
	})
}

// TestShutdownAbortsDelivery: a delivery in progress when time is up ends with its context, and the client hears 451.
func TestShutdownAbortsDelivery(t *testing.T) {
	inTime(t, nil, func(t *testing.T, r *rig) {
		begun := make(chan struct{})
		r.core.deliver = func(ctx context.Context, _ *mailbox.Message, to []routing.Target) []reply.Outcome {
			close(begun)
			<-ctx.Done()
			return []reply.Outcome{{Err: ctx.Err()}}
		}
		c := r.pipe()
		c.talk(toData + "\nC: .")
		<-begun
		var end sync.WaitGroup
		end.Go(r.close)
		c.talk("S: 451 4.3.2 *\nS: 421 4.3.2 *\nS.")
		end.Wait()
	})
}

// starved is a listener of a process that is out of descriptors for a while.
type starved struct {
	*handed
	times int
}

func (s *starved) Accept() (net.Conn, error) {
	if s.times > 0 {
		s.times--
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return s.handed.Accept()
}

func TestOutOfDescriptors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHanded()
		r := startOn(t, &starved{h, 10}, SMTP, nil)
		here, there := net.Pipe()
		after(t, 3*time.Second, 10*time.Second, func() { h.conns <- there })
		c := &client{t: t, conn: here, in: bufio.NewReader(here), timeless: true}
		c.talk(hello + "C: QUIT\nS: 221 *\nS.")
		if n := strings.Count(r.log.String(), "cannot accept"); n != 0 && n != 10 {
			t.Errorf("%d complaints", n)
		}
		r.close()
	})
}
