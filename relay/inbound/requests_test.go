package inbound

import (
	"strings"
	"testing"

	"mxbypass/mailbox"
)

func TestLoops(t *testing.T) {
	r := start(t, SMTP, nil)
	c := r.client()
	send := func(recipients []string, text, answer string) {
		t.Helper()
		c.talk("C: MAIL FROM:<>\nS: 250 *")
		for _, to := range recipients {
			c.talk("C: RCPT TO:<" + to + ">\nS: 250 *")
		}
		c.talk("C: DATA\nS: 354 *\n" + `C" ` + text + `\r\n.\r\n` + "\n" + answer)
	}
	c.talk(hello)
	send([]string{"foobar%exemple.org@mx.host.test"}, `Delivered-To: FooBar@Exemple.org\r\n\r\n`,
		"S: 554 5.4.6 foobar@exemple.org: mail loop*")
	send([]string{"contact@exemple.org"}, `Delivered-To: foobar@exemple.org\r\n\r\n`, "S: 250 *")
	send([]string{"foobar@exemple.org", "contact@exemple.org"}, `Delivered-To: foobar@exemple.org\r\n\r\n`,
		"S> 554 5.4.6 do not send it again to those who have it, id *")
	send([]string{"foobar@exemple.org"}, strings.Repeat(`Received: x\r\n`, 51), "S: 554 5.4.6 too many hops*")
	send([]string{"foobar@exemple.org"}, strings.Repeat(`Received: x\r\n`, 50), "S: 250 *")
	// A redirection is seen by the mailbox or alias that it comes from, the other half of a split domain by our own field.
	send([]string{"away@exemple.org"}, `Delivered-To: AWAY@exemple.org\r\n\r\n`, "S: 554 5.4.6 <away@exemple.org>: mail loop*")
	send([]string{"away@exemple.org"}, `Delivered-To: away@remote.example\r\n\r\n`, "S: 250 2.0.0 queued for <away@exemple.org>, id *")
	send([]string{"copied@exemple.org"}, `Delivered-To: copied@exemple.org\r\n\r\n`, "S: 554 5.4.6 *")
	send([]string{"half@exemple.org"}, `X-Mxbypass-Relayed: Half@exemple.org by mx.host.test\r\n\r\n`, "S: 554 5.4.6 *")
	send([]string{"half@exemple.org"}, `X-Mxbypass-Relayed: half@exemple.org by mx2.host.test\r\n\r\n`, "S: 250 2.0.0 queued for *")
	send([]string{"half@exemple.org"}, `X-Mxbypass-Relayed: other@exemple.org by mx.host.test\r\n\r\n`, "S: 250 *")
	if n := len(r.core.all()); n != 6 {
		t.Errorf("%d messages", n)
	}
}

// TestRequests: what the client wants to be told goes with the message and its recipients (RFC 3461).
func TestRequests(t *testing.T) {
	r := start(t, SMTP, nil)
	r.client().talk(hello + `
		C: MAIL FROM:<a@client.test> RET=hdrs ENVID=QQ+2B1
		S: 250 *
		C: RCPT TO:<foobar@exemple.org> NOTIFY=SUCCESS,FAILURE
		S: 250 *
		C: RCPT TO:<away@exemple.org> ORCPT=rfc822;old@exemple.org NOTIFY=NEVER
		S: 250 *
		C: RCPT TO:<contact@exemple.org>
		S: 250 *
		C: RCPT TO:<copied@exemple.org> NOTIFY=DELAY
		S: 250 *
		C: RCPT TO:<later@exemple.org>
		S: 250 *
		C: DATA
		S: 354 *
		C: .
		S: 250 2.0.0 delivered to 3 mailboxes, queued for 2 recipients, id *`)
	all := r.core.all()
	if len(all) != 1 {
		t.Fatalf("%d messages", len(all))
	}
	m := all[0]
	if m.Message.Return != mailbox.ReturnHeaders || m.Message.EnvelopeID != "QQ+2B1" {
		t.Errorf("message: RET %q, ENVID %q", m.Message.Return, m.Message.EnvelopeID)
	}
	got := map[string]mailbox.Report{}
	for _, to := range m.To {
		got[to.Delivered.String()] = to.Report
	}
	for _, to := range m.Out {
		got[to.To.String()] = to.Report
	}
	for name, want := range map[string]mailbox.Report{
		"foobar@exemple.org":    {Notify: mailbox.NotifySuccess | mailbox.NotifyFailure},
		"away@remote.example":   {Notify: mailbox.NotifyNever, Original: "rfc822;old@exemple.org"},
		"contact@exemple.org":   {},
		"copied@exemple.org":    {Notify: mailbox.NotifyDelay},
		"copied@remote.example": {Notify: mailbox.NotifyDelay},
	} {
		if got[name] != want {
			t.Errorf("%s: %+v, want %+v", name, got[name], want)
		}
	}
}
