package inbound

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mxbypass/mailbox"
	"mxbypass/relay/maillog"
	"mxbypass/relay/reply"
	"mxbypass/relay/spool"
	"mxbypass/routing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// delivered is one message as a store would have it.
type delivered struct {
	Message *mailbox.Message
	To      []mailbox.Recipient
	Out     []routing.Outbound
	Content string
}

// fakeCore is a relay with the mailboxes of one domain, exemple.org; every other domain is not hosted. Some local parts
// are special: see Route and Deliver.
type fakeCore struct {
	discard bool // content
	trust   Trust

	mu       sync.Mutex
	messages []delivered
	acquired atomic.Int64
	released atomic.Int64
	deliver  func(ctx context.Context, m *mailbox.Message, to []routing.Target) []reply.Outcome // instead of Deliver
}

var (
	exemple = mailbox.MustDomainName("exemple.org")
	gateway = mailbox.MustDomainName("mx.host.test")
)

func (f *fakeCore) acquire() (Core, func()) {
	f.acquired.Add(1)
	return f, func() { f.released.Add(1) }
}

func (f *fakeCore) Trusted(netip.Addr) bool { return false }

func (f *fakeCore) Trust() *Trust { return &f.trust }

// Route knows u%exemple.org@mx.host.test, u@exemple.org and postmaster.
func (f *fakeCore) Route(_ context.Context, p mailbox.Path, _ routing.Client) routing.Route {
	r := routing.Route{Path: p, Action: routing.Deliver}
	a := p.Address
	if user, ok := strings.CutSuffix(string(a.Local), "%exemple.org"); ok && a.Domain == gateway {
		r.Gateway = gateway
		a = mailbox.Address{Local: mailbox.LocalPart(user), Domain: exemple}
	}
	box := func(local mailbox.LocalPart) mailbox.Recipient {
		to := mailbox.Address{Local: local, Domain: exemple}
		home := mailbox.Mailbox{Address: to, Site: "cloud"}
		return mailbox.Recipient{Mailbox: home, Original: p.Written, Delivered: to}
	}
	switch {
	case a.Domain.IsZero(): // the one path without a domain
		r.Recipients = []mailbox.Recipient{box("postmaster")}
	case a.Domain != exemple:
		r.Action, r.Err = routing.Refuse, routing.ErrRelayDenied
	case a.Local == "nobody":
		r.Action, r.Err = routing.Refuse, mailbox.ErrNoMailbox
	case a.Local == "directory-down":
		r.Action, r.Err = routing.Defer, errors.New("secret: the database at 10.1.2.3 is down")
	case a.Local == "panic":
		panic("a mistake of ours")
	case a.Local == "away":
		r.Action = routing.Relay
		r.Outbound = []routing.Outbound{outbound(routing.Redirected, "away@remote.example", a)}
	case a.Local == "half":
		r.Action = routing.Relay
		r.Outbound = []routing.Outbound{outbound(routing.OtherHalf, "half@exemple.org", mailbox.Address{})}
	case a.Local == "copied":
		r.Recipients = []mailbox.Recipient{box(a.Local)}
		r.Outbound = []routing.Outbound{outbound(routing.Redirected, "copied@remote.example", a)}
	case a.Local == "both":
		r.Recipients = []mailbox.Recipient{box("foobar"), box("contact")}
	default:
		r.Recipients = []mailbox.Recipient{box(a.Local)}
	}
	return r
}

// Deliver knows a mailbox that is full and a store that is down.
func (f *fakeCore) Deliver(ctx context.Context, m *mailbox.Message, to []routing.Target, _ bool) []reply.Outcome {
	if f.deliver != nil {
		return f.deliver(ctx, m, to)
	}
	outcomes := make([]reply.Outcome, len(to))
	if f.discard {
		return outcomes
	}
	d := delivered{Message: m}
	for i, t := range to {
		if t.Outbound != nil {
			outcomes[i].Queued = true
			d.Out = append(d.Out, *t.Outbound)
			continue
		}
		switch t.Mailbox.Mailbox.Address.Local {
		case "full":
			outcomes[i].Err = mailbox.ErrOverQuota
		case "gone":
			outcomes[i].Err = mailbox.ErrNoMailbox
		case "store-down":
			outcomes[i].Err = fmt.Errorf("%w: secret detail", mailbox.ErrUnavailable)
		case "later":
			outcomes[i].Queued = true
		default:
			d.To = append(d.To, *t.Mailbox)
		}
	}
	b, err := io.ReadAll(m.Content.NewReader())
	if err != nil {
		for i := range outcomes {
			outcomes[i].Err = err
		}
		return outcomes
	}
	d.Content = string(b)
	f.mu.Lock()
	f.messages = append(f.messages, d)
	f.mu.Unlock()
	return outcomes
}

func outbound(p routing.Purpose, to string, from mailbox.Address) routing.Outbound {
	path, err := mailbox.ParsePath(to, false)
	if err != nil {
		panic(err)
	}
	hop := routing.Hop{Kind: routing.HopMX, Domain: path.Address.Domain}
	return routing.Outbound{To: path.Address, Hop: hop, Purpose: p, From: from}
}

func (f *fakeCore) all() []delivered {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]delivered(nil), f.messages...)
}

