package outbound

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mxbypass/mailbox"
	"mxbypass/mailbox/smtpclient"
	"mxbypass/routing"
	"mxbypass/routing/mx"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func name(s string) mailbox.DomainName { return mailbox.MustDomainName(s) }

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func address(s string) mailbox.Address {
	path, err := mailbox.ParsePath(strings.Trim(s, "<>"), true)
	if err != nil {
		panic(err)
	}
	return path.Address
}

func hopMX(domain string) routing.Hop { return routing.Hop{Kind: routing.HopMX, Domain: name(domain)} }

func hop(s string) routing.Hop {
	h, err := routing.ParseHop(s)
	if err != nil {
		panic(err)
	}
	return h
}

// clock is moved by the test only.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// fakeDNS is a resolver of maps. What is in neither does not exist.
type fakeDNS struct {
	mu    sync.Mutex
	mx    map[string]mx.Answer[mx.MX]
	addrs map[string]mx.Answer[netip.Addr]
	asked []string
	sure  bool                      // DNSSEC vouches for all of it
	hold  func(ctx context.Context) // before each answer
}

var errDNS = errors.New("SERVFAIL")

func (d *fakeDNS) note(s string) func(context.Context) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, s)
	return d.hold
}

func (d *fakeDNS) LookupMX(ctx context.Context, n mailbox.DomainName) mx.Answer[mx.MX] {
	if hold := d.note("MX " + n.ASCII()); hold != nil {
		hold(ctx)
	}
	if ctx.Err() != nil {
		return mx.Answer[mx.MX]{Err: ctx.Err()}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if a, ok := d.mx[n.ASCII()]; ok {
		a.Secure = d.sure
		return a
	}
	if _, ok := d.addrs[n.ASCII()]; ok {
		return mx.Answer[mx.MX]{Outcome: mx.NoData, Secure: d.sure}
	}
	return mx.Answer[mx.MX]{Outcome: mx.NXDomain}
}

func (d *fakeDNS) LookupAddr(_ context.Context, n mailbox.DomainName) mx.Answer[netip.Addr] {
	d.note("A " + n.ASCII())
	d.mu.Lock()
	defer d.mu.Unlock()
	if a, ok := d.addrs[n.ASCII()]; ok {
		a.Secure = d.sure
		return a
	}
	return mx.Answer[netip.Addr]{Outcome: mx.NXDomain}
}

func (d *fakeDNS) questions() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.asked)
}

// zone makes a resolver of lines: "d.test MX 10 mx.d.test", "mx.d.test A 192.0.2.1 2001:db8::1". An MX host can be "." or
// "?" (no host name); instead of records there can be FAIL, and FAIL behind addresses means that some are missing.
func zone(lines ...string) *fakeDNS {
	d := &fakeDNS{mx: map[string]mx.Answer[mx.MX]{}, addrs: map[string]mx.Answer[netip.Addr]{}}
	for _, line := range lines {
		f := strings.Fields(line)
		switch {
		case f[1] == "MX" && f[2] == "FAIL":
			d.mx[f[0]] = mx.Answer[mx.MX]{Err: errDNS}
		case f[1] == "MX":
			a := d.mx[f[0]]
			a.Outcome, a.TTL = mx.Found, time.Hour
			record := mx.MX{Root: f[3] == "."}
			for _, c := range f[2] {
				record.Preference = record.Preference*10 + uint16(c-'0')
			}
			if f[3] != "." && f[3] != "?" {
				record.Host = name(f[3])
			}
			a.Records = append(a.Records, record)
			d.mx[f[0]] = a
		default:
			a := mx.Answer[netip.Addr]{Outcome: mx.Found, TTL: time.Hour}
			for _, s := range f[2:] {
				if s == "FAIL" {
					a.Err = errDNS
					continue
				}
				a.Records = append(a.Records, ip(s))
			}
			if len(a.Records) == 0 {
				a.Outcome = mx.NoData
			}
			if a.Err != nil && len(a.Records) == 0 {
				a.Outcome = mx.Failed
			}
			d.addrs[f[0]] = a
		}
	}
	return d
}

func (d *fakeDNS) change(lines ...string) {
	other := zone(lines...)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mx, d.addrs = other.mx, other.addrs
}

