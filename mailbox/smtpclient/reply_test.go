package smtpclient

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
)

func parse(s string) (reply, *bufio.Reader, error) {
	r := bufio.NewReaderSize(strings.NewReader(s), maxLine)
	rep, err := readReply(r)
	return rep, r, err
}

func TestReply(t *testing.T) {
	long := strings.Repeat("x", 5000)
	for _, c := range []struct {
		in       string
		code     int
		enhanced [3]int
		text     string
	}{
		{"250 OK\r\n", 250, [3]int{}, "OK"},
		{"250\r\n", 250, [3]int{}, ""},
		{"250 \r\n", 250, [3]int{}, ""},
		{"250 OK\n", 250, [3]int{}, "OK"},
		{"550 5.1.1 no such user\r\n", 550, [3]int{5, 1, 1}, "no such user"},
		{"550 5.1.1\r\n", 550, [3]int{5, 1, 1}, ""},
		{"550-5.7.1 because\r\n550-\r\n550 5.7.1 so\r\n", 550, [3]int{5, 7, 1}, "because\n\nso"},
		{"550-plain\r\n550 5.7.1 late\r\n", 550, [3]int{5, 7, 1}, "plain\nlate"},
		{"250 2.0.0.0 four\r\n", 250, [3]int{}, "2.0.0.0 four"},
		{"250 2.0 two\r\n", 250, [3]int{}, "2.0 two"},
		{"250 5.1.1 other class\r\n", 250, [3]int{}, "5.1.1 other class"},
		{"250 2.1000.1 long\r\n", 250, [3]int{}, "2.1000.1 long"},
		{"250 2..1 gap\r\n", 250, [3]int{}, "2..1 gap"},
		{"451 \x00\x1b\xff as it came\r\n", 451, [3]int{}, "\x00\x1b\xff as it came"},
		{"250 " + long + "\r\n", 250, [3]int{}, long[:maxLine-4]},
		{"250-" + long + "\r\n250 end\r\n", 250, [3]int{}, long[:maxLine-4] + "\nend"},
		{"250-" + long + "\r\n250-abcdef\r\n250 end\r\n", 250, [3]int{}, long[:maxLine-4] + "\nabc"},
		{"354 go\r\n", 354, [3]int{}, "go"},
	} {
		rep, r, err := parse(c.in)
		want := reply{c.code, c.enhanced, c.text}
		if err != nil || rep != want {
			t.Errorf("%.80q: %.200v, %v", c.in, rep, err)
		}
		if n := r.Buffered(); n != 0 {
			t.Errorf("%.80q: %d octets left", c.in, n)
		}
	}
}

func TestNoReply(t *testing.T) {
	for _, c := range []struct {
		in  string
		err error
	}{
		{"", io.EOF},
		{"250", io.EOF},
		{"250-OK\r\n", io.EOF},
		{"\r\n", errReply},
		{"25\r\n", errReply},
		{"250OK\r\n", errReply},
		{"250_OK\r\n", errReply},
		{"150 wait\r\n", errReply},
		{"600 what\r\n", errReply},
		{"+OK POP3 ready\r\n", errReply},
		{"* OK IMAP ready\r\n", errReply},
		{"\x16\x03\x01\x02\r\n", errReply},
		{"250-a\r\n251 b\r\n", errReply},
		{strings.Repeat("250-x\r\n", maxReplyLines+1), errReply},
		{strings.Repeat("x", maxReplyOctets+maxLine), errReply},
		{strings.Repeat("250-"+strings.Repeat("x", 8000)+"\r\n", 90), errReply},
	} {
		if rep, _, err := parse(c.in); !errors.Is(err, c.err) {
			t.Errorf("%.80q: %v, %v", c.in, rep, err)
		}
	}
}

// FuzzReply: whatever a server sends, a reply is within its bounds, and reading it ends within them.
func FuzzReply(f *testing.F) {
	for _, s := range []string{"250 2.1.0 OK\r\n", "550-5.7.1 a\r\n550 5.7.1 b\r\n", "421\n", "250-a\r\n251 b\r\n", "\x00\xff",
		"354 \r\r\n", "452 4.2.2 " + strings.Repeat("full ", 2000) + "\r\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		in := strings.NewReader(s)
		rep, err := readReply(bufio.NewReaderSize(in, maxLine))
		if read := len(s) - in.Len(); read > maxReplyOctets+2*maxLine {
			t.Errorf("%d octets read", read)
		}
		if err != nil {
			if rep != (reply{}) {
				t.Errorf("%v with %v", rep, err)
			}
			return
		}
		if rep.code < 200 || rep.code > 599 || len(rep.text) > maxText || strings.Count(rep.text, "\n") >= maxReplyLines {
			t.Errorf("out of bounds: %v", rep)
		}
		if e := rep.enhanced; e != [3]int{} && (e[0] != rep.code/100 || e[1] > 999 || e[2] > 999) {
			t.Errorf("enhanced code %v", e)
		}
		if rep.positive() && rep.negative() {
			t.Errorf("both positive and negative: %v", rep)
		}
	})
}
