package lmtp

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-smtp"
	"pgregory.net/rapid"

	"mxbypass/mailbox"
	"mxbypass/mailbox/smtpclient"
)

func TestNew(t *testing.T) {
	host := mailbox.MustDomainName("mx.host.test")
	for _, c := range []struct {
		opts Options
		ok   bool
	}{
		{Options{Address: "unix:/run/lmtp", Protocol: "lmtp", Hostname: host}, true},
		{Options{Address: "127.0.0.1:24", Protocol: "lmtp", Hostname: host}, true},
		{Options{Address: "[::1]:25", Protocol: "smtp", Hostname: host}, true},
		{Options{Address: "next.test:25", Protocol: "smtp", Hostname: host}, true},
		{Options{Address: "next.test", Protocol: "smtp", Hostname: host}, false},
		{Options{Address: ":25", Protocol: "smtp", Hostname: host}, false},
		{Options{Address: "unix:", Protocol: "smtp", Hostname: host}, false},
		{Options{Address: "", Protocol: "smtp", Hostname: host}, false},
		{Options{Address: "unix:/run/lmtp", Protocol: "uucp", Hostname: host}, false},
		{Options{Address: "unix:/run/lmtp", Hostname: host}, false},
		{Options{Address: "unix:/run/lmtp", Protocol: "lmtp"}, false},
		{Options{Address: "unix:/run/lmtp", Protocol: "lmtp", Hostname: host, Connections: -1}, false},
	} {
		store, err := New(c.opts)
		if (err == nil) != c.ok {
			t.Errorf("%+v: %v", c.opts, err)
		}
		if store != nil {
			_ = store.Close()
		}
	}
}

// TestCommands: what the server is told, with what it announces and without.
func TestCommands(t *testing.T) {
	received := "Received: from client.test by mx.host.test; now\r\n"
	tag := mailbox.Recipient{Mailbox: mailbox.Mailbox{Address: address("u@d.test")}, Tag: "tag",
		Original: "u+tag%d.test@mx.host.test", Delivered: address("u+tag@d.test")}
	odd := mailbox.Recipient{Mailbox: mailbox.Mailbox{Address: address(`"a> NOTIFY=<b"@d.test`)},
		Original: `"a> NOTIFY=<b"@d.test`, Delivered: address(`"a> NOTIFY=<b"@d.test`)}
	reported := tag
	reported.Report = mailbox.Report{Notify: mailbox.NotifySuccess | mailbox.NotifyDelay, Original: "rfc822;u+2Btag@d.test"}
	all := []string{"PIPELINING", "size 1000000", "8bitmime", "SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING"}
	size := len(text) + len(received)
	for name, c := range map[string]struct {
		protocol smtpclient.Protocol
		ext      []string
		to       []mailbox.Recipient
		commands []string
		trace    string
	}{
		"lmtp, one": {smtpclient.LMTP, nil, []mailbox.Recipient{tag},
			[]string{"LHLO mx.host.test", "MAIL FROM:<sender@client.test>", "RCPT TO:<u+tag@d.test>", "DATA"},
			"X-Original-To: u+tag%d.test@mx.host.test\r\n" + received},
		"smtp, one": {smtpclient.SMTP, nil, []mailbox.Recipient{tag},
			[]string{"EHLO mx.host.test", "MAIL FROM:<sender@client.test>", "RCPT TO:<u+tag@d.test>", "DATA"},
			"X-Original-To: u+tag%d.test@mx.host.test\r\n" + received},
		"lmtp, several": {smtpclient.LMTP, all, []mailbox.Recipient{tag, odd},
			[]string{"LHLO mx.host.test", fmt.Sprintf("MAIL FROM:<sender@client.test> SIZE=%d BODY=8BITMIME", size),
				"RCPT TO:<u+tag@d.test>", `RCPT TO:<"a> NOTIFY=<b"@d.test>`, "DATA"}, received},
		"smtp, several": {smtpclient.SMTP, all, []mailbox.Recipient{tag, odd},
			[]string{"EHLO mx.host.test", fmt.Sprintf("MAIL FROM:<sender@client.test> SIZE=%d BODY=8BITMIME", size),
				"RCPT TO:<u+tag@d.test>", `RCPT TO:<"a> NOTIFY=<b"@d.test>`, "DATA"}, received},
		"smtp, reports": {smtpclient.SMTP, []string{"DSN", "PIPELINING"}, []mailbox.Recipient{odd, reported},
			[]string{"EHLO mx.host.test", "MAIL FROM:<sender@client.test> RET=HDRS ENVID=abc", `RCPT TO:<"a> NOTIFY=<b"@d.test>`,
				"RCPT TO:<u+tag@d.test> NOTIFY=DELAY ORCPT=rfc822;u+2Btag@d.test", "DATA"}, received},
		"lmtp, reports": {smtpclient.LMTP, []string{"DSN"}, []mailbox.Recipient{reported, odd},
			[]string{"LHLO mx.host.test", "MAIL FROM:<sender@client.test> RET=HDRS ENVID=abc",
				"RCPT TO:<u+tag@d.test> NOTIFY=DELAY ORCPT=rfc822;u+2Btag@d.test", `RCPT TO:<"a> NOTIFY=<b"@d.test>`,
				"DATA"}, received},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, c.protocol, c.ext...)
			store := newStore(t, s, nil)
			m := message(memory(text))
			m.Return, m.EnvelopeID = mailbox.ReturnHeaders, "abc"
			for _, err := range deliver(t.Context(), store, m, c.to) {
				if err != nil {
					t.Error(err)
				}
			}
			if log := s.log(); !slices.Equal(log, c.commands) {
				t.Errorf("commands %q\nwant     %q", log, c.commands)
			}
			if m := s.taken(); len(m) != 1 || m[0].data != c.trace+text {
				t.Errorf("%q", m)
			}
		})
	}
}

