package wire

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"mxbypass/relay/reply"
	"mxbypass/relay/spool"
)

var wide = BodyLimits{Size: 1 << 20, Header: 1 << 20, Line: 1 << 20, Received: 50}

// model is what DATA means, said in the simplest way (RFC 5321 sections 4.1.1.4 and 4.5.2): content up to the first
// CRLF.CRLF, the dot at the start of each line taken away. clean tells whether CR and LF come in pairs only, and no
// NUL.
func model(b []byte) (content []byte, rest []byte, ended, clean bool) {
	const end = "\r\n.\r\n"
	s := "\r\n" + string(b) // the command line before it is the start of the first line
	before, after, found := strings.Cut(s, end)
	if !found {
		return nil, nil, false, false
	}
	lines := strings.Split(before+"\r\n", "\r\n")[1:]
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], ".")
	}
	text := strings.Join(lines, "\r\n")
	clean = !strings.ContainsAny(strings.ReplaceAll(text, "\r\n", ""), "\r\n\x00")
	return []byte(text), []byte(after), true, clean
}

// feed gives b to a scanner in pieces of the given sizes (the last one is used again and again), as readDots does.
func feed(b []byte, limits *BodyLimits, sizes ...int) (content, rest []byte, ended bool, err error) {
	var out bytes.Buffer
	s := scanner{dst: &out, limits: limits}
	var held []byte
	for i := 0; len(b) > 0 || i == 0; i++ {
		n := min(sizes[min(i, len(sizes)-1)], len(b))
		held = append(held, b[:n]...)
		b = b[n:]
		used, end := s.data(held)
		held = held[used:]
		if end {
			return out.Bytes(), append(held, b...), true, s.finish()
		}
		if len(held) > 2 {
			return nil, nil, false, fmt.Errorf("%d octets left over: %q", len(held), held)
		}
	}
	return nil, nil, false, nil
}

// check compares a scanner with the model.
func check(t interface {
	Helper()
	Fatalf(string, ...any)
}, b []byte, sizes ...int) {
	t.Helper()
	content, rest, ended, err := feed(b, &wide, sizes...)
	want, wantRest, wantEnded, clean := model(b)
	switch {
	case ended != wantEnded:
		t.Fatalf("%q in pieces of %d: ended %v, want %v", b, sizes, ended, wantEnded)
	case !ended:
	case !bytes.Equal(rest, wantRest):
		t.Fatalf("%q in pieces of %d: %q is left for commands, want %q", b, sizes, rest, wantRest)
	case clean != (err == nil):
		t.Fatalf("%q in pieces of %d: %v, clean: %v", b, sizes, err, clean)
	case !clean && !errors.Is(err, reply.ErrBareControl):
		t.Fatalf("%q: %v", b, err)
	case clean && !bytes.Equal(content, want):
		t.Fatalf("%q in pieces of %d: content %q, want %q", b, sizes, content, want)
	}
}

// TestEndOfData has what was taken for an end of data somewhere (CVE-2023-51764, -51765, -51766, -52354), and is none.
func TestEndOfData(t *testing.T) {
	for _, lookalike := range []string{
		"\n.\n", "\n.\r\n", "\r.\r", "\r.\r\n", "\r\n.\n", "\r\n.\r", "\r\n.\rX",
		"\r\n.\x00\r\n", "\r\n\x00.\r\n", "\r\n..\r\n",
		"\r\n.\r\r\n", "\r\n. \r\n", "\r\n.\n\r\n", "\n\n.\n\n", "\r\n\n.\r\n",
		"\n.\n\r\n", "\x00\r\n.\x00", "\r\n.\r\x00\n",
		"\u2028.\u2028", "\x85.\x85", "\v.\v", "\f.\f",
	} {
		for _, before := range []string{"", "text", "text\r\n", "\r", "\n"} {
			if strings.Contains("\r\n"+before+lookalike, "\r\n.\r\n") {
				continue // together they are no look-alike
			}
			b := []byte(before + lookalike + "MAIL FROM:<smuggled@client.test>\r\n.\r\nQUIT\r\n")
			content, rest, ended, err := feed(b, &wide, len(b))
			if !ended || string(rest) != "QUIT\r\n" {
				t.Errorf("%q: ended %v, %q is left for commands", b, ended, rest)
			}
			if err == nil && !strings.Contains(string(content), "MAIL FROM:<smuggled@client.test>") {
				t.Errorf("%q: content %q", b, content)
			}
			for n := 1; n <= len(b); n++ {
				check(t, b, n)
				check(t, b, n, 1)
			}
		}
	}
	for _, b := range []string{".\r\n", ".\r\nQUIT\r\n", "\r\n.\r\n", "..\r\n.\r\n", "a\r\r\n.\r\nQUIT\r\n", "a\r\n.\r\n.\r\n"} {
		for n := 1; n <= len(b); n++ {
			check(t, []byte(b), n)
		}
	}
}

// TestAnySegmentation: the same octets give the same content, wherever the network cuts them.
func TestAnySegmentation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.SampledFrom([]string{"\r", "\n", "\r\n", ".", "..", "\x00", "a", "Received: x", "\r\n.\r\n",
			"\r\n\r\n", "ü", strings.Repeat("x", 100)}), 0, 40).Draw(t, "parts")
		sizes := rapid.SliceOfN(rapid.IntRange(1, 60), 1, 20).Draw(t, "sizes")
		check(t, []byte(strings.Join(parts, "")), sizes...)
	})
}

