package queue

import (
	"time"

	"mxbypass/mailbox"
)

// Entry is a message to be queued.
type Entry struct {
	Message    *mailbox.Message
	Recipients []Recipient // one or more
}

// Recipient is one address that a queued message goes to.
type Recipient struct {
	// Destination groups what shares connections and fate: a hop as routing.Hop writes it, or "store:" and a site.
	Destination string
	// To is the forward-path of mail for elsewhere; for a store the address for Delivered-To.
	To       mailbox.Address
	Mailbox  mailbox.Address   // store: the mailbox; null for mail that goes elsewhere
	Tag      mailbox.LocalPart // store: of user+tag
	Purpose  string            // why it leaves, as routing.Purpose has it; "store" for a store
	Reverse  mailbox.Address   // the sender for this recipient: that of the message, or a rewritten one
	Mark     string            // header fields on top of this recipient's copy, each with CRLF; empty: none
	Original string            // the forward-path as the client wrote it, printable
	Report   mailbox.Report

	Due     time.Time // the first attempt not before
	Notice  time.Time // when the sender is told that it takes long; zero: never
	Expires time.Time // when it is given up
}

// Header is a queued message without its content. It is shared by its items and does not change.
type Header struct {
	Row        int64  // its place in the queue
	ID         string // as in logs, replies and Received
	Created    time.Time
	Reverse    mailbox.Address
	UTF8       bool // the client asked for SMTPUTF8
	UTF8Header bool // the header is not ASCII: it can only travel with SMTPUTF8
	EightBit   bool // the content is not ASCII: it can only travel with 8BITMIME
	RequireTLS bool // it stays under TLS with servers that are known for sure (RFC 8689)
	Return     mailbox.Return
	EnvelopeID string
	Size       int64
	Trace      []byte
}

// Key names one recipient of one queued message.
type Key struct {
	Row int64 // of the message
	N   int   // of the recipient, from 0
}

// Item is one recipient of one queued message, with what has become of it so far.
type Item struct {
	Key
	Message *Header
	Recipient
	Attempts int      // begun so far
	Last     *Attempt // the last one that failed; nil: none
	Lease    int64    // the fencing token of whoever works on it; 0: nobody
	InDoubt  bool     // an earlier process ended while it worked on it: it may have been delivered
	// Fate is what was known of its destination when the item was read or put; never nil. It is shared and does not change.
	Fate *Destination
}

// Attempt is how a delivery failed, in the words of the other server where it said any.
type Attempt struct {
	Time     time.Time
	Host     string // who said it, or could not be reached: host name and address
	Command  string // in answer to what
	Code     int    // of the reply; 0: there was none
	Enhanced [3]int // RFC 3463; always set
	Text     string // as it came, bounded: escape before showing
	TLS      string // how the connection was encrypted, or whose rule for that was not met; empty: neither
}

// OutcomeKind is what became of an item.
type OutcomeKind uint8

// The outcomes.
const (
	Gone  OutcomeKind = iota + 1 // delivered, or given up and reported: it leaves the queue
	Retry                        // it is tried again at Next
	Aside                        // it is damaged: quarantined
)

// Outcome is what is written about an item that was worked on.
type Outcome struct {
	Item    *Item
	Kind    OutcomeKind
	Attempt *Attempt  // why it was not delivered; nil: it was
	Next    time.Time // Retry
	Notice  time.Time // Retry: the new time of the delay notice; zero: none any more
}

// Destination is what the queue knows of all mail for one destination.
type Destination struct {
	ID       int64
	Name     string    // see Recipient.Destination
	Due      time.Time // when it is tried next
	Failures int       // in a row, of the destination as a whole (not reached, not resolved)
	Last     *Attempt  // the last of them
}
