package maildir

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Sync says how messages are made durable.
type Sync string

// The ways; see the package comment for what they cost.
const (
	// SyncAuto takes what was measured to be best among what is safe on the file system that a mailbox is on.
	SyncAuto Sync = "auto"
	// SyncFsync asks for no more than POSIX promises: fsync of every file and of every folder. It is for file systems
	// on which others write so much that waiting for all of it (syncfs) takes longer.
	SyncFsync Sync = "fsync"
)

// Owner is to whom new files and folders are given.
type Owner struct{ UID, GID int } // -1: left as it is

// Options say where the Maildirs of a site are and how they are written.
type Options struct {
	// Path is the template of a Maildir's absolute path: {domain} is the domain in A-labels, {user} the folded local
	// part, {site} the name of the site. The folder before the first placeholder is the root that nothing can leave;
	// it is made when it is missing.
	Path string
	// Single: Path has no placeholder, and every mailbox is this one Maildir (the fallback postmaster's).
	Single bool
	// Owner of what is created; nil: whoever this process runs as. Giving away needs CAP_CHOWN.
	Owner    *Owner
	FileMode fs.FileMode // permissions of message files; 0: 0600
	DirMode  fs.FileMode // permissions of folders; 0: 0700
	// TagFolders: mail for user+tag goes to the Maildir++ folder .tag when the tag is fit to name one, see the
	// package comment; otherwise, and without this option, it goes to the INBOX.
	TagFolders bool
	Sync       Sync          // empty: SyncAuto
	SweepAge   time.Duration // files in tmp/ that were not touched for so long are removed; 0: 36 hours
	Hostname   string        // in the names of the files; empty: the system's
	Logger     *slog.Logger  // nil: nothing is logged
	Clock      func() time.Time
}

// SweepAge is how old a file in tmp/ is when it is taken as left over, as the Maildir page asks.
const SweepAge = 36 * time.Hour

// withDefaults fills what was left out.
func (o Options) withDefaults() (Options, error) {
	if o.FileMode == 0 {
		o.FileMode = 0o600
	}
	if o.DirMode == 0 {
		o.DirMode = 0o700
	}
	if o.Sync == "" {
		o.Sync = SyncAuto
	}
	if o.SweepAge == 0 {
		o.SweepAge = SweepAge
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Hostname == "" {
		host, err := os.Hostname()
		if err != nil {
			return o, fmt.Errorf("maildir: the name of this host: %w", err)
		}
		o.Hostname = host
	}
	return o, nil
}

// Check tells what would keep a store from working, without changing anything: a template that puts two mailboxes
// into one folder, a root that could be neither opened nor made, modes that lock the store itself out. The errors are
// joined.
func Check(o Options) error {
	var errs []error
	t, err := parseTemplate(o.Path, o.Single)
	if err != nil {
		errs = append(errs, err)
	} else if err := checkRoot(t.root); err != nil {
		errs = append(errs, err)
	}
	if o.Sync != "" && o.Sync != SyncAuto && o.Sync != SyncFsync {
		errs = append(errs, fmt.Errorf("sync is %q or %q, not %q", SyncAuto, SyncFsync, o.Sync))
	}
	if o.FileMode != 0 && (o.FileMode&0o600 != 0o600 || o.FileMode&^0o666 != 0) {
		errs = append(errs, fmt.Errorf("file mode %#o: the owner reads and writes, and nobody executes", o.FileMode))
	}
	if o.DirMode != 0 && (o.DirMode&0o700 != 0o700 || o.DirMode&^fs.ModePerm != 0) {
		errs = append(errs, fmt.Errorf("folder mode %#o: the owner may do everything", o.DirMode))
	}
	if o.Owner != nil && (o.Owner.UID < -1 || o.Owner.GID < -1) {
		errs = append(errs, fmt.Errorf("owner %d:%d: a number, or -1", o.Owner.UID, o.Owner.GID))
	}
	if o.SweepAge < 0 {
		errs = append(errs, fmt.Errorf("sweep age %v is negative", o.SweepAge))
	}
	return errors.Join(errs...)
}

// checkRoot wants a folder, or an ancestor in which it can be made, that this process may write to.
func checkRoot(root string) error {
	for dir := root; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if errors.Is(err, fs.ErrNotExist) && dir != "/" {
			continue
		}
		if err != nil {
			return fmt.Errorf("path: %w", err)
		}
		if !info.IsDir() {
			return fmt.Errorf("path: %s is not a folder", dir)
		}
		// access(2) does not count rights (CAP_DAC_OVERRIDE) that a user other than root has.
		if err := unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
			return fmt.Errorf("path: %s cannot be written to: %w", dir, err)
		}
		return nil
	}
}