func TestNullSender(t *testing.T) {
	s := newServer(t, smtpclient.LMTP)
	m := message(memory(text))
	m.Reverse = mailbox.Address{}
	if errs := deliver(t.Context(), newStore(t, s, nil), m, recipients("a@d.test")); errs[0] != nil {
		t.Fatal(errs)
	}
	if m := s.taken(); m[0].mail != "FROM:<>" {
		t.Errorf("%q", m)
	}
}

// TestUTF8: a server without SMTPUTF8 gets what does not need it, and nothing else.
func TestUTF8(t *testing.T) {
	plain, eight := memory(text), memory("Subject: h\xc3\xa9\r\n\r\nbye\r\n")
	body := memory("Subject: hello\r\n\r\nh\xc3\xa9\r\n")
	headless := memory("\r\nh\xc3\xa9\r\n")
	for _, c := range []struct {
		name    string
		from    string
		to      []string
		content mailbox.Content
		asked   bool
		refused []bool // by a server without
	}{
		{"nothing", "s@c.test", []string{"a@d.test"}, plain, true, []bool{false}},
		{"domain", "s@é.test", []string{"a@é.test"}, plain, true, []bool{false}},
		{"sender", "é@c.test", []string{"a@d.test", "b@d.test"}, plain, true, []bool{true, true}},
		{"a recipient", "s@c.test", []string{"é@d.test", "a@d.test"}, plain, true, []bool{true, false}},
		{"all recipients", "s@c.test", []string{"é@d.test"}, plain, true, []bool{true}},
		{"header", "s@c.test", []string{"a@d.test"}, eight, true, []bool{true}},
		{"header in a file", "s@c.test", []string{"a@d.test"}, fromFile(string(eight)), true, []bool{true}},
		{"header, never asked", "s@c.test", []string{"a@d.test"}, eight, false, []bool{false}},
		{"body", "s@c.test", []string{"a@d.test"}, body, true, []bool{false}},
		{"body in a file", "s@c.test", []string{"a@d.test"}, fromFile(string(body)), true, []bool{false}},
		{"no header", "s@c.test", []string{"a@d.test"}, headless, true, []bool{false}},
	} {
		for _, announced := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/announced %t", c.name, announced), func(t *testing.T) {
				ext := []string{"PIPELINING"}
				if announced {
					ext = append(ext, "SMTPUTF8")
				}
				s := newServer(t, smtpclient.LMTP, ext...)
				store := newStore(t, s, nil)
				m := message(c.content)
				m.Reverse, m.UTF8 = address(c.from), c.asked
				for i, err := range deliver(t.Context(), store, m, recipients(c.to...)) {
					refused := c.refused[i] && !announced
					if errors.Is(err, mailbox.ErrNoUTF8) != refused || err != nil && !refused {
						t.Errorf("%s: %v", c.to[i], err)
					}
				}
				for _, m := range s.taken() {
					if strings.Contains(m.mail, "SMTPUTF8") != (announced && c.asked) {
						t.Errorf("MAIL %s", m.mail)
					}
				}
				mustDeliver(t, store, "again@d.test")
				if s.connections() != 1 {
					t.Error("the connection was not kept")
				}
			})
		}
	}
}

