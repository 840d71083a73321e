package integration

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"mxbypass/integration/peer"
)

const box = "foobar%exemple.org@mx.host.test"

// oddMessages are messages that some server or other has cut, folded, completed or refused.
func oddMessages() map[string]string {
	every := make([]byte, 0, 300)
	for c := 1; c < 256; c++ {
		if c != '\r' && c != '\n' {
			every = append(every, byte(c))
		}
	}
	return map[string]string{
		"plain":                "From: a@client.test\r\nSubject: x\r\n\r\nbody\r\n",
		"no header":            "\r\njust a body\r\n",
		"no header, no blank":  "just a line that is no field\r\nanother\r\n",
		"only header":          "Subject: only a header\r\n",
		"only header, blank":   "Subject: only a header\r\n\r\n",
		"empty":                "",
		"one blank line":       "\r\n",
		"dots":                 "Subject: dots\r\n\r\n.\r\n..\r\n...\r\n. \r\n.x\r\nx.\r\n.\r\n",
		"a dot first":          ".Subject: x\r\n\r\nx\r\n",
		"8-bit":                "Subject: \xe9t\xe9\r\n\r\n\xff\xfe caf\xe9\r\n",
		"UTF-8":                "Subject: été\r\n\r\n日本語\r\n",
		"every byte":           "Subject: bytes\r\n\r\n" + string(every) + "\r\n",
		"a line of 1,000":      "Subject: long\r\n\r\n" + strings.Repeat("x", 1000) + "\r\n",
		"a line of 100,000":    "Subject: long\r\n\r\n" + strings.Repeat("x", 100000) + "\r\n",
		"a line near 1 MiB":    "Subject: long\r\n\r\n" + strings.Repeat("y", 1<<20-100) + "\r\n",
		"a long header line":   "X-Long: " + strings.Repeat("z", 20000) + "\r\n\r\nx\r\n",
		"trailing blanks":      "Subject: blanks \t\r\n\r\n \t\r\nx \r\n\r\n\r\n\r\n",
		"folded header":        "Subject: a\r\n b\r\n\tc\r\n\r\nx\r\n",
		"From line":            "From mbox@client.test Mon Nov 23 20:00:00 2026\r\nSubject: x\r\n\r\nFrom the start\r\n",
		"our own header names": "Return-Path: <x@y.test>\r\nX-Original-To: other@y.test\r\nSubject: x\r\n\r\nx\r\n",
		"many short lines":     "Subject: short\r\n\r\n" + strings.Repeat("\r\n", 50000),
		"MIME":                 "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n",
		"2 MiB":                "Subject: 2 MiB\r\n\r\n" + strings.Repeat(strings.Repeat("0123456789", 7)+"\r\n", 29127),
		"40 MiB":               "Subject: 40 MiB\r\n\r\n" + strings.Repeat(strings.Repeat("0123456789", 7)+"\r\n", 582542),
	}
}

// Every odd message arrives with identical bytes below the trace lines, by DATA and by BDAT in odd pieces.
func TestOddMessagesArriveUntouched(t *testing.T) {
	s := start(t, settings{})
	seen := 0
	for name, content := range oddMessages() {
		for _, way := range []string{"DATA", "BDAT"} {
			t.Run(name+" by "+way, func(t *testing.T) {
				var reply string
				if way == "DATA" {
					reply = s.deliver(t, box, content)
				} else {
					reply = bdat(t, s.dial(t), content, 65521)
				}
				wantReply(t, reply, "250 2.0.0 delivered to foobar@exemple.org")
				mails := s.inbox(t, "foobar@exemple.org")
				if seen++; len(mails) != seen {
					t.Fatalf("%d messages in the mailbox, want %d", len(mails), seen)
				}
				found := false
				for _, m := range mails {
					found = found || bytes.Equal(below(t, m), []byte(content))
				}
				if !found {
					t.Fatalf("the content is not in the mailbox byte for byte")
				}
			})
		}
	}
}

