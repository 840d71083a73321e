package smtpclient

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"mxbypass/mailbox"
)

// dialogue is a server that announces extensions, accepts everything, and tells what it heard.
func dialogue(t *testing.T, ext ...string) (*Client, <-chan []string) {
	t.Helper()
	heard := make(chan []string, 1)
	c, err := open(t, options(), func(p *peer) {
		defer func() { heard <- p.heard }()
		p.say("220 hi\r\n")
		reply := "250-mx.test\r\n"
		for _, e := range ext {
			reply += "250-" + e + "\r\n"
		}
		p.ask(reply + "250 HELP\r\n")
		for {
			switch line := p.hear(); {
			case line == "":
				return
			case line == "DATA":
				p.say("354 go\r\n")
				p.heard = append(p.heard, p.message())
				p.say("250 taken\r\n")
			default:
				p.say("250 OK\r\n")
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return c, heard
}

// TestParameters: what MAIL and RCPT carry, with what the server announces and without.
func TestParameters(t *testing.T) {
	all := []string{"PIPELINING", "SIZE 1000", "8BITMIME", "SMTPUTF8", "DSN"}
	plain, eight, utf8 := &Octets{}, &Octets{EightBit: true}, &Octets{EightBit: true, UTF8Header: true}
	for _, c := range []struct {
		name   string
		ext    []string
		change func(*Mail)
		mail   string
		rcpt   string
	}{
		{"nothing announced", nil, func(m *Mail) {
			m.Message.Return, m.Message.EnvelopeID = mailbox.ReturnFull, "id"
			m.To[0].Report = mailbox.Report{Notify: mailbox.NotifyNever, Original: "rfc822;o@d.test"}
		}, "", ""},
		{"nothing known", all, func(*Mail) {}, " SIZE=17 BODY=8BITMIME", ""},
		{"trace", all, func(m *Mail) { m.Trace = []byte("Received: x\r\n") }, " SIZE=30 BODY=8BITMIME", ""},
		{"plain", all, func(m *Mail) { m.Known = plain }, " SIZE=17", ""},
		{"8 bits", all, func(m *Mail) { m.Known = eight }, " SIZE=17 BODY=8BITMIME", ""},
		{"UTF-8", all, func(m *Mail) { m.Known, m.Message.UTF8 = utf8, true }, " SIZE=17 BODY=8BITMIME SMTPUTF8", ""},
		{"UTF-8 asked for", all, func(m *Mail) { m.Known, m.Message.UTF8 = plain, true }, " SIZE=17 SMTPUTF8", ""},
		{"UTF-8 recipient of our own", all, func(m *Mail) {
			m.Known, m.To = plain, append(m.To, Rcpt{Address: address("é@d.test")})
		}, " SIZE=17 SMTPUTF8", ""},
		{"RET", all, func(m *Mail) { m.Known, m.Message.Return = plain, mailbox.ReturnHeaders }, " SIZE=17 RET=HDRS", ""},
		{"ENVID", all, func(m *Mail) { m.Known, m.Message.EnvelopeID = plain, "a+2Bb" }, " SIZE=17 ENVID=a+2Bb", ""},
		{"both", []string{"DSN"}, func(m *Mail) { m.Message.Return, m.Message.EnvelopeID = mailbox.ReturnFull, "1" },
			" RET=FULL ENVID=1", ""},
		{"an ENVID that is none", []string{"DSN"}, func(m *Mail) { m.Message.EnvelopeID = "1 AUTH=<>\r\nRSET" }, "", ""},
		{"an ORCPT that is none", []string{"DSN"}, func(m *Mail) { m.To[0].Report.Original = "utf-8;é@d.test" }, "", ""},
		{"ORCPT", []string{"DSN"}, func(m *Mail) { m.To[0].Report.Original = "rfc822;a+2B@d.test" }, "", " ORCPT=rfc822;a+2B@d.test"},
		{"never", []string{"DSN"}, func(m *Mail) { m.To[0].Report.Notify = mailbox.NotifyNever }, "", " NOTIFY=NEVER"},
		{"failure", []string{"DSN"}, func(m *Mail) { m.To[0].Report.Notify = mailbox.NotifyFailure }, "", " NOTIFY=FAILURE"},
		{"everything", []string{"DSN"}, func(m *Mail) {
			m.To[0].Report = mailbox.Report{Notify: mailbox.NotifySuccess | mailbox.NotifyFailure | mailbox.NotifyDelay,
				Original: "rfc822;o@d.test"}
		}, "", " NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;o@d.test"},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, heard := dialogue(t, c.ext...)
			mail := mailTo("a@d.test")
			c.change(&mail)
			for _, err := range send(t.Context(), client, mail) {
				if err != nil {
					t.Error(err)
				}
			}
			client.Quit()
			want := []string{"MAIL FROM:<s@c.test>" + c.mail, "RCPT TO:<a@d.test>" + c.rcpt}
			if got := <-heard; !slices.Equal(got[1:3], want) {
				t.Errorf("heard %q\nwant  %q", got[1:3], want)
			}
		})
	}
}

// TestDoesNotFit: a message that the server cannot have is not offered, and never altered; the next one goes through on
// the same connection.
func TestDoesNotFit(t *testing.T) {
	eight, utf8 := &Octets{EightBit: true}, &Octets{EightBit: true, UTF8Header: true}
	for _, c := range []struct {
		name string
		ext  string
		mail func(*Mail)
		want error
	}{
		{"too big", "SIZE 29", func(m *Mail) { m.Trace = []byte("Received: x\r\n") }, ErrTooBig},
		{"just not too big", "SIZE 30", func(m *Mail) { m.Trace = []byte("Received: x\r\n") }, nil},
		{"no limit", "SIZE 0", func(*Mail) {}, nil},
		{"limit not told", "SIZE", func(*Mail) {}, nil},
		{"limit beyond all numbers", "SIZE 99999999999999999999", func(*Mail) {}, nil},
		{"limit that is none", "SIZE -5", func(*Mail) {}, nil},
		{"8 bits", "HELP", func(m *Mail) { m.Known = eight }, ErrEightBit},
		{"8 bits that nobody looked for", "HELP", func(m *Mail) { m.Message.Content = memory("\r\n\xe9\r\n") }, nil},
		{"UTF-8 header", "8BITMIME", func(m *Mail) { m.Message.UTF8, m.Known = true, utf8 }, mailbox.ErrNoUTF8},
		{"UTF-8 header, not asked for", "8BITMIME", func(m *Mail) { m.Known = utf8 }, nil},
		{"UTF-8 sender", "8BITMIME", func(m *Mail) {
			m.Message.UTF8, m.Message.Reverse, m.Known = true, address("é@c.test"), eight
		}, mailbox.ErrNoUTF8},
		{"UTF-8 asked for, not needed", "8BITMIME", func(m *Mail) { m.Message.UTF8, m.Known = true, eight }, nil},
		{"what is known is not looked for", "8BITMIME", func(m *Mail) {
			m.Message.UTF8, m.Known, m.Message.Content = true, eight, memory("Subject: \xc3\xa9\r\n\r\n")
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, heard := dialogue(t, c.ext)
			mail := mailTo("a@d.test")
			c.mail(&mail)
			err := send(t.Context(), client, mail)[0]
			if !errors.Is(err, c.want) || errors.Is(err, mailbox.ErrUnavailable) {
				t.Errorf("%v; want %v", err, c.want)
			}
			if err := send(t.Context(), client, mailTo("b@d.test"))[0]; err != nil {
				t.Errorf("the next one: %v", err)
			}
			client.Quit()
			told := strings.Join(<-heard, "\n")
			if offered := strings.Contains(told, "a@d.test"); offered != (c.want == nil) {
				t.Errorf("heard %q", told)
			}
			if content := string(mail.Message.Content.(memory)); c.want == nil && !strings.Contains(told, content) {
				t.Errorf("altered: %q", told)
			}
		})
	}
}

// TestPerRecipient: every recipient has the answer to its own RCPT, in its words.
func TestPerRecipient(t *testing.T) {
	answers := []string{"250 2.1.5 OK", "550-5.1.1 no\r\n550 5.1.1 such user", "451 4.3.0 not now", "251 2.1.5 will forward",
		"452 4.5.3 too many recipients", "452 4.5.3 too many recipients"}
	want := []mailbox.RemoteError{{}, {Code: 550, Enhanced: [3]int{5, 1, 1}, Text: "no\nsuch user"},
		{Code: 451, Enhanced: [3]int{4, 3, 0}, Text: "not now"}, {},
		{Code: 452, Enhanced: [3]int{4, 5, 3}, Text: "too many recipients"},
		{Code: 452, Enhanced: [3]int{4, 5, 3}, Text: "too many recipients"}}
	for _, ext := range []string{"PIPELINING", "HELP"} {
		client, err := open(t, options(), func(p *peer) {
			p.say("220 hi\r\n")
			p.ask("250-mx.test\r\n250 " + ext + "\r\n")
			p.ask("250 OK\r\n")
			for _, a := range answers {
				p.ask(a + "\r\n")
			}
			p.ask("354 go\r\n")
			p.message()
			p.say("250 taken\r\n")
			p.rest()
		})
		if err != nil {
			t.Fatal(err)
		}
		var to []string
		for i := range answers {
			to = append(to, fmt.Sprintf("u%d@d.test", i))
		}
		for i, err := range send(t.Context(), client, mailTo(to...)) {
			var remote *mailbox.RemoteError
			switch errors.As(err, &remote) {
			case true:
				want[i].Host, want[i].Command = "mx.test[192.0.2.1]", "RCPT"
				if *remote != want[i] || remote.Temporary() != (remote.Code < 500) {
					t.Errorf("%s: %+v", to[i], remote)
				}
			case false:
				if err != nil || want[i].Code != 0 {
					t.Errorf("%s: %v", to[i], err)
				}
			}
		}
		if !client.Usable() {
			t.Error("the connection is given up")
		}
	}
}
