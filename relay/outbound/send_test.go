package outbound

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mxbypass/mailbox"
	"mxbypass/mailbox/smtpclient"
)

// brief says what became of a recipient: "taken: reply", or scope, durability, codes and command.
func brief(r Result) string {
	f := r.Failure
	if f == nil {
		return "taken: " + r.Reply
	}
	scope := [...]string{"", "destination", "message", "recipient"}[f.Scope]
	end := ""
	if f.Permanent {
		end = " for good"
	}
	if f.InDoubt {
		end += " in doubt"
	}
	return fmt.Sprintf("%s%s: %d %s %s", scope, end, f.Code, enhanced(f), f.Command)
}

// TestSend: every command refused in every way, to two recipients (a is the first), with and without pipelining.
func TestSend(t *testing.T) {
	const taken = "taken: taken"
	for _, c := range []struct {
		title  string
		script script
		a, b   string
		usable bool
	}{
		{"all is well", script{}, taken, taken, true},
		{"many words", script{".": "250-2.0.0 one\r\n250 2.0.0 two\x1b"}, "taken: one / two\uFFFD", "taken: one / two\uFFFD", true},

		{"MAIL later", script{"MAIL": "451 4.3.0 later"}, "message: 451 4.3.0 MAIL", "message: 451 4.3.0 MAIL", true},
		{"MAIL never", script{"MAIL": "550 5.7.1 no"}, "message for good: 550 5.7.1 MAIL", "message for good: 550 5.7.1 MAIL", true},
		{"MAIL without TLS", script{"MAIL": "530 5.7.0 STARTTLS first"}, "destination: 530 4.7.0 MAIL", "destination: 530 4.7.0 MAIL", true},
		{"MAIL 421", script{"MAIL": "421 4.7.0 go away|drop"}, "destination: 421 4.7.0 MAIL", "destination: 421 4.7.0 MAIL", false},
		{"MAIL 503", script{"MAIL": "503 5.5.1 what"}, "message: 503 4.5.1 MAIL", "message: 503 4.5.1 MAIL", true},
		{"MAIL dropped", script{"MAIL": drop}, "destination: 0 4.4.2 MAIL", "destination: 0 4.4.2 MAIL", false},
		{"MAIL babble", script{"MAIL": "hello?"}, "destination: 0 4.4.2 MAIL", "destination: 0 4.4.2 MAIL", false},

		{"RCPT later for one", script{"RCPT TO:<b": "450 4.2.1 later"}, taken, "recipient: 450 4.2.1 RCPT", true},
		{"RCPT never for one", script{"RCPT TO:<a": "550 5.1.1 no such user"}, "recipient for good: 550 5.1.1 RCPT", taken, true},
		{"RCPT both ways", script{"RCPT TO:<a": "450 4.2.1 later", "RCPT TO:<b": "550 no"}, "recipient: 450 4.2.1 RCPT",
			"recipient for good: 550 5.0.0 RCPT", true},
		{"RCPT too many", script{"RCPT TO:<b": "452 4.5.3 too many"}, taken, "recipient: 452 4.5.3 RCPT", true},
		{"RCPT too many, as it was once said", script{"RCPT TO:<b": "552 too many"}, taken, "recipient: 552 4.0.0 RCPT", true},
		{"RCPT, as if we wanted to relay", script{"RCPT TO:<b": "530 5.7.1 log in first"}, taken, "recipient for good: 530 5.7.1 RCPT", true},
		{"RCPT 503", script{"RCPT TO:<b": "503 5.5.1 what"}, taken, "recipient: 503 4.5.1 RCPT", true},
		{"RCPT 421 behind one", script{"RCPT TO:<b": "421 4.3.2 bye|drop"}, "destination: 421 4.3.2 RCPT", "destination: 421 4.3.2 RCPT", false},
		{"RCPT dropped", script{"RCPT TO:<b": drop}, "destination: 0 4.4.2 RCPT", "destination: 0 4.4.2 RCPT", false},
		{"RCPT of another class", script{"RCPT TO:<b": "550 4.7.1 greylisted"}, taken, "recipient for good: 550 5.0.0 RCPT", true},

		{"DATA later", script{"DATA": "451 4.3.0 later"}, "message: 451 4.3.0 DATA", "message: 451 4.3.0 DATA", true},
		{"DATA never, one refused", script{"DATA": "554 5.7.1 no", "RCPT TO:<b": "550 5.1.1 no"}, "message for good: 554 5.7.1 DATA",
			"recipient for good: 550 5.1.1 RCPT", true},
		{"DATA 421", script{"DATA": "421 4.3.2 bye|drop"}, "destination: 421 4.3.2 DATA", "destination: 421 4.3.2 DATA", false},
		{"DATA dropped", script{"DATA": drop}, "destination: 0 4.4.2 DATA", "destination: 0 4.4.2 DATA", false},
		{"DATA accepted as it is not", script{"DATA": "250 OK"}, "destination: 0 4.4.2 DATA", "destination: 0 4.4.2 DATA", false},

		{"message later", script{".": "451 4.3.0 later"}, "message: 451 4.3.0 end of data", "message: 451 4.3.0 end of data", true},
		{"message never", script{".": "554 5.6.0 spam"}, "message for good: 554 5.6.0 end of data", "message for good: 554 5.6.0 end of data", true},
		{"message too big", script{".": "552 5.3.4 too big"}, "message for good: 552 5.3.4 end of data",
			"message for good: 552 5.3.4 end of data", true},
		{"message 421", script{".": "421 4.3.2 bye|drop"}, "message: 421 4.3.2 end of data", "message: 421 4.3.2 end of data", false},
		{"lost after the dot", script{".": drop, "RCPT TO:<b": "550 5.1.1 no"}, "message in doubt: 0 4.4.2 end of data",
			"recipient for good: 550 5.1.1 RCPT", false},
		{"babble after the dot", script{".": "+OK"}, "message in doubt: 0 4.4.2 end of data", "message in doubt: 0 4.4.2 end of data", false},
	} {
		for _, ehlo := range []string{"250-mx.d.test\r\n250-DSN\r\n250-PIPELINING\r\n250 8BITMIME", "250 mx.d.test"} {
			t.Run(fmt.Sprintf("%s/%d", c.title, len(ehlo)), func(t *testing.T) {
				w := newWorld(t, Options{})
				sc := script{"EHLO": ehlo}
				for k, v := range c.script {
					sc[k] = v
				}
				s := w.serve("127.0.0.1", always(sc))
				conn := w.connect(hopMX("d.test"))
				results := conn.Send(t.Context(), mailTo("<a@d.test>", "<b@d.test>"))
				if len(results) != 2 || brief(results[0]) != c.a || brief(results[1]) != c.b {
					t.Fatalf("%s; %s", brief(results[0]), brief(results[1]))
				}
				if conn.Usable() != c.usable {
					t.Errorf("usable: %t", conn.Usable())
				}
				for _, r := range results {
					f := r.Failure
					switch {
					case f == nil && r.Reported != strings.Contains(ehlo, "DSN"):
						t.Error("reported?")
					case f != nil && (f.Host != "mx.d.test[127.0.0.1]" || f.MTA != "mx.d.test" || f.Text == "" && f.Code == 0 ||
						f.Enhanced[0] != map[bool]int{true: 5, false: 4}[f.Permanent]):
						t.Errorf("%+v", f)
					}
				}
				if n, messages := s.count(); n != 1 || messages > 0 && s.messages[0] != text {
					t.Errorf("%d sessions, %q", n, s.messages)
				}
			})
		}
	}
}

