package filter

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

// A filter that fails in whatever way costs a bounded time; then mail waits or goes on, unchanged.
func TestFaults(t *testing.T) {
	huge := string(make([]byte, 100))
	for name, fake := range map[string]*fake{
		"closes at once":         {closing: map[byte]bool{'O': true}},
		"never agrees":           {hang: map[byte]bool{'O': true}},
		"agrees on too little":   {agree: packet('O', uint32s(6))},
		"wants another protocol": {agree: packet('O', uint32s(99, 0, 0))},
		"wants what is not there": {
			agree: packet('O', uint32s(6, 1<<30, 0)),
		},
		"speaks something else":   {agree: "220 smtp.test ESMTP\r\n"},
		"answer without a code":   {agree: uint32s(0)},
		"impossible length":       {agree: uint32s(0xffffffff) + "O" + huge},
		"half an answer":          {agree: packet('O', uint32s(6, 0, 0))[:9], hang: map[byte]bool{}},
		"closes at connect":       {closing: map[byte]bool{'C': true}},
		"hangs at hello":          {hang: map[byte]bool{'H': true}},
		"closes at mail":          {closing: map[byte]bool{'M': true}},
		"unknown answer":          {answers: map[byte]string{'M': packet('?')}},
		"answer of the end":       {answers: map[byte]string{'M': packet('h', "A\x00b\x00")}},
		"no reply in a reply":     {answers: map[byte]string{'M': packet('y', "hello\x00")}},
		"a reply of success":      {answers: map[byte]string{'M': packet('y', "250 2.0.0 ok\x00")}},
		"skips what it may not":   {answers: map[byte]string{'M': packet('s')}},
		"closes at rcpt":          {closing: map[byte]bool{'R': true}},
		"speaks unasked":          {answers: map[byte]string{'R': packet('c') + packet('r')}},
		"closes at data":          {closing: map[byte]bool{'T': true}},
		"hangs at a field":        {hang: map[byte]bool{'L': true}},
		"closes in the body":      {closing: map[byte]bool{'B': true}},
		"hangs at the end":        {hang: map[byte]bool{'E': true}},
		"changes, and closes":     {answers: map[byte]string{'E': packet('h', "A\x00b\x00") + packet('b', "new")}, closing: map[byte]bool{}},
		"progress for ever":       {answers: map[byte]string{'E': strings.Repeat(packet('p'), maxAnswers/frameCost+1)}},
		"too many changes":        {answers: map[byte]string{'E': strings.Repeat(packet('h', "A\x00b\x00"), maxEdits+1) + packet('c')}},
		"too long changes":        {answers: map[byte]string{'E': strings.Repeat(packet('h', "A\x00"+strings.Repeat("b", 1<<19)+"\x00"), 9)}},
		"a change that is none":   {answers: map[byte]string{'E': packet('m', "x")}},
		"NUL in a body":           {answers: map[byte]string{'E': packet('b', "a\x00b") + packet('c')}},
		"a body that is too long": {answers: map[byte]string{'E': strings.Repeat(packet('b', strings.Repeat("b", 1000)), 11) + packet('c')}},
		"half a body":             {answers: map[byte]string{'E': packet('b', "abcdef")[:8]}},
	} {
		for when, whenDown := range map[string]WhenDown{"tempfail": Tempfail, "accept": Accept} {
			t.Run(name+", "+when, func(t *testing.T) {
				t.Parallel()

				f := clone(fake).start(t).filter(t, func(o *Options) {
					quick(o)
					o.WhenDown, o.MaxMessage = whenDown, 10000
				})
				r, errs := pass(t, f, text(message))
				err := errors.Join(errs...)
				if whenDown == Accept && err != nil || whenDown == Tempfail && !errors.Is(err, ErrDown) {
					t.Error(err)
				}
				if r.Content != text(message) || r.Discard || r.Quarantine != "" {
					t.Errorf("%+v", r)
				}
			})
		}
	}
}

// clone is a fake that does the same.
func clone(f *fake) *fake {
	answers := map[byte]string{}
	for code, a := range f.answers {
		answers[code] = a
	}
	return &fake{protocol: f.protocol, agree: f.agree, answers: answers, hang: f.hang, closing: f.closing}
}

func TestNobodyThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nobody")
	f := (&fake{address: path}).filter(t, nil)
	for range 3 { // the second time nobody looks
		if _, errs := pass(t, f, text(message)); !errors.Is(errs[0], ErrDown) {
			t.Error(errs)
		}
	}
}

// Who is left alone is not connected to, and comes back when it answers.
func TestLeftAlone(t *testing.T) {
	var log bytes.Buffer
	fake := (&fake{closing: map[byte]bool{'M': true}}).start(t)
	f := fake.filter(t, func(o *Options) {
		o.WhenDown, o.Log = Accept, slog.New(slog.NewTextHandler(&log, nil))
	})
	for range 2 * maxFailures {
		if _, errs := pass(t, f, text(message)); errors.Join(errs...) != nil {
			t.Error(errs)
		}
	}
	if fake.accepted != maxFailures || strings.Count(log.String(), "filter is down") != 1 ||
		strings.Count(log.String(), "message goes on without the filter") != 2*maxFailures {
		t.Errorf("%d connections, log:\n%s", fake.accepted, log.String())
	}
	fake.mu.Lock()
	fake.closing = nil
	fake.mu.Unlock()
	f.health.until = time.Time{}
	for range 2 {
		if _, errs := pass(t, f, text(message)); errors.Join(errs...) != nil {
			t.Error(errs)
		}
	}
	if len(fake.said('E')) != 2 || !strings.Contains(log.String(), "filter answers again") {
		t.Errorf("log:\n%s", log.String())
	}
}

