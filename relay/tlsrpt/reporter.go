package tlsrpt

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"mxbypass/mailbox"
)

const (
	// roundEvery is how often counts are written and days looked at that are over.
	roundEvery = 5 * time.Minute
	// spread is how long after midnight, at most, reports go out: not everybody's at once (RFC 8460 section 4.1).
	spread = 4 * time.Hour
	// patience is how long after its end a day's reports are tried to be sent.
	patience = 3 * 24 * time.Hour
	// maxOver is how many days wait to be written: older ones are reported on no more.
	maxOver = 3
)

// Options of a reporter. All but Roots, AllowLoopback, First, Log and Now are needed.
type Options struct {
	Dir          string // of the files; it is made when it is not there. Nobody else writes to it
	Hostname     mailbox.DomainName
	Organization string
	Contact      mailbox.Address
	From         mailbox.Address
	// TXT and Addr ask DNS; errors are *net.DNSError, and IsNotFound is the only "no".
	TXT  func(ctx context.Context, name string) ([]string, error)
	Addr func(ctx context.Context, name string) ([]netip.Addr, error)
	// Submit queues a message for one address. An error means that it is tried again.
	Submit func(ctx context.Context, m *mailbox.Message, to mailbox.Address) error
	// Roots are whose certificates are believed when a report goes over HTTPS; nil: those of the system.
	Roots         *x509.CertPool
	AllowLoopback bool // servers of reports can be on this machine: for tests
	// First is when counts are written and days looked at for the first time; zero: when the next rounds would come. A day
	// may have ended while we did not run, and who is started again and again would else never report.
	First time.Duration
	Log   *slog.Logger
	Now   func() time.Time
}

// Reporter counts, and reports. It is safe for concurrent use. [Reporter.Close] ends it.
type Reporter struct {
	o      Options
	client *http.Client
	stop   context.CancelFunc
	ended  sync.WaitGroup

	mu    sync.Mutex
	today *day
	over  []*day // ended, and not yet written: hardly ever more than one, and no more than maxOver
}

var _ Recorder = (*Reporter)(nil)

// Open reads what was counted today, and begins to write counts and to send reports.
func Open(o Options) (*Reporter, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	r := &Reporter{o: o, today: newDay(o.Now())}
	r.client = r.newClient()
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("tlsrpt: %w", err)
	}
	switch d, err := readDay(o.Dir, r.today.Day); {
	case err == nil:
		r.today = d
	case !errors.Is(err, os.ErrNotExist):
		o.Log.Warn("counts for reports on TLS are lost", "error", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	r.ended.Go(func() { r.loop(ctx) })
	return r, nil
}

// Close ends what is being sent, and writes the counts.
func (r *Reporter) Close() error {
	r.stop()
	r.ended.Wait()
	return r.save()
}

// Record implements [Recorder].
func (r *Reporter) Record(p Policy, f *Failure) {
	now := r.o.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.today.Day == now.UTC().Format(dayFormat) {
		r.today.record(p, f)
		return
	}
	r.turn(now)
	r.today.record(p, f)
}

// turn begins a new day. It runs under mu.
func (r *Reporter) turn(now time.Time) {
	if r.today.changed {
		r.over = append(r.over, r.today)
	}
	r.over = r.over[max(0, len(r.over)-maxOver):]
	r.today = newDay(now)
}

func (r *Reporter) loop(ctx context.Context) {
	timer := time.NewTimer(cmp.Or(r.o.First, roundEvery))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			r.round(ctx)
			timer.Reset(roundEvery)
		}
	}
}

// round writes what was counted, and sends the reports that are due.
func (r *Reporter) round(ctx context.Context) {
	if err := r.save(); err != nil {
		r.o.Log.Error("counts for reports on TLS cannot be written", "error", err)
	}
	now := r.o.Now()
	files, err := os.ReadDir(r.o.Dir)
	if err != nil {
		r.o.Log.Error("reports on TLS cannot be sent", "error", err)
		return
	}
	for _, f := range files {
		name, ok := strings.CutSuffix(f.Name(), suffix)
		if !ok || ctx.Err() != nil {
			continue
		}
		start, err := time.Parse(dayFormat, name)
		if end := start.Add(24 * time.Hour); err == nil && !now.Before(end.Add(r.delay(name))) {
			r.day(ctx, name, now.Before(end.Add(patience)))
		}
	}
}