// What a failure says to people: each thing once.
// TestCutOff: who hangs up in the middle of a message may have something against that one.
func TestCutOff(t *testing.T) {
	for _, c := range []struct{ body, want string }{
		{drop, "message: 0 4.4.2 mail data"},
		{"421 4.4.2 too slow", "message: 421 4.4.2 mail data"},
		{"552 5.3.4 too big", "message for good: 552 5.3.4 mail data"},
	} {
		w := newWorld(t, Options{})
		w.serve("127.0.0.1", always(script{"body": c.body}))
		conn, m := w.connect(hopMX("d.test")), mailTo("<a@d.test>")
		m.Message.Content = memory(strings.Repeat("more than the system takes for somebody who does not read it\r\n", 1<<18))
		if r := conn.Send(t.Context(), m); brief(r[0]) != c.want || conn.Usable() {
			t.Errorf("%s: %s, usable: %t", c.body, brief(r[0]), conn.Usable())
		}
	}
}

func TestFailureWords(t *testing.T) {
	for _, c := range []struct {
		script script
		want   string
	}{
		{script{"MAIL": drop}, "mx.d.test[127.0.0.1]: MAIL: the server closed the connection"},
		{script{"MAIL": hang}, "mx.d.test[127.0.0.1]: MAIL: no answer in time"},
		{script{"MAIL": "what?"}, `mx.d.test[127.0.0.1]: MAIL: invalid reply: "what?"`},
		{script{"MAIL": "550-5.7.1 bad\r\n550 5.7.1 \x1bworse"}, "mx.d.test[127.0.0.1] answered MAIL with 550 bad / \uFFFDworse"},
		{script{".": drop}, "mx.d.test[127.0.0.1]: the connection was lost after the whole message was sent; it may have been delivered"},
	} {
		w := newWorld(t, Options{Timeouts: smtpclient.Timeouts{Mail: 200 * time.Millisecond}})
		w.serve("127.0.0.1", always(c.script))
		f := w.connect(hopMX("d.test")).Send(t.Context(), mailTo("<a@d.test>"))[0].Failure
		if f == nil || f.Error() != c.want {
			t.Errorf("%v", f)
		}
	}
}

