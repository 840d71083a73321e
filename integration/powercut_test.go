package integration

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mxbypass/integration/peer"
)

// fsShutdown is FS_IOC_SHUTDOWN of ext4 and XFS; noLogFlush stops the file system where it stands, and nothing that is
// only in memory, the journal included, reaches the disk any more.
const (
	fsShutdown = 0x8004587d
	noLogFlush = 2
)

// The power fails under load: the file system stops as it stands, is mounted again, and replays its journal. Whatever got
// a 250 is there, whole, and there is no half message among the others.
func TestPowerCut(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs"} {
		for cut := range 3 {
			t.Run(fmt.Sprintf("%s %d", kind, cut), func(t *testing.T) { powerCut(t, kind, 100+150*cut) })
		}
	}
}

// powerCut stops the file system after so many messages.
func powerCut(t *testing.T, kind string, after int) {
	const clients, boxes = 20, 10
	mail := filepath.Join(t.TempDir(), "mail")
	mountAgain := freshDisk(t, mail, kind)
	names := make([]string, boxes)
	for i := range names {
		names[i] = fmt.Sprintf("%q", fmt.Sprintf("u%d", i))
	}
	s := start(t, settings{mail: mail, domains: "[[domain]]\nname = \"exemple.org\"\nsite = \"cloud\"\nmailboxes = [" +
		strings.Join(names, ", ") + "]\n"})
	var (
		mu           sync.Mutex
		acknowledged = map[string]bool{}
		enough       = make(chan struct{})
		done         sync.WaitGroup
	)
	for client := range clients {
		done.Go(func() {
			c, _, err := peer.DialSMTP("tcp", s.Addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			if _, err := c.Cmd("EHLO client.test"); err != nil {
				t.Error(err)
				return
			}
			for i := 0; ; i++ {
				id := fmt.Sprintf("client %d message %d", client, i)
				to := fmt.Sprintf("u%d%%exemple.org@mx.host.test", (client+i)%boxes)
				size := 1000 + 40000*(i%5)*(client%2)
				reply, err := c.Message("sender@client.test", to, "Subject: "+id+"\r\n\r\n"+strings.Repeat("x", size)+"\r\nend\r\n")
				if err != nil || !strings.HasPrefix(reply, "250") {
					return // the power is gone
				}
				mu.Lock()
				acknowledged[id] = true
				if len(acknowledged) == after {
					close(enough)
				}
				mu.Unlock()
			}
		})
	}
	select {
	case <-enough:
	case <-time.After(time.Minute):
		t.Error("the clients were not served")
	}
	folder, err := os.Open(mail)
	must(t, err)
	must(t, unix.IoctlSetPointerInt(int(folder.Fd()), fsShutdown, noLogFlush))
	must(t, folder.Close())
	done.Wait()
	must(t, s.Close())
	mountAgain()

	found := map[string]int{}
	for i := range boxes {
		for _, m := range s.inbox(t, fmt.Sprintf("u%d@exemple.org", i)) {
			content := below(t, m)
			id, _, _ := strings.Cut(strings.TrimPrefix(string(content), "Subject: "), "\r\n")
			if !bytes.HasSuffix(content, []byte("\r\nend\r\n")) {
				t.Errorf("half a message in the mailbox: %s", id)
			}
			found[id]++
		}
	}
	for id := range acknowledged {
		if found[id] != 1 {
			t.Errorf("%s got a 250 and is %d times in the mailbox", id, found[id])
		}
	}
	t.Logf("%d acknowledged, %d found", len(acknowledged), len(found))
}
