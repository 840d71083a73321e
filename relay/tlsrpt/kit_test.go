package tlsrpt

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/mail"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mxbypass/mailbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a reporter with its DNS, its clock and what it has sent.
type world struct {
	*Reporter
	t       *testing.T
	dir     string
	options Options

	mu     sync.Mutex
	now    time.Time
	texts  map[string][]string // TXT records
	broken bool                // DNS fails
	refuse bool                // no mail can be queued
	sent   []sent
}

type sent struct {
	to   string
	mail []byte
}

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: filepath.Join(t.TempDir(), "tlsrpt"), now: noon, texts: map[string][]string{}}
	w.options = Options{
		Dir: w.dir, Hostname: mailbox.MustDomainName("mx.us.test"), Organization: "Us", Contact: address(t, "tls@us.test"),
		From: address(t, "noreply@us.test"), TXT: w.txt, Submit: w.submit, Now: w.clock, AllowLoopback: true,
		Addr: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		},
	}
	w.open()
	t.Cleanup(w.close)
	return w
}

func address(t *testing.T, s string) mailbox.Address {
	t.Helper()
	a, err := mailbox.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (w *world) open() {
	w.t.Helper()
	r, err := Open(w.options)
	if err != nil {
		w.t.Fatal(err)
	}
	w.Reporter = r
}

func (w *world) close() {
	w.t.Helper()
	if err := w.Reporter.Close(); err != nil {
		w.t.Error(err)
	}
}

func (w *world) restart() {
	w.t.Helper()
	w.close()
	w.open()
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// after has a round some time later.
func (w *world) after(d time.Duration) {
	w.t.Helper()
	w.set(func() { w.now = w.now.Add(d) })
	w.round(w.t.Context())
}

func (w *world) txt(_ context.Context, name string) ([]string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	texts, ok := w.texts[name]
	switch {
	case w.broken:
		return nil, &net.DNSError{Err: "SERVFAIL", Name: name, IsTemporary: true}
	case !ok:
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	return texts, nil
}

func (w *world) submit(_ context.Context, m *mailbox.Message, to mailbox.Address) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refuse {
		return errors.New("the queue is full")
	}
	if m.Reverse != w.options.From {
		w.t.Errorf("from %s", m.Reverse)
	}
	text, err := io.ReadAll(m.Content.NewReader())
	if err != nil {
		return err
	}
	w.sent = append(w.sent, sent{to.Wire(), text})
	return nil
}

// files are those on disk.
func (w *world) files() (names []string) {
	w.t.Helper()
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// reportIn unpacks the report of a message.
func reportIn(t *testing.T, text []byte) map[string]any {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"From": "<noreply@us.test>", "To": "<reports@d.test>", "Tls-Report-Domain": "d.test", "Tls-Report-Submitter": "mx.us.test",
		"Tls-Required": "No",
		"Subject":      "Report Domain: d.test Submitter: mx.us.test Report-ID: <2026-03-04-d.test@mx.us.test>",
	} {
		if got := m.Header.Get(key); got != want {
			t.Errorf("%s: %q", key, got)
		}
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || params["report-type"] != "tlsrpt" {
		t.Fatal(kind, params, err)
	}
	parts := multipart.NewReader(m.Body, params["boundary"])
	if p, err := parts.NextPart(); err != nil || !strings.HasPrefix(p.Header.Get("Content-Type"), "text/plain") {
		t.Fatal(p, err)
	}
	p, err := parts.NextPart()
	if err != nil || p.Header.Get("Content-Type") != mediaType || p.FileName() != "mx.us.test!d.test!1772582400!1772668799.json.gz" {
		t.Fatal(p, err)
	}
	body, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, p))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parts.NextPart(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	return unpack(t, body)
}

func unpack(t *testing.T, body []byte) map[string]any {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	var report map[string]any
	if err := json.NewDecoder(z).Decode(&report); err != nil {
		t.Fatal(err)
	}
	return report
}

var (
	sts    = Policy{Type: STS, Domain: "d.test", Strings: []string{"version: STSv1", "mode: enforce"}, MX: []string{"*.d.test"}}
	noSTS  = Policy{Type: NoPolicy, Domain: "d.test"}
	others = Policy{Type: NoPolicy, Domain: "other.test"}
	alien  = &Failure{Type: CertificateHostMismatch, SendingIP: netip.MustParseAddr("192.0.2.1"),
		ReceivingIP: netip.MustParseAddr("2001:db8::1"), MX: "mx.d.test", Reason: "for another name"}
	hidden = &Failure{Type: StartTLSNotSupported, MX: "mx.d.test"}
)