// newClient makes a client that the test closes.
func newClient(t testing.TB, o Options) *Client {
	t.Helper()
	o.Hostname = name("us.test")
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// world is a client with servers on the loopback interface, all with the same port.
type world struct {
	*Client
	t     *testing.T
	dns   *fakeDNS
	clock *clock
	port  uint16
}

// always has a server do the same for every connection.
func always(s script) func(int) script { return func(int) script { return s } }

// newWorld makes one. d.test has the MX hosts mx.d.test (127.0.0.1, preference 10) and worse.d.test (127.0.0.2, 20).
func newWorld(t *testing.T, o Options, lines ...string) *world {
	t.Helper()
	w := &world{t: t, clock: &clock{now: time.Unix(1e9, 0)}, port: freePort(t)}
	w.dns = zone(append([]string{"d.test MX 10 mx.d.test", "d.test MX 20 worse.d.test", "mx.d.test A 127.0.0.1",
		"worse.d.test A 127.0.0.2", "one.test A 127.0.0.1"}, lines...)...)
	o.Resolver, o.MXPort, o.AllowLoopback, o.Now = w.dns, w.port, true, w.clock.Now
	w.Client = newClient(t, o)
	return w
}

// freePort finds a port that the tests' addresses have free.
func freePort(t *testing.T) uint16 {
	ln, err := net.Listen("tcp", "127.0.0.9:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return uint16(ln.Addr().(*net.TCPAddr).Port)
}

// serve runs a server on an address. The test waits for its end.
func (w *world) serve(addr string, scripts func(n int) script) *server {
	w.t.Helper()
	ln, err := net.Listen("tcp", netip.AddrPortFrom(ip(addr), w.port).String())
	if err != nil {
		w.t.Fatal(err)
	}
	s := &server{addr: addr, scripts: scripts}
	var wg sync.WaitGroup
	var conns []net.Conn
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			if s.closed {
				conn.Close()
			}
			conns = append(conns, conn)
			s.sessions++
			n := s.sessions
			s.lines = append(s.lines, nil)
			s.mu.Unlock()
			wg.Go(func() {
				defer conn.Close()
				s.session(conn, n, s.scripts(n))
			})
		}
	})
	w.t.Cleanup(func() {
		ln.Close()
		s.mu.Lock()
		s.closed = true
		for _, conn := range conns {
			conn.Close()
		}
		s.mu.Unlock()
		wg.Wait()
	})
	return s
}

// memory is content.
type memory []byte

func (c memory) Size() int64          { return int64(len(c)) }
func (c memory) NewReader() io.Reader { return bytes.NewReader(c) }
func (c memory) Buffers() [][]byte    { return [][]byte{c} }

const text = "Subject: x\r\n\r\n.y\r\n"

func mailTo(to ...string) Mail {
	m := Mail{Message: &mailbox.Message{ID: "01TEST", Reverse: address("s@c.test"), Content: memory(text)}, Known: &smtpclient.Octets{}}
	for _, s := range to {
		m.To = append(m.To, smtpclient.Rcpt{Address: address(s)})
	}
	return m
}

// connect gets a connection that is released at the end.
func (w *world) connect(h routing.Hop) *Conn {
	w.t.Helper()
	conn, err := w.Connect(w.t.Context(), h)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(conn.Release)
	return conn
}

// failing gets the failure of connecting.
func (w *world) failing(h routing.Hop) *Failure {
	w.t.Helper()
	conn, err := w.Connect(w.t.Context(), h)
	var f *Failure
	if conn != nil || !errors.As(err, &f) {
		w.t.Fatalf("%v, %v", conn, err)
	}
	if f.Scope != ScopeDestination || f.Enhanced == [3]int{} || f.Text == "" || len(f.Text) > 4*maxText {
		w.t.Errorf("%+v", f)
	}
	return f
}

// hosts gives the plan of a hop, as names with addresses.
func planned(targets []target) []string {
	var s []string
	for _, t := range targets {
		s = append(s, t.host())
	}
	return slices.Clip(s)
}

// slowly is a connection where everything that comes takes its time.
type slowly struct {
	net.Conn
	wait time.Duration
}

func (s *slowly) Read(p []byte) (int, error) {
	time.Sleep(s.wait)
	return s.Conn.Read(p)
}
