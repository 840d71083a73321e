package smtpclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"mxbypass/mailbox"
)

// polite is a server for connections that are kept: it answers what it is asked, and counts those who say QUIT.
func polite(p *peer, goodbyes chan<- string) {
	p.say("220 hi\r\n")
	for {
		switch line := p.ask("250 mx.test\r\n"); line {
		case "":
			return
		case "QUIT":
			goodbyes <- line
			return
		}
	}
}

// piped gives connections to a polite server that need no time, for tests in fake time.
func piped(server *sync.WaitGroup, goodbyes chan<- string) func(context.Context) (*Client, error) {
	return func(ctx context.Context) (*Client, error) {
		ours, theirs := net.Pipe()
		server.Go(func() {
			polite(newPeer(theirs), goodbyes)
			_ = theirs.Close()
		})
		return Open(ctx, ours, options())
	}
}

// TestPool: which connection is given, and which has to go, in fake time.
func TestPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var server sync.WaitGroup
		goodbyes := make(chan string, 100)
		dial := piped(&server, goodbyes)
		p := NewPool[string](10*time.Second, 3)
		get := func(key string, want *Client) *Client {
			t.Helper()
			c, reused, err := p.Get(t.Context(), key, dial)
			if err != nil || reused != (want != nil) || reused && c != want {
				t.Fatalf("%s: %p, reused %t, %v", key, c, reused, err)
			}
			return c
		}
		gone := func(want int) {
			t.Helper()
			synctest.Wait()
			if len(goodbyes) != want {
				t.Fatalf("%d have gone instead of %d", len(goodbyes), want)
			}
		}

		a, b := get("a", nil), get("b", nil)
		p.Put("a", a)
		p.Put("b", b)
		get("a", a)
		a2 := get("a", nil) // neither the one in use, nor one to another server
		p.Put("a", a2)
		p.Put("a", a)
		get("a", a) // the last one used
		p.Put("a", a)

		c := get("c", nil)
		p.Put("c", c) // the fourth: b has been kept for the longest time
		gone(1)
		b = get("b", nil)

		time.Sleep(9 * time.Second)
		get("c", c)
		p.Put("c", c)
		time.Sleep(2 * time.Second)
		gone(3) // both of a
		time.Sleep(8 * time.Second)
		gone(4)

		p.Put("b", b)
		d := get("d", nil)
		p.Close()
		gone(5)
		p.Put("d", d)
		gone(6)
		if _, _, err := p.Get(t.Context(), "a", dial); !errors.Is(err, ErrPoolClosed) || !errors.Is(err, mailbox.ErrUnavailable) {
			t.Errorf("%v", err)
		}
		if len(p.byKey) != 0 || p.order.Len() != 0 {
			t.Errorf("%d keys left", len(p.byKey))
		}
		server.Wait()
	})
}

// TestPoolManyUsers: connections are never given twice at a time, and all of them end.
func TestPoolManyUsers(t *testing.T) {
	var server, users sync.WaitGroup
	goodbyes := make(chan string, 10_000)
	dial := piped(&server, goodbyes)
	p := NewPool[int](time.Millisecond, 5)
	var inUse sync.Map
	for user := range 8 {
		users.Go(func() {
			for i := range 30 {
				key := (user + i) % 3
				c, _, err := p.Get(t.Context(), key, dial)
				if err != nil {
					t.Error(err)
					return
				}
				if _, twice := inUse.LoadOrStore(c, true); twice {
					t.Error("given twice")
				}
				inUse.Delete(c)
				p.Put(key, c)
			}
		})
	}
	users.Wait()
	p.Close()
	server.Wait()
}

// TestAlive: what can have come to a connection that was kept, in the clear and under TLS, where session tickets and
// pieces of records may lie in between.
func TestAlive(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(p *peer)
		want bool
	}{
		{"nothing", func(*peer) {}, true},
		{"closed", func(p *peer) { p.conn.Close() }, false},
		{"cut off", func(p *peer) { p.raw.Close() }, false},
		{"a goodbye", func(p *peer) { p.say("421 4.4.2 idle\r\n") }, false},
		{"a goodbye and closed", func(p *peer) { p.say("421 4.4.2 idle\r\n"); p.conn.Close() }, false},
		{"garbage", func(p *peer) { p.raw.Write([]byte("\x00\xff")) }, false},
	} {
		for _, mode := range []TLSMode{TLSNever, TLSImplicit} {
			if c.name == "garbage" && mode == TLSImplicit {
				continue // less than a record; see TestAlivePieces
			}
			t.Run(fmt.Sprintf("%s/%d", c.name, mode), func(t *testing.T) {
				opts := options()
				opts.TLS = mode
				opts.Config.ClientSessionCache = tls.NewLRUClientSessionCache(1) // or there are no tickets
				act, acted := make(chan bool), make(chan bool)
				client, err := open(t, opts, func(p *peer) {
					if mode == TLSImplicit && !p.secure(serverTLS()) {
						return
					}
					p.say("220 hi\r\n")
					p.ask("250 mx.test\r\n")
					<-act
					c.do(p)
					close(acted)
					p.rest()
				})
				if err != nil {
					t.Fatal(err)
				}
				defer client.Close()
				for range 3 {
					if !client.Alive() {
						t.Error("dead too early")
					}
				}
				close(act)
				<-acted
				if !c.want {
					await(client)
				}
				if alive := client.Alive(); alive != c.want {
					t.Errorf("alive: %t", alive)
				}
			})
		}
	}
}

// await waits until there is something to read from the system.
func await(c *Client) {
	raw, err := c.socket.Conn.(*net.TCPConn).SyscallConn()
	if err == nil {
		_ = raw.Read(func(fd uintptr) bool {
			var b [1]byte
			_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
			return err != syscall.EAGAIN
		})
	}
}

// TestAlivePieces: a look at the connection in the middle of a record does not damage it.
func TestAlivePieces(t *testing.T) {
	opts := options()
	opts.TLS = TLSImplicit
	half, rest := make(chan bool), make(chan bool)
	client, err := open(t, opts, func(p *peer) {
		slow := &halves{Conn: p.raw}
		p.raw = slow
		if !p.secure(serverTLS()) {
			return
		}
		p.say("220 hi\r\n")
		p.ask("250 mx.test\r\n")
		p.hear()
		slow.first, slow.second = half, rest
		p.say("250 2.0.0 RSET done\r\n")
		slow.first = nil
		for p.hear() != "" {
			p.say("250 OK\r\n")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	(&Transaction{c: client}).Reset()
	<-half
	await(client)
	for range 3 {
		if !client.Alive() {
			t.Fatal("dead in the middle of a record")
		}
	}
	close(rest)
	if _, err := client.Begin(t.Context(), mailTo("a@d.test")); err != nil {
		t.Error(err)
	}
}

// halves writes in two pieces, and waits between them.
type halves struct {
	net.Conn
	first  chan<- bool
	second <-chan bool
}

// Write implements io.Writer.
func (h *halves) Write(p []byte) (int, error) {
	if h.first == nil {
		return h.Conn.Write(p)
	}
	n, err := h.Conn.Write(p[:len(p)/2])
	if err != nil {
		return n, err
	}
	close(h.first)
	<-h.second
	m, err := h.Conn.Write(p[n:])
	return n + m, err
}
