package filter

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/d--j/go-milter"

	"mxbypass/relay/header"
)

// What filters change is changed, and every other octet stays.
func TestEdits(t *testing.T) {
	add := func(name, value string) string { return packet('h', name, "\x00", value, "\x00") }
	insert := func(at uint32, name, value string) string {
		return packet('i', uint32s(at), name, "\x00", value, "\x00")
	}
	change := func(n uint32, name, value string) string { return packet('m', uint32s(n), name, "\x00", value, "\x00") }
	const received, subject, first, second = "Received: by x\r\n\tfor y\r\n", "Subject:  two\r\n", "X-A:1\r\n", "x-a: 2\r\n"
	const end = "\r\nbody\r\n"
	for name, tt := range map[string]struct {
		protocol uint32
		content  string
		edits    string
		want     string // "same": the same content
	}{
		"nothing":              {0, message, "", "same"},
		"added":                {0, message, add("B", "1") + add("B", "2"), received + subject + first + second + "B: 1\r\nB: 2\r\n" + end},
		"added, with spaces":   {leadingSpace, message, add("B", " 1"), received + subject + first + second + "B: 1\r\n" + end},
		"inserted":             {0, message, insert(0, "B", "0") + insert(1, "C", "1") + insert(3, "D", "3"), "C: 1\r\nB: 0\r\nD: 3\r\n" + received + subject + first + second + end},
		"inserted far below":   {0, message, insert(4e9, "B", "1"), received + subject + first + second + "B: 1\r\n" + end},
		"changed":              {0, message, change(2, "X-A", "new\n\tfold"), received + subject + first + "X-A: new\r\n\tfold\r\n" + end},
		"changed, without one": {0, message, change(0, "X-A", "new"), received + subject + "X-A: new\r\n" + second + end},
		"not so many":          {0, message, change(3, "X-A", "new"), received + subject + first + second + "X-A: new\r\n" + end},
		"taken away":           {0, message, change(1, "X-A", ""), received + subject + second + end},
		"both, from above":     {0, message, change(1, "X-A", "") + change(2, "X-A", ""), received + subject + end},
		"both, from below":     {0, message, change(2, "X-A", "") + change(1, "X-A", ""), received + subject + end},
		"taken away, added":    {0, message, change(1, "X-A", "") + add("X-A", "3"), received + subject + second + "X-A: 3\r\n" + end},
		"taken away, changed":  {0, message, change(1, "X-A", "") + change(1, "X-A", "3"), received + subject + "X-A: 3\r\n" + second + end},
		"none to take away":    {0, message, change(3, "X-A", "") + change(1, "Nothing", ""), "same"},
		"no names":             {0, message, add("", "x") + add("A B", "x") + add("A:", "x") + add("Ä", "x"), "same"},
		"header injection":     {0, message, add("B", "1\r\nTo: you\r\n\r\nbody\n.\n"), received + subject + first + second + "B: 1\r\n To: you\r\n body\r\n .\r\n" + end},
		"recipients, sender":   {0, message, packet('+', "<a@d.test>\x00") + packet('-', "<a@d.test>\x00") + packet('e', "<b@d.test>\x00"), "same"},
		"a body":               {0, message, packet('b', "new\r\nline") + packet('b', "\nend"), received + subject + first + second + "\r\nnew\r\nline\r\nend\r\n"},
		"an empty body":        {0, message, packet('b'), received + subject + first + second + "\r\n"},
		"a body and a field":   {0, "A: 1", packet('b', "new") + add("B", "2"), "A: 1\r\nB: 2\r\n\r\nnew\r\n"},
		"a body, not shown":    {noBody, message, packet('b', "new"), received + subject + first + second + "\r\nnew\r\n"},
		"a field to no header": {0, "\r\nbody\r\n", add("B", "2"), "B: 2\r\n\r\nbody\r\n"},
		"to no body":           {0, "A: 1", add("B", "2"), "A: 1\r\nB: 2\r\n"},
		"to what is no header": {0, "A: 1\r\nwhat\r\nC: 3\r\n\r\nbody\r\n", add("B", "2"), "A: 1\r\nB: 2\r\nwhat\r\nC: 3\r\n\r\nbody\r\n"},
		"a body there":         {0, "A: 1\r\nwhat\r\nC: 3\r\n\r\nbody\r\n", packet('b', "new"), "A: 1\r\n\r\nnew\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := (&fake{protocol: tt.protocol, answers: map[byte]string{'E': tt.edits + packet('c')}}).start(t)
			r, errs := pass(t, fake.filter(t, nil), text(tt.content))
			if err := errors.Join(errs...); err != nil {
				t.Fatal(err)
			}
			if tt.want == "same" {
				if r.Content != text(tt.content) {
					t.Errorf("it is another content: %q", read(t, r.Content))
				}
				return
			}
			if got := read(t, r.Content); got != tt.want {
				t.Errorf("%q\nwant %q", got, tt.want)
			}
		})
	}
}