// A connection that was used before and has been closed meanwhile is replaced, once; what was sent twice is sent to one
// server only.
func TestReplaced(t *testing.T) {
	for _, c := range []struct {
		title    string
		first    script // of the connection that has had a message
		second   script
		want     string
		sessions int
	}{
		{"closed without a word", script{".": "250 2.0.0 taken|drop"}, script{}, "taken: taken", 2},
		{"one message each", script{"MAIL FROM:<again": "421 4.7.0 too many messages|drop"}, script{}, "taken: taken", 2},
		{"it goes at the second recipient", script{"RCPT TO:<b": "421 4.3.2 bye|drop"}, script{}, "taken: taken", 2},
		{"the new one is no better", script{"MAIL FROM:<again": "421 4.7.0 bye|drop"}, script{"MAIL": "421 4.7.0 bye|drop"},
			"destination: 421 4.7.0 MAIL", 2},
		{"there is no new one", script{"MAIL FROM:<again": drop}, script{"connect": "554 5.7.1 not you"}, "destination: 554 4.7.1 connect", 2},
		{"it is slow", script{"MAIL FROM:<again": hang}, script{}, "destination: 0 4.4.2 MAIL", 1},
		{"it refuses", script{"MAIL FROM:<again": "550 5.7.1 no"}, script{}, "message for good: 550 5.7.1 MAIL", 1},
		{"it goes at DATA", script{"DATA": "354 go", "RCPT TO:<c": "250 OK", "MAIL FROM:<again": "250 OK"}, script{}, "taken: taken", 1},
	} {
		for _, pooled := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%t", c.title, pooled), func(t *testing.T) {
				w := newWorld(t, Options{Timeouts: smtpclient.Timeouts{Mail: 300 * time.Millisecond}})
				s := w.serve("127.0.0.1", func(n int) script {
					if n == 1 {
						return c.first
					}
					return c.second
				})
				conn, err := w.Connect(t.Context(), hopMX("one.test"))
				if err != nil {
					t.Fatal(err)
				}
				if r := conn.Send(t.Context(), mailTo("<a@one.test>")); brief(r[0]) != "taken: taken" {
					t.Fatal(brief(r[0]))
				}
				if pooled {
					conn.Release()
					if conn, err = w.Connect(t.Context(), hopMX("one.test")); err != nil {
						t.Fatal(err)
					}
				}
				defer func() { conn.Release() }()
				m := mailTo("<a@one.test>", "<b@one.test>")
				m.Message.Reverse = address("<again@c.test>")
				results := conn.Send(t.Context(), m)
				if got := brief(results[0]); got != c.want {
					t.Errorf("%s: %v", got, results[0].Failure)
				}
				if f := results[0].Failure; f != nil && f.Host != "one.test[127.0.0.1]" {
					t.Errorf("%+v", f)
				}
				if n, _ := s.count(); n != c.sessions {
					t.Errorf("%d sessions", n)
				}
			})
		}
	}
}

