package maildir

import "testing"

func TestWhereTheJournalIs(t *testing.T) {
	for _, c := range []struct {
		journal, device string
		want            bool
	}{
		{"vda1-8", "vda1", true},
		{"dm-0-8", "dm-0", true},
		{"nvme0n1p2-12", "nvme0n1p2", true},
		{"cciss!c0d0-8", "cciss!c0d0", true},
		{"vdb", "vda", false}, // a device of its own
		{"vda1-8", "vda", false},
		{"vda-8", "vda1", false},
		{"vda-", "vda", false},
		{"dm-1-8", "dm", false},
	} {
		if got := journalOn(c.journal, c.device); got != c.want {
			t.Errorf("journal %s on %s: %v", c.journal, c.device, got)
		}
	}
}

func TestRealtimeDevice(t *testing.T) {
	const mounts = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n" +
		"36 22 8:17 / /mail rw,noatime shared:2 - xfs /dev/sdb1 rw,attr2,inode64,rtdev=/dev/sdc,noquota\n" +
		"37 22 8:33 / /rtdev=/x rw shared:3 - xfs /dev/sdd1 rw,attr2,inode64,logdev=/dev/sde,noquota\n"
	for minor, want := range map[uint32]bool{1: false, 17: true, 33: false, 2: false} {
		if got := realtime(mounts, 8, minor); got != want {
			t.Errorf("8:%d: %v", minor, got)
		}
	}
}
