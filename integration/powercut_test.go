package integration

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"mxbypass/integration/peer"
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
	var acknowledged map[string]bool
	load.until(t, func() {
		var err error
		acknowledged, err = peer.CutPower(mail, load.Load)
		must(t, err)
	})
	must(t, s.Close())
	mountAgain()

	var mails [][]byte
	for i := range boxes {
		mails = append(mails, s.inbox(t, fmt.Sprintf("u%d@exemple.org", i))...)
	}
	arrived(t, acknowledged, mails)
}
