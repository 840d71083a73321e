// Package delivery brings one message to all of its mailboxes, which may live in several stores, so that the answer to
// the client is true: whoever is reported as delivered has the message, and a client that is asked to try again does
// not make second copies where that can be avoided.
//
// # One message, several stores
//
// All stores prepare first. With one answer for all recipients (SMTP) a temporary failure of any of them stops the
// whole message: nothing is delivered, the client keeps it and comes again. A final refusal stops nobody else: the
// others get the message, and the one answer is a refusal that names both, because the bounce that the client then
// writes tells its user the truth; refusing everybody would let one dead mailbox keep the mail from all the others, and
// accepting would lose the message for one in silence. With an answer for each recipient (LMTP) everybody is delivered
// or not on its own.
//
// Then the stores that may still refuse (LMTP servers) commit, and after them those which only a fault of the machine
// can stop (Maildir). When one of the former fails temporarily, the latter are not committed at all.
//
// # The queue
//
// What goes elsewhere is queued, and so is a recipient whose store cannot take the message now while somebody else can
// have it (unless the options say to refuse then). That comes last, in one piece: by then it is known who is left. A
// message that nobody can have now stays with the client. With an answer for each recipient (LMTP) the stores' own
// answers are given, as their client asks for them one by one.
//
// # The ledger
//
// What remains is the case that somebody has the message and the answer must nevertheless be "try again": two LMTP
// servers of which one fails at the end of data, a disk that fails between two commits, a store that succeeds after
// the client was told that it took too long, a queue that cannot be written after a commit. Those who have the message
// are written to the [Ledger] before the client gets its answer, and are skipped when the same message comes again:
// same mailbox and tag, same reverse-path, same octets. When that retry is answered for good, the entries are dropped,
// so that the same message sent once more later is delivered once more.
//
// A ledger that cannot be written costs a duplicate, never a message.
package delivery
