package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
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
	load := s.send(clients, after, func(client, n int) (string, string, int) {
		return fmt.Sprintf("client %d message %d", client, n),
			fmt.Sprintf("u%d%%exemple.org@mx.host.test", (client+n)%boxes), 1000 + 40000*(n%5)*(client%2)
	})
	load.until(t, func() {
		folder, err := os.Open(mail)
		must(t, err)
		must(t, unix.IoctlSetPointerInt(int(folder.Fd()), fsShutdown, noLogFlush))
		must(t, folder.Close())
	})
	must(t, s.Close())
	mountAgain()

	var mails [][]byte
	for i := range boxes {
		mails = append(mails, s.inbox(t, fmt.Sprintf("u%d@exemple.org", i))...)
	}
	load.arrived(t, mails)
}
