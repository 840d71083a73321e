package inbound

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"mxbypass/mailbox"
	"mxbypass/relay/reply"
	"mxbypass/relay/spool"
	"mxbypass/routing"
)

func TestContentIsUntouched(t *testing.T) {
	r := start(t, SMTP, nil)
	c := r.client()
	long := strings.Repeat("y", 1<<20-2)
	c.talk(toData)
	c.talk(`C" .Subject: dots\r\n..\r\n...a\r\n\xff\xfe 8-bit\r\n` + long + `\r\n.\r\n
		S: 250 *`)
	c.talk("C: MAIL FROM:<>\nS: 250 *\nC: RCPT TO:<foobar@exemple.org>\nS: 250 *")
	c.talk(`C" BDAT 13 LAST\r\n.\r\n..\r\nno end` + "\nS: 250 *\nC: QUIT\nS: 221 *")
	got := r.core.all()
	if len(got) != 2 {
		t.Fatalf("%d messages", len(got))
	}
	if want := "Subject: dots\r\n.\r\n..a\r\n\xff\xfe 8-bit\r\n" + long + "\r\n"; got[0].Content != want {
		t.Errorf("DATA: %.80q", got[0].Content)
	}
	if want := ".\r\n..\r\nno end"; got[1].Content != want {
		t.Errorf("BDAT: %q", got[1].Content)
	}
}

// TestNoHeader: the first lines of a message that has none do not go on with the last field of ours.
func TestNoHeader(t *testing.T) {
	r := start(t, SMTP, nil)
	r.client().talk(toData + "\n" + `C" \t; dmarc=pass\r\n` + strings.Repeat(`Received: x\r\n`, 60) + `.\r\n` + "\nS: 250 *")
	want := "\r\n\t; dmarc=pass\r\n" + strings.Repeat("Received: x\r\n", 60)
	if got := r.core.all(); len(got) != 1 || got[0].Content != want {
		t.Errorf("%+v", got)
	}
}

func TestMessageSize(t *testing.T) {
	r := start(t, SMTP, func(o *Options) { o.Limits.MessageSize = 1000 })
	c := r.client()
	c.talk(toData)
	c.talk(`C" ` + strings.Repeat("x", 998) + `\r\n.\r\nMAIL FROM:<>\r\n` + "\nS: 250 2.0.0 *\nS: 250 2.1.0 *")
	c.talk("C: RCPT TO:<foobar@exemple.org>\nS: 250 *\nC: DATA\nS: 354 *")
	c.talk(`C" ` + strings.Repeat("x", 999) + `\r\n.\r\nNOOP\r\n` + "\nS: 552 5.3.4 *\nS: 250 *")
	c.talk("C: MAIL FROM:<>\nS: 250 *\nC: RCPT TO:<foobar@exemple.org>\nS: 250 *")
	c.talk(`C" BDAT 500\r\n` + strings.Repeat("x", 500) + `BDAT 501 LAST\r\n` +
		strings.Repeat("x", 501) + "NOOP\\r\\n\nS: 250 *\nS: 552 5.3.4 *\nS: 250 *")
	if n := len(r.core.all()); n != 1 {
		t.Errorf("%d messages", n)
	}
}

func TestNoRoom(t *testing.T) {
	r := start(t, SMTP, func(o *Options) {
		var err error
		// More than any disk has, so that the spool says no.
		if o.Spool, err = spool.New(spool.Options{Dir: t.TempDir(), MaxMessage: 1 << 60}); err != nil {
			t.Fatal(err)
		}
	})
	r.client().talk(hello + "C: MAIL FROM:<>\nS: 452 4.3.1 *\nC: RCPT TO:<foobar@exemple.org>\nS: 503 *")
}

func TestRecipientLimit(t *testing.T) {
	r := start(t, SMTP, func(o *Options) { o.Limits.Recipients = 2 })
	r.client().talk(`
		S: 220 *
		C: EHLO client.test
		S> 250 LIMITS RCPTMAX=2
		C: MAIL FROM:<>
		S: 250 *
		C: RCPT TO:<a@exemple.org>
		S: 250 *
		C: RCPT TO:<nobody@exemple.org>
		S: 550 *
		C: RCPT TO:<b@exemple.org>
		S: 250 *
		C: RCPT TO:<c@exemple.org>
		S: 452 4.5.3 *
		C: DATA
		S: 354 *
		C: .
		S: 250 2.0.0 delivered to 2 mailboxes*`)
}

