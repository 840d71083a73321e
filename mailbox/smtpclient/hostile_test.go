package smtpclient

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"mxbypass/mailbox"
)

// stages are those of a connection with STARTTLS, AUTH and a message for two recipients, each with what the server
// says there and the time that the client gives it.
var stages = []struct {
	name, duty string
	patience   time.Duration
}{
	{"connect", "220 mx.test ready\r\n", DefaultTimeouts().Greeting},
	{"EHLO", "250-mx.test\r\n250 STARTTLS\r\n", DefaultTimeouts().Hello},
	{"STARTTLS", "220 go\r\n", DefaultTimeouts().TLS},
	{"handshake", record, DefaultTimeouts().TLS},
	{"EHLO again", "250-mx.test\r\n250-PIPELINING\r\n250 AUTH PLAIN\r\n", DefaultTimeouts().Hello},
	{"AUTH", "235 2.7.0 OK\r\n", DefaultTimeouts().Hello},
	{"MAIL", "250 2.1.0 OK\r\n", DefaultTimeouts().Mail},
	{"RCPT 1", "250 2.1.5 OK\r\n", DefaultTimeouts().Rcpt},
	{"RCPT 2", "250 2.1.5 OK\r\n", DefaultTimeouts().Rcpt},
	{"DATA", "354 go\r\n", DefaultTimeouts().DataStart},
	{"body", "", DefaultTimeouts().DataBlock},
	{"end of data", "250 2.0.0 taken\r\n", DefaultTimeouts().DataEnd},
}

// record is the beginning of a long piece of a handshake.
const record = "\x16\x03\x03\x3f\x00"

// misdeed is what a server does instead of its duty. Each is possible at every stage.
type misdeed struct {
	name string
	deaf bool // it does not even read
	do   func(p *peer, duty string)
	want string // "lost", or "remote": a refusal
	slow bool   // the client's timer ends it
}

var misdeeds = []misdeed{
	{name: "deaf", deaf: true, want: "lost", slow: true},
	{name: "silence", do: func(p *peer, _ string) { p.rest() }, want: "lost", slow: true},
	{name: "trickle", do: func(p *peer, duty string) {
		if duty != record {
			duty = ""
		}
		for _, b := range []byte(duty + strings.Repeat("250-x\r\n", 99)) {
			if !p.say(string(rune(b))) {
				return
			}
			time.Sleep(7 * time.Second)
		}
	}, want: "lost", slow: true},
	{name: "endless reply", do: func(p *peer, _ string) {
		for p.say("250-more\r\n") {
			continue
		}
	}, want: "lost"},
	{name: "endless line", do: func(p *peer, _ string) {
		for p.say("250 " + strings.Repeat("x", 1000)) {
			continue
		}
	}, want: "lost"},
	{name: "megabytes", do: func(p *peer, _ string) {
		p.say(strings.Repeat("550-"+strings.Repeat("x", 70_000)+"\r\n", 50) + "550 end\r\n")
	}, want: "lost"},
	{name: "binary", do: func(p *peer, _ string) { p.say("\x00\xff\x1b[2J\r\n") }, want: "lost"},
	{name: "changing code", do: func(p *peer, _ string) { p.say("250-a\r\n550 b\r\n") }, want: "lost"},
	{name: "1xx", do: func(p *peer, _ string) { p.say("150 wait\r\n") }, want: "lost"},
	{name: "6xx", do: func(p *peer, _ string) { p.say("650 what\r\n") }, want: "lost"},
	{name: "3xx", do: func(p *peer, _ string) { p.say("399 what\r\n") }, want: "lost"},
	{name: "close", do: func(*peer, string) {}, want: "lost"},
	{name: "half a reply", do: func(p *peer, _ string) { p.say("250-OK\r\n25") }, want: "lost"},
	{name: "more than asked", do: func(p *peer, duty string) { p.say(duty + "250 surprise\r\n"); p.rest() }, want: "lost"},
	{name: "421", do: func(p *peer, _ string) { p.say("421-4.3.2 down\r\n421 4.3.2 we go\r\n") }, want: "remote"},
	{name: "4xx", do: func(p *peer, _ string) { p.say("451-4.3.0 down\r\n451 4.3.0 we go\r\n") }, want: "remote"},
	{name: "5xx", do: func(p *peer, _ string) { p.say("554-5.7.1 down\r\n554 5.7.1 we go\r\n") }, want: "remote"},
}

// TestHostile lets a server misbehave in every way at every stage, in the time of the default timeouts. The client must
// end in the patience of the stage, tell what it was, and never take anybody for delivered.
func TestHostile(t *testing.T) {
	for at, stage := range stages {
		for _, m := range misdeeds {
			switch {
			case stage.name == "connect" && m.deaf: // there is nothing to read
				continue
			case stage.name == "EHLO" && m.name == "5xx": // HELO follows
				continue
			case stage.name == "body" && !m.deaf && m.name != "close": // a pipe is full when nobody reads
				continue
			}
			t.Run(stage.name+"/"+m.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { testHostile(t, at, m) })
			})
		}
	}
}

