package lmtp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"

	"mxbypass/mailbox"
	"mxbypass/mailbox/smtpclient"
)

// fault is a way for a server to fail; want is what the client must make of it.
type fault struct {
	name string
	act  act
	want string // "remote": the refusal of this command alone; "lost": the end of the connection
	end  string // how the wait ends: "" by itself, "timeout", "context"
}

var faults = []fault{
	{"4xx", act{say: "451-4.3.0 not\r\n451 4.3.0 now\r\n"}, "remote", ""},
	{"5xx", act{say: "554 5.7.1 never\r\n"}, "remote", ""},
	{"421", act{say: "421 4.3.2 going down\r\n", close: true}, "421", ""},
	{"close", act{close: true}, "lost", ""},
	{"half a reply", act{say: "250-2.0.0 and", close: true}, "lost", ""},
	{"silence", act{hang: true}, "lost", "timeout"},
	{"half a reply and silence", act{say: "250-2.0.0 more\r\n250", hang: true}, "lost", "timeout"},
	{"the context ends", act{hang: true}, "lost", "context"},
	{"binary", act{say: "\x00\xff\x1b[2J\r\n", hang: true}, "lost", ""},
	{"wrong class", act{say: "150 2.0.0 wait\r\n", hang: true}, "lost", ""},
	{"beyond the classes", act{say: "650 6.0.0 what\r\n", hang: true}, "lost", ""},
	{"changing code", act{say: "250-a\r\n354 b\r\n", hang: true}, "lost", ""},
	{"endless line", act{say: "250 " + strings.Repeat("x", 300<<10), hang: true}, "lost", ""},
	{"endless reply", act{say: strings.Repeat("250-x\r\n", 101), hang: true}, "lost", ""},
}

// TestFaults lets the server fail in every way at every stage. Whatever it does: a recipient is reported as delivered
// only when the server acknowledged it, a refusal is kept whole, a lost connection is temporary and says so when the
// message may have arrived, and the store works again with the next message.
func TestFaults(t *testing.T) {
	stages := map[smtpclient.Protocol][]string{
		smtpclient.LMTP: {"connect", "LHLO", "MAIL", "RCPT1", "RCPT2", "RCPT3", "DATA", "end1", "end2", "end3"},
		smtpclient.SMTP: {"connect", "MAIL", "RCPT1", "RCPT2", "RCPT3", "DATA", "end1"},
	}
	for protocol, stages := range stages {
		for _, ext := range [][]string{nil, {"PIPELINING", "ENHANCEDSTATUSCODES"}} {
			for _, stage := range stages {
				for _, f := range faults {
					name := fmt.Sprintf("%s/pipelining %t/%s/%s", protocol, ext != nil, stage, f.name)
					t.Run(name, func(t *testing.T) {
						t.Parallel()
						testFault(t, newServer(t, protocol, ext...), stage, f)
					})
				}
			}
		}
	}
}

