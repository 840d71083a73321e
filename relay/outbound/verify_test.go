package outbound

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"mxbypass/mailbox"
	"mxbypass/mailbox/smtpclient"
	"mxbypass/routing"
)

// verdictOf is what the router makes of an answer: yes, no with its codes, or unknown.
func verdictOf(err error) string {
	var said *mailbox.RemoteError
	switch {
	case err == nil:
		return "yes"
	case errors.Is(err, routing.ErrBackToSource):
		return "back"
	case errors.As(err, &said):
		return fmt.Sprintf("no: %d %s %s", said.Code, said.Host, said.Command)
	case errors.Is(err, mailbox.ErrUnavailable):
		return "unknown"
	}
	return err.Error()
}

func probeOf(to string) routing.Probe {
	return routing.Probe{To: address(to), Hop: hop("external:d.test"), Client: ip("203.0.113.9")}
}

// TestVerify: what each answer means, and how long it is kept.
func TestVerify(t *testing.T) {
	const host = "mx.d.test[127.0.0.1]"
	for _, c := range []struct {
		title  string
		script script
		want   string
		kept   time.Duration
	}{
		{"yes", script{}, "yes", yesFor},
		{"yes, elsewhere", script{"RCPT": "251 will forward"}, "yes", yesFor},
		{"no", script{"RCPT": "550 5.1.1 no such user"}, "no: 550 " + host + " RCPT", noFor},
		{"syntax", script{"RCPT": "501 5.1.3 bad"}, "no: 501 " + host + " RCPT", noFor},
		{"later", script{"RCPT": "450 4.2.1 later"}, "unknown", unknownFor},
		{"full, or too many", script{"RCPT": "552 5.2.2 full"}, "unknown", unknownFor},
		{"confused", script{"RCPT": "503 5.5.1 what"}, "unknown", unknownFor},
		{"going", script{"RCPT": "421 4.3.2 bye|drop"}, "unknown", unknownFor},
		{"dropped", script{"RCPT": drop}, "unknown", unknownFor},
		{"nothing from the null sender", script{"MAIL": "550 5.7.1 no bounces"}, "unknown", unknownFor},
		{"TLS first", script{"MAIL": "530 5.7.0 STARTTLS"}, "unknown", unknownFor},
		{"no mail here", script{"connect": "554 5.7.1 not you"}, "unknown", unknownFor},
		{"hangs", script{"RCPT": hang}, "unknown", unknownFor},
	} {
		t.Run(c.title, func(t *testing.T) {
			w := newWorld(t, Options{Timeouts: smtpclient.Timeouts{Rcpt: 300 * time.Millisecond}})
			s := w.serve("127.0.0.1", always(c.script))
			ask := func(sessions int) {
				t.Helper()
				if got := verdictOf(w.Verify(t.Context(), probeOf("<a@d.test>"))); got != c.want {
					t.Errorf("%s", got)
				}
				if n, _ := s.count(); n != sessions {
					t.Errorf("%d sessions", n)
				}
			}
			ask(1)
			ask(1)
			w.clock.advance(c.kept - 1)
			ask(1)
			w.clock.advance(1)
			ask(2)
			w.running.Wait() // the goodbyes
			if heard := s.heard(); strings.Contains(heard, "DATA") || c.want == "yes" && !strings.HasPrefix(heard,
				"EHLO us.test\nMAIL FROM:<>\nRCPT TO:<a@d.test>\nRSET\nQUIT\n") {
				t.Errorf("%s", heard)
			}
		})
	}
}

// What is asked is the address as it is, of one hop; an answer is for nothing else.
func TestVerifyQuestion(t *testing.T) {
	w := newWorld(t, Options{})
	s := w.serve("127.0.0.1", always(script{"RCPT TO:<A@d.test>": "550 5.1.1 no"}))
	for i, c := range []struct{ to, hop, want string }{
		{"<a@d.test>", "external:d.test", "yes"},
		{"<A@d.test>", "external:d.test", "no: 550 mx.d.test[127.0.0.1] RCPT"},
		{"<a@d.test>", fmt.Sprintf("smtp://127.0.0.1:%d", w.port), "yes"},
	} {
		p := probeOf(c.to)
		p.Hop = hop(c.hop)
		if got := verdictOf(w.Verify(t.Context(), p)); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
		if n, _ := s.count(); n != i+1 {
			t.Errorf("%d sessions", n)
		}
	}
	if got := verdictOf(w.Verify(t.Context(), probeOf("<ü@d.test>"))); got != "no: 553 mx.d.test[127.0.0.1] RCPT" {
		t.Errorf("without SMTPUTF8: %s", got)
	}
}

// DNS that fails, a domain that has gone, no mail: all that is unknown, and none of it is a server's answer.
func TestVerifyNobody(t *testing.T) {
	w := newWorld(t, Options{}, "fails.test MX FAIL", "null.test MX 0 .", "dead.test A 127.0.0.8")
	for _, domain := range []string{"fails.test", "null.test", "nowhere.test", "dead.test"} {
		p := probeOf("<a@" + domain + ">")
		p.Hop = hop("external:" + domain)
		err := w.Verify(t.Context(), p)
		if verdictOf(err) != "unknown" || len(err.Error()) > 2*maxText {
			t.Errorf("%s: %v", domain, err)
		}
	}
}

