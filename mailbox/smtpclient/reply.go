package smtpclient

import (
	"bufio"
	"errors"
	"fmt"
	"strings"

	"mxbypass/mailbox"
)

// Bounds of one reply. RFC 5321 section 4.5.3.1.5 allows 512 octets in a line; servers with long explanations exist.
const (
	maxLine        = 4096      // octets of a line that are looked at; the rest of the line is dropped
	maxReplyLines  = 100       // lines
	maxReplyOctets = 256 << 10 // octets read, dropped ones included
	maxText        = 4096      // octets of text kept
)

// errReply: what the server sent is no reply, or not one that can stand here.
var errReply = errors.New("invalid reply")

// reply is what a server answered to one command.
type reply struct {
	code     int    // 200 to 599
	enhanced [3]int // RFC 3463; zero when there is none
	text     string // without the codes, lines joined by "\n", at most maxText octets
}

// positive tells whether the command was carried out.
func (r reply) positive() bool { return r.code/100 == 2 }

// negative tells whether the command was refused.
func (r reply) negative() bool { return r.code/100 >= 4 }

// refusal makes the error of a negative reply.
func (r reply) refusal(host, command string) *mailbox.RemoteError {
	return &mailbox.RemoteError{Code: r.code, Enhanced: r.enhanced, Text: r.text, Host: host, Command: command}
}

// readReply reads one reply (RFC 5321 section 4.2). The reader's buffer has maxLine octets.
func readReply(r *bufio.Reader) (reply, error) {
	var rep reply
	var text strings.Builder
	budget := maxReplyOctets
	for n := range maxReplyLines {
		line, err := readLine(r, &budget)
		if err != nil {
			return reply{}, err
		}
		code, last, rest, ok := cutCode(line)
		if !ok {
			return reply{}, fmt.Errorf("%w: %.80q", errReply, line)
		}
		if n > 0 && code != rep.code {
			return reply{}, fmt.Errorf("%w: the code changes from %d to %d", errReply, rep.code, code)
		}
		rep.code = code
		if enhanced, after, ok := cutEnhanced(rest, code/100); ok {
			rep.enhanced, rest = enhanced, after
		}
		if n > 0 && text.Len() < maxText {
			text.WriteByte('\n')
		}
		text.WriteString(rest[:min(len(rest), maxText-text.Len())])
		if last {
			rep.text = text.String()
			return rep, nil
		}
	}
	return reply{}, fmt.Errorf("%w: more than %d lines", errReply, maxReplyLines)
}

// readLine reads a line, without its end (CRLF, or LF alone as some servers have it). Beyond maxLine octets the line is
// dropped. What is read is taken from the budget.
func readLine(r *bufio.Reader, budget *int) (string, error) {
	chunk, err := r.ReadSlice('\n')
	line := strings.TrimSuffix(strings.TrimSuffix(string(chunk), "\n"), "\r")
	*budget -= len(chunk)
	for errors.Is(err, bufio.ErrBufferFull) && *budget > 0 {
		chunk, err = r.ReadSlice('\n')
		*budget -= len(chunk)
	}
	if *budget <= 0 {
		return "", fmt.Errorf("%w: more than %d octets", errReply, maxReplyOctets)
	}
	return line, err
}

// cutCode cuts the code from a line: "250 text", "250-text" when more lines follow, or "250" alone.
func cutCode(line string) (code int, last bool, rest string, ok bool) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || !isDigit(line[1]) || !isDigit(line[2]) {
		return 0, false, "", false
	}
	code = int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
	switch {
	case len(line) == 3:
		return code, true, "", true
	case line[3] == ' ':
		return code, true, line[4:], true
	case line[3] == '-':
		return code, false, line[4:], true
	}
	return 0, false, "", false
}

// cutEnhanced cuts an enhanced code of the given class from the text of a line (RFC 2034 section 4).
func cutEnhanced(s string, class int) (enhanced [3]int, rest string, ok bool) {
	code, rest, _ := strings.Cut(s, " ")
	for i := range enhanced {
		part, after, more := strings.Cut(code, ".")
		if part == "" || len(part) > 3 || more != (i < 2) {
			return [3]int{}, "", false
		}
		for _, c := range []byte(part) {
			if !isDigit(c) {
				return [3]int{}, "", false
			}
			enhanced[i] = enhanced[i]*10 + int(c-'0')
		}
		code = after
	}
	if enhanced[0] != class {
		return [3]int{}, "", false
	}
	return enhanced, rest, true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
