package reply

import (
	"fmt"
	"strings"
)

// The bounds of a reply. A line has at most 512 octets with its codes and CRLF (RFC 5321 section 4.5.3.1.5).
const (
	maxLine  = 480
	maxLines = 24
)

// Reply is what a client is told.
type Reply struct {
	Code     int    // RFC 5321 section 4.2
	Enhanced [3]int // RFC 3463
	Text     string // printable; lines are separated by "\n", each of them at most 480 octets
}

// Temporary tells whether the client may come again with the same.
func (r Reply) Temporary() bool { return r.Code/100 == 4 }

// Permanent tells whether the same will never succeed.
func (r Reply) Permanent() bool { return r.Code/100 == 5 }

// String prints the reply as one line, for the log.
func (r Reply) String() string {
	return fmt.Sprintf("%d %s %s", r.Code, r.status(), strings.ReplaceAll(r.Text, "\n", " / "))
}

// Lined gives the text with the enhanced code in front of every line but the last, where the writer of replies puts it
// itself (RFC 2034 section 4 wants it on each line).
func (r Reply) Lined() string {
	last := strings.LastIndexByte(r.Text, '\n')
	if last < 0 {
		return r.Text
	}
	status := r.status() + " "
	return status + strings.ReplaceAll(r.Text[:last], "\n", "\n"+status) + r.Text[last:]
}

func (r Reply) status() string {
	return fmt.Sprintf("%d.%d.%d", r.Enhanced[0], r.Enhanced[1], r.Enhanced[2])
}
