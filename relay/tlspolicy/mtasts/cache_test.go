package mtasts

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mxbypass/mailbox"
)

// TestLife: a policy is fetched once, holds whatever DNS says, gives way to a new one, and ends.
func TestLife(t *testing.T) {
	w := newWorld(t, "mta-sts.d.test")
	w.want("enforce 1", nil, 1)
	w.want("enforce 1", nil, 1)
	w.restart()
	w.want("enforce 1", nil, 1)
	w.set(func() { w.texts = nil })
	w.want("enforce 1", nil, 1)
	w.set(func() { w.broken = true })
	w.want("enforce 1", ErrRecord, 1)
	w.set(func() { w.broken, w.texts, w.answer = false, []string{"v=STSv1; id=2"}, http.NotFound })
	w.want("enforce 1", ErrFetch, 2)
	w.want("enforce 1", ErrFetch, 2) // not again at once
	w.advance(failedFor)
	w.want("enforce 1", ErrFetch, 3)
	w.set(func() {
		w.texts, w.answer = []string{"v=STSv1; id=3"}, policy(strings.Replace(valid, "enforce", "testing", 1))
	})
	w.want("testing 3", nil, 4)
	w.set(func() { w.texts = nil })
	w.advance(7*24*time.Hour - 1)
	w.want("testing 3", nil, 4)
	w.restart()
	w.want("testing 3", nil, 4)
	w.advance(1)
	w.want("", nil, 4)
	w.restart()
	if files, err := os.ReadDir(w.dir); err != nil || len(files) != 0 {
		t.Errorf("%v, %v", files, err)
	}
	w.set(func() { w.broken = true })
	w.want("", ErrRecord, 4)
}

// TestFetch: what is no policy of the domain is none.
func TestFetch(t *testing.T) {
	for title, c := range map[string]struct {
		certified string
		answer    http.HandlerFunc
		want      error
	}{
		"another name":   {"d.test", policy(valid), ErrFetch},
		"not found":      {"mta-sts.d.test", http.NotFound, ErrFetch},
		"sent on":        {"mta-sts.d.test", http.RedirectHandler("/.well-known/mta-sts.txt", http.StatusMovedPermanently).ServeHTTP, ErrFetch},
		"no text":        {"mta-sts.d.test", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>"+valid) }, ErrFetch},
		"nonsense":       {"mta-sts.d.test", policy("mode: enforce"), ErrInvalid},
		"without an end": {"mta-sts.d.test", policy(valid + strings.Repeat("x: y\n", maxPolicy)), ErrInvalid},
		"a header without an end": {"mta-sts.d.test", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 2*maxPolicy))
		}, ErrFetch},
		"hung up": {"mta-sts.d.test", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, ErrFetch},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.certified)
			w.set(func() { w.answer = c.answer })
			fetches := 1
			if title == "another name" {
				fetches = 0
			}
			w.want("", c.want, fetches)
			if files, err := os.ReadDir(w.dir); err != nil || len(files) != 0 {
				t.Errorf("%v, %v", files, err)
			}
		})
	}
}

// The servers of strangers' policies are none of ours.
func TestFetchNotHere(t *testing.T) {
	w := newWorld(t, "mta-sts.d.test")
	for _, addrs := range [][]netip.Addr{
		{netip.MustParseAddr("127.0.0.1")}, {netip.MustParseAddr("::ffff:127.0.0.1"), netip.MustParseAddr("::")},
		{netip.MustParseAddr("169.254.169.254")}, nil,
	} {
		w.options.AllowLoopback = false
		w.options.Addr = func(context.Context, string) ([]netip.Addr, error) { return addrs, nil }
		w.restart()
		w.want("", ErrFetch, 0)
	}
}

// Many who ask at once wait for one fetch; who gives up does not end it.
func TestShared(t *testing.T) {
	w := newWorld(t, "mta-sts.d.test")
	hold := make(chan struct{})
	w.set(func() { w.hold = hold })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if p, err := w.Policy(ctx, mailbox.MustDomainName("d.test")); p != nil || !errors.Is(err, ErrFetch) || !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v", p, err)
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if p, err := w.Policy(t.Context(), mailbox.MustDomainName("d.test")); p == nil || err != nil {
				t.Errorf("%v, %v", p, err)
			}
		})
	}
	close(hold)
	all.Wait()
	w.want("enforce 1", nil, 1)
}

// Close ends a fetch, and none is begun after it.
func TestClose(t *testing.T) {
	w := newWorld(t, "mta-sts.d.test")
	hold := make(chan struct{})
	arrived := make(chan struct{})
	w.set(func() { w.answer = func(http.ResponseWriter, *http.Request) { close(arrived); <-hold } })
	var asked sync.WaitGroup
	asked.Go(func() {
		if p, err := w.Policy(t.Context(), mailbox.MustDomainName("d.test")); p != nil || !errors.Is(err, ErrFetch) {
			t.Errorf("%v, %v", p, err)
		}
	})
	<-arrived
	if err := w.Cache.Close(); err != nil {
		t.Error(err)
	}
	asked.Wait()
	close(hold)
	w.want("", ErrFetch, 1)
}