// A new connection that is lost at once is not made again: the server does not want to.
func TestFreshIsNotReplaced(t *testing.T) {
	w := newWorld(t, Options{})
	s := w.serve("127.0.0.1", always(script{"MAIL": drop}))
	if r := w.connect(hopMX("one.test")).Send(t.Context(), mailTo("<a@one.test>")); brief(r[0]) != "destination: 0 4.4.2 MAIL" {
		t.Error(brief(r[0]))
	}
	if n, _ := s.count(); n != 1 {
		t.Errorf("%d sessions", n)
	}
}

// unreadable is content that fails behind its beginning.
type unreadable struct{ err error }

func (unreadable) Size() int64       { return 100 }
func (unreadable) Buffers() [][]byte { return nil }
func (u unreadable) NewReader() io.Reader {
	return io.MultiReader(strings.NewReader("Subject: x\r\n"), failing(u))
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// A message that cannot be read is to blame itself, and never sent as if it were whole. Who was refused stays refused.
func TestUnreadable(t *testing.T) {
	damaged := errors.New("damaged")
	for _, c := range []struct {
		title   string
		content mailbox.Content
		cause   error
	}{
		{"damaged", unreadable{damaged}, damaged},
		{"too short", unreadable{io.EOF}, io.ErrUnexpectedEOF},
		{"a bare LF", memory("Subject: x\n\r\n"), smtpclient.ErrContent},
	} {
		t.Run(c.title, func(t *testing.T) {
			w := newWorld(t, Options{})
			s := w.serve("127.0.0.1", always(script{"RCPT TO:<b": "550 5.1.1 no"}))
			conn := w.connect(hopMX("one.test"))
			m := mailTo("<a@one.test>", "<b@one.test>")
			m.Message.Content = c.content
			r := conn.Send(t.Context(), m)
			f := r[0].Failure
			if brief(r[0]) != "message: 0 4.3.0 " || !errors.Is(f.Err, c.cause) || f.Host != "" || brief(r[1]) != "recipient for good: 550 5.1.1 RCPT" {
				t.Errorf("%s: %+v; %s", brief(r[0]), f, brief(r[1]))
			}
			if _, n := s.count(); n != 0 || conn.Usable() {
				t.Errorf("%d messages, usable: %t", n, conn.Usable())
			}
		})
	}
	// Also when the header has to be looked at first.
	w := newWorld(t, Options{})
	w.serve("127.0.0.1", always(nil))
	m := mailTo("<a@one.test>")
	m.Message.UTF8, m.Known, m.Message.Content = true, nil, unreadable{damaged}
	conn := w.connect(hopMX("one.test"))
	if r := conn.Send(t.Context(), m); brief(r[0]) != "message: 0 4.3.0 " || !errors.Is(r[0].Failure.Err, damaged) || !conn.Usable() {
		t.Error(brief(r[0]))
	}
}

// TestExtensions: what the server cannot have is not given to it, and the connection is good for others.
func TestExtensions(t *testing.T) {
	plain := "250-mx.d.test\r\n250 SIZE 30"
	for _, c := range []struct {
		title string
		ehlo  string
		mail  func(*Mail)
		a, b  string
		heard string
	}{
		{"too big", plain, func(m *Mail) { m.Trace = []byte("X: " + strings.Repeat("x", 30) + "\r\n") },
			"message for good: 0 5.3.4 MAIL", "message for good: 0 5.3.4 MAIL", ""},
		{"8 bits", plain, func(m *Mail) { m.Known.EightBit = true }, "message for good: 0 5.6.3 MAIL", "message for good: 0 5.6.3 MAIL", ""},
		{"UTF-8 header", plain, func(m *Mail) { m.Message.UTF8, m.Known.UTF8Header = true, true },
			"message for good: 0 5.6.7 MAIL", "message for good: 0 5.6.7 MAIL", ""},
		{"UTF-8 sender", plain, func(m *Mail) { m.Message.UTF8, m.Message.Reverse = true, address("<ü@c.test>") },
			"message for good: 0 5.6.7 MAIL", "message for good: 0 5.6.7 MAIL", ""},
		{"a UTF-8 recipient", plain, func(m *Mail) { m.Message.UTF8, m.To[0].Address = true, address("<ü@d.test>") },
			"recipient for good: 0 5.6.7 RCPT", "taken: taken", "RCPT TO:<b@d.test>"},
		{"only UTF-8 recipients", plain, func(m *Mail) {
			m.Message.UTF8, m.To[0].Address, m.To[1].Address = true, address("<ü@d.test>"), address("<ö@d.test>")
		}, "recipient for good: 0 5.6.7 RCPT", "recipient for good: 0 5.6.7 RCPT", ""},
		{"all of it", "250-mx\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE", func(m *Mail) {
			m.Message.UTF8, m.Known.UTF8Header, m.Known.EightBit, m.To[0].Address = true, true, true, address("<ü@d.test>")
		}, "taken: taken", "taken: taken", "MAIL FROM:<s@c.test> SIZE=18 BODY=8BITMIME SMTPUTF8\nRCPT TO:<ü@d.test>"},
		{"DSN", "250-mx\r\n250 DSN", func(m *Mail) {
			m.Message.Return, m.Message.EnvelopeID, m.To[0].Report = mailbox.ReturnHeaders, "id", mailbox.Report{Notify: mailbox.NotifyNever}
		}, "taken: taken", "taken: taken", "MAIL FROM:<s@c.test> RET=HDRS ENVID=id\nRCPT TO:<a@d.test> NOTIFY=NEVER\nRCPT TO:<b@d.test>\n"},
	} {
		t.Run(c.title, func(t *testing.T) {
			w := newWorld(t, Options{})
			s := w.serve("127.0.0.1", always(script{"EHLO": c.ehlo}))
			conn := w.connect(hopMX("d.test"))
			m := mailTo("<a@d.test>", "<b@d.test>")
			c.mail(&m)
			r := conn.Send(t.Context(), m)
			if brief(r[0]) != c.a || brief(r[1]) != c.b {
				t.Errorf("%s; %s", brief(r[0]), brief(r[1]))
			}
			if !strings.Contains(s.heard(), c.heard) || c.heard == "" && strings.Contains(s.heard(), "MAIL") {
				t.Errorf("%s", s.heard())
			}
			if r := conn.Send(t.Context(), mailTo("<a@d.test>")); brief(r[0]) != "taken: taken" {
				t.Errorf("the next one: %s", brief(r[0]))
			}
		})
	}
}

// A context that ends while the server is silent ends the transaction, at once.
func TestSendContext(t *testing.T) {
	for _, at := range []string{"MAIL", "DATA", "."} {
		w := newWorld(t, Options{})
		ctx, cancel := context.WithCancel(t.Context())
		w.serve("127.0.0.1", always(script{at: hang, "RCPT": "250 OK"}))
		conn := w.connect(hopMX("one.test"))
		time.AfterFunc(50*time.Millisecond, cancel)
		r := conn.Send(ctx, mailTo("<a@one.test>"))
		if f := r[0].Failure; f == nil || f.Permanent || !errors.Is(f, context.Canceled) || f.InDoubt != (at == ".") || conn.Usable() {
			t.Errorf("%s: %+v", at, f)
		}
	}
}

// However slowly a server goes on, a transaction ends; that is about the message, and the next one may do better.
func TestSendTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := failureOf(fmt.Errorf("wrapped: %w", errTooLong), "mx.test[192.0.2.1]", "mx.test")
		if f.Scope != ScopeMessage || f.Permanent || f.Text != "the transaction took longer than 1h0m0s" {
			t.Errorf("%+v", f)
		}
		client := newClient(t, Options{Resolver: zone()})
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			s := &server{lines: make([][]string, 1)}
			s.session(theirs, 1, script{"EHLO": "250 mx.d.test", "RCPT": "250 OK"})
		}()
		smtp, err := smtpclient.Open(t.Context(), &slowly{ours, 4 * time.Minute}, smtpclient.Options{Protocol: smtpclient.SMTP,
			Hostname: name("us.test"), Host: "mx.d.test[192.0.2.1]", Timeouts: client.o.Timeouts})
		if err != nil {
			t.Fatal(err)
		}
		conn := &Conn{client: client, hop: hopMX("d.test"), smtp: smtp}
		var to []string
		for i := range 30 {
			to = append(to, fmt.Sprintf("<a%d@d.test>", i))
		}
		begun := time.Now()
		r := conn.Send(t.Context(), mailTo(to...))
		if f := r[0].Failure; f == nil || f.Scope != ScopeMessage || f.Permanent || !errors.Is(f, errTooLong) {
			t.Errorf("%+v", f)
		}
		if took := time.Since(begun); took < maxTransaction || took > maxTransaction+4*time.Minute {
			t.Errorf("%v", took)
		}
		conn.Release()
	})
}
