package maillog

import (
	"errors"
	"strings"
	"testing"
	"time"

	"mxbypass/mailbox"
)

// journey is everything that happens to queued mail.
func journey(l *Log, evil string) {
	p := Parcel{ID: "M1", From: address("me@exemple.org"), To: mailbox.Address{Local: mailbox.LocalPart("a" + evil),
		Domain: mailbox.MustDomainName("remote.example")}, Destination: "mx:remote.example" + evil, Purpose: "submitted",
		Delay: 1500 * time.Millisecond, Attempts: 2}
	next := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	l.Queued(&mailbox.Message{ID: "M1", Content: content(42)}, 2, 1, true)
	l.Sent(p, Sending{Host: "mx.remote.example[192.0.2.1]" + evil, TLS: "TLSv1.3", Reply: "250 2.0.0 OK" + evil})
	l.Deferred(p, "greylisted"+evil, next, false)
	l.Deferred(p, "lost"+evil, next, true)
	p.Err = errors.New("a mistake" + evil)
	l.Deferred(p, "later"+evil, next, false)
	p.Err = nil
	l.InDoubt(p)
	l.Bounced(p, "no such user"+evil)
	l.GivenUp(p, "greylisted"+evil)
	l.Quarantined(p, errors.New("damaged"+evil))
	l.Notified("R1", "M1", address("me@exemple.org"), "failed", 1)
	l.Postmaster("R2", "M1", "no such user"+evil)
	l.Dropped("M1", mailbox.Address{}, "failed", "no such user"+evil)
	l.DestinationDown("mx:remote.example"+evil, "refused"+evil, nil, 3, next)
	l.DestinationDown("store:cloud"+evil, "no room"+evil, errors.New("EIO"+evil), 3, next)
	l.DestinationUp("mx:remote.example" + evil)
}

func TestQueueEvents(t *testing.T) {
	out := newSink()
	l := newLog(t, Text, out)
	journey(l, "")
	l.Close()
	parcel := ` id=M1 from=me@exemple.org to=a@remote.example destination=mx:remote.example purpose=submitted `
	want := []string{
		`level=INFO msg=queued id=M1 from=<> size=42 recipients=2 destinations=1 direct=true`,
		`level=INFO msg=sent` + parcel + `host=mx.remote.example[192.0.2.1] tls=TLSv1.3 reply="250 2.0.0 OK" attempts=2 delay=1.5`,
		`level=INFO msg=deferred` + parcel + `reason=greylisted next=2026-01-02T03:04:05.000Z attempts=2 delay=1.5`,
		`level=INFO msg=deferred` + parcel + `reason=lost next=2026-01-02T03:04:05.000Z doubt=true attempts=2 delay=1.5`,
		`level=INFO msg=deferred` + parcel + `reason=later next=2026-01-02T03:04:05.000Z error="a mistake" attempts=2 delay=1.5`,
		`level=INFO msg="in doubt"` + parcel + `attempts=2 delay=1.5`,
		`level=INFO msg=bounced` + parcel + `reason="no such user" attempts=2 delay=1.5`,
		`level=INFO msg="given up"` + parcel + `reason=greylisted attempts=2 delay=1.5`,
		`level=INFO msg=quarantined` + parcel + `error=damaged attempts=2 delay=1.5`,
		`level=INFO msg=notified id=R1 about=M1 to=me@exemple.org action=failed recipients=1`,
		`level=INFO msg="to postmaster" id=R2 about=M1 reason="no such user"`,
		`level=WARN msg=dropped about=M1 to=<> action=failed reason="no such user"`,
		`level=WARN msg="destination down" destination=mx:remote.example reason=refused failures=3 next=2026-01-02T03:04:05.000Z`,
		`level=WARN msg="destination down" destination=store:cloud reason="no room" error=EIO failures=3 next=2026-01-02T03:04:05.000Z`,
		`level=INFO msg="destination up" destination=mx:remote.example`,
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != len(want) {
		t.Fatalf("%d lines instead of %d:\n%s", len(lines), len(want), out.String())
	}
	for i, line := range lines {
		if _, rest, _ := strings.Cut(line, " "); rest != want[i] {
			t.Errorf("\n%s instead of\n%s", rest, want[i])
		}
	}
}

// TestQueueEventsAreBounded: what other servers and clients say is one line of bounded length.
func TestQueueEventsAreBounded(t *testing.T) {
	for _, evil := range []string{"\x1b[2J", "\r\nlevel=ERROR", strings.Repeat("é", 9999), "\u202e", "\xff\x00"} {
		out := newSink()
		l := newLog(t, Text, out)
		journey(l, evil)
		l.Close()
		text := out.String()
		if n := strings.Count(text, "\n"); n != 15 {
			t.Errorf("%d lines for %.20q", n, evil)
		}
		if len(text) > 15*2500 || strings.ContainsAny(text, "\x1b\x00\r\u202e") {
			t.Errorf("%d octets for %.20q", len(text), evil)
		}
	}
}