// TestRefresh: policies in use are fetched again long before they end, whether they have changed or not.
func TestRefresh(t *testing.T) {
	w := newWorld(t, "mta-sts.d.test")
	w.want("enforce 1", nil, 1)
	round := func(after time.Duration, fetches int) {
		t.Helper()
		w.advance(after)
		w.refresh(t.Context())
		if w.fetches != fetches {
			t.Errorf("%d fetches, want %d", w.fetches, fetches)
		}
	}
	round(refreshAfter-1, 1)
	round(1, 2)
	for day := range 6 {
		round(refreshAfter, 3+day)
	}
	w.set(func() { w.broken = true })
	round(refreshAfter, 8)
	w.set(func() { w.broken, w.answer = false, http.NotFound })
	round(refreshAfter, 9)
	w.set(func() { w.texts = nil })
	round(refreshAfter, 9)
	w.want("enforce 1", nil, 9) // ten days after the first contact, and three after the last
	round(4*refreshAfter, 9)
	if w.want("", nil, 9); len(w.kept) != 0 {
		t.Error("it is kept")
	}
	w.set(func() { w.texts, w.answer = []string{"v=STSv1; id=2"}, policy(valid) })
	w.want("enforce 2", nil, 10)
	for range 29 {
		w.advance(refreshAfter)
		w.refresh(t.Context())
	}
	round(refreshAfter, 39) // nobody has asked for a month
}

// TestDisk: what cannot be read is removed, and the others are there.
func TestDisk(t *testing.T) {
	w := newWorld(t, "mta-sts.d.test")
	w.want("enforce 1", nil, 1)
	good := w.path("d.test")
	info, err := os.Stat(good)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info, err)
	}
	text, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"00.json": string(text), filepath.Base(w.path("e.test")): string(text), "empty.json": "", "cut.json": string(text[:20]),
		"x.json.new": "{", filepath.Base(w.path("none.test")): `{"domain":"none.test","text":"no policy"}`,
	} {
		if err := os.WriteFile(filepath.Join(w.dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.restart()
	w.want("enforce 1", nil, 1)
	if files, err := os.ReadDir(w.dir); err != nil || len(files) != 1 {
		t.Errorf("%v, %v", files, err)
	}
	w.advance(-24 * time.Hour) // the clock goes back: it ends no later for that
	w.restart()
	w.advance(7 * 24 * time.Hour)
	w.set(func() { w.texts = nil })
	w.want("", nil, 1)

	w.options.Dir = good
	if c, err := Open(w.options); err == nil {
		t.Error("a file is no folder")
		c.Close()
	}
}

// TestBounds: however many domains there are.
func TestBounds(t *testing.T) {
	w := newWorld(t, "mta-sts.d.test")
	w.want("enforce 1", nil, 1)
	now := w.clock()
	w.Cache.mu.Lock()
	for i := range maxPolicies - 1 {
		w.kept[string(rune('a'+i%26))+time.Duration(i).String()] = &entry{policy: &Policy{MaxAge: time.Hour}, fetched: now,
			used: now.Add(time.Duration(i+1) * time.Second)}
	}
	if dropped := w.evict("d.test"); dropped != nil {
		t.Errorf("%v", dropped)
	}
	if dropped := w.evict("new.test"); len(dropped) != 1 || dropped[0] != "d.test" || len(w.kept) != maxPolicies-1 {
		t.Errorf("%v, %d", dropped, len(w.kept))
	}
	w.kept["d.test"] = &entry{policy: &Policy{}, fetched: now.Add(-time.Hour), used: now}
	if dropped := w.evict("new.test"); len(dropped) != 1 || dropped[0] != "d.test" {
		t.Errorf("%v", dropped)
	}
	for i := range maxFailures {
		w.failed[time.Duration(i).String()] = failure{until: now}
	}
	makeRoom(w.failed, maxFailures, func(f failure) bool { return !now.Before(f.until) })
	if len(w.failed) != 0 {
		t.Errorf("%d", len(w.failed))
	}
	for i := range maxFailures {
		w.failed[time.Duration(i).String()] = failure{until: now.Add(1)}
	}
	makeRoom(w.failed, maxFailures, func(f failure) bool { return !now.Before(f.until) })
	if n := len(w.failed); n >= maxFailures || n < maxFailures*8/10 {
		t.Errorf("%d", n)
	}
	w.Cache.mu.Unlock()
}
