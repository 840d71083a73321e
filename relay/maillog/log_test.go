package maillog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"go.uber.org/goleak"
	"golang.org/x/time/rate"
	"pgregory.net/rapid"

	"mxbypass/mailbox"
	"mxbypass/relay/reply"
	"mxbypass/routing"
	"mxbypass/routing/mx"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sink is where the log goes; it tells of every write.
type sink struct {
	mu     sync.Mutex
	b      bytes.Buffer
	err    error
	writes chan struct{}
}

func newSink() *sink { return &sink{writes: make(chan struct{}, 10_000)} }

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes <- struct{}{}
	if s.err != nil {
		return 0, s.err
	}
	return s.b.Write(p)
}

func (s *sink) fail(err error) {
	s.mu.Lock()
	s.err = err
	s.mu.Unlock()
}

func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newLog(t testing.TB, format string, w io.Writer) *Log {
	t.Helper()
	l, err := New(w, format, slog.LevelDebug)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func address(s string) mailbox.Address {
	a, err := mailbox.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

// bypassed is the route of the main job.
func bypassed() routing.Route {
	a := address("foobar@exemple.org")
	return routing.Route{
		Action: routing.Deliver,
		Path:   mailbox.Path{Address: address("foobar%exemple.org@mx.host.test"), Written: "foobar%exemple.org@mx.host.test"},
		Recipients: []mailbox.Recipient{{
			Mailbox: mailbox.Mailbox{Address: a, Site: "cloud"}, Delivered: a, Original: "foobar%exemple.org@mx.host.test",
		}},
		Bypassed: &mx.State{Kind: mx.External, Provider: "Google Workspace"},
		Gateway:  mailbox.MustDomainName("mx.host.test"),
	}
}

// content has a size and nothing else.
type content int64

func (c content) Size() int64        { return int64(c) }
func (content) Buffers() [][]byte    { return nil }
func (content) NewReader() io.Reader { return strings.NewReader("") }

// life is everything that happens to a message and its connection.
func life(l *Log) {
	r := bypassed()
	l.Started("1.0", []string{"127.0.0.1:2525"})
	c := l.Connected("C1", "192.0.2.7:4711", "127.0.0.1:2525")
	c.Greeted("client.example", "ESMTP")
	c.Routed("M1", address("a@client.example"), r)
	c.Refused("M1", "RCPT", "nobody@exemple.org", reply.For(mailbox.ErrNoMailbox), mailbox.ErrNoMailbox)
	c.Refused("", "", "", reply.For(mailbox.ErrSyntax), mailbox.ErrSyntax) // no command at all
	c.Received(&mailbox.Message{ID: "M1", Content: content(42)}, 1, 1500*time.Microsecond)
	c.Delivered("M1", r, 2*time.Millisecond)
	c.NotDelivered("M1", r, reply.For(mailbox.ErrOverQuota), fmt.Errorf("cloud: %w", mailbox.ErrOverQuota))
	c.Disconnected()
	l.TurnedAway("192.0.2.8:1", "127.0.0.1:2525", reply.For(reply.ErrTooManyConnections))
	l.Reloaded([]string{"127.0.0.1:2525"})
	l.ReloadFailed(errors.New("line 3"))
	l.Stopped(nil)
}

func TestEvents(t *testing.T) {
	out := newSink()
	l := newLog(t, Text, out)
	life(l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`level=INFO msg=started version=1.0 listeners=[127.0.0.1:2525]`,
		`level=INFO msg=connected conn=C1 client=192.0.2.7:4711 listener=127.0.0.1:2525`,
		`level=DEBUG msg=greeted conn=C1 helo=client.example protocol=ESMTP`,
		`level=INFO msg=routed conn=C1 id=M1 from=a@client.example to=foobar%exemple.org@mx.host.test action=deliver ` +
			`site=cloud gateway=mx.host.test mx=external provider="Google Workspace"`,
		`level=INFO msg=refused conn=C1 id=M1 to=nobody@exemple.org stage=RCPT reply="550 5.1.1 no such mailbox here" ` +
			`error="no such mailbox"`,
		`level=INFO msg=refused conn=C1 reply="501 5.1.3 invalid address" error="invalid address"`,
		`level=INFO msg=received conn=C1 id=M1 from=<> size=42 recipients=1 duration=0.0015`,
		`level=INFO msg=delivered conn=C1 id=M1 to=foobar%exemple.org@mx.host.test mailbox=foobar@exemple.org site=cloud ` +
			`gateway=mx.host.test mx=external provider="Google Workspace" duration=0.002`,
		`level=INFO msg=deferred conn=C1 id=M1 to=foobar%exemple.org@mx.host.test stage=delivery ` +
			`reply="452 4.2.2 the mailbox is full" error="cloud: mailbox full"`,
		`level=INFO msg=disconnected conn=C1 messages=1 refused=2 duration=`,
		`level=INFO msg="turned away" client=192.0.2.8:1 listener=127.0.0.1:2525 reply="421 4.3.2 too many connections, ` +
			`try again later"`,
		`level=INFO msg=reloaded listeners=[127.0.0.1:2525]`,
		`level=ERROR msg="reload failed, the old configuration stays" error="line 3"`,
		`level=INFO msg=stopped`,
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != len(want) {
		t.Fatalf("%d lines instead of %d:\n%s", len(lines), len(want), out.String())
	}
	for i, line := range lines {
		_, rest, _ := strings.Cut(line, " ") // the time
		if !strings.HasPrefix(rest, want[i]) {
			t.Errorf("\n%s instead of\n%s", rest, want[i])
		}
	}
}

func TestJSON(t *testing.T) {
	out := newSink()
	l := newLog(t, JSON, out)
	life(l)
	l.Close()
	for line := range strings.Lines(out.String()) {
		var v map[string]any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestUnknownFormat(t *testing.T) {
	if _, err := New(io.Discard, "xml", slog.LevelInfo); err == nil {
		t.Error("accepted")
	}
}

// TestNothingFromTheNetworkIsRaw: one event is one line of graphic characters, of bounded length.
func TestNothingFromTheNetworkIsRaw(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		evil := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
			"\x1b[2J", "a\r\nlevel=ERROR", strings.Repeat("é", 9999), "\u202e", "\xff\xfe", "\x00",
		})).Draw(rt, "text")
		out := newSink()
		l := newLog(t, rapid.SampledFrom([]string{Text, JSON}).Draw(rt, "format"), out)
		c := l.Connected("C1", evil, "listener")
		r := bypassed()
		r.Path.Written, r.Bypassed.Provider = evil, evil
		c.Greeted(evil, "SMTP")
		c.Routed("M1", mailbox.Address{Local: mailbox.LocalPart(evil)}, r)
		c.Refused("", "RCPT", evil, reply.Reply{Code: 550, Text: evil}, errors.New(evil))
		c.NotDelivered("M1", r, reply.Reply{Code: 450, Text: evil}, errors.New(evil))
		l.TurnedAway(evil, "listener", reply.Reply{Text: evil})
		c.Disconnected()
		l.Close()
		text := out.String()
		if n := strings.Count(text, "\n"); n != 7 {
			rt.Fatalf("%d lines: %q", n, text)
		}
		for line := range strings.Lines(text) {
			if len(line) > 8000 {
				rt.Fatalf("a line of %d octets", len(line))
			}
			for _, r := range strings.TrimSuffix(line, "\n") {
				if !unicode.IsGraphic(r) || unicode.Is(unicode.Cf, r) {
					rt.Fatalf("%q in %q", r, line)
				}
			}
		}
	})
}