// delay spreads reports over some hours, each day in another way.
func (r *Reporter) delay(name string) time.Duration {
	h := fnv.New32a()
	_, _ = h.Write([]byte(r.o.Hostname.ASCII() + name))
	return time.Duration(h.Sum32()) * time.Second % spread
}

// save writes the counts that have changed.
func (r *Reporter) save() error {
	r.mu.Lock()
	now := r.o.Now()
	if r.today.Day != now.UTC().Format(dayFormat) {
		r.turn(now)
	}
	over := r.over
	r.over = nil
	d, raw, err := r.today, []byte(nil), error(nil)
	if d.changed {
		raw, err = d.encode() // here, because it goes on changing
		d.changed = false
	}
	r.mu.Unlock()
	var unwritten []*day // to be written with the next round
	for _, d := range over {
		if failed := r.write(d); failed != nil {
			unwritten, err = append(unwritten, d), errors.Join(err, failed)
		}
	}
	if raw != nil {
		err = errors.Join(err, write(r.o.Dir, d.Day, raw))
	}
	if err != nil {
		r.mu.Lock()
		d.changed = true
		r.over = append(unwritten, r.over...)
		r.mu.Unlock()
		return fmt.Errorf("tlsrpt: %w", err)
	}
	return nil
}

// write writes a day that is not counted any more.
func (r *Reporter) write(d *day) error {
	raw, err := d.encode()
	if err != nil {
		return err
	}
	return write(r.o.Dir, d.Day, raw)
}

// saved writes what was done of a day.
func (r *Reporter) saved(d *day) {
	if err := r.write(d); err != nil {
		r.o.Log.Error("what was reported on TLS cannot be written", "error", err)
	}
}

// day sends the reports of a day that is over, and removes it when all are sent, or it is too late.
func (r *Reporter) day(ctx context.Context, name string, timely bool) {
	left := 0
	if timely {
		d, err := readDay(r.o.Dir, name)
		if err != nil {
			r.o.Log.Warn("reports on TLS of a day are lost", "error", err)
		} else {
			left = r.reports(ctx, d)
		}
	}
	if left > 0 {
		return
	}
	if err := os.Remove(dayPath(r.o.Dir, name)); err != nil {
		r.o.Log.Warn("the counts of a day cannot be removed", "error", err)
	}
}

// reports sends the reports of a day, and tells how many are left to do. What is done is written after each, so that
// nobody gets one twice.
func (r *Reporter) reports(ctx context.Context, d *day) (left int) {
	if d.Done == nil {
		d.Done = map[string]bool{}
	}
	for _, domain := range d.domains() {
		if ctx.Err() != nil || !r.reportTo(ctx, d, domain) {
			left++
			continue
		}
		d.Done[domain] = true
		d.changed = true
		if d.sent {
			r.saved(d)
			d.sent = false
		}
	}
	if d.changed && left > 0 {
		r.saved(d)
	}
	return left
}

// reportTo sends the report of one domain. True: it is done, or nobody wants it.
func (r *Reporter) reportTo(ctx context.Context, d *day, domain string) bool {
	texts, err := r.o.TXT(ctx, "_smtp._tls."+domain)
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return true
	case err != nil:
		return false
	}
	places, why := parseRecord(texts)
	for _, err := range why {
		r.o.Log.Info("a place for reports on TLS is of no use", "domain", domain, "error", err)
	}
	if len(places) == 0 {
		return true
	}
	id, body, err := r.reportOn(d, domain)
	if err != nil {
		r.o.Log.Error("a report on TLS cannot be made", "domain", domain, "error", err)
		return true
	}
	sent := 0
	for _, p := range places {
		if err := r.send(ctx, d, domain, p, id, body); err != nil {
			r.o.Log.Warn("a report on TLS is not sent", "domain", domain, "to", p.String(), "error", err)
			continue
		}
		sent++
		r.o.Log.Info("report on TLS", "domain", domain, "to", p.String(), "day", d.Day)
	}
	d.sent = d.sent || sent > 0
	return sent > 0
}