func TestQuarantine(t *testing.T) {
	for reason, want := range map[string]string{"spam\r\nX: y": "spam X: y", "": "fake"} {
		fake := (&fake{answers: map[byte]string{'E': packet('q', reason+"\x00") + packet('a')}}).start(t)
		r, errs := pass(t, fake.filter(t, nil), text(message))
		if err := errors.Join(errs...); err != nil || r.Quarantine != want || r.Content != text(message) {
			t.Errorf("%+v, %v", r, err)
		}
	}
}

// A long body is kept in a file, and is there until the session is closed.
func TestLongBody(t *testing.T) {
	line := strings.Repeat("0123456789abcde\n", 4000)
	fake := (&fake{answers: map[byte]string{'E': strings.Repeat(packet('b', line), 40) + packet('c')}}).start(t)
	r, errs := pass(t, fake.filter(t, nil), text("A: 1\r\n\r\n"))
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if want := "A: 1\r\n\r\n" + strings.ReplaceAll(strings.Repeat(line, 40), "\n", "\r\n"); read(t, r.Content) != want {
		t.Error("it is another one")
	}
	if r.Content.Buffers() != nil {
		t.Error("it is in memory")
	}
}

// Whatever a filter writes into a field, it is one field, with the same words, and its lines are not too long.
func FuzzField(f *testing.F) {
	for _, seed := range []string{"", "a", " a\n\tb", "a\r\n\r\nb", "\n\n", "a\rb", strings.Repeat("x", 3000), strings.Repeat("é ", 2000),
		strings.Repeat(" ", 2000) + "x", "x" + strings.Repeat("\t", 2000) + "y"} {
		f.Add("X-Name", seed, true)
		f.Add(strings.Repeat("N", maxLine-1), seed, false)
	}
	f.Fuzz(func(t *testing.T, name, value string, leading bool) {
		if !isName(name) || len(name) > maxLine-1 || strings.Contains(value, "\x00") {
			return
		}
		e := edit{leading: leading, log: slog.New(slog.DiscardHandler)}
		field := e.field(milter.ModifyAction{HeaderName: name, HeaderValue: value})
		h, err := header.Read(text(string(field.Raw)+"\r\nbody"), 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		if len(h.Fields) != 1 || h.Fields[0].Name != name || !bytes.Equal(h.Fields[0].Raw, field.Raw) {
			t.Fatalf("%q is %d fields", field.Raw, len(h.Fields))
		}
		lines := strings.Split(strings.TrimSuffix(string(field.Raw), "\r\n"), "\r\n")
		for i, l := range lines {
			if len(l) > maxLine || strings.ContainsAny(l, "\r\n") || i > 0 && strings.Trim(l, " \t") == "" {
				t.Fatalf("line %d of %q", i, field.Raw)
			}
		}
		squeeze := strings.NewReplacer(" ", "", "\t", "", "\r", "", "\n", "")
		if got := squeeze.Replace(strings.TrimPrefix(string(field.Raw), name+":")); got != squeeze.Replace(value) {
			t.Fatalf("%q became %q", value, field.Raw)
		}
	})
}

// However a body comes in pieces, it has the same lines, each with CRLF.
func FuzzBody(f *testing.F) {
	for _, seed := range []string{"", "a", "a\r\n", "a\nb\rc\r\n\r\r\n\n", "\r", "\n"} {
		f.Add(seed, uint8(1))
		f.Add(seed, uint8(3))
	}
	made, err := New(Options{Network: "unix", Address: "x", Dir: f.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body string, size uint8) {
		if strings.Contains(body, "\x00") {
			return
		}
		s := made.NewSession(Client{})
		defer s.Close()
		w := &written{session: s}
		for rest := body; ; {
			n := min(int(size)+1, len(rest))
			if _, err := w.Write([]byte(rest[:n])); err != nil {
				t.Fatal(err)
			}
			if rest = rest[n:]; rest == "" {
				break
			}
		}
		if err := w.close(); err != nil {
			t.Fatal(err)
		}
		c, err := s.content()
		if err != nil {
			t.Fatal(err)
		}
		want := strings.NewReplacer("\r\n", "\r\n", "\r", "\r\n", "\n", "\r\n").Replace(body)
		if want != "" && !strings.HasSuffix(want, "\n") {
			want += "\r\n"
		}
		if got := read(t, c); got != want {
			t.Fatalf("%q became %q, want %q", body, got, want)
		}
	})
}
