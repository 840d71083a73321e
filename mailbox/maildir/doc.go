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
//     earlier one, and where a crash shows the name, the data is there.
//   - btrfs: data and inode become durable before the rename: fsync for up to 8 files, one syncfs for more; after it
//     fsync of up to 8 folders, or one syncfs.
//   - All others, ext4 without a journal, and SyncFsync: fsync of each file, rename, fsync of each folder.
//
// syncfs is used since Linux 5.17 only: before, it swallowed errors. sync_file_range and fsync report the errors of
// the very file. After any error the message is refused and taken back, and no descriptor is asked a second time.
//
// # Why so
//
// Bare loops on a virtual machine with two cores shared with others, 10 KiB (integration/bench/durability; messages
// per second, the best of three to eight rounds; in brackets the CPU milliseconds per message):
//
//	                                             50 writers, 50 folders    50 writers, 1      1 writer, p50
//	ext4  fsync file, rename, fsync folder          6,665  (0.11)           7,536  (0.11)     1,105  0.88 ms
//	      the same, folder or syncfs shared         6,078  (0.13)           7,236  (0.11)       917  1.07 ms
//	      syncfs, rename all, fsync folders         6,433  (0.08)           3,427  (0.09)       393  1.18 ms
//	      O_TMPFILE, linkat, fsync (may be partial) 7,566  (0.12)           6,403  (0.12)     1,730  0.55 ms
//	      rename, one syncfs (may be partial)       9,461  (0.07)          10,815  (0.07)       975  1.00 ms
//	      ordered data, one syncfs                  7,476  (0.11)          10,869  (0.08)     1,225  0.79 ms
//	      ordered data, own fsync of folder         7,428  (0.11)           8,741  (0.09)     1,692  0.57 ms
//	    * ordered data, leader waits, fsync folders 7,681  (0.08)          12,889  (0.07)     1,368  0.61 ms
//	XFS   fsync file, rename, fsync folder         10,041  (0.09)           8,188  (0.11)     1,324  0.73 ms
//	    * ordered data, leader waits, fsync folders 15,312 (0.06)           8,560  (0.08)     1,901  0.43 ms
//	btrfs fsync file, rename, fsync folder          1,120  (0.35)           1,260  (0.42)       658  1.49 ms
//	    * syncfs, rename all, syncfs or folder      2,509  (0.21)           4,301  (0.16)       490  2.04 ms
//
// Single rounds differ by half and more on such a machine; what decided is what held in every comparison side by
// side: one journal commit instead of two halves the latency of a single session; waiting in the leader instead of in
// every writer saves a third of the CPU; syncfs waits for what others write meanwhile and writes the metadata a
// second time (its checkpoint), which fsync of the folders does not. Two groups in flight gained nothing. io_uring
// was left out: the group has a handful of system calls that block, and each would be handed to a kernel thread just
// the same. Large files (over 128 KiB) are waited for by their writers, so that small ones need not wait behind them.
package maildir
