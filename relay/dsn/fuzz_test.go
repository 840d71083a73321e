package dsn

import (
	"strings"
	"testing"
	"time"

	"mxbypass/mailbox"
)

// FuzzCompose: whatever servers, clients and the original say, the notification is a message of exactly three parts, whose
// fields are those that we wrote and whose lines are short (see read), its third part is how the original begins, and its
// size is what it says.
func FuzzCompose(f *testing.F) {
	f.Add([]byte(letter), "a@b.example", "rfc822;a+2Bb@c", "QQ+2B", "550 5.1.1 no", "mx.example", "no mailbox", uint16(0))
	f.Add([]byte("\r\n--=_x--\r\n"), `"a\"b"@c`, `utf-8;a\x{FC}@b`, "+0D+0A", "550 \r\n\r\n--=_x", "a b\r\nc: d", "\xff\u2028",
		uint16(1))
	f.Add([]byte("From x\r\nMessage-ID: <a@b>\r\n c\r\n\xe9: y\r\n"), "ü@b", ";", "+", strings.Repeat("x", 5000), "[::1]",
		".", uint16(27))
	f.Add([]byte("Subject: \xc3\xa9\r\n\r\nx\n.\r"), "<>", "a;b", "=", "\t \u202e\u0085", "\x7f", " ", uint16(0xffff))
	f.Fuzz(func(t *testing.T, original []byte, final, orcpt, envid, said, mta, reason string, flags uint16) {
		actions := []Action{Failed, Delayed, Delivered, Relayed}
		returns := []mailbox.Return{mailbox.ReturnUnset, mailbox.ReturnFull, mailbox.ReturnHeaders}
		r := Recipient{
			Action: actions[flags%4], Written: mailbox.Printable(final), Original: orcpt, RemoteMTA: mta, Diagnostic: said,
			Reason: mailbox.Printable(reason), Status: [3]int{int(flags>>2) % 7, int(flags>>5)%12 - 1, int(flags>>9) % 12},
			Last: now, RetryUntil: now.Add(time.Hour),
		}
		if p, err := mailbox.ParsePath(final, true); err == nil {
			r.Final = p.Address
		}
		n := notification(t, r)
		n.Original.Content, n.Original.EnvelopeID = memory(original), envid
		n.Original.Return, n.Original.UTF8Header = returns[int(flags>>4)%3], flags&1 == 0
		if flags&2 == 0 && !r.Final.IsNull() && !r.Final.Domain.IsZero() {
			n.Original.Reverse = r.Final
		}
		n.Recipients = append(n.Recipients, n.Recipients[0])
		got := compose(t, n)
		if len(got.fields) != 3 {
			t.Fatalf("%d groups of fields: %v", len(got.fields), got.fields)
		}
		for i, group := range got.fields {
			if has := group.Get("Final-Recipient") != "" && group.Get("Action") == string(r.Action); has != (i > 0) {
				t.Fatalf("group %d: %v", i, group)
			}
		}
		whole := got.kinds[2] == "message/rfc822" || got.kinds[2] == "message/global"
		if !strings.HasPrefix(string(original), got.last) || whole && got.last != string(original) {
			t.Fatalf("%s: %q of %q", got.kinds[2], got.last, original)
		}
	})
}
