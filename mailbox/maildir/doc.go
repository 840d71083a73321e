// Package maildir keeps messages in Maildirs: one file per message, which a reader such as Dovecot sees in new/ only
// when it is complete.
//
// # The file
//
// The trace fields, then the client's octets untouched: lines end with CRLF as they came, which Dovecot reads as well
// as LF. The name is unique as the Maildir page of qmail asks and ends with ",S=n,W=n", the size on disk and the size
// with CRLF, which are the same. It gets its flags (":2,") from the reader that moves it to cur/.
//
// # Where it is
//
// The template of [Options] and the identity of the mailbox give the path; nothing that a client wrote does. A value
// with "/", "@", NUL or a leading dot is refused, two identities never share a folder, and below the root no symbolic
// link is followed (mount points are). Folders are created at the first delivery, and stay open for later ones, at
// most 1024; before each use one fstatat proves that new/ is still the one that readers see. With TagFolders, mail
// for user+tag goes to the Maildir++ folder ".tag", its name in modified UTF-7 as Dovecot has it. It goes to the
// INBOX when the tag has ".", "/", "*", "%", a quote or a leading "~", or is INBOX, and when the Maildir has 256
// folders already: strangers choose tags.
//
// # When it is durable
//
// Prepare writes the file in tmp/ and starts the device on its data. Commit joins the deliveries that wait at the
// same moment: a leader waits for the data of all, renames all into new/, and makes all renames durable at once. Nil
// means that data, inode and name are on the device. There is no timer: who comes during a commit is in the next
// group, and a single session waits for nobody. How this is done depends on the file system:
//
//   - ext4 with a journal, XFS: sync_file_range puts the data on the device before the rename, and fsync of the
//     folder of the last rename commits the journal, once, with all inodes and renames of the group, and flushes the
//     device's cache. The journal keeps the order of changes: what was renamed earlier is in the same commit or an
//     earlier one, and where a crash shows the name, the data is there. When somebody else has had the journal
//     committed meanwhile, his commit came after the data and has flushed it (XFS), or fsync flushes once more (ext4).
//     What counts is the device of the data: an ext4 with an external journal and an XFS with a realtime device are
//     among the others.
//   - btrfs: data and inode become durable before the rename: fsync for up to 8 files, one syncfs for more; after it
//     fsync of up to 8 folders, or one syncfs.
//   - All others, ext4 without a journal, and SyncFsync: fsync of each file, rename, fsync of each folder; when a
//     Maildir is opened, of the folders above it as well.
//
// syncfs is used since Linux 5.17 only: before, it swallowed errors. sync_file_range and fsync report the errors of
// the very file. After any error the message is refused and taken back, and no descriptor is asked a second time.
//
// # Why so
//
// Bare loops on a virtual machine with two cores, 10 KiB, a fresh file system for each round, medians of three rounds
// (integration/bench/durability; messages per second; in brackets the CPU milliseconds per message). W/F is the number
// of writers and of folders:
//
//	                                             50/50           15/50          50/1            1/1, p50
//	ext4  fsync file, rename, fsync folder       7,026 (0.11)   6,405 (0.10)    8,113 (0.10)  1,040  1.01 ms
//	      syncfs, rename all, fsync folders      8,471 (0.06)   5,048 (0.07)   11,278 (0.05)    896  1.08 ms
//	      O_TMPFILE, linkat, fsync (partial?)   11,494 (0.08)  10,022 (0.08)   10,986 (0.08)  2,123  0.46 ms
//	      rename, one syncfs (partial?)          7,485 (0.06)   7,174 (0.06)   14,771 (0.05)  1,216  0.79 ms
//	      ordered data, one syncfs               6,795 (0.09)   6,548 (0.10)   10,920 (0.08)  1,529  0.60 ms
//	      the same, the leader waits for data    9,298 (0.07)   5,978 (0.08)   12,083 (0.07)  1,719  0.57 ms
//	      the same, fsync of every folder        9,764 (0.07)   6,677 (0.08)   14,174 (0.06)  2,159  0.44 ms
//	    * the same, fsync of the last folder    12,635 (0.06)   9,064 (0.07)   13,837 (0.06)  2,144  0.43 ms
//	XFS   fsync file, rename, fsync folder       6,806 (0.10)                   8,649 (0.10)  1,255  0.80 ms
//	      ordered data, leader, every folder    10,037 (0.06)                  12,018 (0.08)  2,155  0.46 ms
//	    * ordered data, leader, last folder     14,998 (0.06)                  14,144 (0.07)  2,252  0.43 ms
//	btrfs fsync file, rename, fsync folder       1,120 (0.35)                   1,260 (0.42)    658  1.49 ms
//	    * syncfs, rename all, syncfs or folder   2,509 (0.21)                   4,301 (0.16)    490  2.04 ms
//
// The ways marked "partial?" may show half a message in new/ after a crash. btrfs was measured on a busier machine.
// One journal commit instead of two halves the latency of a single session; waiting in the leader saves CPU; every
// further fsync of a folder is one more flush of the device; syncfs waits for what others write meanwhile and writes
// the metadata a second time. Two groups in flight gained nothing. io_uring was left out: a group has a handful of
// system calls that block, and each would be handed to a kernel thread just the same. Large files (over 128 KiB) are
// waited for by their writers, so that small ones need not wait behind them.
package maildir