// TestTooBig: a message beyond the announced limit is refused without a word to the server.
func TestTooBig(t *testing.T) {
	for _, protocol := range []smtpclient.Protocol{smtpclient.LMTP, smtpclient.SMTP} {
		s := newServer(t, protocol, "SIZE 1000")
		store := newStore(t, s, nil)
		for _, err := range deliver(t.Context(), store, message(make(memory, 1000)), recipients("a@d.test", "b@d.test")) {
			if !errors.Is(err, mailbox.ErrTooBig) || errors.Is(err, mailbox.ErrUnavailable) {
				t.Errorf("%v", err)
			}
		}
		mustDeliver(t, store, "a@d.test")
		if log := s.log(); len(log) != 4 || s.connections() != 1 { // hello, and one transaction
			t.Errorf("%q", log)
		}
	}
}

// TestTooManyRecipients: whom the server does not want in this transaction, the relay may try again.
func TestTooManyRecipients(t *testing.T) {
	for _, ext := range []string{"PIPELINING", "HELP"} {
		s := newServer(t, smtpclient.SMTP, ext)
		s.setScript(func(_ int, stage string) (act, bool) {
			return act{say: "452 4.5.3 too many recipients\r\n"}, stage == "RCPT3" || stage == "RCPT4"
		})
		to := []string{"a@d.test", "b@d.test", "c@d.test", "e@d.test"}
		for i, err := range deliver(t.Context(), newStore(t, s, nil), message(memory(text)), recipients(to...)) {
			var remote *mailbox.RemoteError
			if refused := errors.As(err, &remote) && remote.Temporary() && remote.Code == 452; refused != (i > 1) {
				t.Errorf("%s: %v", to[i], err)
			}
		}
		if m := s.taken(); len(m) != 1 || !slices.Equal(m[0].to, to[:2]) {
			t.Errorf("%q", m)
		}
	}
}

// TestOriginalUTF8: a trace of ours must not need what the message does not.
func TestOriginalUTF8(t *testing.T) {
	for announced, want := range map[bool]bool{false: false, true: true} {
		var ext []string
		if announced {
			ext = []string{"SMTPUTF8"}
		}
		s := newServer(t, smtpclient.LMTP, ext...)
		m := message(memory(text))
		m.UTF8 = true
		to := recipients("a@d.test")
		to[0].Original = "é%d.test@mx.host.test"
		if errs := deliver(t.Context(), newStore(t, s, nil), m, to); errs[0] != nil {
			t.Fatal(errs)
		}
		if got := strings.Contains(s.taken()[0].data, "X-Original-To: é%"); got != want {
			t.Errorf("announced %t: X-Original-To %t", announced, got)
		}
	}
}

// TestHELO: an SMTP server that does not know EHLO.
func TestHELO(t *testing.T) {
	s := newServer(t, smtpclient.SMTP, "PIPELINING")
	s.setScript(func(_ int, stage string) (act, bool) { return act{say: "502 5.5.1 what\r\n"}, stage == "LHLO" })
	mustDeliver(t, newStore(t, s, nil), "a@d.test")
	if log := s.log(); log[1] != "HELO mx.host.test" || log[2] != "MAIL FROM:<sender@client.test>" {
		t.Errorf("%q", log)
	}
}

