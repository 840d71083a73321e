package dsn

import (
	"io"
	"strings"
	"testing"

	"mxbypass/mailbox"
)

// What comes back of the original: how much, as what, and what is said about it.
func TestWhatComesBack(t *testing.T) {
	const (
		whole, global = "message/rfc822", "message/global"
		header        = "text/rfc822-headers"

		fields = "Subject: x\r\nTo: a\r\n\tb\r\n"
		n      = int64(len(fields))
		all    = -1
	)
	long := func(start, again string, size int) mailbox.Content {
		return repeated{start, again, size/len(again) + 1}
	}
	line := strings.Repeat("x", 61) + "\r\n"
	big, huge := long(fields+"\r\n", line, MaxUnasked), long(fields+"\r\n", line, MaxFull)
	tests := map[string]struct {
		action  Action // failed where there is none
		ret     mailbox.Return
		content mailbox.Content
		kind    string
		size    int64  // of what comes back
		says    string // about it
	}{
		"failed":               {"", "", memory(letter), whole, all, "and your message."},
		"failed, full":         {"", "FULL", big, whole, all, "and your message."},
		"failed, headers":      {"", "HDRS", memory(fields + "\r\nbody"), header, n, "the header of your message. The"},
		"failed, unset, big":   {"", "", big, header, n, "larger than 64 KiB"},
		"failed, full, huge":   {"", "FULL", huge, header, n, "had been asked for, but it is larger than 10 MiB."},
		"delayed, full":        {Delayed, "FULL", big, header, n, "the header of your message. The"},
		"delivered, full":      {Delivered, "FULL", big, header, n, ""},
		"relayed, full":        {Relayed, "FULL", big, header, n, ""},
		"utf-8 header":         {"", "", memory("Subject: é\r\n\r\nx"), global, all, ""},
		"utf-8 header alone":   {"", "HDRS", memory("Subject: é\r\n\r\né"), "message/global-headers", 13, ""},
		"utf-8 body":           {"", "FULL", memory("Subject: e\r\n\r\né"), whole, all, ""},
		"utf-8 body, headers":  {"", "HDRS", memory("Subject: e\r\n\r\né"), header, 12, ""},
		"no empty line":        {"", "HDRS", memory(fields), header, n, ""},
		"no end of line":       {"", "HDRS", memory("Subject: x"), header, 10, ""},
		"no end of line, full": {"", "FULL", memory("Subject: x\r\n\r\nx"), whole, all, ""},
		"no header":            {"", "HDRS", memory("\r\nbody: x\r\n"), header, 0, "an empty part: your message has no header."},
		"only body":            {"", "HDRS", memory("hello, you\r\nbody: x\r\n"), header, 0, ""},
		"only body, indented":  {"", "HDRS", memory(" a: b\r\nbody: x\r\n"), header, 0, ""},
		"only body, full":      {"", "FULL", memory("hello, you\r\n"), whole, all, ""},
		"nothing":              {"", "FULL", memory(""), whole, all, ""},
		"nothing, headers":     {"", "HDRS", memory(""), header, 0, ""},
		"body after header":    {"", "HDRS", memory(fields + "secret words\r\nA: b\r\n\r\n"), header, n, ""},
		"colon first":          {"", "HDRS", memory(fields + ": secret\r\n\r\n"), header, n, ""},
		"space before colon":   {"", "HDRS", memory("Subject : x\r\n\r\n"), header, 13, ""},
		"envelope line":        {"", "HDRS", memory("From jo Wed Nov 25\r\n" + fields + "\r\nx"), header, n + 20, ""},
		"envelope line, later": {"", "HDRS", memory(fields + "From jo Wed Nov 25\r\n\r\nx"), header, n, ""},
		"endless header": {
			"", "HDRS", long(fields, "X: "+line, 2<<20), header, n + (MaxHeader-n)/66*66, "longer than 1 MiB, the rest",
		},
		"endless field": {"", "HDRS", long(fields+"X: x\r\n", " "+line, 2<<20), header, n, "longer than 1 MiB, the rest"},
		"endless line":  {"", "HDRS", long(fields+"X: ", line[:61], 2<<20), header, n, "longer than 1 MiB, the rest"},
		"longer than a buffer": {
			"", "HDRS", memory("X: " + strings.Repeat("x:", 40<<10) + "\r\n" + fields), header, 80<<10 + 5 + n, "",
		},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			r := failure
			if c.action != "" {
				r.Action, r.Status = c.action, [3]int{}
			}
			note := notification(t, r)
			note.Original.Return, note.Original.Content = c.ret, c.content
			note.Original.UTF8Header = strings.HasPrefix(name, "utf-8 header")
			got := compose(t, note)
			want, err := io.ReadAll(c.content.NewReader())
			if err != nil {
				t.Fatal(err)
			}
			if c.size != all {
				want = want[:c.size]
			}
			if got.kinds[2] != c.kind || got.last != string(want) {
				t.Errorf("%s of %d octets, want %s of %d", got.kinds[2], len(got.last), c.kind, len(want))
			}
			if words := strings.Join(strings.Fields(got.words), " "); !strings.Contains(words, c.says) {
				t.Errorf("%q is not said in:\n%s", c.says, got.words)
			}
		})
	}
}