// bdat sends a message in chunks of the given size.
func bdat(t *testing.T, c *peer.SMTP, content string, size int) string {
	t.Helper()
	for _, line := range []string{"MAIL FROM:<sender@client.test>", "RCPT TO:<" + box + ">"} {
		reply, err := c.Cmd(line)
		must(t, err)
		wantReply(t, reply, "250")
	}
	for len(content) > size {
		must(t, c.Send(fmt.Sprintf("BDAT %d\r\n%s", size, content[:size])))
		reply, err := c.Reply()
		must(t, err)
		wantReply(t, reply, "250")
		content = content[size:]
	}
	must(t, c.Send(fmt.Sprintf("BDAT %d LAST\r\n%s", len(content), content)))
	reply, err := c.Reply()
	must(t, err)
	return reply
}

// Nothing but CRLF.CRLF ends a message, and what could be taken for an end elsewhere is refused: the smuggled second
// message is never seen as one.
func TestEndOfDataLookAlikes(t *testing.T) {
	s := start(t, settings{limits: "errors_slow = 1000\nerrors_close = 1000"})
	smuggled := "MAIL FROM:<smuggler@client.test>\r\nRCPT TO:<" + box + ">\r\nDATA\r\nSubject: smuggled\r\n\r\nx"
	for _, end := range []string{
		"\n.\n", "\n.\r\n", "\r.\r", "\r\n.\n", "\r\n.\r", "\r.\r\n", "\n.\r", "\r\n\x00.\r\n", "\r\n.\x00\r\n", "\r.\n",
		"\r\n.\r\r\n", "\r\n.\n\r\n", "\x00\r\n",
	} {
		t.Run(fmt.Sprintf("%q", end), func(t *testing.T) {
			c := s.dial(t)
			for _, line := range []string{"MAIL FROM:<sender@client.test>", "RCPT TO:<" + box + ">", "DATA"} {
				_, err := c.Cmd(line)
				must(t, err)
			}
			must(t, c.Send("Subject: outer\r\n\r\nx"+end+smuggled+"\r\n.\r\nNOOP\r\nQUIT\r\n"))
			for _, want := range []string{"554 5.6.0", "250 ", "221 "} {
				reply, err := c.Reply()
				must(t, err)
				wantReply(t, reply, want)
			}
			if n := len(s.inbox(t, "foobar@exemple.org")); n != 0 {
				t.Fatalf("%d messages were delivered", n)
			}
		})
	}
}

// A loop is seen by the number of Received fields and by our own Delivered-To.
func TestLoops(t *testing.T) {
	s := start(t, settings{})
	hops := strings.Repeat("Received: from a.test by b.test; Mon, 23 Nov 2026 20:00:00 +0000\r\n", 51)
	wantReply(t, s.deliver(t, box, hops+"Subject: x\r\n\r\nx\r\n"), "554 5.4.6")
	wantReply(t, s.deliver(t, box, "delivered-to: FOOBAR@exemple.org\r\n\r\nx\r\n"), "554 5.4.6")
	wantReply(t, s.deliver(t, box, "Delivered-To: other@exemple.org\r\n\r\nDelivered-To: foobar@exemple.org\r\n"), "250")
}

// Limits of one message: the announced size holds to the octet, also when it was not announced by the client.
func TestMessageSize(t *testing.T) {
	s := start(t, settings{limits: "message_size = \"64KiB\""})
	head := "Subject: size\r\n\r\n"
	exact := head + strings.Repeat("x", 64<<10-len(head)-2) + "\r\n"
	wantReply(t, s.deliver(t, box, exact), "250")
	wantReply(t, s.deliver(t, box, "X"+exact), "552 5.3.4")
	wantReply(t, bdat(t, s.dial(t), "X"+exact, 1<<20), "552 5.3.4")
	c := s.dial(t)
	reply, err := c.Cmd("MAIL FROM:<sender@client.test> SIZE=99999999999")
	must(t, err)
	wantReply(t, reply, "552 5.3.4")
	reply, err = c.Message("sender@client.test", box, "Subject: still alive\r\n\r\nx\r\n")
	must(t, err)
	wantReply(t, reply, "250")
}
