package inbound

import (
	"bytes"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// scripted is a connection whose client has said everything beforehand, in these segments.
type scripted struct {
	segments [][]byte
	out      bytes.Buffer
	closed   chan struct{}
	once     sync.Once
}

func (s *scripted) Read(p []byte) (int, error) {
	for len(s.segments) > 0 {
		n := copy(p, s.segments[0])
		if s.segments[0] = s.segments[0][n:]; len(s.segments[0]) == 0 {
			s.segments = s.segments[1:]
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, io.EOF
}

func (s *scripted) Write(p []byte) (int, error)      { return s.out.Write(p) }
func (s *scripted) Close() error                     { s.once.Do(func() { close(s.closed) }); return nil }
func (s *scripted) LocalAddr() net.Addr              { return &net.UnixAddr{Name: "script", Net: "unix"} }
func (s *scripted) RemoteAddr() net.Addr             { return &net.UnixAddr{Name: "script", Net: "unix"} }
func (s *scripted) SetDeadline(time.Time) error      { return nil }
func (s *scripted) SetReadDeadline(time.Time) error  { return nil }
func (s *scripted) SetWriteDeadline(time.Time) error { return nil }

// handed is a listener that accepts what it is handed.
type handed struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newHanded() *handed { return &handed{conns: make(chan net.Conn), done: make(chan struct{})} }

func (h *handed) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

func (h *handed) Close() error   { h.once.Do(func() { close(h.done) }); return nil }
func (h *handed) Addr() net.Addr { return &net.UnixAddr{Name: "handed", Net: "unix"} }

var identifier = regexp.MustCompile(`\b0[0-9A-Z]{25}\b`)

// run plays a script, cut at the given sizes (used again and again), and returns what was said and what was delivered.
func (r *rig) run(script []byte, sizes []int) (said string, got []delivered) {
	r.core.mu.Lock()
	r.core.messages = nil
	r.core.mu.Unlock()
	c := &scripted{closed: make(chan struct{})}
	for i := 0; len(script) > 0; i++ {
		n := min(sizes[i%len(sizes)], len(script))
		c.segments = append(c.segments, script[:n:n])
		script = script[n:]
	}
	r.listener.(*handed).conns <- c
	<-c.closed
	return identifier.ReplaceAllString(c.out.String(), "ID"), r.core.all()
}

const begin = "EHLO client.test\r\nMAIL FROM:<a@client.test>\r\nRCPT TO:<foobar@exemple.org>\r\n"

// scripts are dialogues whose clients never wait.
var scripts = []string{
	begin + "DATA\r\nSubject: x\r\n\r\n..text\r\n.\r\n" +
		"MAIL FROM:<>\r\nRCPT TO:<contact@exemple.org>\r\nDATA\r\n.\r\nQUIT\r\n",
	begin + "DATA\r\nbare\nLF\r\n.\r\nNOOP\r\n" + begin + "DATA\r\ngood\r\n.\r\nQUIT\r\n",
	begin + "BDAT 5\r\none\r\nRSET\r\nBDAT 3 LAST\r\nQUINOOP\r\n" +
		"MAIL FROM:<>\r\nRCPT TO:<both@exemple.org>\r\nBDAT 0\r\nBDAT 11 LAST\r\nRSET\r\n.\r\n\r\nQUIT\r\n",
	begin + "BDAT 3 LAST\r\na\nbBDAT 4\r\nQUITNOOP\r\nBDAT x\r\nNOOP\r\n",
	begin + "DATA\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 2000) +
		".\r\nRSET\r\nVRFY x\r\nXYZ\r\nNOOP\x00\r\nQUIT\r\n",
	begin + "RCPT TO:<nobody@exemple.org>\r\nRCPT TO:<\"x y\"@exemple.org>\r\nDATA\r\ncut off",
	begin + "NOOP " + strings.Repeat("x", 3000) + "\r\nNOOP\r\n",
	begin + "BDAT 100 LAST\r\ncut off",
}

// TestSegments: wherever the network cuts what a client says, the answers and the messages are the same.
func TestSegments(t *testing.T) {
	r := startOn(t, newHanded(), SMTP, nil)
	for _, script := range scripts {
		want, wantGot := r.run([]byte(script), []int{len(script)})
		for _, n := range []int{1, 2, 3, 7, 100, 2048, 4096, 65536} {
			same(t, script, []int{n}, r, want, wantGot)
		}
		if len(script) > 2000 {
			continue
		}
		for n := 1; n < len(script); n++ {
			same(t, script, []int{n, len(script)}, r, want, wantGot)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		script := rapid.SampledFrom(scripts).Draw(t, "script")
		sizes := rapid.SliceOfN(rapid.IntRange(1, 5000), 1, 50).Draw(t, "sizes")
		want, wantGot := r.run([]byte(script), []int{len(script)})
		same(t, script, sizes, r, want, wantGot)
	})
}

func same(t interface{ Fatalf(string, ...any) }, script string, sizes []int, r *rig, want string, wantGot []delivered) {
	said, got := r.run([]byte(script), sizes)
	if said != want || len(got) != len(wantGot) {
		t.Fatalf("%.300q in pieces of %d:\n%s\n%d messages; in one piece:\n%s\n%d messages", script, sizes, said,
			len(got), want, len(wantGot))
	}
	for i := range got {
		if got[i].Content != wantGot[i].Content {
			t.Fatalf("%.300q in pieces of %d: content %q, in one piece %q", script, sizes, got[i].Content,
				wantGot[i].Content)
		}
	}
}

// TestScripts: what those scripts lead to.
func TestScripts(t *testing.T) {
	r := startOn(t, newHanded(), SMTP, nil)
	for i, row := range []struct {
		codes    string
		messages string
	}{
		{"220 250 250 250 354 250 250 250 354 250 221", "Subject: x\r\n\r\n.text\r\n|"},
		{"220 250 250 250 354 554 250 250 250 250 354 250 221", "good\r\n"},
		{"220 250 250 250 250 250 503 250 250 250 250 250 221", "RSET\r\n.\r\n\r\n"},
		{"220 250 250 250 554 503 250 501", ""},
		{"220 250 250 250 354 250 250 252 500 500 221", strings.Repeat(strings.Repeat("x", 70)+"\r\n", 2000)},
		{"220 250 250 250 550 250 354", ""},
		{"220 250 250 250 500", ""},
		{"220 250 250 250", ""},
	} {
		said, got := r.run([]byte(scripts[i]), []int{len(scripts[i])})
		var texts []string
		for _, d := range got {
			texts = append(texts, d.Content)
		}
		if codes := codes(said); codes != row.codes || strings.Join(texts, "|") != row.messages {
			t.Errorf("%.200q:\n%s\n got %s, %q", scripts[i], said, codes, texts)
		}
	}
}

// codes lists the codes of replies.
func codes(said string) string {
	var all []string
	for line := range strings.SplitSeq(said, "\r\n") {
		if len(line) > 3 && line[3] == ' ' {
			all = append(all, line[:3])
		}
	}
	return strings.Join(all, " ")
}

// FuzzSession plays anything. No input ends the process, and whatever was said comes back in no reply unescaped.
func FuzzSession(f *testing.F) {
	for _, s := range scripts {
		if len(s) < 2000 {
			f.Add([]byte(s), 3)
		}
	}
	r := startOn(f, newHanded(), SMTP, nil)
	f.Fuzz(func(t *testing.T, script []byte, n int) {
		said, got := r.run(script, []int{len(script) + 1})
		printable(t, said)
		again, gotAgain := r.run(script, []int{min(max(n, 1), 1<<16)})
		if said != again || len(got) != len(gotAgain) {
			t.Fatalf("%q: %q and %d messages; in pieces of %d: %q and %d messages", script, said, len(got), n, again,
				len(gotAgain))
		}
	})
}

// FuzzContent puts anything between DATA and its end: what follows is read as commands, all of it and nothing else.
func FuzzContent(f *testing.F) {
	for _, s := range []string{"", ".", "a\r\n", "\n.\n", "\r\n.\r", "RSET\r\nQUIT"} {
		f.Add([]byte(s))
	}
	r := startOn(f, newHanded(), SMTP, nil)
	f.Fuzz(func(t *testing.T, content []byte) {
		const end = "\r\n.\r\n"
		inner := string(content) + end
		if strings.Index("\r\n"+inner, end) != len(inner)-len(end)+2 {
			return // it ends before its end
		}
		said, got := r.run([]byte(begin+"DATA\r\n"+inner+"NOOP\r\nVRFY x\r\nQUIT\r\n"), []int{1 << 20})
		switch c := codes(said); c {
		case "220 250 250 250 354 250 250 252 221":
			if len(got) != 1 || len(got[0].Content) > len(inner)-3 || strings.ContainsAny(
				strings.ReplaceAll(got[0].Content, "\r\n", ""), "\r\n\x00") {
				t.Fatalf("%q: %d messages", content, len(got))
			}
		case "220 250 250 250 354 554 250 252 221":
			if len(got) != 0 {
				t.Fatalf("%q refused and delivered", content)
			}
		default:
			t.Fatalf("%q leads to %s", content, c)
		}
	})
}

func printable(t *testing.T, said string) {
	t.Helper()
	for _, c := range strings.ReplaceAll(said, "\r\n", "") {
		if c < ' ' || c == 0x7f {
			t.Fatalf("a reply with a control character: %q", said)
		}
	}
}