func testFault(t *testing.T, s *server, stage string, f fault) {
	s.setScript(func(_ int, at string) (act, bool) { return f.act, at == stage })
	store := newStore(t, s, func(o *Options) {
		if f.end == "timeout" {
			o.Timeouts = replies(50 * time.Millisecond)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if f.end == "context" {
		go func() {
			<-s.reached
			cancel()
		}()
	}
	to := []string{"a@d.test", "b@d.test", "c@d.test"}
	errs := deliver(ctx, store, message(memory(text)), recipients(to...))
	if len(errs) != len(to) {
		t.Fatalf("%d results", len(errs))
	}
	told := s.taken()
	for i, err := range errs {
		delivered := len(told) == 1 && slices.Contains(told[0].to, to[i])
		if err == nil && !delivered {
			t.Errorf("%s is reported as delivered and is not", to[i])
		}
		want := expected(s.protocol, stage, f, i)
		if f.end == "context" && want == "ok" && kind(err) == "doubt" {
			continue // the context ended before this answer was read
		}
		if kind(err) != want && f.end != "timeout" {
			t.Errorf("%s: %v; want %s", to[i], err, want)
		}
		checkError(t, stage, f, err)
	}

	s.setScript(nil)
	again := store
	if f.end == "timeout" {
		again = newStore(t, s, nil)
	}
	mustDeliver(t, again, to...)
}

// expected says what must become of recipient i.
func expected(protocol smtpclient.Protocol, stage string, f fault, i int) string {
	at, number := strings.TrimRight(stage, "123"), int(stage[len(stage)-1]-'1')
	single := at == "RCPT" || at == "end" && protocol == smtpclient.LMTP
	switch {
	case f.want == "remote" && single && i != number:
		return "ok"
	case f.want == "remote":
		return "remote"
	case at == "end" && protocol == smtpclient.LMTP && i < number:
		return "ok"
	case f.want == "421" && (at != "end" || protocol == smtpclient.SMTP || i == number):
		return "remote"
	case at == "end":
		return "doubt"
	}
	return "unavailable"
}

func checkError(t *testing.T, stage string, f fault, err error) {
	t.Helper()
	var remote *mailbox.RemoteError
	switch {
	case err == nil:
	case errors.As(err, &remote):
		command := strings.TrimRight(stage, "123")
		if command == "end" {
			command = "end of data"
		}
		want := map[string]mailbox.RemoteError{
			"4xx": {Code: 451, Enhanced: [3]int{4, 3, 0}, Text: "not\nnow"},
			"5xx": {Code: 554, Enhanced: [3]int{5, 7, 1}, Text: "never"},
			"421": {Code: 421, Enhanced: [3]int{4, 3, 2}, Text: "going down"},
		}[f.name]
		if remote.Code != want.Code || remote.Enhanced != want.Enhanced || remote.Text != want.Text ||
			remote.Command != command || !strings.HasPrefix(remote.Host, "unix:") {
			t.Errorf("not kept whole: %+v", remote)
		}
	case f.end == "context" && !errors.Is(err, context.Canceled):
		t.Errorf("%v does not name the context", err)
	case f.end == "timeout" && !errors.Is(err, os.ErrDeadlineExceeded):
		t.Errorf("%v is no timeout", err)
	}
	if err != nil && (strings.ContainsAny(err.Error(), "\x00\x1b\n") || !utf8.ValidString(err.Error())) {
		t.Errorf("unescaped: %q", err)
	}
}

// TestUnasked: a reply to a command that was never sent shifts all others. Nobody may be taken for delivered by it.
func TestUnasked(t *testing.T) {
	for _, protocol := range []smtpclient.Protocol{smtpclient.LMTP, smtpclient.SMTP} {
		for _, ext := range [][]string{nil, {"PIPELINING"}} {
			for stage, duty := range map[string]string{"connect": "220 hi\r\n", "MAIL": "250 OK\r\n", "RCPT1": "250 OK\r\n",
				"RCPT2": "250 OK\r\n"} {
				t.Run(fmt.Sprintf("%s/pipelining %t/%s", protocol, ext != nil, stage), func(t *testing.T) {
					s := newServer(t, protocol, ext...)
					s.setScript(func(_ int, at string) (act, bool) { return act{say: duty + "250 surprise\r\n"}, at == stage })
					store := newStore(t, s, nil)
					for _, err := range deliver(t.Context(), store, message(memory(text)), recipients("a@d.test", "b@d.test")) {
						if kind(err) != "unavailable" {
							t.Errorf("%v", err)
						}
					}
					s.setScript(nil)
					mustDeliver(t, store, "a@d.test")
				})
			}
		}
	}
}

// TestHangUpInBody: a server that stops reading, or refuses and hangs up, in the middle of the message.
func TestHangUpInBody(t *testing.T) {
	big := memory("Subject: big\r\n\r\n" + strings.Repeat(strings.Repeat("x", 76)+"\r\n", 100_000))
	for name, c := range map[string]struct {
		act  act
		end  string
		want string
	}{
		"close":                {act{close: true}, "", "unavailable"},
		"refusal and close":    {act{say: "552 5.3.4 too big\r\n", close: true}, "", "remote"},
		"stall until timeout":  {act{hang: true}, "timeout", "unavailable"},
		"stall until context":  {act{hang: true}, "context", "unavailable"},
		"garbage and close":    {act{say: "\x00\x00\r\n", close: true}, "", "unavailable"},
		"acceptance and close": {act{say: "250 2.0.0 saved\r\n", close: true}, "", "unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, smtpclient.LMTP, "PIPELINING")
			s.setScript(func(_ int, at string) (act, bool) { return c.act, at == "body" })
			store := newStore(t, s, func(o *Options) {
				if c.end == "timeout" {
					o.Timeouts.DataBlock = 50 * time.Millisecond
				}
			})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if c.end == "context" {
				go func() {
					<-s.reached
					cancel()
				}()
			}
			for _, err := range deliver(ctx, store, message(big), recipients("a@d.test", "b@d.test")) {
				if kind(err) != c.want {
					t.Errorf("%v; want %s", err, c.want)
				}
			}
			s.setScript(nil)
			if c.end != "timeout" {
				mustDeliver(t, store, "a@d.test")
			}
		})
	}
}

// TestUnreadable: content that cannot be read to its end is not delivered in part.
func TestUnreadable(t *testing.T) {
	broken := errors.New("input/output error")
	for name, content := range map[string]stream{
		"read error": {100, func() io.Reader {
			return io.MultiReader(strings.NewReader("Subject: x\r\n\r\nhalf"), iotest.ErrReader(broken))
		}},
		"too short":      {100, fromFile("short\r\n").open},
		"bare LF":        fromFile("a\nb\r\n"),
		"bare CR":        fromFile("a\rb\r\n"),
		"end look-alike": fromFile("a\r\n.\n\r\nMAIL FROM:<x@y.test>\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, smtpclient.LMTP)
			store := newStore(t, s, nil)
			for _, err := range deliver(t.Context(), store, message(content), recipients("a@d.test")) {
				if kind(err) != "unavailable" {
					t.Errorf("%v", err)
				}
			}
			if m := s.taken(); len(m) != 0 {
				t.Errorf("delivered: %q", m)
			}
			mustDeliver(t, store, "a@d.test")
		})
	}
}
