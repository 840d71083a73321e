package relaying

import (
	"fmt"
	"strings"
	"testing"

	"mxbypass/integration/peer"
)

// converse sends lines and wants every reply to be good.
func (w *world) converse(lines ...string) string {
	w.t.Helper()
	c, _, err := peer.DialSMTP("tcp", w.Addr)
	must(w.t, err)
	defer c.Close()
	last := ""
	for _, line := range lines {
		last, err = c.Cmd(line)
		must(w.t, err)
		if last[0] > '3' {
			w.t.Fatalf("%s: %s", line, last)
		}
	}
	return last
}

// What the sender asked to be told (RFC 3461): successes here, relays to servers that do not know DSN, nothing at all.
func TestNotify(t *testing.T) {
	sink, err := peer.FreePort()
	must(t, err)
	addr := fmt.Sprintf("127.0.0.1:%d", sink)
	s, err := peer.StartSink(addr, "-N") // it does not know DSN
	must(t, err)
	t.Cleanup(func() { s.Close() })
	w := toRemote(t, addr, settings{})
	w.converse("EHLO client.test", "MAIL FROM:<foobar@exemple.org> RET=HDRS ENVID=QQ+2B314",
		"RCPT TO:<contact@exemple.org> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Old+2BName@exemple.org",
		"RCPT TO:<b@remote.example> NOTIFY=SUCCESS", "DATA", "Subject: tell me\r\n\r\nthe body\r\n.")
	all := strings.Join(w.mailAt("foobar@exemple.org", 2), "\n")
	for _, want := range []string{"Action: delivered", "Action: relayed", "Original-Envelope-Id: QQ+314",
		"Original-Recipient: rfc822; Old+Name@exemple.org", "Final-Recipient: rfc822; contact@exemple.org", "Subject: tell me"} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in the reports", want)
		}
	}
	if strings.Contains(all, "the body") {
		t.Error("RET=HDRS brought the body")
	}
	w.empty()
}

func TestNotifyIsPassedOn(t *testing.T) {
	r := remoteAt(t, "127.0.0.1:0", nil)
	w := toRemote(t, r.Addr, settings{})
	w.converse("EHLO client.test", "MAIL FROM:<foobar@exemple.org> RET=FULL ENVID=314",
		"RCPT TO:<b@remote.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b@exemple.org", "DATA", "Subject: x\r\n\r\nx\r\n.")
	must(t, r.Await(1))
	m := r.Messages()[0]
	if m.Mail.EnvelopeID != "314" || m.Mail.Return != "FULL" || fmt.Sprint(m.Rcpt[0].Notify) != "[SUCCESS DELAY]" ||
		m.Rcpt[0].OriginalRecipient != "b@exemple.org" {
		t.Errorf("%+v", m)
	}
	w.empty()
	if n := len(w.inbox("foobar@exemple.org")); n != 0 {
		t.Errorf("%d reports of ours, although the server reports itself", n)
	}
}

// A report that cannot be delivered is not reported on.
func TestNoReportOfAReport(t *testing.T) {
	for _, way := range []string{"drop", "postmaster"} {
		t.Run(way, func(t *testing.T) {
			r := remoteAt(t, "127.0.0.1:0", nil)
			r.Refuse("*", "550 5.1.1 nobody here")
			w := toRemote(t, r.Addr, settings{queue: fmt.Sprintf("double_bounces = %q", way)})
			w.submit("nobody@remote.example", "else@remote.example", text)
			w.empty()
			files := inboxAt(t, w.dir+"/state/postmaster")
			if got := len(files); got != map[string]int{"drop": 0, "postmaster": 1}[way] {
				t.Errorf("%d messages for the postmaster", got)
			}
			if way == "drop" { // the log comes after the queue
				w.until("a word in the log", func() bool { return strings.Contains(w.Output(), "msg=dropped") })
			}
			wantReply(t, w.send("127.0.0.1", "", "else@remote.example", text), "250 ")
			w.empty()
		})
	}
}

// It takes long: one notice, then the end. Between the times of both there is time for an attempt on a slow machine.
func TestDelayAndExpiry(t *testing.T) {
	r := remoteAt(t, "127.0.0.1:0", nil)
	r.Refuse("*", "450 4.2.0 try later")
	w := toRemote(t, r.Addr, settings{queue: "retry_first = \"1s\"\nretry_max = \"1s\"\ndelay_notice = \"1s\"\nlifetime = \"8s\""})
	w.submit("foobar@exemple.org", "b@remote.example", text)
	reports := w.mailAt("foobar@exemple.org", 2)
	if !strings.Contains(reports[0], "Action: delayed") || !strings.Contains(reports[0], "try later") ||
		!strings.Contains(reports[0], "Will-Retry-Until: ") {
		t.Errorf("the notice:\n%s", reports[0])
	}
	if !strings.Contains(reports[1], "Action: failed") || !strings.Contains(reports[1], "Status: 4.4.7") ||
		!strings.Contains(reports[1], "try later") {
		t.Errorf("the end:\n%s", reports[1])
	}
	w.empty()
	if n := len(w.inbox("foobar@exemple.org")); n != 2 {
		t.Errorf("%d reports", n)
	}
}

// A message in Unicode to a server that has none: 5.6.7, and the report is in Unicode too when its reader can have it.
func TestUnicodeCannotTravel(t *testing.T) {
	port, err := peer.FreePort()
	must(t, err)
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	s, err := peer.StartSink(addr, "-8") // neither 8BITMIME nor SMTPUTF8
	must(t, err)
	t.Cleanup(func() { s.Close() })
	w := toRemote(t, addr, settings{})
	w.converse("EHLO client.test", "MAIL FROM:<foobar@exemple.org> SMTPUTF8", "RCPT TO:<jürgen@remote.example>", "DATA",
		"Subject: Grüße\r\n\r\nx\r\n.")
	report := w.mailAt("foobar@exemple.org", 1)[0]
	for _, want := range []string{"Status: 5.6.7", "message/global-delivery-status", "jürgen@remote.example"} {
		if !strings.Contains(report, want) {
			t.Errorf("no %q in the report:\n%s", want, report)
		}
	}
	// Eight bits alone: 5.6.3, because the message is never altered.
	w.converse("EHLO client.test", "MAIL FROM:<foobar@exemple.org> BODY=8BITMIME", "RCPT TO:<b@remote.example>", "DATA",
		"Subject: x\r\n\r\nGr\xfc\xdfe\r\n.")
	if reports := strings.Join(w.mailAt("foobar@exemple.org", 2), "\n"); !strings.Contains(reports, "Status: 5.6.3") {
		t.Errorf("the reports:\n%s", reports)
	}
	w.empty()
}
