package signature

import (
	"crypto/sha256"
	"hash"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// kept is a hash that gives back what was hashed.
type kept struct {
	hash.Hash
	text []byte
}

func (k *kept) Write(p []byte) (int, error) {
	k.text = append(k.text, p...)
	return len(p), nil
}

func (k *kept) Sum([]byte) []byte { return k.text }

func canonical(form Form, pieces ...string) string {
	b := NewBody(form, &kept{Hash: sha256.New()})
	for _, p := range pieces {
		_, _ = b.Write([]byte(p))
	}
	return string(b.Sum())
}

func TestBody(t *testing.T) {
	for _, c := range []struct{ body, simple, relaxed string }{
		{"", "\r\n", ""},
		{"\r\n", "\r\n", ""},
		{"\r\n\r\n", "\r\n", ""},
		{" \r\n", " \r\n", ""},
		{" C \r\nD \t E\r\n\r\n\r\n", " C \r\nD \t E\r\n", " C\r\nD E\r\n"}, // RFC 6376 section 3.4.5
		{"a", "a\r\n", "a\r\n"},
		{"a \t", "a \t\r\n", "a\r\n"},
		{"a\r\n \r\n", "a\r\n \r\n", "a\r\n"},
		{"\r\na\r\n", "\r\na\r\n", "\r\na\r\n"},
		{"a\r", "a\r\r\n", "a\r\r\n"},
		{"a\rb\nc", "a\rb\nc\r\n", "a\rb\nc\r\n"},
		{"a \r\r\n", "a \r\r\n", "a \r\r\n"},
		{"a\n\n", "a\n\n\r\n", "a\n\n\r\n"},
		{strings.Repeat("x", 3*bodyBuffer), strings.Repeat("x", 3*bodyBuffer) + "\r\n", strings.Repeat("x", 3*bodyBuffer) + "\r\n"},
	} {
		if got := canonical(Simple, c.body); got != c.simple {
			t.Errorf("simple %q: %q", c.body, got)
		}
		if got := canonical(Relaxed, c.body); got != c.relaxed {
			t.Errorf("relaxed %q: %q", c.body, got)
		}
	}
}

// In whatever pieces a body comes, it is what the rules of RFC 6376 make of it one after the other.
func TestBodyInPieces(t *testing.T) {
	spaces, ends := regexp.MustCompile(`[ \t]+`), regexp.MustCompile(`(\r\n)+$`)
	rapid.Check(t, func(t *rapid.T) {
		pieces := rapid.SliceOf(rapid.StringOfN(rapid.SampledFrom([]rune(" \t\r\nab")), 0, 8, -1)).Draw(t, "pieces")
		body := strings.Join(pieces, "")
		simple := ends.ReplaceAllString(body, "") + "\r\n"
		if got := canonical(Simple, pieces...); got != simple {
			t.Fatalf("simple: %q instead of %q", got, simple)
		}
		relaxed := body
		relaxed = spaces.ReplaceAllString(relaxed, " ")
		relaxed = strings.ReplaceAll(relaxed, " \r\n", "\r\n")
		relaxed = strings.TrimSuffix(relaxed, " ")
		if relaxed = ends.ReplaceAllString(relaxed, ""); relaxed != "" {
			relaxed += "\r\n"
		}
		if got := canonical(Relaxed, pieces...); got != relaxed {
			t.Fatalf("relaxed: %q instead of %q", got, relaxed)
		}
	})
}

func TestField(t *testing.T) {
	for raw, want := range map[string]string{
		"A: X\r\n":                           "a:X\r\n", // RFC 6376 section 3.4.5
		"B : Y\t\r\n\tZ  \r\n":               "b:Y Z\r\n",
		"Subject:\r\n \r\n":                  "subject:\r\n",
		"SUBJECT\t :a:b \r\n \t\r\n  c  d\t": "subject:a:b c d\r\n",
		"X: \xc3\x89 E\r\n":                  "x:\xc3\x89 E\r\n",
	} {
		if got := string(AppendField(nil, []byte(raw), Relaxed)); got != want {
			t.Errorf("%q: %q", raw, got)
		}
		if got := string(AppendField(nil, []byte(raw), Simple)); got != raw {
			t.Errorf("%q: %q", raw, got)
		}
	}
}

func BenchmarkBody(b *testing.B) {
	line := "A line of an ordinary message, with words  and a few double spaces, of 76 or so.\r\n"
	body := []byte(strings.Repeat(line, 1<<20/len(line)))
	for _, form := range []Form{Simple, Relaxed} {
		b.Run(string(form), func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				h := NewBody(form, sha256.New())
				_, _ = h.Write(body)
				_ = h.Sum()
			}
		})
	}
}
