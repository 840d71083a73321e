package peer

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"
)

// Load is clients that send message after message until the server fails them, and remember what got a 250.
type Load struct {
	clients sync.WaitGroup
	enough  chan struct{}

	mu           sync.Mutex
	acknowledged map[string]bool // by subject
}

// StartLoad starts clients of the server at addr; enough is reached after so many acknowledged messages. next names the
// nth message of a client, its recipient and the octets of its body.
func StartLoad(addr string, clients, after int, next func(client, n int) (subject, to string, size int)) *Load {
	l := &Load{enough: make(chan struct{}), acknowledged: map[string]bool{}}
	for client := range clients {
		l.clients.Go(func() {
			c, _, err := DialSMTP("tcp", addr)
			if err != nil {
				return
			}
			defer c.Close()
			if _, err := c.Cmd("EHLO client.test"); err != nil {
				return
			}
			for n := 0; ; n++ {
				subject, to, size := next(client, n)
				reply, err := c.Message("sender@client.test", to, loadMessage(subject, size))
				if err != nil || !strings.HasPrefix(reply, "250") {
					return
				}
				l.mu.Lock()
				l.acknowledged[subject] = true
				if len(l.acknowledged) == after {
					close(l.enough)
				}
				l.mu.Unlock()
			}
		})
	}
	return l
}

// Until waits for enough messages, or for the end of the server, then cuts the clients off and waits for them to notice.
func (l *Load) Until(ended <-chan struct{}, cut func()) error {
	var err error
	select {
	case <-l.enough:
	case <-ended:
	case <-time.After(2 * time.Minute):
		err = errors.New("the clients were not served")
	}
	cut()
	l.clients.Wait()
	return err
}

// Acknowledged gives the subjects of what got a 250.
func (l *Load) Acknowledged() map[string]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.acknowledged)
}

// loadMessage is a message of a load: it says what it is made of, and no block of a disk that holds some of it looks like
// another one.
func loadMessage(subject string, size int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Subject: %s\r\nX-Octets: %d\r\n\r\n", subject, size)
	padding := strings.Repeat("x", 900)
	for line, end := 0, b.Len()+size; b.Len() < end; line++ {
		fmt.Fprintf(&b, "%s, line %d %s\r\n", subject, line, padding)
	}
	return b.String() + "end\r\n"
}

// Whole finds a message of a load below the trace fields of relays, and tells whether it is what was sent, octet by octet.
func Whole(content string) (subject string, whole bool) {
	_, rest, _ := strings.Cut(content, "Subject: ")
	subject, rest, _ = strings.Cut(rest, "\r\n")
	var size int
	if _, err := fmt.Sscanf(rest, "X-Octets: %d\r\n", &size); err != nil {
		return subject, false
	}
	return subject, strings.HasSuffix(content, loadMessage(subject, size))
}
