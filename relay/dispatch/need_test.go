package dispatch

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"mxbypass/mailbox"
	"mxbypass/relay/outbound"
	"mxbypass/routing"
)

// chunks is content that is read in small pieces.
type chunks string

func (c chunks) Size() int64          { return int64(len(c)) }
func (c chunks) Buffers() [][]byte    { return nil }
func (c chunks) NewReader() io.Reader { return iotest.HalfReader(strings.NewReader(string(c))) }

// TestTLSRequired: what the field says, wherever the header is cut (RFC 8689 section 3).
func TestTLSRequired(t *testing.T) {
	long := "X-Long: " + strings.Repeat("tls-required: no ", 1000) + "\r\n"
	for header, want := range map[string]bool{
		"":                                         false,
		"TLS-Required: No\r\n":                     true,
		"Subject: x\r\ntls-required:no\r\n":        true,
		long + "TLS-REQUIRED : NO \r\n" + long:     true,
		"TLS-Required: Yes\r\n":                    false,
		"TLS-Required: No\r\nTLS-Required: No\r\n": false,
		"TLS-Required:\r\n":                        false,
		"TLS-Required\r\n":                         false,
		"TLS-Required-Not: No\r\n":                 false,
		"X-TLS-Required: No\r\n":                   false,
		"Subject: x\r\n TLS-Required: No\r\n":      false,
		long:                                       false,
		"\r\nTLS-Required: No\r\n":                 false,
		strings.Repeat("X: y\r\n", maxNeed/6+1) + "TLS-Required: No\r\n": false,
	} {
		for _, end := range []string{"\r\nbody\r\n", "", "\r\n\r\nTLS-Required: No\r\n"} {
			if got := tlsOptional(chunks(header + end)); got != want {
				t.Errorf("%.100q and %q: %v", header, end, got)
			}
		}
	}
}

// FuzzTLSRequired: a small buffer sees what a look at all lines sees.
func FuzzTLSRequired(f *testing.F) {
	for _, s := range []string{"TLS-Required: No\r\n\r\n", "A: b\r\nTls-required :\tno \n\nTLS-Required: No", "\r\n", "T"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > maxNeed {
			return
		}
		found, twice := 0, false
		for line := range bytes.Lines([]byte(s)) {
			if line = bytes.TrimRight(line, "\r\n"); len(line) == 0 {
				break
			}
			name, value, ok := strings.Cut(string(line), ":")
			if !strings.HasSuffix(s, "\n") && strings.HasSuffix(s, string(line)) || len(line) > 4000 {
				return // the last line has no end, or one is longer than the buffer
			}
			if ok && strings.EqualFold(strings.TrimRight(name, " \t"), "tls-required") {
				found++
				twice = twice || !strings.EqualFold(strings.TrimSpace(value), "no")
			}
		}
		if got := tlsOptional(chunks(s)); got != (found == 1 && !twice) {
			t.Errorf("%q: %v", s, got)
		}
	})
}

// TestNeed: what needs other connections has another destination, and its own fate.
func TestNeed(t *testing.T) {
	bubble(t, func(w *world) {
		w.connect = func(_ context.Context, hop routing.Hop) *outbound.Failure {
			switch hop.Need {
			case routing.NeedTLS:
				return &outbound.Failure{Scope: outbound.ScopeDestination, Permanent: true, Command: "EHLO", Enhanced: [3]int{5, 7, 30},
					Text: "the message needs REQUIRETLS, which the server does not offer", TLS: "TLSv1.3, verified by DANE"}
			case routing.NeedPolicy:
				return &outbound.Failure{Scope: outbound.ScopeDestination, Enhanced: [3]int{4, 7, 5}, Text: "no TLS", TLS: "MTA-STS"}
			case routing.NeedDelivery:
			}
			return nil
		}
		w.run()
		submit := func(to string, requireTLS bool, header string) {
			m := message("me@local.test")
			m.RequireTLS, m.Return = requireTLS, mailbox.ReturnFull
			m.Content = &retained{text: text(header + "Subject: secret\r\n\r\nof the heart\r\n")}
			w.give(m, elsewhere(to, 0))
			time.Sleep(time.Second)
		}
		submit("strict@remote.test", true, "TLS-Required: No\r\n")
		submit("usual@remote.test", false, "")
		submit("lax@remote.test", false, "TLS-Required: No\r\n")
		w.copies(map[string]int{"lax@remote.test": 1, "usual@remote.test": 0, "strict@remote.test": 0})
		for _, hop := range []string{"mx:remote.test", "mx:remote.test;requiretls", "mx:remote.test;tls-optional"} {
			if len(w.tries(hop)) == 0 {
				t.Errorf("%s was not tried", hop)
			}
		}
		reports := w.reports("me@local.test")
		if len(reports) != 1 || !strings.Contains(reports[0].text, "Status: 5.7.30") || strings.Contains(reports[0].text, "of the heart") {
			t.Errorf("%v", reports)
		}
		w.stop()
		if !strings.Contains(w.logs.String(), `tls="TLSv1.3, verified by DANE"`) || !strings.Contains(w.logs.String(), "mx:remote.test;requiretls") {
			t.Errorf("%s", w.logs.String())
		}
	})
}

// The promise goes with the message, and with the report on it, which is not held up by it.
func TestRequireTLSIsKept(t *testing.T) {
	bubble(t, func(w *world) {
		promised := map[string]bool{}
		hops := map[string]string{}
		w.send = func(_ context.Context, hop routing.Hop, m outbound.Mail) []outbound.Result {
			w.mu.Lock()
			defer w.mu.Unlock()
			to := m.To[0].Address.String()
			promised[to], hops[to] = m.Message.RequireTLS, hop.String()
			results := make([]outbound.Result, len(m.To))
			if hop.Domain.ASCII() == "remote.test" {
				results[0].Failure = refusal(outbound.ScopeRecipient, 550, "no")
			}
			return results
		}
		w.run()
		m := message("me@home.test")
		m.RequireTLS = true
		w.give(m, elsewhere("a@remote.test", 0))
		time.Sleep(time.Second)
		w.stop()
		if !promised["a@remote.test"] || hops["a@remote.test"] != "mx:remote.test;requiretls" || !promised["me@home.test"] ||
			hops["me@home.test"] != "mx:home.test" {
			t.Errorf("%v, %v", promised, hops)
		}
	})
}

// Submit brings mail of our own on its way, or says whether there ever will be one.
func TestSubmit(t *testing.T) {
	bubble(t, func(w *world) {
		w.run()
		for to, want := range map[string]error{"a@remote.test": nil, "b@local.test": nil, "c@refused.test": ErrNoWay, "d@deferred.test": errNoDNS} {
			m := message("")
			m.ID, m.Reverse, m.Content = "", mailbox.Address{}, &retained{text: text("TLS-Required: No\r\n\r\n")}
			a, err := mailbox.ParseAddress(to)
			if err != nil {
				t.Fatal(err)
			}
			err = w.d.Submit(w.t.Context(), &w.env, m, a)
			if !errors.Is(err, want) || want == nil && (err != nil || m.ID == "") || want == errNoDNS && errors.Is(err, ErrNoWay) {
				t.Errorf("%s: %v", to, err)
			}
		}
		time.Sleep(time.Second)
		w.stop()
		w.copies(map[string]int{"a@remote.test": 1, "b@local.test": 1, "c@refused.test": 0})
		if len(w.tries("mx:remote.test;tls-optional")) != 1 {
			t.Errorf("%v", w.connects)
		}
	})
}