// Mail does not go back to the network that it came from, and the question is not even asked.
func TestVerifyBackToSource(t *testing.T) {
	client := newClient(t, Options{Resolver: zone("d.test MX 5 a.test", "d.test MX 9 b.test", "a.test A 192.0.2.1", "b.test A 2001:db8:1::1")})
	for _, from := range []string{"192.0.2.200", "::ffff:192.0.2.1", "2001:db8:1:5::9"} {
		p := probeOf("<a@d.test>")
		p.Client = ip(from)
		if err := client.Verify(t.Context(), p); verdictOf(err) != "back" || !strings.Contains(err.Error(), from) {
			t.Errorf("%s: %v", from, err)
		}
	}
	if n := len(client.answers.kept) + len(client.answers.asking); n != 0 {
		t.Errorf("%d questions", n)
	}
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"192.0.2.1", "192.0.2.254", true},
		{"192.0.2.1", "192.0.3.1", false},
		{"2001:db8:1::1", "2001:db8:1:ffff::1", true},
		{"2001:db8:1::1", "2001:db8:2::1", false},
		{"192.0.2.1", "2001:db8::1", false},
		{"::ffff:192.0.2.1", "192.0.2.7", true},
		{"fe80::1%eth0", "fe80::2", true},
		{"127.0.0.1", "127.0.0.1", true},
		{"127.0.0.1", "127.0.0.2", false},
		{"::1", "::2", false},
	} {
		if sameNetwork(ip(c.a), ip(c.b)) != c.want || sameNetwork(ip(c.b).WithZone(""), ip(c.a)) != c.want {
			t.Errorf("%+v", c)
		}
	}
	if sameNetwork(netip.Addr{}, ip("192.0.2.1")) {
		t.Error("a local command is in no network")
	}
}

// gate lets servers go on when the test says so.
type gate struct {
	open    chan struct{}
	arrived chan struct{}
}

func newGate() *gate { return &gate{open: make(chan struct{}), arrived: make(chan struct{}, 10_000)} }

func (g *gate) pass() {
	g.arrived <- struct{}{}
	<-g.open
}

// Many who ask the same share one question, and who gives up does not end it for the others.
func TestVerifyShared(t *testing.T) {
	w := newWorld(t, Options{})
	g := newGate()
	s := w.serve("127.0.0.1", func(int) script { g.pass(); return nil })
	ctx, cancel := context.WithCancelCause(t.Context())
	var all sync.WaitGroup
	all.Go(func() {
		if err := w.Verify(ctx, probeOf("<a@d.test>")); verdictOf(err) != "unknown" || !strings.Contains(err.Error(), "gone") {
			t.Errorf("%v", err)
		}
	})
	<-g.arrived
	cancel(errors.New("gone"))
	all.Wait()
	for range 20 {
		all.Go(func() {
			if err := w.Verify(t.Context(), probeOf("<a@d.test>")); err != nil {
				t.Error(err)
			}
		})
	}
	close(g.open)
	all.Wait()
	if n, _ := s.count(); n != 1 {
		t.Errorf("%d sessions", n)
	}
}

// A hop that hangs has so many questions at a time and no more, and another one is asked meanwhile. Closing ends them all,
// and nobody is asked any more.
func TestVerifyBounds(t *testing.T) {
	w := newWorld(t, Options{}, "other.test A 127.0.0.3")
	g := newGate()
	hanging := w.serve("127.0.0.1", func(int) script { g.pass(); return nil })
	w.serve("127.0.0.3", always(nil))
	var all sync.WaitGroup
	for i := range 3 * maxProbesPerHop {
		all.Go(func() {
			if err := w.Verify(t.Context(), probeOf(fmt.Sprintf("<a%d@d.test>", i))); verdictOf(err) != "unknown" {
				t.Errorf("%v", err)
			}
		})
	}
	for range maxProbesPerHop {
		<-g.arrived
	}
	p := probeOf("<a@other.test>")
	p.Hop = hop("external:other.test")
	if err := w.Verify(t.Context(), p); err != nil {
		t.Error(err)
	}
	if n, _ := hanging.count(); n != maxProbesPerHop {
		t.Errorf("%d at a time", n)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	all.Wait()
	close(g.open)
	if err := w.Verify(t.Context(), probeOf("<late@d.test>")); verdictOf(err) != "unknown" || !strings.Contains(err.Error(), "stopping") {
		t.Errorf("%v", err)
	}
	if len(w.answers.asking)+len(w.answers.lines) != 0 {
		t.Error("questions are left")
	}
}

// There are so many questions under way and no more.
func TestVerifyTooMany(t *testing.T) {
	w := newWorld(t, Options{})
	for i := range maxAsking {
		w.answers.asking[question{to: address(fmt.Sprintf("<x%d@d.test>", i))}] = &asking{}
	}
	if err := w.Verify(t.Context(), probeOf("<a@d.test>")); verdictOf(err) != "unknown" || !strings.Contains(err.Error(), "too many") {
		t.Errorf("%v", err)
	}
	clear(w.answers.asking)
	for i := range maxAnswers {
		w.answers.kept[question{to: address(fmt.Sprintf("<x%d@d.test>", i))}] = answer{}
	}
	w.serve("127.0.0.1", always(nil))
	if err := w.Verify(t.Context(), probeOf("<a@d.test>")); err != nil || len(w.answers.kept) != 1 {
		t.Errorf("%v, %d answers", err, len(w.answers.kept))
	}
}

// A question has less patience than mail has.
func TestImpatient(t *testing.T) {
	d := impatient(smtpclient.DefaultTimeouts())
	if d.Connect != probeConnect || d.Greeting != probeStep || d.Rcpt != probeStep || d.DataEnd != smtpclient.DefaultTimeouts().DataEnd {
		t.Errorf("%+v", d)
	}
	if d := impatient(smtpclient.Timeouts{Connect: time.Second, Mail: time.Second}); d.Connect != time.Second || d.Mail != time.Second {
		t.Errorf("%+v", d)
	}
}