// logBuffer is a log that a test can read.
type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// rig is a server on a loopback port with a fake relay behind it.
type rig struct {
	*Server
	t        testing.TB
	core     *fakeCore
	log      *logBuffer
	listener net.Listener
	served   chan error
	closing  sync.Once
}

// start starts a server; change may change its options.
func start(t testing.TB, p Protocol, change func(*Options)) *rig {
	t.Helper()
	l, err := Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return startOn(t, l, p, change)
}

func startOn(t testing.TB, l net.Listener, p Protocol, change func(*Options)) *rig {
	t.Helper()
	return startServiceOn(t, l, Service{Protocol: p}, Trust{}, change)
}

func startServiceOn(t testing.TB, l net.Listener, service Service, trust Trust, change func(*Options)) *rig {
	t.Helper()
	r := &rig{t: t, core: &fakeCore{trust: trust}, log: &logBuffer{}, listener: l, served: make(chan error, 1)}
	var out io.Writer = r.log
	if _, ok := t.(*testing.B); ok {
		out = io.Discard
	}
	log, err := maillog.New(out, maillog.Text, nil)
	if err != nil {
		t.Fatal(err)
	}
	sp, err := spool.New(spool.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Hostname: "mx.host.test", Log: log, Spool: sp, Acquire: r.core.acquire,
		Timeouts: Timeouts{ErrorDelay: time.Millisecond}}
	if change != nil {
		change(&o)
	}
	if r.Server, err = NewServer(o); err != nil {
		t.Fatal(err)
	}
	go func() { r.served <- r.Serve(l, service) }()
	t.Cleanup(func() {
		r.close()
		if a, b := r.core.acquired.Load(), r.core.released.Load(); a != b {
			t.Errorf("%d configurations acquired, %d released", a, b)
		}
		if err := sp.Close(); err != nil {
			t.Error(err)
		}
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// close ends the server, aborting what is left.
func (r *rig) close() {
	r.closing.Do(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = r.Shutdown(ctx) // its error says that something was left, which many tests intend
		if err := <-r.served; err != nil {
			r.t.Errorf("Serve: %v", err)
		}
	})
}

// dial connects.
func (r *rig) dial() net.Conn {
	r.t.Helper()
	c, err := net.Dial("tcp", r.listener.Addr().String())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	return c
}

// client is one end of a dialogue.
type client struct {
	t        testing.TB
	conn     net.Conn
	in       *bufio.Reader
	timeless bool // time is not real here
}

func (r *rig) client() *client {
	c := r.dial()
	return &client{t: r.t, conn: c, in: bufio.NewReader(c)}
}

// talk runs a dialogue. Each line of the script is one of
//
//	C: text        the client sends text and CRLF
//	C+ text        the same, but nothing is sent before the next line that is no "C+" (pipelining)
//	C" text        the client sends text, a Go string without its quotes, and nothing else
//	S: pattern     the server answers with this line; * stands for anything
//	S> pattern     the same for the last line of a reply with several
//	S.             the server closes the connection
//	C.             the client closes the connection
//	# text         a remark
func (c *client) talk(script string) {
	c.t.Helper()
	if !c.timeless {
		_ = c.conn.SetDeadline(time.Now().Add(20 * time.Second)) // so that a mistake ends the test
	}
	var batch strings.Builder
	for line := range strings.SplitSeq(script, "\n") {
		line = strings.TrimLeft(line, "\t ")
		if line == "" || line[0] == '#' {
			continue
		}
		kind, text := line[:2], strings.TrimPrefix(line[2:], " ")
		switch kind {
		case "C+":
			batch.WriteString(text + "\r\n")
			continue
		case "C:":
			batch.WriteString(text + "\r\n")
		case `C"`:
			raw, err := strconv.Unquote(`"` + text + `"`)
			if err != nil {
				c.t.Fatalf("%s: %v", line, err)
			}
			batch.WriteString(raw)
		}
		if batch.Len() > 0 {
			_, _ = io.WriteString(c.conn, batch.String()) // a closed connection shows in what is answered
			batch.Reset()
		}
		switch kind {
		case "S:":
			c.expect(line, text, false)
		case "S>":
			c.expect(line, text, true)
		case "S.":
			switch b, err := c.in.ReadString('\n'); {
			case err == nil || b != "":
				c.t.Fatalf("%s: the server said %q instead", line, b)
			case errors.Is(err, os.ErrDeadlineExceeded):
				c.t.Fatalf("%s: the connection is still open", line)
			}
		case "C.":
			_ = c.conn.Close()
		}
	}
}

func (c *client) expect(line, pattern string, last bool) {
	c.t.Helper()
	for {
		got, err := c.in.ReadString('\n')
		if err != nil {
			c.t.Fatalf("%s: %q, %v", line, got, err)
		}
		text, ok := strings.CutSuffix(got, "\r\n")
		if !ok {
			c.t.Fatalf("%s: the line ends with %q", line, got)
		}
		if last && len(text) > 3 && text[3] == '-' {
			continue
		}
		if !like(pattern, text) {
			c.t.Fatalf("%s\n the server said %q", line, text)
		}
		return
	}
}

// like matches with * for anything.
func like(pattern, s string) bool {
	escaped := strings.NewReplacer(`\`, `\\`, `[`, `\[`, `?`, `\?`).Replace(pattern)
	ok, err := path.Match(strings.ReplaceAll(escaped, "/", "\x00"), strings.ReplaceAll(s, "/", "\x00"))
	return err == nil && ok
}
