package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"mxbypass/integration/peer/lossydisk"
)

// powerCut is one failure of the power.
type powerCut struct {
	how     lossydisk.Loss
	clients int
	after   int // acknowledged messages
	// neighbour: another program has the journal committed all the time, so that the relay's fsync may find nothing left
	// to commit. The flush of the disk must not be missing then.
	neighbour bool
}

// powerCuts are many clients, whose commits overlap, and one, whose last 250 is followed by nothing that could flush the
// disk for it.
func powerCuts() []powerCut {
	return []powerCut{
		{lossydisk.LoseAll, 20, 100, false},
		{lossydisk.LoseSome, 20, 150, false},
		{lossydisk.LoseAll, 1, 15, false},
		{lossydisk.LoseSome, 20, 100, true},
		{lossydisk.LoseAll, 1, 25, true},
		{lossydisk.LoseAll, 20, 200, true},
	}
}

// The power fails under load, and the disk loses what was not flushed, or keeps any part of it; then it is mounted again,
// and the journal is replayed. Whatever had its 250 is there, whole, and there is no half message among the others. New
// mailboxes come with every cut, so that their folders are made shortly before. A file system that is stopped (the
// shutdown of ext4 and XFS) would show less: it keeps what is in the disk's cache.
func TestPowerCut(t *testing.T) {
	t.Setenv("MXBYPASS", plain) // more commits in less time
	for _, kind := range []string{lossydisk.Ext4, lossydisk.XFS, lossydisk.Ext4External} {
		t.Run(kind, func(t *testing.T) {
			const boxes = 5
			mail := filepath.Join(t.TempDir(), "mail")
			disk, err := lossydisk.Make(mail, kind)
			must(t, err)
			t.Cleanup(func() { must(t, disk.Close()) })
			domains := "[[domain]]\nname = \"exemple.org\"\nsite = \"cloud\"\nmailboxes = ["
			cuts := powerCuts()
			if kind == lossydisk.Ext4External {
				cuts = cuts[:3] // the store takes the long way there, which needs nobody else
			}
			for cut := range cuts {
				for i := range boxes {
					domains += fmt.Sprintf("\"u%d-%d\", ", cut, i)
				}
			}
			acknowledged := map[string]bool{}
			for cut, p := range cuts {
				s := start(t, settings{mail: mail, domains: domains + "]\n"})
				load := s.send(p.clients, p.after, func(client, n int) (string, string, int) {
					return fmt.Sprintf("cut %d client %d message %d", cut, client, n),
						fmt.Sprintf("u%d-%d%%exemple.org@mx.host.test", cut, (client+n)%boxes), 1000 + 40000*(n%5/4)*(client%2)
				})
				disturb := func() {}
				if p.neighbour {
					disturb = neighbour(t, mail)
				}
				load.until(t, func() {
					for subject := range load.Acknowledged() {
						acknowledged[subject] = true
					}
					report, err := disk.Cut(p.how, uint64(cut))
					must(t, err)
					t.Logf("cut %d, loses %s: %+v", cut, p.how, report)
				})
				disturb()
				must(t, s.Close())
				must(t, disk.Again())

				var mails [][]byte
				for i := range (cut + 1) * boxes {
					mails = append(mails, s.inbox(t, fmt.Sprintf("u%d-%d@exemple.org", i/boxes, i%boxes))...)
				}
				arrived(t, acknowledged, mails)
			}
		})
	}
}

// neighbour writes and syncs a file of its own in a folder until the disk fails; end waits for that.
func neighbour(t *testing.T, dir string) (end func()) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "neighbour"))
	must(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for err := error(nil); err == nil; err = f.Sync() {
			if _, err = f.WriteString("x"); err != nil {
				return
			}
		}
	}()
	return func() {
		<-done
		f.Close()
	}
}