func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := health{log: slog.New(slog.DiscardHandler)}
		broken := errors.New("it is broken")
		for _, pause := range []int{1, 2, 4, 8, 16, 30, 30} {
			length := time.Duration(pause) * time.Second
			if !h.try() {
				t.Fatal("left alone too long")
			}
			h.failed(broken, false)
			time.Sleep(length - time.Nanosecond)
			if h.try() {
				t.Errorf("not left alone for %d s", pause)
			}
			time.Sleep(time.Nanosecond)
		}
		if first, second := h.try(), h.try(); !first || second {
			t.Error("after a pause one goes first")
		}
		h.well()
		for range 2 {
			if !h.try() {
				t.Error("it does well")
			}
		}
		for range maxFailures - 1 {
			h.failed(broken, true)
		}
		if !h.try() {
			t.Error("a message or two may have been the reason")
		}
		h.failed(broken, true)
		if h.try() {
			t.Error("not left alone")
		}
	})
}

// The end of the context is not the filter's doing: nothing goes on without it then, and it is not left alone.
func TestInterrupted(t *testing.T) {
	fake := (&fake{hang: map[byte]bool{'E': true}}).start(t)
	f := fake.filter(t, func(o *Options) { o.WhenDown = Accept })
	s := f.NewSession(client)
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	if err := errors.Join(s.Mail(ctx, address("me@d.test"), 0), s.Rcpt(ctx, address("you@d.test"), "")); err != nil {
		t.Fatal(err)
	}
	go func() {
		<-fake.hung
		cancel()
	}()
	if _, err := s.Message(ctx, "01ID", text(message)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if f.health.failures != 0 {
		t.Error("it is held against the filter")
	}
	if err := f.NewSession(client).Mail(ctx, address("me@d.test"), 0); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// torn is a content on a disk that fails.
type torn struct {
	text
	after int64
}

func (b torn) NewReader() io.Reader {
	return io.MultiReader(io.LimitReader(b.text.NewReader(), b.after), failing{})
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, net.ErrClosed }

func TestOwnFaults(t *testing.T) {
	for _, after := range []int64{3, int64(strings.Index(message, "body")) + 1} {
		fake := (&fake{}).start(t)
		f := fake.filter(t, func(o *Options) { o.WhenDown = Accept })
		if _, errs := pass(t, f, torn{message, after}); !errors.Is(errs[3], net.ErrClosed) || f.health.failures != 0 {
			t.Error(errs)
		}
	}
	full := (&fake{answers: map[byte]string{'E': packet('b', "new\r\n") + packet('c')}}).start(t)
	f := full.filter(t, func(o *Options) { o.WhenDown, o.Dir = Accept, "/dev/null/none" })
	if _, errs := pass(t, f, text(message)); errs[3] == nil || errors.Is(errs[3], ErrDown) || f.health.failures != 0 {
		t.Error(errs)
	}
}

// memory is a connection to a filter whose words are all there already. They come octet by octet, so that none of them
// seems to be said before it was asked for.
type memory struct {
	net.Conn
	io.Reader
}

func (m memory) Read(p []byte) (int, error) { return m.Reader.Read(p) }
func (memory) Write(p []byte) (int, error)  { return len(p), nil }
func (memory) SetDeadline(time.Time) error  { return nil }
func (memory) Close() error                 { return nil }
func in(words string) func(context.Context) (net.Conn, error) {
	return func(context.Context) (net.Conn, error) {
		return memory{Reader: iotest.OneByteReader(strings.NewReader(words))}, nil
	}
}

// Whatever a filter says, a message goes on as it was, is discarded, refused in printable words, or changed into another
// complete one.
func FuzzAnswers(f *testing.F) {
	good := packet('O', uint32s(6, 0x1ff, noReplies)) + packet('h', "A\x00b\x00")
	f.Add(good + packet('b', "new") + packet('m', uint32s(1), "X-A\x00\x00") + packet('q', "why\x00") + packet('a'))
	f.Add(good + packet('y', "550 5.7.1 no\x00"))
	f.Add(packet('O', uint32s(6, 0, 0)) + strings.Repeat(packet('c'), 12))
	f.Add(packet('O', uint32s(2, 0, 0), uint32s(0), "j\x00") + packet('c') + packet('d'))
	f.Add(uint32s(0))
	made := (&fake{address: "x"}).filter(f, nil)
	f.Fuzz(func(t *testing.T, words string) {
		made.dial, made.health.pause = in(words), 0
		s := made.NewSession(client)
		defer s.Close()
		ctx := context.Background()
		err := errors.Join(s.Mail(ctx, address("me@d.test"), 0), s.Rcpt(ctx, address("you@d.test"), ""))
		var r Result
		if err == nil {
			r, err = s.Message(ctx, "01ID", text(message))
		}
		var rejected *Rejection
		switch {
		case errors.As(err, &rejected):
			if rejected.Code/100 != rejected.Enhanced[0] || rejected.Text == "" || strings.Trim(rejected.Text, printable) != "" {
				t.Errorf("%+v", rejected)
			}
		case err != nil && !errors.Is(err, ErrDown):
			t.Error(err)
		case err == nil:
			got := read(t, r.Content)
			if _, body, ok := strings.Cut(got, "\r\n\r\n"); !ok && !strings.HasPrefix(got, "\r\n") || strings.Contains(
				strings.ReplaceAll(body, "\r\n", ""), "\n") {
				t.Errorf("%q", got)
			}
		}
	})
}
