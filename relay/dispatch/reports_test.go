package dispatch

import (
	"context"
	"strings"
	"testing"
	"time"

	"mxbypass/mailbox"
	"mxbypass/relay/outbound"
	"mxbypass/routing"
)

// TestNotify: who is told what is what the sender asked for (RFC 3461 section 4.1).
func TestNotify(t *testing.T) {
	const all = mailbox.NotifySuccess | mailbox.NotifyFailure | mailbox.NotifyDelay
	tests := []struct {
		name   string
		notify mailbox.Notify
		fate   string // what the server does
		store  bool
		want   string // actions of the reports
	}{
		{"default, delivered", 0, "take", false, ""},
		{"default, failed", 0, "refuse", false, "failed"},
		{"default, late", 0, "late", false, "delayed"},
		{"never, failed", mailbox.NotifyNever, "refuse", false, ""},
		{"never, late", mailbox.NotifyNever, "late", false, ""},
		{"success, relayed", mailbox.NotifySuccess, "take", false, "relayed"},
		{"success, reported by the server", mailbox.NotifySuccess, "report", false, ""},
		{"success, in a mailbox", mailbox.NotifySuccess, "take", true, "delivered"},
		{"success, failed", mailbox.NotifySuccess, "refuse", false, ""},
		{"failure, delivered", mailbox.NotifyFailure, "take", false, ""},
		{"failure, failed", mailbox.NotifyFailure, "refuse", false, "failed"},
		{"failure, late", mailbox.NotifyFailure, "late", false, ""},
		{"delay, failed", mailbox.NotifyDelay, "refuse", false, ""},
		{"delay, late", mailbox.NotifyDelay, "late", false, "delayed"},
		{"everything, late", all, "late", false, "delayed relayed"},
		{"everything, given up", all, "dead", false, "delayed failed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(w *world) {
				w.send = func(_ context.Context, hop routing.Hop, m outbound.Mail) []outbound.Result {
					results := make([]outbound.Result, len(m.To))
					late := tt.fate == "late" && time.Since(w.start) < 5*time.Hour || tt.fate == "dead"
					switch {
					case hop.Domain.ASCII() != "remote.test":
					case tt.fate == "refuse":
						results[0].Failure = refusal(outbound.ScopeRecipient, 550, "no")
					case late:
						results[0].Failure = refusal(outbound.ScopeRecipient, 450, "later")
					case tt.fate == "report":
						results[0].Reported = true
					}
					return results
				}
				w.run()
				to := elsewhere("a@remote.test", tt.notify)
				if tt.store {
					to = inBox("cloud", "a@local.test", tt.notify)
				}
				m := message("me@sender.test")
				m.Return, m.EnvelopeID = mailbox.ReturnHeaders, "Q+2B1"
				w.give(m, to)
				time.Sleep(6 * 24 * time.Hour)
				w.stop()
				w.empty()
				var got []string
				for _, r := range w.reports("me@sender.test") {
					_, after, _ := strings.Cut(r.text, "\r\nAction: ")
					action, _, _ := strings.Cut(after, "\r\n")
					got = append(got, action)
					if !strings.Contains(r.text, "Original-Envelope-Id: Q+1") {
						t.Errorf("no envelope id:\n%s", r.text)
					}
				}
				if s := strings.Join(got, " "); s != tt.want {
					t.Errorf("reports %q instead of %q", s, tt.want)
				}
			})
		})
	}
}

// TestDeliveredAtOnce: reports of success on mailboxes that were served without the queue.
func TestDeliveredAtOnce(t *testing.T) {
	bubble(t, func(w *world) {
		w.run()
		to := []mailbox.Recipient{*inBox("cloud", "a@local.test", mailbox.NotifySuccess).Mailbox,
			*inBox("cloud", "b@local.test", 0).Mailbox, *inBox("cloud", "c@local.test", mailbox.NotifySuccess).Mailbox}
		for _, from := range []string{"me@sender.test", ""} {
			if err := w.d.Delivered(context.Background(), message(from), to); err != nil {
				t.Error(err)
			}
		}
		for _, from := range []string{"me@deferred.test", "me@refused.test"} {
			if err := w.d.Delivered(context.Background(), message(from), to); err == nil {
				t.Errorf("no error for %s", from)
			}
		}
		time.Sleep(time.Second)
		w.stop()
		w.empty()
		reports := w.reports("me@sender.test")
		if len(reports) != 1 || strings.Count(reports[0].text, "Action: delivered") != 2 || strings.Contains(reports[0].text, "b@local.test") {
			t.Errorf("%v", reports)
		}
	})
}

