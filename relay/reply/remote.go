package reply

import (
	"strings"

	"mxbypass/mailbox"
)

// maxRemoteText is how much of another server's words is passed on, in octets.
const maxRemoteText = 300

// forRemote passes on what another server said about the message or a recipient. What it says about its dialogue with
// us (it speaks no LMTP, it wants AUTH, it goes down) is nothing that our client could mend: that is temporary, like
// every code that makes no sense here.
func forRemote(e *mailbox.RemoteError) Reply {
	r := Reply{Code: e.Code, Enhanced: e.Enhanced, Text: "the mailbox server said: " + plainText(e.Text, maxRemoteText)}
	if plainText(e.Text, 1) == "" {
		r.Text = "the mailbox server refused without saying why"
	}
	class := e.Code / 100
	switch {
	case class != 4 && class != 5 || !aboutMail(e):
		return Reply{451, [3]int{4, 3, 0}, r.Text}
	case e.Code == 421: // here it would announce that we close the connection
		r.Code = 451
	case e.Code == 501: // here it would blame the client's syntax
		r.Code = 550
	}
	if e.Enhanced[0] != class || !inRange(e.Enhanced[1]) || !inRange(e.Enhanced[2]) {
		r.Enhanced = [3]int{class, 0, 0}
	}
	return r
}

// inRange tells whether n can stand in an enhanced code (RFC 3463 section 2: one to three digits).
func inRange(n int) bool { return 0 <= n && n <= 999 }

// aboutMail tells whether a refusal concerns the message or a recipient.
func aboutMail(e *mailbox.RemoteError) bool {
	if c := e.Command; c == "connect" || c == "LHLO" || c == "EHLO" || c == "HELO" {
		return false
	}
	switch e.Code {
	case 500, 502, 503, 504, 530, 534, 535, 538: // RFC 5321 section 4.2.2, RFC 4954 section 6
		return false
	}
	return e.Code%100 < 60 // RFC 5321 section 4.2: the second digit is 0 to 5
}

// plainText makes one line of at most limit octets of s: ASCII, because a client that did not ask for SMTPUTF8 must not
// be sent anything else (RFC 6531 section 3.5), and nothing that moves a cursor.
func plainText(s string, limit int) string {
	var b strings.Builder
	space := true // drops leading and repeated white space
	for _, r := range s {
		switch {
		case r == ' ' || r == '\t' || r == '\r' || r == '\n':
			if !space {
				b.WriteByte(' ')
			}
			space = true
		case r < 0x20 || r >= 0x7f:
			b.WriteByte('?')
			space = false
		default:
			b.WriteByte(byte(r))
			space = false
		}
		if b.Len() >= limit {
			break
		}
	}
	return strings.TrimSpace(b.String())
}