func TestOneConnectionCannotFlood(t *testing.T) {
	out := newSink()
	l := newLog(t, Text, out)
	c := l.Connected("C1", "192.0.2.7:1", "l")
	no := reply.For(mailbox.ErrNoMailbox)
	for range 1000 {
		c.Refused("", "RCPT", "x@exemple.org", no, mailbox.ErrNoMailbox)
	}
	for range 3000 {
		c.Routed("M1", mailbox.Address{}, bypassed())
	}
	c.Received(&mailbox.Message{Content: content(1)}, 1, 0)
	c.Routed("M2", mailbox.Address{}, bypassed()) // a message counts anew
	c.Disconnected()
	l.Close()
	text := out.String()
	if n := strings.Count(text, "msg=refused"); n != refusedPerConn {
		t.Errorf("%d refused", n)
	}
	if n := strings.Count(text, "msg=routed"); n != routedPerConn+1 {
		t.Errorf("%d routed", n)
	}
	want := fmt.Sprintf("messages=1 refused=1000 suppressed=%d", 1000-refusedPerConn+3000-routedPerConn)
	if !strings.Contains(text, want) {
		t.Errorf("no %q at the end: %s", want, text[len(text)-200:])
	}
}

func TestManyConnectionsAreSummedUp(t *testing.T) {
	out := newSink()
	l := newLog(t, Text, out)
	l.connects = rate.NewLimiter(0, 2)
	l.turnedAway = rate.NewLimiter(0, 1)
	var conns []*Conn
	for range 5 {
		conns = append(conns, l.Connected("C1", "192.0.2.7:1", "l"))
		l.TurnedAway("192.0.2.7:1", "l", reply.For(reply.ErrTooManyFromClient))
	}
	for _, c := range conns[:4] {
		c.Refused("", "MAIL", "", reply.For(reply.ErrSequence), nil)
		c.Disconnected()
	}
	conns[4].Received(&mailbox.Message{Content: content(1)}, 1, 0) // a message is never left out
	conns[4].Disconnected()
	l.Close()
	text := out.String()
	for event, want := range map[string]int{
		"msg=connected": 2, "msg=disconnected": 3, "msg=refused": 2, `msg="turned away"`: 1, "msg=received": 1,
		"msg=suppressed connections=3 turned_away=4": 1,
	} {
		if n := strings.Count(text, event); n != want {
			t.Errorf("%d times %s instead of %d", n, event, want)
		}
	}
}

