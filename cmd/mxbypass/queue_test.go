package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"strings"
	"testing"
	"time"

	"mxbypass/mailbox"
	"mxbypass/relay/queue"
)

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "0s", 0: "0s", 59 * time.Second: "59s", time.Minute: "1m", 59*time.Minute + 59*time.Second: "59m",
		time.Hour: "1h0m", 23*time.Hour + 59*time.Minute: "23h59m", 24 * time.Hour: "1d0h", 100 * time.Hour: "4d4h",
	} {
		if got := span(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

func TestOctets(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1<<20 - 1: "1.0 MiB", 1 << 20: "1.0 MiB", 50 << 20: "50.0 MiB",
		1<<63 - 1: "8.0 EiB",
	} {
		if got := octets(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestClip(t *testing.T) {
	for s, want := range map[string]string{"": "", "äöüß": "äöüß", "äöüßx": "äöü…", "\xff\xff\xff\xff\xff": "���…"} {
		if got := clip(s, 4); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
}

func TestFailureWords(t *testing.T) {
	for _, tt := range []struct {
		f    queue.Attempt
		want string
	}{
		{queue.Attempt{Host: "mx.test[192.0.2.1]", Command: "RCPT", Code: 450, Enhanced: [3]int{4, 2, 1}, Text: "later\r\nplease"},
			"mx.test[192.0.2.1] answered RCPT with 450 4.2.1 later please"},
		{queue.Attempt{Host: "mx.test", Command: "RCPT", Code: 550, Enhanced: [3]int{4, 2, 1}, Text: "no"},
			"mx.test answered RCPT with 550 no"},
		{queue.Attempt{Host: "mx.test", Command: "RCPT", Code: 450, Enhanced: [3]int{4}, Text: "later"},
			"mx.test answered RCPT with 450 later"},
		{queue.Attempt{Host: "mx.test", Code: 421, Enhanced: [3]int{4, 3, 2}}, "mx.test: 421 4.3.2 "},
		{queue.Attempt{Command: "RCPT", Code: 450, Enhanced: [3]int{4, 2, 1}, Text: "later"}, "450 4.2.1 later"},
		{queue.Attempt{Host: "mx.test", Command: "connect", Text: "connection refused"}, "mx.test: connection refused"},
		{queue.Attempt{Command: "DNS", Text: "SERVFAIL"}, "DNS: SERVFAIL"},
		{queue.Attempt{Text: "the relay was stopped"}, "the relay was stopped"},
		{queue.Attempt{Host: "a\x1b[0m", Command: "R\u009bCPT", Code: 450, Text: "\u202e\x00"},
			"a\ufffd[0m answered R\ufffdCPT with 450 \ufffd\ufffd"},
	} {
		if got := failureWords(&tt.f); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.f, got, tt.want)
		}
	}
}

// The failure that is shown is the newer one, and the next attempt the later one.
func TestListedDestination(t *testing.T) {
	at := func(minutes int) time.Time {
		return time.Unix(1_800_000_000, 0).Add(time.Duration(minutes) * time.Minute)
	}
	early, late := &queue.Attempt{Time: at(1)}, &queue.Attempt{Time: at(2)}
	for _, tt := range []struct{ own, common, want *queue.Attempt }{
		{nil, nil, nil}, {early, nil, early}, {nil, early, early}, {early, late, late}, {late, early, late},
	} {
		l := queue.Listed{Item: &queue.Item{Last: tt.own}, Destination: queue.Destination{Last: tt.common}}
		if got := lastFailure(l); got != tt.want {
			t.Errorf("%v, %v: %v", tt.own, tt.common, got)
		}
	}
	for _, tt := range []struct {
		state     queue.State
		own, dest time.Time
		next      time.Time
		text      string
	}{
		{queue.Waiting, at(1), at(3), at(3), localTime(at(3))},
		{queue.Waiting, at(3), at(1), at(3), localTime(at(3))},
		{queue.Waiting, at(-1), at(-2), at(-1), "now"},
		{queue.Active, at(1), at(1), time.Time{}, "being tried"},
		{queue.Held, at(1), at(1), time.Time{}, "-"},
		{queue.Quarantined, at(1), at(1), time.Time{}, "-"},
	} {
		l := queue.Listed{Item: &queue.Item{Recipient: queue.Recipient{Due: tt.own}}, State: tt.state,
			Destination: queue.Destination{Due: tt.dest}}
		if got := nextAttempt(l); !got.Equal(tt.next) {
			t.Errorf("%+v: %v", tt, got)
		}
		if got := whenNext(l, at(0)); got != tt.text {
			t.Errorf("%+v: %s", tt, got)
		}
	}
}

func TestNotifyText(t *testing.T) {
	for n, want := range map[mailbox.Notify]string{
		0: "", mailbox.NotifyNever: "NEVER", mailbox.NotifyDelay: "DELAY",
		mailbox.NotifySuccess | mailbox.NotifyFailure: "SUCCESS,FAILURE",
	} {
		if got := notifyText(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestQueueExit(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
	}{
		{nil, exitOK},
		{fmt.Errorf("x: %w", fs.ErrPermission), exitNoPermission},
		{fmt.Errorf("x: %w", queue.ErrDamaged), exitData},
		{fmt.Errorf("x: %w", queue.ErrNotFound), exitRefused},
		{fmt.Errorf("x: %w", mailbox.ErrNoSpace), exitIO},
		{fmt.Errorf("x: %w", mailbox.ErrUnavailable), exitTemporary},
		{errors.New("x"), exitUnavailable},
		{exit(exitUsage, errors.New("x")), exitUsage},
	} {
		var out, errOut bytes.Buffer
		if got := newApp(nil, &out, &errOut).report(queueExit(tt.err)); got != tt.want {
			t.Errorf("%v: %d, want %d", tt.err, got, tt.want)
		}
	}
}

// What is written wrongly is refused before the queue is opened: 64, in one line, and what to write instead.
func TestQueueUsage(t *testing.T) {
	const which, both = "which mail? name IDs or filters; --all is for all of it",
		"--all is all of it: leave the IDs and filters out, or --all"
	const local, duration = `want local@domain, or "@domain"`, `want a duration such as "5s", "1h30m" or "5d"`
	const states = "want waiting, active, held or quarantined"
	for _, tt := range []struct{ args, want string }{
		{"retry", which}, {"hold", which}, {"release", which}, {"remove --yes", which},
		{"retry --all A1", both}, {"hold --all A1", both}, {"release --all --sender <>", both}, {"remove --yes --all A1", both},
		{"remove A1", "it asks before it removes, and there is no terminal to ask on: --yes removes"},

		// What is given and empty is not "everything".
		{"remove --yes NOTHING", "an empty ID"},
		{"remove --yes --sender NOTHING", `--sender "": ` + local},
		{"remove --yes --recipient NOTHING", `--recipient "": ` + local},
		{"remove --yes --domain NOTHING", `--domain "": invalid address: empty domain`},
		{"remove --yes --older-than NOTHING", `--older-than "": ` + duration},
		{"remove --yes --reason NOTHING", `--reason "": want some words of the reason`},
		{"remove --yes --state NOTHING", `--state "": ` + states},

		{"list --sender a", `--sender "a": invalid address: no domain`},
		{"list --sender postmaster", `--sender "postmaster": ` + local},
		{"list --sender @", `--sender "@": invalid address: empty domain`},
		{"list --recipient <>", `--recipient "<>": invalid address`},
		{"list --domain @a.test", `--domain "@a.test": `},
		{"list --domain a@b.test", `--domain "a@b.test": `},
		{"list --older-than 0s", `--older-than "0s": ` + duration},
		{"list --state sent", `--state "sent": ` + states},
		{"show", "requires at least 1 arg(s), only received 0"},
		{"cat A1 B2", "accepts 1 arg(s), received 2"},
		{"stat", `unknown command "stat" for mxbypass queue; did you mean cat or stats?`},
	} {
		args := append([]string{"-c", "/nonexistent.toml", "queue"}, strings.Fields(tt.args)...)
		for i := range args {
			if args[i] == "NOTHING" {
				args[i] = ""
			}
		}
		var out, errOut bytes.Buffer
		code := newApp(strings.NewReader(""), &out, &errOut).run(args)
		line, _, _ := strings.Cut(errOut.String(), "\n")
		if code != exitUsage || out.Len() > 0 || !strings.HasPrefix(line, "mxbypass: "+tt.want) {
			t.Errorf("%s: %d, %s%s", tt.args, code, out.String(), errOut.String())
		}
	}
}

func TestFilterAddress(t *testing.T) {
	for s, want := range map[string]string{
		"<>": "<>", "a@B.Test": "a@b.test", "A@b.test.": "A@b.test", `"a b"@b.test`: `"a b"@b.test`, `"a"@b.test`: "a@b.test",
		"a@[192.0.2.1]": "a@[192.0.2.1]", "@B.Test": "@b.test", "@bücher.test": "@xn--bcher-kva.test",
		"@[192.0.2.1]": "@[192.0.2.1]", "jörg@b.test": "jörg@b.test",
	} {
		if got, err := filterSender(s); got != want || err != nil {
			t.Errorf("%s: %s, %v, want %s", s, got, err, want)
		}
	}
}

// brokenQueue lists some items, then fails.
type brokenQueue struct {
	noQueue
	items []queue.Listed
}

func (q brokenQueue) List(context.Context, queue.Filter) iter.Seq2[queue.Listed, error] {
	return func(yield func(queue.Listed, error) bool) {
		for _, l := range q.items {
			if !yield(l, nil) {
				return
			}
		}
		yield(queue.Listed{}, fmt.Errorf("queue: %w", queue.ErrDamaged))
	}
}

// What was read before a fault is shown, without the last message, which may have more recipients; the fault is told,
// and no total.
func TestListBreaksOff(t *testing.T) {
	var items []queue.Listed
	for row := range int64(3) {
		h := &queue.Header{Row: row, ID: fmt.Sprintf("M%d", row), Created: time.Now()}
		for n := range 2 {
			items = append(items, queue.Listed{Item: &queue.Item{Key: queue.Key{Row: row, N: n}, Message: h}, State: queue.Held})
		}
	}
	for _, asJSON := range []bool{false, true} {
		var out, errOut bytes.Buffer
		a := newApp(nil, &out, &errOut)
		err := a.listQueue(context.Background(), brokenQueue{items: items}, queue.Filter{}, asJSON)
		if !errors.Is(err, queue.ErrDamaged) {
			t.Errorf("%v", err)
		}
		if text := out.String(); !strings.Contains(text, "M0") || !strings.Contains(text, "M1") ||
			strings.Contains(text, "M2") || strings.Contains(text, " of ") {
			t.Errorf("%s", text)
		}
	}
	if err := notQueued(context.Background(), brokenQueue{}, []string{"M0"}); !errors.Is(err, queue.ErrDamaged) {
		t.Errorf("a fault is taken for an answer: %v", err)
	}
}
