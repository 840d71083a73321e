package filter

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/d--j/go-milter"
)

// maxText bounds the text of a rejection, in octets.
const maxText = 400

// Rejection is the "no" of a filter, to the sender, a recipient or the message.
type Rejection struct {
	Filter   string // its name in the configuration
	Code     int    // 400 to 599
	Enhanced [3]int // of the same class (RFC 3463)
	Text     string // one line of printable ASCII, not empty
}

// Error implements error.
func (r *Rejection) Error() string {
	e := r.Enhanced
	return fmt.Sprintf("filter %q: %d %d.%d.%d %s", r.Filter, r.Code, e[0], e[1], e[2], r.Text)
}

// rejection reads the answer of a filter that says no. What a filter gives as its reply may have several lines, each
// with the codes in front, and has its percent signs doubled, as Sendmail takes it for a format.
func rejection(name string, act *milter.Action) *Rejection {
	r := &Rejection{Filter: name, Code: 550, Enhanced: [3]int{5, 7, 1}, Text: "refused by a mail filter"}
	switch act.Type {
	case milter.ActionTempFail:
		r.Code, r.Enhanced = 451, [3]int{4, 7, 1}
		r.Text = "a mail filter asks to try again later"
		return r
	case milter.ActionReject:
		return r
	}
	r.Code = sensible(int(act.SMTPCode))
	r.Enhanced = [3]int{r.Code / 100, 7, 1}
	var said []string
	for line := range strings.Lines(act.SMTPReply) {
		line = strings.TrimRight(line, "\r\n")
		if len(line) > 3 && line[:3] == strconv.Itoa(int(act.SMTPCode)) {
			line = line[4:]
		}
		if enhanced, rest, ok := enhancedCode(line); ok {
			if enhanced[0] == r.Code/100 && len(said) == 0 {
				r.Enhanced = enhanced
			}
			line = rest
		}
		said = append(said, line)
	}
	if text := plain(strings.ReplaceAll(strings.Join(said, " "), "%%", "%")); text != "" {
		r.Text = text
	}
	return r
}

// sensible gives a code that can answer each of our client's commands: 421 would announce that we hang up, and the
// second digit is 0 to 5 (RFC 5321 section 4.2.1).
func sensible(code int) int {
	switch {
	case code/100 == 4 && (code == 421 || code%100 >= 60):
		return 451
	case code/100 != 4 && (code/100 != 5 || code%100 >= 60):
		return 550
	}
	return code
}

// enhancedCode takes an enhanced status code off the beginning of a line.
func enhancedCode(line string) (code [3]int, rest string, ok bool) {
	word, rest, _ := strings.Cut(line, " ")
	parts := strings.Split(word, ".")
	if len(parts) != len(code) {
		return code, line, false
	}
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n > 999 || len(p) > 3 {
			return code, line, false
		}
		code[i] = int(n)
	}
	return code, rest, code[0] == 2 || code[0] == 4 || code[0] == 5
}

// plain makes one line of printable ASCII of what a filter says: replies must be ASCII for clients that did not ask for
// SMTPUTF8 (RFC 6531 section 3.5).
func plain(s string) string {
	var b strings.Builder
	for word := range strings.FieldsSeq(s) {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		for _, r := range word {
			if r <= ' ' || r >= 0x7f {
				r = '?'
			}
			b.WriteByte(byte(r))
		}
		if b.Len() > maxText {
			return b.String()[:maxText]
		}
	}
	return b.String()
}