// TestDoubleBounce: what cannot be reported goes to the postmaster or is dropped, and ends there.
func TestDoubleBounce(t *testing.T) {
	tests := []struct {
		name, from  string
		postmaster  bool
		broken      bool // the postmaster's mailbox refuses
		want        int  // messages for the postmaster
		original    bool // as it is, or the report on it
		dropped, to int  // events
	}{
		{"null sender", "", true, false, 1, true, 0, 1},
		{"null sender, dropped", "", false, false, 0, true, 1, 0},
		{"null sender, postmaster broken", "", true, true, 0, true, 1, 1},
		{"sender that does not exist", "me@refused.test", true, false, 1, false, 0, 1},
		{"sender that does not exist, dropped", "me@refused.test", false, false, 0, false, 1, 0},
		{"report that is refused", "me@sender.test", true, false, 1, false, 0, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(w *world) {
				w.env.DoubleBounces = tt.postmaster
				w.send = func(_ context.Context, _ routing.Hop, m outbound.Mail) []outbound.Result {
					return failAll(m, refusal(outbound.ScopeRecipient, 550, "no such user"))
				}
				w.box = func(string, mailbox.Recipient) error {
					if tt.broken {
						return mailbox.ErrNoMailbox
					}
					return nil
				}
				w.run()
				w.accept(tt.from, elsewhere("a@remote.test", 0))
				time.Sleep(time.Minute)
				w.stop()
				w.empty()
				if n := w.sent["postmaster@mx.host.test"]; n != tt.want {
					t.Errorf("%d messages for the postmaster", n)
				}
				for _, m := range w.reports("postmaster@mx.host.test") {
					if original := m.text == "Subject: hello\r\n\r\nbody\r\n"; original != tt.original {
						t.Errorf("it is the original: %v", original)
					}
				}
				if d, p := w.logged("dropped"), w.logged("to postmaster"); d != tt.dropped || p != tt.to {
					t.Errorf("%d dropped, %d to the postmaster:\n%s", d, p, w.logs.String())
				}
			})
		})
	}
}

// TestReportThatCannotBeRoutedNow: the failed recipient stays, and is reported on when that is possible; in the end it is
// given up.
func TestReportThatCannotBeRoutedNow(t *testing.T) {
	for name, f := range map[string]*outbound.Failure{
		"refused":      refusal(outbound.ScopeRecipient, 550, "no such user"),
		"out of reach": unreachable(),
	} {
		t.Run(name, func(t *testing.T) {
			for _, mended := range []bool{true, false} {
				bubble(t, func(w *world) {
					w.send = func(_ context.Context, hop routing.Hop, m outbound.Mail) []outbound.Result {
						if hop.Domain.ASCII() != "remote.test" {
							return make([]outbound.Result, len(m.To))
						}
						return failAll(m, f)
					}
					route := w.env.Route
					w.env.Route = func(ctx context.Context, p mailbox.Path, c routing.Client) routing.Route {
						if mended && time.Since(w.start) > 5*24*time.Hour+5*time.Hour {
							p.Address.Domain = mailbox.MustDomainName("sender.test")
						}
						return route(ctx, p, c)
					}
					w.run()
					w.accept("me@deferred.test", elsewhere("a@remote.test", 0))
					time.Sleep(5 * 24 * time.Hour)
					if n, _ := w.queue.left(); n != 1 {
						t.Fatalf("%d items wait", n)
					}
					time.Sleep(4 * 24 * time.Hour)
					w.stop()
					w.empty()
					reports, dropped := len(w.reports("me@sender.test")), w.logged("dropped")
					if mended && (reports != 1 || dropped != 0) || !mended && (reports != 0 || dropped != 1) {
						t.Errorf("mended %v: %d reports, %d dropped", mended, reports, dropped)
					}
				})
			}
		})
	}
}
