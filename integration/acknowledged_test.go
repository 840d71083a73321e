package integration

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"

	"mxbypass/integration/peer"
)

// senders are clients that send message after message until the relay fails them, and remember what got a 250.
type senders struct {
	clients sync.WaitGroup
	enough  chan struct{}

	mu           sync.Mutex
	acknowledged map[string]bool // by subject
}

// send starts clients; enough is closed after so many acknowledged messages. next names the nth message of a client, its
// recipient and the octets of its body.
func (s *setup) send(clients, after int, next func(client, n int) (subject, to string, size int)) *senders {
	x := &senders{enough: make(chan struct{}), acknowledged: map[string]bool{}}
	for client := range clients {
		x.clients.Go(func() {
			c, _, err := peer.DialSMTP("tcp", s.Addr)
			if err != nil {
				return
			}
			defer c.Close()
			if _, err := c.Cmd("EHLO client.test"); err != nil {
				return
			}
			for n := 0; ; n++ {
				subject, to, size := next(client, n)
				reply, err := c.Message("sender@client.test", to,
					"Subject: "+subject+"\r\n\r\n"+strings.Repeat("x", size)+"\r\nend\r\n")
				if err != nil || !strings.HasPrefix(reply, "250") {
					return
				}
				x.mu.Lock()
				x.acknowledged[subject] = true
				if len(x.acknowledged) == after {
					close(x.enough)
				}
				x.mu.Unlock()
			}
		})
	}
	return x
}

// until waits for enough messages, then cuts the clients off and waits for them to notice.
func (x *senders) until(t *testing.T, cut func()) {
	t.Helper()
	select {
	case <-x.enough:
	case <-time.After(time.Minute):
		t.Error("the clients were not served")
	}
	cut()
	x.clients.Wait()
}

// arrived holds the mailboxes against what was acknowledged: each message is there once, and none is there in part.
func (x *senders) arrived(t *testing.T, mails [][]byte) {
	t.Helper()
	found := map[string]int{}
	for _, m := range mails {
		content := below(t, m)
		subject, _, _ := strings.Cut(strings.TrimPrefix(string(content), "Subject: "), "\r\n")
		if !bytes.HasSuffix(content, []byte("\r\nend\r\n")) {
			t.Errorf("half a message in the mailbox: %s", subject)
		}
		found[subject]++
	}
	for subject := range x.acknowledged {
		if found[subject] != 1 {
			t.Errorf("%s got a 250 and is %d times in the mailbox", subject, found[subject])
		}
	}
	t.Logf("%d acknowledged, %d found", len(x.acknowledged), len(found))
}
