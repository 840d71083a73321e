package dispatch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mxbypass/mailbox"
	"mxbypass/relay/maillog"
	"mxbypass/relay/outbound"
	"mxbypass/routing"
)

var errNoDNS = errors.New("SERVFAIL")

func address(s string) mailbox.Address {
	a, err := mailbox.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

// elsewhere is a target by MX.
func elsewhere(s string, notify mailbox.Notify) Target {
	a := address(s)
	return Target{Outbound: &routing.Outbound{To: a, Hop: routing.Hop{Kind: routing.HopMX, Domain: a.Domain},
		Purpose: routing.Submitted, Original: s, Report: mailbox.Report{Notify: notify}}}
}

func inBox(site, s string, notify mailbox.Notify) Target {
	a := address(s)
	return Target{Mailbox: &mailbox.Recipient{Mailbox: mailbox.Mailbox{Address: a, Site: site}, Delivered: a, Original: s,
		Report: mailbox.Report{Notify: notify}}}
}

// world is everything around a dispatcher: servers, stores, a queue that outlives it, a log.
type world struct {
	t     *testing.T
	queue *fakeQueue
	env   Environment
	start time.Time
	logs  bytes.Buffer

	// What the tests set: nil is a server that takes everything.
	connect func(ctx context.Context, hop routing.Hop) *outbound.Failure
	send    func(ctx context.Context, hop routing.Hop, m outbound.Mail) []outbound.Result
	box     func(site string, r mailbox.Recipient) error

	mu       sync.Mutex
	connects map[string][]time.Duration // when, by hop
	sent     map[string]int             // copies by recipient, elsewhere and here
	mails    []mail                     // what arrived, here and elsewhere
	open     map[string]int             // connections in use
	most     map[string]int             // at a time; "" in all
	log      *maillog.Log
	d        *Dispatcher
}

// mail is a message that arrived.
type mail struct {
	to, from, text string
	at             time.Duration
	trace          string
}

var schedule = Schedule{First: 5 * time.Minute, Max: 4 * time.Hour, Lifetime: 5 * 24 * time.Hour,
	ReportLifetime: 2 * 24 * time.Hour, Notice: 4 * time.Hour}

func newWorld(t *testing.T) *world {
	w := &world{t: t, queue: newFakeQueue(), start: time.Now(), connects: map[string][]time.Duration{}, sent: map[string]int{},
		open: map[string]int{}, most: map[string]int{}}
	store := fakeStore{w, "cloud"}
	w.env = Environment{Hostname: mailbox.MustDomainName("mx.host.test"), Connect: w.dial, Route: w.route,
		Stores:   map[string]mailbox.Store{"cloud": store, mailbox.SitePostmaster: fakeStore{w, mailbox.SitePostmaster}},
		Schedule: schedule, Limits: Limits{Connections: 50, PerDestination: 20, Initial: 5, Recipients: 100}}
	return w
}

// run starts a dispatcher on the queue in memory; stop ends it.
func (w *world) run() { w.runOn(w.queue) }

func (w *world) runOn(q backlog) {
	log, err := maillog.New(&w.logs, maillog.Text, slog.LevelInfo)
	if err != nil {
		w.t.Fatal(err)
	}
	w.log = log
	w.d = newDispatcher(q, log, func() (*Environment, func()) {
		env := w.env
		return &env, func() {}
	})
	w.d.Start()
}

func (w *world) stop() {
	w.t.Helper()
	if err := w.d.Shutdown(context.Background()); err != nil {
		w.t.Errorf("Shutdown: %v", err)
	}
	w.ended()
}

func (w *world) ended() {
	w.t.Helper()
	w.log.Close()
	w.d.mu.Lock()
	defer w.d.mu.Unlock()
	if n := w.d.held.messages; n != 0 || w.d.held.octets != 0 {
		w.t.Errorf("%d contents are still kept", n)
	}
	if w.d.workers != 0 {
		w.t.Errorf("%d workers are left", w.d.workers)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for hop, n := range w.open {
		if n != 0 {
			w.t.Errorf("%d connections to %s are not released", n, hop)
		}
	}
}

func (w *world) accept(from string, to ...Target) {
	w.t.Helper()
	w.give(message(from), to...)
}

func message(from string) *mailbox.Message {
	m := &mailbox.Message{ID: "01ORIGINAL", Trace: []byte("Received: by mx.host.test\r\n"),
		Content: &retained{text: text("Subject: hello\r\n\r\nbody\r\n")}}
	if from != "" {
		m.Reverse = address(from)
	}
	return m
}

func (w *world) give(m *mailbox.Message, to ...Target) {
	w.t.Helper()
	if err := w.d.Accept(context.Background(), m, to); err != nil {
		w.t.Fatalf("Accept: %v", err)
	}
}

// retained is a content that must be retained to be read after Accept.
type retained struct {
	text
	mu   sync.Mutex
	refs int
}

func (c *retained) Retain() func() {
	c.mu.Lock()
	c.refs++
	c.mu.Unlock()
	return func() {
		c.mu.Lock()
		c.refs--
		c.mu.Unlock()
	}
}

func (w *world) dial(ctx context.Context, hop routing.Hop) (Conn, error) {
	name := hop.String()
	w.mu.Lock()
	w.connects[name] = append(w.connects[name], time.Since(w.start))
	for _, k := range []string{name, ""} {
		w.open[k]++
		w.most[k] = max(w.most[k], w.open[k])
	}
	w.mu.Unlock()
	if w.connect != nil {
		if f := w.connect(ctx, hop); f != nil {
			w.hangUp(name)
			return nil, f
		}
	}
	return &fakeConn{w: w, hop: hop, usable: true}, nil
}

func (w *world) hangUp(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open[name]--
	w.open[""]--
}

type fakeConn struct {
	w      *world
	hop    routing.Hop
	usable bool
}

func (c *fakeConn) Host() string { return "mx." + c.hop.Domain.ASCII() + "[192.0.2.1]" }
func (c *fakeConn) TLS() string  { return "TLSv1.3" }
func (c *fakeConn) Usable() bool { return c.usable }
func (c *fakeConn) Release()     { c.w.hangUp(c.hop.String()) }

func (c *fakeConn) Send(ctx context.Context, m outbound.Mail) []outbound.Result {
	results := make([]outbound.Result, len(m.To))
	if c.w.send != nil {
		results = c.w.send(ctx, c.hop, m)
	}
	b, err := io.ReadAll(m.Message.Content.NewReader())
	for i := range results {
		if err != nil {
			results[i].Failure = &outbound.Failure{Scope: outbound.ScopeMessage, Enhanced: [3]int{4, 3, 0}, Err: err}
		}
		f := results[i].Failure
		if f == nil || f.InDoubt {
			c.w.arrived(m.To[i].Address, m.Message, string(b), string(m.Trace))
		}
		if f != nil && f.Scope == outbound.ScopeDestination {
			c.usable = false
		}
	}
	return results
}

func (w *world) arrived(to mailbox.Address, m *mailbox.Message, text, trace string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent[to.String()]++
	w.mails = append(w.mails, mail{to.String(), m.Reverse.String(), text, time.Since(w.start), trace})
}

// fakeStore fails as it is told.
type fakeStore struct {
	w    *world
	site string
}

func (s fakeStore) Prepare(_ context.Context, m *mailbox.Message, to []mailbox.Recipient) (mailbox.Delivery, []error) {
	errs := make([]error, len(to))
	if s.w.box != nil {
		for i, r := range to {
			errs[i] = s.w.box(s.site, r)
		}
	}
	b, err := io.ReadAll(m.Content.NewReader())
	for i := range errs {
		if err != nil {
			errs[i] = err
		}
	}
	return &fakeDelivery{s, m, string(b), to, errs}, errs
}

type fakeDelivery struct {
	fakeStore
	m    *mailbox.Message
	text string
	to   []mailbox.Recipient
	errs []error
}

func (d *fakeDelivery) Certain() bool { return true }
func (d *fakeDelivery) Abort()        {}
func (d *fakeDelivery) Commit(context.Context) []error {
	for i, err := range d.errs {
		if err == nil {
			d.w.arrived(d.to[i].Delivered, d.m, d.text, string(d.m.TraceFor(d.to[i])))
		}
	}
	return d.errs
}

// route knows the local domain, one that it refuses, and one that it does not know now.
func (w *world) route(_ context.Context, p mailbox.Path, c routing.Client) routing.Route {
	r := routing.Route{Path: p, Action: routing.Relay}
	if !c.Trusted || !c.NullSender {
		w.t.Errorf("route of %s for %+v", p.Written, c)
	}
	switch p.Address.Domain.ASCII() {
	case "":
		r.Action = routing.Deliver
		r.Recipients = []mailbox.Recipient{*inBox(mailbox.SitePostmaster, "postmaster@mx.host.test", 0).Mailbox}
	case "local.test":
		r.Action, r.Recipients = routing.Deliver, []mailbox.Recipient{*inBox("cloud", p.Address.String(), 0).Mailbox}
	case "refused.test":
		r.Action, r.Err = routing.Refuse, mailbox.ErrNoMailbox
	case "deferred.test":
		r.Action, r.Err = routing.Defer, errNoDNS
	default:
		r.Outbound = []routing.Outbound{*elsewhere(p.Address.String(), 0).Outbound}
	}
	return r
}

// refusal is a failure with a server's answer.
func refusal(scope outbound.Scope, code int, words string) *outbound.Failure {
	return &outbound.Failure{Scope: scope, Permanent: code/100 == 5, Host: "mx.remote.test[192.0.2.1]", MTA: "mx.remote.test",
		Command: "RCPT", Code: code, Enhanced: [3]int{code / 100, 1, 1}, Text: words}
}

func unreachable() *outbound.Failure {
	return &outbound.Failure{Scope: outbound.ScopeDestination, Host: "mx.remote.test[192.0.2.1]", Command: "connect",
		Enhanced: [3]int{4, 4, 1}, Text: "connection refused"}
}

// reports gives what arrived at an address from the null sender.
func (w *world) reports(to string) (all []mail) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.mails {
		if m.to == to && m.from == "<>" {
			all = append(all, m)
		}
	}
	return all
}

// copies checks how often each address got a message.
func (w *world) copies(want map[string]int) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for to, n := range want {
		if w.sent[to] != n {
			w.t.Errorf("%d copies for %s instead of %d", w.sent[to], to, n)
		}
	}
}

// tries tells when connections to a hop were asked for.
func (w *world) tries(hop string) []time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.connects[hop])
}

// opened tells how many connections to a hop are in use.
func (w *world) opened(hop string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open[hop]
}

// all gives everything that arrived.
func (w *world) all() []mail {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.mails)
}

func (w *world) empty() {
	w.t.Helper()
	if n, leased := w.queue.left(); n != 0 {
		w.t.Errorf("%d items are left in the queue, %d of them leased", n, leased)
	}
}

// logged counts the events of a kind. The log must be closed.
func (w *world) logged(event string) int {
	return strings.Count(w.logs.String(), " msg="+event+" ") + strings.Count(w.logs.String(), fmt.Sprintf(" msg=%q ", event))
}

// bubble runs a test in its own time.
func bubble(t *testing.T, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(newWorld(t)) })
}