func TestLinesAreWrittenSoon(t *testing.T) {
	out := newSink()
	l := newLog(t, Text, out)
	defer l.Close()
	c := l.Connected("C1", "192.0.2.7:1", "l")
	<-out.writes // without anybody asking
	c.Disconnected()
	l.Logger().With("a", 1).WithGroup("g").Error("trouble") // at once
	if text := out.String(); !strings.Contains(text, "trouble") || !strings.Contains(text, "disconnected") {
		t.Errorf("an error waits: %q", text)
	}
}

func TestLinesAreWholeAndInOrder(t *testing.T) {
	out := newSink()
	l := newLog(t, Text, out)
	long := strings.Repeat("x", 200)
	var wait sync.WaitGroup
	for g := range 4 {
		wait.Go(func() {
			for i := range 500 {
				l.Logger().Info(long, "g", g, "i", i)
			}
		})
	}
	wait.Wait()
	l.Close()
	l.Logger().Info("after Close")
	next := [4]int{}
	for line := range strings.Lines(out.String()) {
		var g, i int
		_, rest, ok := strings.Cut(line, long)
		if !ok {
			if !strings.Contains(line, "after Close") {
				t.Fatalf("torn line %q", line)
			}
			continue
		}
		if _, err := fmt.Sscanf(rest, " g=%d i=%d\n", &g, &i); err != nil || next[g] != i {
			t.Fatalf("line %q, %v", line, err)
		}
		next[g]++
	}
	if next != [4]int{500, 500, 500, 500} || !strings.Contains(out.String(), "after Close") {
		t.Errorf("lines: %v", next)
	}
}

func TestFullDiskIsOutlived(t *testing.T) {
	out := newSink()
	l := newLog(t, Text, out)
	trouble := errors.New("disk full")
	out.fail(trouble)
	l.Logger().Error("lost")
	if err := l.out.Flush(); !errors.Is(err, trouble) {
		t.Errorf("Flush: %v", err)
	}
	out.fail(nil)
	l.Logger().Error("written again")
	if err := l.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if text := out.String(); strings.Contains(text, "lost") || !strings.Contains(text, "written again") {
		t.Errorf("%q", text)
	}
}

// BenchmarkMessage is the log of one message in a kept connection.
func BenchmarkMessage(b *testing.B) {
	for _, format := range []string{Text, JSON} {
		b.Run(format, func(b *testing.B) {
			l := newLog(b, format, io.Discard)
			defer l.Close()
			c := l.Connected("C1", "192.0.2.7:4711", "127.0.0.1:2525")
			r, from := bypassed(), address("a@client.example")
			m := &mailbox.Message{ID: "01JXXXXXXXXXXXXXXXXXXXXXXX", Reverse: from, Content: content(10240)}
			b.ReportAllocs()
			for b.Loop() {
				c.Routed(m.ID, from, r)
				c.Received(m, 1, time.Millisecond)
				c.Delivered(m.ID, r, time.Millisecond)
			}
		})
	}
}
