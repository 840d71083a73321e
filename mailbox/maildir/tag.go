package maildir

import (
	"encoding/base64"
	"encoding/binary"
	"strings"
	"unicode/utf16"

	"mxbypass/mailbox"
)

// maxTagFolder bounds the name of a folder that a sender can have made.
const maxTagFolder = 128

// tagFolder gives the Maildir++ folder of a tag as Dovecot names it on disk: a dot, then the name in modified UTF-7
// (RFC 3501 section 5.1.3). It is "" for tags that had better be delivered to the INBOX: those with "." (which would
// be a hierarchy), "/", the wildcards and quoting characters of IMAP, a leading "~", and INBOX itself.
func tagFolder(tag mailbox.LocalPart) string {
	s := string(tag)
	if s == "" || s[0] == '~' || strings.ContainsAny(s, "./*%\"\\\x00") || strings.EqualFold(s, "INBOX") {
		return ""
	}
	name := "." + modifiedUTF7(s)
	if len(name) > maxTagFolder {
		return ""
	}
	return name
}

const alphabetUTF7 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,"

var base64UTF7 = base64.NewEncoding(alphabetUTF7).WithPadding(base64.NoPadding)

// modifiedUTF7 encodes the name of a mailbox: printable ASCII is itself, "&" is "&-", the rest is base64 of UTF-16.
func modifiedUTF7(s string) string {
	var b strings.Builder
	var run []uint16
	flush := func() {
		if len(run) == 0 {
			return
		}
		octets := make([]byte, 0, 2*len(run))
		for _, u := range run {
			octets = binary.BigEndian.AppendUint16(octets, u)
		}
		b.WriteString("&" + base64UTF7.EncodeToString(octets) + "-")
		run = run[:0]
	}
	for _, r := range s {
		if r < 0x20 || r > 0x7e {
			run = utf16.AppendRune(run, r)
			continue
		}
		flush()
		b.WriteRune(r)
		if r == '&' {
			b.WriteByte('-')
		}
	}
	flush()
	return b.String()
}