// TestTrace: what the message says about its way (RFC 5321 section 4.4).
func TestTrace(t *testing.T) {
	const date = `[A-Z][a-z]{2}, \d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}\r\n$`
	for _, row := range []struct {
		dialogue string
		want     string
		reverse  string
	}{
		{"C: HELO client.test\nS: 250 *\nC: MAIL FROM:<>\nS: 250 *\n" +
			"C: RCPT TO:<foobar%exemple.org@mx.host.test>\nS: 250 *",
			`^Received: from client\.test \(\[127\.0\.0\.1\]\)\r\n\tby mx\.host\.test with SMTP id 0[0-9A-Z]{25}\r\n` +
				`\tfor <foobar%exemple\.org@mx\.host\.test>;\r\n\t` + date, "<>"},
		{"C: EHLO [192.0.2.1]\nS> 250 *\nC: MAIL FROM:<A.b@Client.test>\nS: 250 *\n" +
			"C: RCPT TO:<a@exemple.org>\nS: 250 *\nC: RCPT TO:<b@exemple.org>\nS: 250 *",
			`^Received: from \[192\.0\.2\.1\] \(\[127\.0\.0\.1\]\)\r\n\tby mx\.host\.test with ESMTP ` +
				`id 0[0-9A-Z]{25};\r\n\t` + date, "A.b@client.test"},
		{"C: EHLO (evil)\nS> 250 *\nC: MAIL FROM:<jürgen@client.test> SMTPUTF8\nS: 250 *\n" +
			"C: RCPT TO:<jürgen@exemple.org>\nS: 250 *",
			`^Received: from \?evil\? \(\[127\.0\.0\.1\]\)\r\n\tby mx\.host\.test with UTF8SMTP id 0[0-9A-Z]{25}\r\n` +
				`\tfor <jürgen@exemple\.org>;\r\n\t` + date, "jürgen@client.test"},
	} {
		r := start(t, SMTP, nil)
		r.client().talk("S: 220 *\n" + row.dialogue + "\nC: DATA\nS: 354 *\nC: .\nS: 250 *")
		m := r.core.all()[0].Message
		if got := string(m.Trace); !regexp.MustCompile(row.want).MatchString(got) {
			t.Errorf("%q does not match %s", got, row.want)
		}
		if m.Reverse.String() != row.reverse {
			t.Errorf("reverse-path %v", m.Reverse)
		}
	}
}

func TestLiteral(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1": "[192.0.2.1]", "::ffff:192.0.2.1": "[192.0.2.1]", "2001:db8::1": "[IPv6:2001:db8::1]",
		"fe80::1%eth0": "[IPv6:fe80::1]",
	} {
		if got := literal(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %s", addr, got)
		}
	}
}

func TestLMTP(t *testing.T) {
	r := start(t, LMTP, nil)
	r.client().talk(`
		S: 220 mx.host.test LMTP Service Ready
		C: EHLO client.test
		S: 500 5.5.1 *
		C: LHLO client.test
		S> 250 *
		C: MAIL FROM:<>
		S: 250 *
		C: RCPT TO:<foobar@exemple.org>
		S: 250 *
		C: RCPT TO:<full@exemple.org>
		S: 250 *
		C: RCPT TO:<nobody@exemple.org>
		S: 550 *
		C: RCPT TO:<foobar@exemple.org>
		S: 250 *
		C: DATA
		S: 354 *
		C+ Subject: x
		C+ .
		C: NOOP
		S: 250 2.0.0 delivered to foobar@exemple.org, id *
		S: 452 4.2.2 full@exemple.org: the mailbox is full, id *
		S: 250 2.0.0 delivered to foobar@exemple.org, id *
		S: 250 *
		C: MAIL FROM:<> SMTPUTF8
		S: 250 *
		C: RCPT TO:<a@exemple.org>
		S: 250 *
		C: RCPT TO:<b@exemple.org>
		S: 250 *
		C" BDAT 3 LAST\r\na\nbNOOP\r\n
		S: 554 5.6.0 *
		S: 554 5.6.0 *
		S: 250 *
		C: MAIL FROM:<> SMTPUTF8
		S: 250 *
		C: RCPT TO:<a@exemple.org>
		S: 250 *
		C: RCPT TO:<b@exemple.org>
		S: 250 *
		C" BDAT 3 LAST\r\nabcQUIT\r\n
		S: 250 2.0.0 delivered to a@exemple.org, id *
		S: 250 2.0.0 delivered to b@exemple.org, id *
		S: 221 *
		S.`)
	got := r.core.all()
	if len(got) != 2 || !strings.Contains(string(got[0].Message.Trace), " with LMTP id ") ||
		!strings.Contains(string(got[1].Message.Trace), " with UTF8LMTP id ") {
		t.Errorf("%+v", got)
	}
}