// A header of the wrong charset is no UTF-8 header, and SMTPUTF8 that was asked for without need changes nothing.
func TestNotGlobal(t *testing.T) {
	n := notification(t, failure)
	n.Original.Content, n.Original.Return = memory("Subject: \xe9\r\n\r\n"), mailbox.ReturnHeaders
	if got := compose(t, n); got.kinds[2] != "text/rfc822-headers" || got.last != "Subject: \xe9\r\n" {
		t.Errorf("%s %q", got.kinds[2], got.last)
	}
	n = notification(t, failure)
	n.Original.UTF8Header = true
	if got := compose(t, n); got.kinds[2] != "message/rfc822" {
		t.Error(got.kinds[2])
	}
}

// The original's identifier is passed on when programs will take it for one.
func TestInReplyTo(t *testing.T) {
	for field, want := range map[string]string{
		"Message-ID: <a@b>":                                     "<a@b>",
		"message-id:\r\n <a..b$c=d@[::1]> \r\n":                 "<a..b$c=d@[::1]>",
		"MESSAGE-ID : <a@b>":                                    "<a@b>",
		"Message-ID: <a@b>\r\nMessage-ID: <c@d>":                "<a@b>",
		"Message-ID:\r\nMessage-ID: <c@d>":                      "",
		"Message-ID: a@b":                                       "",
		"Message-ID: <a@b> <c@d>":                               "",
		"Message-ID: <a b@c>":                                   "",
		"Message-ID: <a@b>\r\n\t(comment)":                      "",
		"Message-ID: <a@é>":                                     "",
		"Message-ID: <a\x00@b>":                                 "",
		"Message-ID: <@b>":                                      "",
		"Message-ID: <a@>":                                      "",
		"Message-ID: <a@b@c>":                                   "",
		"X-Message-ID: <a@b>":                                   "",
		"Subject: x\r\n\r\nMessage-ID: <a@b>":                   "",
		"Message-ID: <" + strings.Repeat("a", maxValue) + "@b>": "",
		"Message-ID: <a@" + strings.Repeat("b", 1<<20) + ">":    "",
	} {
		n := notification(t, failure)
		n.Original.Content = memory("From: x\r\n" + field + "\r\n\r\nbody\r\n")
		got := compose(t, n)
		for _, name := range []string{"In-Reply-To", "References"} {
			if got := got.header.Get(name); got != want {
				t.Errorf("%.60q: %s: %q, want %q", field, name, got, want)
			}
		}
	}
}
