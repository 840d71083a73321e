package inbound

import (
	"strings"
	"testing"
)

// hello is how most dialogues begin.
const hello = `
	S: 220 mx.host.test ESMTP Service Ready
	C: EHLO client.test
	S> 250 *
`

var dialogues = map[string]string{
	"a message for a bypass address": `
		S: 220 mx.host.test ESMTP Service Ready
		C: EHLO client.test
		S: 250-Hello client.test
		S: 250-PIPELINING
		S: 250-8BITMIME
		S: 250-ENHANCEDSTATUSCODES
		S: 250-CHUNKING
		S: 250-SMTPUTF8
		S: 250-DSN
		S: 250-SIZE 52428800
		S: 250 LIMITS RCPTMAX=1000
		C: MAIL FROM:<sender@client.test> SIZE=100 BODY=8BITMIME
		S: 250 2.1.0 sender OK
		C: RCPT TO:<foobar%exemple.org@mx.host.test>
		S: 250 2.1.5 OK
		C: DATA
		S: 354 *
		C: Subject: hello
		C:
		C: ..a dot
		C: .
		S: 250 2.0.0 delivered to foobar@exemple.org, id *
		C: QUIT
		S: 221 *
		S.`,
	"several messages in one connection, pipelined": hello + `
		C+ MAIL FROM:<>
		C+ RCPT TO:<foobar@exemple.org>
		C: DATA
		S: 250 2.1.0 *
		S: 250 2.1.5 *
		S: 354 *
		C+ first
		C+ .
		C+ MAIL FROM:<>
		C+ RCPT TO:<contact@exemple.org>
		C: DATA
		S: 250 2.0.0 *
		S: 250 2.1.0 *
		S: 250 2.1.5 *
		S: 354 *
		C+ second
		C+ .
		C: QUIT
		S: 250 2.0.0 *
		S: 221 *
		S.`,
	"the order of commands": `
		S: 220 *
		C: MAIL FROM:<>
		S: 503 5.5.1 greet with EHLO first
		C: RCPT TO:<foobar@exemple.org>
		S: 503 5.5.1 MAIL comes first
		C: DATA
		S: 503 5.5.1 MAIL and RCPT come first
		C: HELO client.test
		S: 250 *
		C: MAIL FROM:<>
		S: 250 *
		C: MAIL FROM:<>
		S: 503 5.5.1 a transaction is in progress*
		C: DATA
		S: 503 5.5.1 RCPT comes first
		C: RCPT TO:<foobar@exemple.org>
		S: 250 *
		C: RSET
		S: 250 *
		C: RCPT TO:<foobar@exemple.org>
		S: 503 *
		C: MAIL FROM:<>
		S: 250 *
		C: EHLO client.test
		S> 250 *
		# EHLO was a RSET
		C: RCPT TO:<foobar@exemple.org>
		S: 503 *
		C: NOOP anything
		S: 250 *
		C: VRFY foobar
		S: 252 *
		C: RSET please
		S: 501 5.5.4 *
		C: QUIT
		S: 221 *`,
	"refused recipients": hello + `
		C: MAIL FROM:<sender@client.test>
		S: 250 *
		C: RCPT TO:<nobody@exemple.org>
		S: 550 5.1.1 <nobody@exemple.org>: no such mailbox here
		C: RCPT TO:<someone@elsewhere.test>
		S: 550 5.7.1 *relay access denied*
		C: RCPT TO:<directory-down@exemple.org>
		S: 451 4.3.0 <directory-down@exemple.org>: temporary problem*
		C: DATA
		S: 554 5.5.1 no valid recipients
		C: RCPT TO:<Postmaster>
		S: 250 *
		C: DATA
		S: 354 *
		C: .
		S: 250 *`,
	"malformed paths": hello + `
		C: MAIL FROM:<a b@client.test>
		S: 501 5.1.7 invalid sender address
		C: MAIL FROM <a@client.test>
		S: 501 5.5.2 the syntax is MAIL FROM:<address>
		C: MAIL FROM:<a@client.test
		S: 501 5.5.2 *
		C: MAIL FROM: <a@client.test>
		S: 250 *
		C: RCPT TO:<a@b@exemple.org>
		S: 501 5.1.3 *
		C: RCPT TO:<"a@b"@exemple.org>
		S: 501 5.1.3 *
		C: RCPT TO:<foobar@exemple.org,evil>
		S: 501 5.1.3 *
		C: RCPT TO:<foobar@exemple.org:25>
		S: 501 5.1.3 *
		C: RCPT TO:<>
		S: 501 5.1.3 *
		C: RCPT TO:<@a.test,@b.test:foobar@exemple.org>
		S: 250 *`,
	"parameters": hello + `
		C: MAIL FROM:<> SIZE=52428801
		S: 552 5.3.4 *
		C: MAIL FROM:<> SIZE=99999999999999999999
		S: 552 5.3.4 *
		C: MAIL FROM:<> SIZE=4294967296
		S: 552 5.3.4 *
		C: MAIL FROM:<> SIZE=999999999999999999999
		S: 501 5.5.4 *
		C: MAIL FROM:<> SIZE=-1
		S: 501 5.5.4 *
		C: MAIL FROM:<> BODY=BINARYMIME
		S: 504 5.5.4 *
		C: MAIL FROM:<> REQUIRETLS
		S: 530 5.7.10 *
		C: MAIL FROM:<> RET=SOME
		S: 501 5.5.4 *
		C: MAIL FROM:<> RET=FULL RET=HDRS
		S: 501 5.5.4 *
		C: MAIL FROM:<> ENVID=
		S: 501 5.5.4 *
		C: MAIL FROM:<> ENVID=a=b
		S: 501 5.5.4 *
		C: MAIL FROM:<> ENVID=+2
		S: 501 5.5.4 *
		C: MAIL FROM:<> MT-PRIORITY=3
		S: 555 5.5.4 *`,
	"parameters that are good": hello + `
		C: MAIL FROM:<> size=52428800 body=7bit smtputf8
		S: 250 *
		C: RCPT TO:<foobar@exemple.org> NOTIFY=NEVER
		S: 250 *
		C: RCPT TO:<foobar@exemple.org> ORCPT=rfc822;foo+2Bbar@exemple.org notify=success,DELAY
		S: 250 *
		C: RCPT TO:<foobar@exemple.org> ORCPT=utf-8;j\\x{FC}rgen@exemple.org
		S: 250 *
		C: RCPT TO:<foobar@exemple.org>
		S: 250 *`,
	"parameters of RCPT that are wrong": hello + `
		C: MAIL FROM:<>
		S: 250 *
		C: RCPT TO:<foobar@exemple.org> NOTIFY=NEVER,SUCCESS
		S: 501 5.5.4 *
		C: RCPT TO:<foobar@exemple.org> NOTIFY=
		S: 501 5.5.4 *
		C: RCPT TO:<foobar@exemple.org> NOTIFY=DELAY,DELAY
		S: 501 5.5.4 *
		C: RCPT TO:<foobar@exemple.org> ORCPT=foobar@exemple.org
		S: 501 5.5.4 *
		C: RCPT TO:<foobar@exemple.org> ORCPT=rfc822;a+b@exemple.org
		S: 501 5.5.4 *
		C: RCPT TO:<foobar@exemple.org> ORCPT=rfc822;a ORCPT=rfc822;a
		S: 501 5.5.4 *
		C: RCPT TO:<foobar@exemple.org> RRVS=2014-04-03T23:01:00Z
		S: 555 5.5.4 *`,
	"SMTPUTF8 is asked for, or it is not": hello + `
		C: MAIL FROM:<jürgen@client.test>
		S: 553 5.6.7 *
		C: MAIL FROM:<jürgen@client.test> SMTPUTF8
		S: 250 *
		C: RCPT TO:<jürgen@exemple.org>
		S: 250 *
		C: RSET
		S: 250 *
		C: MAIL FROM:<>
		S: 250 *
		C: RCPT TO:<jürgen@exemple.org>
		S: 553 5.6.7 *
		# the state is unchanged
		C: RCPT TO:<foobar@exemple.org>
		S: 250 *
		C" RCPT TO:<\xff@exemple.org>\r\n
		S: 553 5.6.7 *`,
	"commands that nobody should send": hello + `
		C: HELP
		S: 502 5.5.1 *
		C: AUTH PLAIN AGEAYQ==
		S: 502 5.5.1 *
		C: STARTTLS
		S: 502 5.5.1 *
		C: XYZZY
		S: 500 5.5.2 command not recognized
		C:
		S: 500 5.5.2 *
		C: X
		S: 500 5.5.2 *
		C" NOOP\x00\r\n
		S: 500 5.5.2 control characters*
		C" NOOP\rRSET\r\n
		S: 500 5.5.2 control characters*
		C" \x1b[31mred\r\n
		S: 500 5.5.2 control characters*
		C: rſet
		S: 500 5.5.2 command not recognized
		C: LHLO client.test
		S: 500 5.5.1 This is not a LMTP server
		C: GET / HTTP/1.1
		S: 500 5.5.2 this is a mail server*
		S.`,
	"a name in EHLO that is none": `
		S: 220 *
		C: EHLO
		S: 501 *
		C" EHLO a(b)<c>;\xff\r\n
		S: 250-Hello a?b??c???
		S> 250 *
		C: EHLO [IPv6:::1] and more
		S: 250-Hello [IPv6:::1]
		S> 250 *`,
	"a command line too long": hello + `
		C" NOOP ` + strings.Repeat("x", 2041) + `\r\n
		S: 250 *
		C" NOOP ` + strings.Repeat("x", 2042) + `\r\n
		S: 500 5.5.2 command line too long*
		S.`,
	"a command line without end": hello + `
		C" ` + strings.Repeat("x", 3000) + `
		S: 500 5.5.2 command line too long*
		S.`,
	"a command line without end after others": hello + `
		C" NOOP\r\nNOOP\r\n` + strings.Repeat("x", 9000) + `
		S: 250 *
		S: 250 *
		S: 500 5.5.2 command line too long*
		S.`,
	"partial success is told truly": hello + `
		C: MAIL FROM:<>
		S: 250 *
		C: RCPT TO:<foobar@exemple.org>
		S: 250 *
		C: RCPT TO:<gone@exemple.org>
		S: 250 *
		C: DATA
		S: 354 *
		C: .
		S: 550-5.1.1 delivered to foobar@exemple.org
		S: 550-5.1.1 not delivered to gone@exemple.org: no such mailbox here
		S: 550 5.1.1 do not send it again to those who have it, id *`,
	"a store that is down": hello + `
		C: MAIL FROM:<>
		S: 250 *
		C: RCPT TO:<store-down@exemple.org>
		S: 250 *
		C: DATA
		S: 354 *
		C: .
		S: 451 4.3.0 store-down@exemple.org: the mailbox cannot be reached now*
		C: MAIL FROM:<>
		S: 250 *`,
	"BDAT": hello + `
		C: BDAT 5
		C" hello
		S: 503 5.5.1 *
		C: MAIL FROM:<>
		S: 250 *
		C: BDAT 5 LAST
		C" hello
		S: 503 5.5.1 *
		C: RCPT TO:<foobar@exemple.org>
		S: 250 *
		C: BDAT 7
		C" one\r\n\r\n
		S: 250 2.0.0 7 octets received
		C: NOOP
		S: 250 *
		C: MAIL FROM:<>
		S: 503 5.5.1 send the rest of the message, or RSET
		C" bdat 0\r\n
		S: 250 2.0.0 0 octets received
		C" BDAT 8 last\r\n.\r\ntwo\r\n
		S: 250 2.0.0 delivered to *
		C: QUIT
		S: 221 *`,
	"BDAT given up": hello + `
		C: MAIL FROM:<>
		S: 250 *
		C: RCPT TO:<foobar@exemple.org>
		S: 250 *
		C" BDAT 3\r\none
		S: 250 *
		C: RSET
		S: 250 *
		C: MAIL FROM:<>
		S: 250 *
		C: RCPT TO:<foobar@exemple.org>
		S: 250 *
		C" BDAT 3 LAST\r\ntwo
		S: 250 2.0.0 delivered to *
		C: MAIL FROM:<>
		S: 250 *
		C: RCPT TO:<foobar@exemple.org>
		S: 250 *
		C" BDAT 3\r\none
		S: 250 *
		C: EHLO again.test
		S> 250 *
		C: RCPT TO:<foobar@exemple.org>
		S: 503 *
		C: MAIL FROM:<>
		S: 250 *
		C: RCPT TO:<foobar@exemple.org>
		S: 250 *
		C" BDAT 3\r\none
		S: 250 *
		C: QUIT
		S: 221 *
		S.`,
	"BDAT with a fault, pipelined to the end": hello + `
		C+ MAIL FROM:<>
		C: RCPT TO:<foobar@exemple.org>
		S: 250 *
		S: 250 *
		C" BDAT 4\r\na\nb\nBDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nRSET\r\nNOOP\r\n
		S: 554 5.6.0 *
		S: 503 5.5.1 *
		S: 503 5.5.1 *
		S: 250 *`,
	"BDAT malformed": hello + `
		C" BDAT 5x LAST\r\nQUIT\r\n
		S: 501 5.5.4 the syntax is BDAT size [LAST]*
		S.`,
	"BDAT beyond the size": hello + `
		C+ MAIL FROM:<>
		C: RCPT TO:<foobar@exemple.org>
		S: 250 *
		S: 250 *
		C: BDAT 99999999999999
		C" x
		C.`,
	"nothing of a refused command comes back": hello + `
		C: MAIL FROM:<a@client.test> <script>
		S: 555 5.5.4 a parameter is not recognized or not implemented
		C: <script>
		S: 500 5.5.2 command not recognized
		C: RCPT TO:<<script>@x>
		S: 501 5.5.2 the syntax is RCPT TO:<address>`,
	"a panic of ours ends the connection, not the process": hello + `
		C: MAIL FROM:<>
		S: 250 *
		C: RCPT TO:<panic@exemple.org>
		S: 421 4.3.0 *
		S.`,
}

func TestDialogues(t *testing.T) {
	for name, script := range dialogues {
		t.Run(name, func(t *testing.T) {
			patient := func(o *Options) { o.Limits.ErrorsSlow, o.Limits.ErrorsClose = 100, 100 }
			start(t, SMTP, patient).client().talk(script)
		})
	}
}