// TestPipelinedReplies: what is answered to one packet comes in one packet (RFC 2920 section 3.2).
func TestPipelinedReplies(t *testing.T) {
	r := start(t, SMTP, nil)
	c := r.dial()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	read := func(want ...string) {
		t.Helper()
		b := make([]byte, 4096)
		n, err := c.Read(b)
		if err != nil || codes(string(b[:n])) != strings.Join(want, " ") {
			t.Fatalf("%q, %v", b[:n], err)
		}
	}
	read("220")
	say := func(s string) {
		t.Helper()
		if _, err := io.WriteString(c, s); err != nil {
			t.Fatal(err)
		}
	}
	say("EHLO client.test\r\n")
	read("250")
	say("MAIL FROM:<>\r\nRCPT TO:<foobar@exemple.org>\r\nRCPT TO:<nobody@exemple.org>\r\nDATA\r\n")
	read("250", "250", "550", "354")
}

func TestConnectionLimits(t *testing.T) {
	r := start(t, SMTP, func(o *Options) { o.Limits.ConnectionsPerClient = 2 })
	one, two := r.client(), r.client()
	one.talk(hello)
	two.talk(hello)
	three := r.client()
	three.talk("S: 421 4.7.0 too many connections from your address*\nS.")
	one.talk("C: QUIT\nS: 221 *\nS.")
	// The place is free as soon as the connection is closed.
	r.client().talk(hello)
	if err := r.options.Log.Close(); err != nil {
		t.Fatal(err)
	}
	if log := r.log.String(); strings.Count(log, "turned away") != 1 {
		t.Errorf("log: %s", log)
	}
}

func TestNetworkOfClient(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "2001:db8::1": "2001:db8::", "2001:db8::2:0:0:1": "2001:db8::",
		"fe80::1%eth0": "fe80::",
	} {
		if got := network(netip.MustParseAddr(addr)).String(); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
	if network(netip.Addr{}).IsValid() {
		t.Error("a unix socket is no client address")
	}
}

// TestLog: the events of a message have the identifiers, and nothing that came from the network is in them unescaped.
func TestLog(t *testing.T) {
	r := start(t, SMTP, nil)
	c := r.client()
	c.talk(hello + `
		C" RCPT TO:<\x1b[31m@exemple.org>\r\n
		S: 500 *
		C" MAIL FROM:<\xe2\x80\xaeevil@exemple.org>\r\n
		S: 553 *
		C: MAIL FROM:<a@client.test>
		S: 250 *
		C: RCPT TO:<directory-down@exemple.org>
		S: 451 *
		C: RCPT TO:<foobar@exemple.org>
		S: 250 *
		C: DATA
		S: 354 *
		C: .
		S: 250 *
		C: QUIT
		S: 221 *
		S.`)
	r.close()
	if err := r.options.Log.Close(); err != nil {
		t.Fatal(err)
	}
	log := r.log.String()
	for _, want := range []string{"msg=connected", "msg=routed", "msg=received", "msg=delivered", "msg=disconnected",
		"the database at 10.1.2.3 is down", "conn=0"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log has no %q:\n%s", want, log)
		}
	}
	if strings.ContainsAny(log, "\x1b\u202e") {
		t.Errorf("%q", log)
	}
}