func testHostile(t *testing.T, at int, m misdeed) {
	ours, theirs := net.Pipe()
	over := make(chan struct{})
	var server sync.WaitGroup
	server.Go(func() { misbehave(newPeer(theirs), at, m, over) })
	defer server.Wait()
	defer close(over)

	start, stage := time.Now(), stages[at]
	results, command := attempt(t, ours)
	took := time.Since(start)
	for i, err := range results {
		want := expected(stage.name, m, i)
		if kind(err) != want {
			t.Errorf("recipient %d: %v; want %s", i+1, err, want)
		}
		if err != nil && (strings.ContainsAny(err.Error(), "\x00\x1b\r\n") || !utf8.ValidString(err.Error())) {
			t.Errorf("unescaped: %q", err)
		}
		if m.slow && want != "ok" && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%v is no timeout", err)
		}
		var remote *mailbox.RemoteError
		if errors.As(err, &remote) && (remote.Command != command(stage.name) || remote.Text != "down\nwe go" ||
			remote.Code/100 != remote.Enhanced[0] || remote.Host != "mx.test[192.0.2.1]") {
			t.Errorf("not kept whole: %+v", remote)
		}
	}
	if limit := stage.patience + 2*farewell; took > limit && m.name != "more than asked" {
		t.Errorf("it took %v, more than %v", took, limit)
	}
}

// attempt connects, authenticates and sends. It gives the results, and the name that a stage has in errors.
func attempt(t *testing.T, conn net.Conn) ([]error, func(stage string) string) {
	opts := options()
	opts.TLS, opts.Auth = TLSRequired, &Auth{"user", "password"}
	command := func(stage string) string {
		verb, _, _ := strings.Cut(stage, " ")
		switch stage {
		case "end of data":
			return stage
		case "body":
			return MailData
		}
		return verb
	}
	c, err := Open(t.Context(), conn, opts)
	if err != nil {
		return []error{err, err}, command
	}
	defer c.Close()
	return send(t.Context(), c, mailTo("a@d.test", "b@d.test")), command
}

// misbehave is a server that does its duty until the given stage.
func misbehave(p *peer, at int, m misdeed, over <-chan struct{}) {
	defer p.raw.Close()
	for i, stage := range stages {
		if i == at && m.deaf {
			<-over
			return
		}
		switch stage.name {
		case "connect", "body":
		case "handshake":
			if i == at {
				_, _ = p.r.Peek(1) // the client has begun
			}
		case "end of data":
			p.message()
		default:
			p.hear()
		}
		switch {
		case i == at:
			m.do(p, stage.duty)
			if m.want == "remote" && m.name != "421" && strings.HasPrefix(stage.name, "RCPT") {
				continue
			}
			if m.want == "remote" {
				p.rest()
			}
			return
		case stage.name == "handshake":
			config := serverTLS()
			config.SessionTicketsDisabled = true // a pipe has no room for them
			if !p.secure(config) {
				return
			}
		default:
			p.say(stage.duty)
		}
	}
}

// expected says what must become of recipient i.
func expected(stage string, m misdeed, i int) string {
	switch {
	case slices.Contains([]string{"STARTTLS", "handshake"}, stage):
		return "tls"
	case stage == "EHLO" && m.name == "more than asked": // seen at STARTTLS
		return "tls"
	case stage == "EHLO again" && m.want == "lost" && m.name != "more than asked":
		return "tls"
	case stage == "end of data" && m.name == "more than asked":
		return "ok" // it answered the question first
	case stage == "end of data" && m.want == "lost" && !m.deaf:
		return "doubt"
	case m.name == "421" || m.want == "remote" && !strings.HasPrefix(stage, "RCPT"):
		return "remote"
	case m.want == "remote" && stage == fmt.Sprintf("RCPT %d", i+1):
		return "remote"
	case m.want == "remote":
		return "ok"
	}
	return "unavailable"
}

// TestNoTLSFromHere: a handshake that the client breaks off, as the certificate is somebody else's.
func TestNoTLSFromHere(t *testing.T) {
	opts := options()
	opts.TLS, opts.Config = TLSIfThere, clientTLS("other.test")
	_, err := open(t, opts, func(p *peer) {
		p.say("220 hi\r\n")
		p.ask("250-mx.test\r\n250 STARTTLS\r\n")
		p.ask("220 go\r\n")
		p.secure(serverTLS())
	})
	var cause *tls.CertificateVerificationError
	if kind(err) != "tls" || !errors.As(err, &cause) {
		t.Errorf("%v", err)
	}
}
