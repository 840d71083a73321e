package dispatch

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mxbypass/mailbox"
	"mxbypass/relay/outbound"
	"mxbypass/routing"
)

func TestFreshMailGoesAtOnce(t *testing.T) {
	bubble(t, func(w *world) {
		w.run()
		m := message("me@local.test")
		w.give(m, elsewhere("a@remote.test", 0), elsewhere("b@remote.test", 0), elsewhere("a@remote.test", 0),
			elsewhere("c@other.test", 0), inBox("cloud", "d@local.test", 0))
		synctest.Wait()
		w.empty()
		w.copies(map[string]int{"a@remote.test": 1, "b@remote.test": 1, "c@other.test": 1, "d@local.test": 1})
		if n := len(w.tries("mx:remote.test")); n != 1 {
			t.Errorf("%d connections for two recipients", n)
		}
		if refs := m.Content.(*retained).refs; refs != 0 {
			t.Errorf("%d references to the content", refs)
		}
		w.stop()
		if n := w.logged("sent"); n != 4 {
			t.Errorf("%d events: %s", n, w.logs.String())
		}
	})
}

func TestMarksAndSenders(t *testing.T) {
	bubble(t, func(w *world) {
		w.env.Rewrite = func(_ context.Context, sender mailbox.Address) mailbox.Address {
			return address("srs0=" + string(sender.Local) + "@srs.test")
		}
		w.run()
		redirected, half := elsewhere("out@remote.test", 0), elsewhere("half@split.test", 0)
		redirected.Outbound.Purpose, redirected.Outbound.From = routing.Redirected, address("alias@local.test")
		half.Outbound.Purpose = routing.OtherHalf
		w.accept("me@elsewhere.test", redirected, half, elsewhere("plain@remote.test", 0))
		synctest.Wait()
		w.accept("", redirected)
		synctest.Wait()
		w.stop()
		w.empty()
		want := map[string]mail{
			"out@remote.test":   {from: "srs0=me@srs.test", trace: "Delivered-To: alias@local.test\r\nReceived: by mx.host.test\r\n"},
			"half@split.test":   {from: "me@elsewhere.test", trace: "X-Mxbypass-Relayed: half@split.test by mx.host.test\r\nReceived: by mx.host.test\r\n"},
			"plain@remote.test": {from: "me@elsewhere.test", trace: "Received: by mx.host.test\r\n"},
		}
		for _, m := range w.mails[:3] {
			if m.from != want[m.to].from || m.trace != want[m.to].trace {
				t.Errorf("%+v", m)
			}
		}
		if last := w.mails[3]; last.from != "<>" {
			t.Errorf("a null sender became %s", last.from)
		}
	})
}

// TestPartialRecipients: each recipient of a transaction is what the server said of it.
func TestPartialRecipients(t *testing.T) {
	bubble(t, func(w *world) {
		late := 2
		w.send = func(_ context.Context, _ routing.Hop, m outbound.Mail) []outbound.Result {
			results := make([]outbound.Result, len(m.To))
			for i, to := range m.To {
				switch to.Address.Local {
				case "never":
					results[i].Failure = refusal(outbound.ScopeRecipient, 550, "no such user")
				case "later":
					if late--; late >= 0 {
						results[i].Failure = refusal(outbound.ScopeRecipient, 450, "greylisted")
					}
				}
			}
			return results
		}
		w.run()
		w.accept("me@local.test", elsewhere("good@remote.test", 0), elsewhere("never@remote.test", 0),
			elsewhere("later@remote.test", 0))
		time.Sleep(time.Second)
		w.copies(map[string]int{"good@remote.test": 1, "me@local.test": 1})
		time.Sleep(time.Hour)
		synctest.Wait()
		w.copies(map[string]int{"good@remote.test": 1, "later@remote.test": 1, "me@local.test": 1})
		report := w.reports("me@local.test")[0].text
		for _, s := range []string{"never@remote.test", "no such user", "Remote-MTA: dns; mx.remote.test", "Status: 5.1.1"} {
			if !strings.Contains(report, s) {
				t.Errorf("no %q in the report:\n%s", s, report)
			}
		}
		if strings.Contains(report, "good@remote.test") || strings.Contains(report, "later@remote.test") {
			t.Errorf("the report names others:\n%s", report)
		}
		w.stop()
		w.empty()
	})
}

// TestSchedule: five days of "not now" are tries further and further apart, one notice, and a report at the end.
func TestSchedule(t *testing.T) {
	bubble(t, func(w *world) {
		w.send = func(_ context.Context, _ routing.Hop, m outbound.Mail) []outbound.Result {
			return failAll(m, refusal(outbound.ScopeMessage, 451, "not now"))
		}
		w.run()
		w.accept("me@local.test", elsewhere("a@remote.test", 0))
		time.Sleep(6 * 24 * time.Hour)
		synctest.Wait()
		w.stop()
		w.empty()
		tries := w.tries("mx:remote.test")
		for i := 1; i < len(tries); i++ {
			want := min(schedule.First<<min(i-1, 10), schedule.Max)
			if gap := tries[i] - tries[i-1]; gap < want*9/10-time.Second || gap > want*11/10+time.Minute {
				t.Errorf("try %d came after %v instead of %v", i+1, gap, want)
			}
		}
		if n := len(tries); n < 30 || n > 45 {
			t.Errorf("%d tries", n)
		}
		reports := w.reports("me@local.test")
		if len(reports) != 2 {
			t.Fatalf("%d reports", len(reports))
		}
		if at := reports[0].at; at < 4*time.Hour || at > 4*time.Hour+5*time.Minute || !strings.Contains(reports[0].text, "Action: delayed") {
			t.Errorf("notice after %v:\n%s", at, reports[0].text)
		}
		end := reports[1]
		if end.at < 5*24*time.Hour || end.at > 5*24*time.Hour+5*time.Minute {
			t.Errorf("given up after %v", end.at)
		}
		for _, s := range []string{"Action: failed", "Status: 4.4.7", "451 4.1.1 not now"} {
			if !strings.Contains(end.text, s) {
				t.Errorf("no %q in the report:\n%s", s, end.text)
			}
		}
		if w.logged("given up") != 1 || w.logged("notified") != 2 {
			t.Error(w.logs.String())
		}
	})
}

// TestDeadDestinationIsReported: mail that nobody touches is reported on in time, with the words of the destination.
func TestDeadDestinationIsReported(t *testing.T) {
	bubble(t, func(w *world) {
		w.connect = func(context.Context, routing.Hop) *outbound.Failure { return unreachable() }
		w.run()
		for range 3 {
			w.accept("me@local.test", elsewhere("a@remote.test", 0), elsewhere("b@remote.test", mailbox.NotifyFailure))
		}
		time.Sleep(6 * 24 * time.Hour)
		synctest.Wait()
		w.stop()
		w.empty()
		delayed, failed := 0, 0
		for _, m := range w.reports("me@local.test") {
			switch {
			case strings.Contains(m.text, "Action: delayed"):
				delayed++
				if strings.Contains(m.text, "b@remote.test") {
					t.Error("a notice that was not asked for")
				}
			case strings.Contains(m.text, "Action: failed") && strings.Contains(m.text, "onnection refused"):
				failed++
			default:
				t.Errorf("%s", m.text)
			}
		}
		if delayed != 3 || failed != 3 {
			t.Errorf("%d notices and %d reports of failure for three messages", delayed, failed)
		}
	})
}

func failAll(m outbound.Mail, f *outbound.Failure) []outbound.Result {
	results := make([]outbound.Result, len(m.To))
	for i := range results {
		results[i].Failure = f
	}
	return results
}
