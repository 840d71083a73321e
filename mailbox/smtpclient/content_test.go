package smtpclient

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// undot is the other side, as RFC 5321 section 4.5.2 has it: it gives the message and what follows its end.
func undot(s string) (message, rest string, ok bool) {
	for s != "" {
		line, after, found := strings.Cut(s, "\r\n")
		switch {
		case !found:
			return "", "", false
		case line == ".":
			return message, after, true
		}
		message += strings.TrimPrefix(line, ".") + "\r\n"
		s = after
	}
	return "", "", false
}

var bare = regexp.MustCompile(`\r[^\n]|\r$|[^\r]\n|^\n`)

// TestDots: in whatever pieces the content comes and whatever the size of a write, the other side reads the same content,
// finished by CRLF, and nothing after it; content with a bare CR or LF never gets its end.
func TestDots(t *testing.T) {
	token := rapid.SampledFrom([]string{".", "..", "\r\n", "\r\n", "\r\n.", "\r\n.\r\n", "x", "text", "\r", "\n", ".\n", "\x00"})
	rapid.Check(t, func(t *rapid.T) {
		tokens := rapid.SliceOfN(token, 0, 12).Draw(t, "content")
		content := strings.Join(tokens, "")
		var sent strings.Builder
		w := newDotWriter(make([]byte, 0, rapid.IntRange(1, 9).Draw(t, "size")), func(p []byte) error {
			sent.Write(p)
			return nil
		})
		err := write(w, content, rapid.IntRange(1, 9).Draw(t, "piece"))
		if bare.MatchString(content) {
			if _, _, ended := undot(sent.String()); !errors.Is(err, errBareControl) || ended {
				t.Fatalf("%q: %v, sent %q", content, err, sent.String())
			}
			return
		}
		want := content
		if want != "" && !strings.HasSuffix(want, "\r\n") {
			want += "\r\n"
		}
		got, rest, ok := undot(sent.String())
		if err != nil || !ok || got != want || rest != "" {
			t.Fatalf("%q: %v, sent %q", content, err, sent.String())
		}
	})
}

func write(w *dotWriter, content string, piece int) error {
	for content != "" {
		n := min(piece, len(content))
		if _, err := w.Write([]byte(content[:n])); err != nil {
			return err
		}
		content = content[n:]
	}
	return w.Close()
}

// TestDotsWriteError: an error of the network stops the writing at once.
func TestDotsWriteError(t *testing.T) {
	broken, writes := errors.New("broken"), 0
	w := newDotWriter(make([]byte, 0, 4), func([]byte) error {
		writes++
		return broken
	})
	if err := write(w, "some lines\r\n.and dots\r\n", 30); !errors.Is(err, broken) || writes != 1 {
		t.Errorf("%v after %d writes", err, writes)
	}
}