// friend is go-smtp as a server: another reading of the RFCs.
type friend struct {
	mu   sync.Mutex
	last []byte
	full bool // a full mailbox is among the recipients
}

func (f *friend) NewSession(*smtp.Conn) (smtp.Session, error) { return f, nil }
func (f *friend) Reset()                                      { f.full = false }
func (f *friend) Logout() error                               { return nil }
func (f *friend) Mail(string, *smtp.MailOptions) error        { return nil }

func (f *friend) Rcpt(to string, _ *smtp.RcptOptions) error {
	if strings.HasPrefix(to, "no") {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "unknown"}
	}
	f.full = f.full || strings.HasPrefix(to, "full")
	return nil
}

func (f *friend) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = b
	return err
}

func (f *friend) LMTPData(r io.Reader, status smtp.StatusCollector) error {
	err := f.Data(r)
	if !f.full {
		return err
	}
	status.SetStatus("full@d.test", &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 2, 2}, Message: "full"})
	return err
}

func newFriend(t *testing.T, protocol smtpclient.Protocol) (*friend, *Store) {
	t.Helper()
	f := &friend{}
	server := smtp.NewServer(f)
	server.LMTP, server.Domain, server.MaxLineLength = protocol == smtpclient.LMTP, "friend.test", 1<<20
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- server.Serve(ln) }()
	store, err := New(Options{Address: ln.Addr().String(), Protocol: protocol, Hostname: mailbox.MustDomainName("h.test")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = store.Close()
		_ = server.Close()
		<-served
	})
	return f, store
}

func TestFriendlyPeer(t *testing.T) {
	_, store := newFriend(t, smtpclient.LMTP)
	errs := deliver(t.Context(), store, message(memory(text)), recipients("a@d.test", "no@d.test", "full@d.test"))
	want := []mailbox.RemoteError{{}, {Code: 550, Enhanced: [3]int{5, 1, 1}, Text: "unknown", Command: "RCPT"},
		{Code: 452, Enhanced: [3]int{4, 2, 2}, Text: "<full@d.test> full", Command: "end of data"}}
	for i, err := range errs {
		var remote *mailbox.RemoteError
		if i == 0 && err == nil {
			continue
		}
		if !errors.As(err, &remote) {
			t.Fatalf("%d: %v", i, err)
		}
		want[i].Host = remote.Host
		if *remote != want[i] {
			t.Errorf("%d: %+v", i, remote)
		}
	}
}

// TestBytes: the content arrives octet for octet, from memory and from a file, over one connection.
func TestBytes(t *testing.T) {
	for _, protocol := range []smtpclient.Protocol{smtpclient.LMTP, smtpclient.SMTP} {
		f, store := newFriend(t, protocol)
		line := rapid.OneOf(
			rapid.SampledFrom([]string{".", "..", "...", "", ".x", "x.", "QUIT", "\x00", "\xff\xfe", "From x"}),
			rapid.StringMatching(`[^\r\n]{0,200}`),
			rapid.Map(rapid.IntRange(0, 200_000), func(n int) string { return strings.Repeat("..x", n/3) }),
		)
		rapid.Check(t, func(rt *rapid.T) {
			var content string
			for _, l := range rapid.SliceOfN(line, 0, 20).Draw(rt, "lines") {
				content += l + "\r\n"
			}
			m := message(memory(content))
			if rapid.Bool().Draw(rt, "file") {
				m.Content = fromFile(content)
			}
			want := content
			if rapid.Bool().Draw(rt, "unfinished") && strings.HasSuffix(content, "\r\n") {
				m.Content = memory(strings.TrimSuffix(content, "\r\n"))
				if strings.HasSuffix(content, "\r\n\r\n") || content == "\r\n" {
					want = strings.TrimSuffix(content, "\r\n") // it ends with CRLF (ours, or the trace's) all the same
				}
			}
			errs := deliver(t.Context(), store, m, recipients("a@d.test", "b@d.test"))
			if errs[0] != nil || errs[1] != nil {
				rt.Fatal(errs)
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			if got := string(f.last); got != string(m.Trace)+want {
				rt.Fatalf("sent %.200q, arrived %.200q", string(m.Trace)+want, got)
			}
		})
	}
}
