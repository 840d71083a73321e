package integration

import (
	"testing"

	"mxbypass/integration/peer"
)

// load is clients that send until the relay fails them.
type load struct{ *peer.Load }

func (s *setup) send(clients, after int, next func(client, n int) (subject, to string, size int)) *load {
	return &load{peer.StartLoad(s.Addr, clients, after, next)}
}

// until waits for enough messages, then cuts the clients off and waits for them to notice.
func (l *load) until(t *testing.T, cut func()) {
	t.Helper()
	if err := l.Until(nil, cut); err != nil {
		t.Error(err)
	}
}

// arrived holds the mailboxes against what was acknowledged: each of that is there once, and nothing is there that is not
// whole, octet by octet.
func arrived(t *testing.T, acknowledged map[string]bool, mails [][]byte) {
	t.Helper()
	found := map[string]int{}
	for _, m := range mails {
		subject, whole := peer.Whole(string(below(t, m)))
		if !whole {
			t.Errorf("a message in the mailbox is not as it was sent: %s", subject)
		}
		found[subject]++
	}
	for subject := range acknowledged {
		if found[subject] != 1 {
			t.Errorf("%s got a 250 and is %d times in the mailbox", subject, found[subject])
		}
	}
	t.Logf("%d acknowledged, %d found", len(acknowledged), len(found))
}