func FuzzData(f *testing.F) {
	for _, s := range []string{"a\r\n.\r\n", "\n.\r\n\r\n.\r\n", ".\r\n", "..a\r\n.\r\nQUIT\r\n", "a\r\n.\r\r\n.\r\n"} {
		f.Add([]byte(s), 1, 3)
	}
	f.Fuzz(func(t *testing.T, b []byte, first, then int) {
		check(t, b, max(first, 1), max(then, 1))
	})
}

// TestChunks: a chunk has no dots and no end, and the same octets are refused.
func TestChunks(t *testing.T) {
	for text, clean := range map[string]bool{
		"": true, ".\r\n": true, "a\r\n.\r\nb\r\n": true, "no line end": true, "\r\n..\r\n": true,
		"a\nb": false, "a\rb": false, "a\r": false, "\x00": false, "\n": false, "\r\r\n": false,
	} {
		for n := 1; n <= max(len(text), 1); n++ {
			var out bytes.Buffer
			s := scanner{dst: &out, limits: &wide}
			for b := []byte(text); len(b) > 0; {
				k := min(n, len(b))
				s.chunk(b[:k])
				b = b[k:]
			}
			err := s.finish()
			if clean != (err == nil) || clean && out.String() != text {
				t.Errorf("%q in pieces of %d: %v, %q", text, n, err, out.String())
			}
		}
	}
}

func TestBodyLimits(t *testing.T) {
	limits := &BodyLimits{Size: 400, Header: 200, Line: 100, Received: 3}
	received := strings.Repeat("received : from a by b;\r\n date\r\n", 3)
	for name, row := range map[string]struct {
		text string
		want error
	}{
		"exactly the size":            {strings.Repeat("\r\n", 200), nil},
		"one octet more":              {strings.Repeat("\r\n", 199) + "a\r\n", spool.ErrTooBig},
		"dots do not count":           {strings.Repeat("..\r\n", 133), nil},
		"header":                      {strings.Repeat("X: y\r\n", 33) + "\r\n", nil},
		"header too big":              {strings.Repeat("X: y\r\n", 34) + "\r\n", reply.ErrHeaderTooBig},
		"no header, a long body":      {strings.Repeat("no field\r\n", 30), nil},
		"a field and a long body":     {"X: y\r\n" + strings.Repeat("no field\r\n", 30), nil},
		"a line":                      {"\r\n" + strings.Repeat("x", 98) + "\r\n", nil},
		"a line too long":             {"\r\n" + strings.Repeat("x", 99) + "\r\n", reply.ErrLineTooLong},
		"as many hops as allowed":     {received + "\r\n", nil},
		"one hop too many":            {received + "RECEIVED: x\r\n\r\n", reply.ErrTooManyHops},
		"Received in the body":        {received + "\r\nReceived: x\r\n", nil},
		"Received folded":             {received + " Received: x\r\n\r\n", nil},
		"after the mbox line":         {"From a@b.test Mon\r\n" + received + "Received: x\r\n\r\n", reply.ErrTooManyHops},
		"From is no field elsewhere":  {received + "From a\r\nReceived: x\r\n\r\n", nil},
		"names that are too long":     {strings.Repeat("Received-By-Somebody-Else: x\r\n", 5) + "\r\n", nil},
		"white space first":           {" Received: x\r\n" + received + received + "\r\n", nil},
		"only the header, without CR": {received, nil},
	} {
		for n := 1; n < 60; n += 7 {
			_, _, ended, err := feed([]byte(row.text+".\r\n"), limits, n)
			if !ended || !errors.Is(err, row.want) || row.want == nil && err != nil {
				t.Errorf("%s, in pieces of %d: ended %v, %v", name, n, ended, err)
			}
		}
	}
}

func TestDeliveredTo(t *testing.T) {
	text := "Delivered-To: <a@exemple.org>\r\nSubject: x\r\ndelivered-to:\r\n\tb@exemple.org \r\nDELIVERED-TO : c@exemple.org\r\n" +
		"\r\nDelivered-To: body@exemple.org\r\n"
	for n := 1; n < len(text); n++ {
		s := scanner{dst: &bytes.Buffer{}, limits: &wide}
		for b := []byte(text); len(b) > 0; {
			k := min(n, len(b))
			s.chunk(b[:k])
			b = b[k:]
		}
		if err := s.finish(); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(s.header.delivered, ","); got != "a@exemple.org,b@exemple.org,c@exemple.org" {
			t.Fatalf("in pieces of %d: %q", n, got)
		}
	}
}

// full is a place without room.
type full struct{ after int }

func (f *full) Write(p []byte) (int, error) {
	if f.after -= len(p); f.after < 0 {
		return 0, os.ErrClosed
	}
	return len(p), nil
}

// TestNoRoom: what cannot be kept is still read to its end.
func TestNoRoom(t *testing.T) {
	s := scanner{dst: &full{after: 10}, limits: &wide}
	b := []byte("0123456789\r\n.\r\nQUIT\r\n")
	used, end := s.data(b)
	if !end || string(b[used:]) != "QUIT\r\n" || !errors.Is(s.finish(), os.ErrClosed) {
		t.Fatal(used, end, s.finish())
	}
}

func BenchmarkScan(b *testing.B) {
	text := []byte(strings.Repeat(strings.Repeat("x", 76)+"\r\n", 800))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		s := scanner{dst: &full{after: 1 << 30}, limits: &wide}
		s.data(text)
	}
}