// TestLostConnection: a client that goes away within a message leaves nothing.
func TestLostConnection(t *testing.T) {
	r := start(t, SMTP, nil)
	for _, end := range []string{"C: half a message", `C" text\r\n.\r`, `C" ` + strings.Repeat("x", 200<<10)} {
		c := r.client()
		c.talk(toData)
		c.talk(end + "\nC.")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := r.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	r.closing.Do(func() { <-r.served })
	if n := len(r.core.all()); n != 0 {
		t.Errorf("%d messages delivered", n)
	}
}

// TestManyAtOnce: sessions do not mix, whatever they do.
func TestManyAtOnce(t *testing.T) {
	r := start(t, SMTP, nil)
	const sessions, each = 20, 20
	var wg sync.WaitGroup
	for i := range sessions {
		wg.Go(func() {
			c := r.client()
			c.talk(hello)
			for j := range each {
				text := fmt.Sprintf("message %d of %d", j, i)
				c.talk(fmt.Sprintf("C: MAIL FROM:<s%d@client.test>\nS: 250 *\nC: RCPT TO:<r%d@exemple.org>\nS: 250 *",
					i, j))
				if j%2 == 0 {
					c.talk("C: DATA\nS: 354 *\nC+ " + text + "\nC: .\nS: 250 *")
				} else {
					c.talk(fmt.Sprintf(`C" BDAT %d LAST\r\n%s\r\n`, len(text)+2, text) + "\nS: 250 *")
				}
			}
		})
	}
	wg.Wait()
	seen := map[string]bool{}
	for _, d := range r.core.all() {
		var i, j int
		if _, err := fmt.Sscanf(d.Content, "message %d of %d\r\n", &j, &i); err != nil {
			t.Fatalf("%q", d.Content)
		}
		envelope := d.Message.Reverse.String() + " " + d.To[0].Delivered.String()
		if want := fmt.Sprintf("s%d@client.test r%d@exemple.org", i, j); want != envelope {
			t.Errorf("%s has %q", want, d.Content)
		}
		if seen[d.Message.ID] {
			t.Errorf("identifier %s used twice", d.Message.ID)
		}
		seen[d.Message.ID] = true
	}
	if len(seen) != sessions*each {
		t.Errorf("%d messages", len(seen))
	}
}

func TestPanicInDelivery(t *testing.T) {
	r := start(t, SMTP, nil)
	r.core.deliver = func(context.Context, *mailbox.Message, []routing.Target) []reply.Outcome { panic("a mistake") }
	c := r.client()
	c.talk(toData)
	c.talk("C: .\nS: 421 4.3.0 *\nS.")
}

// TestStoreWithoutAnswer: fewer results than recipients are no success.
func TestStoreWithoutAnswer(t *testing.T) {
	r := start(t, SMTP, nil)
	r.core.deliver = func(context.Context, *mailbox.Message, []routing.Target) []reply.Outcome { return nil }
	c := r.client()
	c.talk(toData)
	c.talk("C: .\nS: 451 *")
}

func TestServeAfterShutdown(t *testing.T) {
	r := start(t, SMTP, nil)
	r.close()
	l, err := Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Serve(l, Service{Protocol: SMTP}); err != nil {
		t.Error(err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Error("the listener is still open")
	}
}

func TestOptions(t *testing.T) {
	if _, err := NewServer(Options{}); err == nil {
		t.Error("no log, no spool")
	}
	r := start(t, SMTP, nil)
	o := r.options
	o.Hostname = "not a name"
	if _, err := NewServer(o); err == nil {
		t.Error("no host name")
	}
}

func TestErrorLog(t *testing.T) {
	r := start(t, SMTP, nil)
	errorLog{r.options.Log.Logger()}.Printf("panic serving %v: \x1b[31m\n\tstack", "client")
	errorLog{r.options.Log.Logger()}.Println("more", 1)
	log := r.log.String()
	if strings.Contains(log, "\x1b") || !strings.Contains(log, "stack") || !strings.Contains(log, "more 1") {
		t.Errorf("%q", log)
	}
}
