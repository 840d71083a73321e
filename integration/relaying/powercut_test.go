package relaying

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"mxbypass/integration/peer"
	"mxbypass/integration/peer/lossydisk"
)

// before is what had its 250 before the power failed.
type before map[string]bool

func (b before) Acknowledged() map[string]bool { return b }

// powered is the spool on a disk that loses what was not flushed.
type powered struct {
	*checker
	disk *lossydisk.Filesystem
	dir  string
	cuts int
}

func onLossyDisk(t *testing.T) *powered {
	t.Helper()
	dir := t.TempDir()
	disk, err := lossydisk.Make(filepath.Join(dir, "state"), lossydisk.Ext4)
	must(t, err)
	t.Cleanup(func() { must(t, disk.Close()) })
	return &powered{&checker{t: t}, disk, dir, 0}
}

// cut has the power fail under a load that it starts; the relay does not survive, and the disk is mounted again. It
// gives the subjects of what had its 250 before.
func (p *powered) cut(w *world, how lossydisk.Loss, clients, after int) map[string]bool {
	p.t.Helper()
	p.cuts++
	l := p.loadOf(clients, w.Addr, fmt.Sprintf("cut %d", p.cuts), after)
	var acknowledged map[string]bool
	must(p.t, l.Until(w.Done(), func() {
		acknowledged = l.Acknowledged()
		report, err := p.disk.Cut(how, uint64(p.cuts))
		must(p.t, err)
		p.t.Logf("cut %d, loses %s: %+v", p.cuts, how, report)
	}))
	p.loads[len(p.loads)-1] = before(acknowledged)
	w.Kill()
	must(p.t, p.disk.Again())
	return acknowledged
}

// The power fails while mail is queued and leaves, and the disk loses what was not flushed, or keeps any part of it.
// Everything that had its 250 arrives.
func TestPowerCut(t *testing.T) {
	r := remoteAt(t, "127.0.0.1:0", nil)
	p := onLossyDisk(t)
	s := settings{dir: p.dir, queue: "retry_first = \"1s\"\nretry_max = \"1s\""}
	for _, how := range []lossydisk.Loss{lossydisk.LoseAll, lossydisk.LoseSome} {
		w := toRemote(t, r.Addr, s)
		if p.cuts > 0 {
			r.Hold() // most mail is in the queue alone, some is with the remote, which has not answered
		}
		p.cut(w, how, 20, 100)
		r.Release()
		p.ends++
	}
	w := toRemote(t, r.Addr, s)
	w.empty()
	p.check(r)
	must(t, w.Close()) // before its file system goes
}

// The same while the mail waits, so that all of it must be in the queue afterwards: listed, before a relay has opened
// the database again and after, and whole.
func TestPowerCutOfWaitingMail(t *testing.T) {
	port, err := peer.FreePort()
	must(t, err)
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	p := onLossyDisk(t)
	s := settings{dir: p.dir, queue: "retry_first = \"1s\"\nretry_max = \"1s\""}
	all := map[string]bool{}
	for _, c := range []struct {
		how            lossydisk.Loss
		clients, after int
	}{
		{lossydisk.LoseAll, 20, 60}, {lossydisk.LoseAll, 1, 10}, {lossydisk.LoseSome, 20, 80},
	} {
		w := toRemote(t, addr, s)
		for subject := range p.cut(w, c.how, c.clients, c.after) {
			all[subject] = true
		}
		w.listed(all)
	}
	w := toRemote(t, addr, s)
	w.listed(all)
	r := remoteAt(t, addr, nil)
	w.empty()
	p.check(r) // not one copy too many: nobody was there to take it before
	must(t, w.Close())
}

// listed wants every subject in the queue, by the recipient that the load gives it, and has one of the contents printed.
func (w *world) listed(subjects map[string]bool) {
	w.t.Helper()
	out, ok := w.command("queue", "list", "--json")
	if !ok {
		w.t.Fatalf("queue list --json: %s", out)
	}
	waiting := map[string]string{} // the id, by recipient
	for d := json.NewDecoder(bytes.NewReader([]byte(out))); ; {
		var m struct {
			ID         string
			Recipients []struct{ Recipient string }
		}
		err := d.Decode(&m)
		if errors.Is(err, io.EOF) {
			break
		}
		must(w.t, err)
		for _, r := range m.Recipients {
			waiting[r.Recipient] = m.ID
		}
	}
	printed := false
	for subject := range subjects {
		id := waiting[recipientOf(subject)]
		if id == "" {
			w.t.Errorf("%s got a 250 and is not in the queue", subject)
			continue
		}
		if printed {
			continue
		}
		printed = true
		content, ok := w.command("queue", "cat", id)
		if got, whole := peer.Whole(content); !ok || got != subject || !whole {
			w.t.Errorf("queue cat of %q gives %.300q", subject, content)
		}
	}
	w.t.Logf("%d acknowledged, %d in the queue", len(subjects), len(waiting))
}

// recipientOf gives each message of a load a recipient of its own.
func recipientOf(subject string) string {
	return strings.NewReplacer(" ", "-", ",", "-").Replace(subject) + "@remote.example"
}
