package header

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"mxbypass/mailbox"
)

// text is a content in pieces, or in a "file".
type text struct {
	pieces [][]byte
	file   bool
}

func (t text) Size() int64 { return int64(len(bytes.Join(t.pieces, nil))) }

func (t text) Buffers() [][]byte {
	if t.file {
		return nil
	}
	return t.pieces
}

func (t text) NewReader() io.Reader {
	if t.file {
		return bytes.NewReader(bytes.Join(t.pieces, nil))
	}
	return io.MultiReader(bytes.NewReader(bytes.Join(t.pieces, nil))) // which cannot seek
}

// all reads a content in each way that there is, and holds them against each other.
func all(t *testing.T, c mailbox.Content) string {
	t.Helper()
	read, err := io.ReadAll(struct{ io.Reader }{c.NewReader()})
	if err != nil {
		t.Fatal(err)
	}
	var written bytes.Buffer
	if _, err := io.Copy(&written, c.NewReader()); err != nil {
		t.Fatal(err)
	}
	if b := c.Buffers(); b != nil && !bytes.Equal(bytes.Join(b, nil), read) {
		t.Errorf("read %q, in memory %q", read, bytes.Join(b, nil))
	}
	if written.String() != string(read) || c.Size() != int64(len(read)) {
		t.Errorf("read %q, written %q, size %d", read, written.String(), c.Size())
	}
	return string(read)
}

// in gives the content in several shapes.
func in(s string) []mailbox.Content {
	b := []byte(s)
	contents := []mailbox.Content{text{[][]byte{b}, false}, text{[][]byte{b}, true}}
	if len(b) > 2 {
		contents = append(contents, text{[][]byte{b[:len(b)/2], b[len(b)/2:]}, false}, text{[][]byte{b[:1], b[1:2], b[2:]}, false})
	}
	return contents
}

func TestEdits(t *testing.T) {
	const message = "Received: by a\r\n\tfor b\r\nX-Old:1\r\nFrom: me@d.test\r\nx-old : 2\r\n\r\nbody\r\n"
	for name, edit := range map[string]struct {
		do   func(*Header)
		want string
	}{
		"nothing": {func(*Header) {}, message},
		"prepended": {func(h *Header) { h.Prepend(NewField("A", "1"), NewField("B", "2\r\n 3")) },
			"A: 1\r\nB: 2\r\n 3\r\n" + message},
		"removed": {func(h *Header) {
			if n := h.Remove(func(f Field) bool { return f.Is("X-OLD") }); n != 2 {
				t.Errorf("%d removed", n)
			}
		}, "Received: by a\r\n\tfor b\r\nFrom: me@d.test\r\n\r\nbody\r\n"},
		"all removed": {func(h *Header) { h.Remove(func(Field) bool { return true }) }, "\r\nbody\r\n"},
	} {
		for _, c := range in(message) {
			h, err := Read(c, 1000)
			if err != nil {
				t.Fatal(err)
			}
			edit.do(h)
			if got := all(t, h.Content()); got != edit.want {
				t.Errorf("%s: %q, want %q", name, got, edit.want)
			}
			if got := all(t, c); got != message {
				t.Errorf("%s has changed what was read: %q", name, got)
			}
			body, err := io.ReadAll(h.Body())
			if err != nil || string(body) != "\r\nbody\r\n" {
				t.Errorf("%s: body %q, %v", name, body, err)
			}
		}
	}
}

// TestSeparated: what begins with white space would go on with the field above it.
func TestSeparated(t *testing.T) {
	for text, want := range map[string]string{
		" ; dmarc=pass\r\nFrom: a\r\n\r\nx": "A: 1\r\n\r\n ; dmarc=pass\r\nFrom: a\r\n\r\nx",
		"\tx":                               "A: 1\r\n\r\n\tx",
		"From: a\r\n\r\n b":                 "A: 1\r\nFrom: a\r\n\r\n b",
		"\r\n b":                            "A: 1\r\n\r\n b",
		"no field\r\n\r\n":                  "A: 1\r\nno field\r\n\r\n",
		"":                                  "A: 1\r\n",
	} {
		for _, c := range in(text) {
			h, err := Read(Separated(c), 100)
			if err != nil {
				t.Fatal(err)
			}
			h.Prepend(NewField("A", "1"))
			if got := all(t, h.Content()); got != want {
				t.Errorf("%q became %q", text, got)
			}
		}
	}
}

func TestWithBody(t *testing.T) {
	for _, c := range in("A: 1\r\n\r\nold") {
		h, err := Read(c, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, body := range append(in("new\r\n"), text{[][]byte{}, false}) {
			want := "A: 1\r\n\r\n" + all(t, body)
			if got := all(t, h.WithBody(body)); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		}
	}
}

func TestFields(t *testing.T) {
	h, err := Read(in("A: 1\r\nno field\r\nB : two\r\n\twords\r\na:3\r\n\r\n")[0], 100)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range h.Fields {
		names = append(names, f.Name+"="+f.Value())
	}
	if want := []string{"A=1", "=", "B=two\twords", "a=3"}; !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
	if got := h.All("A"); len(got) != 2 || !h.Has("b") || h.Has("C") {
		t.Errorf("%v", got)
	}
}

func TestTooBig(t *testing.T) {
	const fields = "A: 1\r\nB: 2\r\n"
	for _, c := range in(fields + "\r\nbody") {
		if _, err := Read(c, int64(len(fields))-1); !errors.Is(err, ErrTooBig) {
			t.Errorf("%v", err)
		}
		if _, err := Read(c, int64(len(fields))+2); err != nil {
			t.Errorf("%v", err)
		}
	}
}

func TestFrom(t *testing.T) {
	for value, want := range map[string]string{
		"From: me@d.test":                       "me@d.test",
		"From: \"Me, I\" <Me@d.test>, b@D.test": "Me@d.test b@d.test",
		"From: =?utf-8?q?M=C3=A9?= <me@d.test>": "me@d.test",
		"From: g: a@d.test, b@d.test;":          "a@d.test b@d.test",
		"From: me@d.test\r\nfrom: you@d.test":   "",
		"From:":                                 "",
		"To: me@d.test":                         "",
		"From: me":                              "",
		"From: <me@d.test> <you@d.test>":        "",
	} {
		h, err := Read(in(value + "\r\n\r\n")[0], 1000)
		if err != nil {
			t.Fatal(err)
		}
		addresses, err := From(h)
		var got []string
		for _, a := range addresses {
			got = append(got, a.String())
		}
		if strings.Join(got, " ") != want || (err != nil) != (want == "") || err != nil && !errors.Is(err, ErrFrom) {
			t.Errorf("%q: %q, %v", value, got, err)
		}
	}
}

// Reading a header and writing it again changes nothing, whatever the content is.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{"", "A: 1\r\n\r\nbody", "A: 1\r\n", " folded\r\nA:1", "\r\n", "A: 1\n\nbody", "::\r\n\t\r\n\r\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, c := range in(s) {
			h, err := Read(c, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			if got := all(t, h.Content()); got != s {
				t.Errorf("%q became %q", s, got)
			}
		}
	})
}
