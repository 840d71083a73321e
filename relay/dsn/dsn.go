// Package dsn writes delivery status notifications (RFC 3464, RFC 6533).
package dsn

import (
	"time"

	"mxbypass/mailbox"
)

// Action is what a notification says about a recipient (RFC 3464 section 2.3.3).
type Action string

// The actions.
const (
	Failed    Action = "failed"
	Delayed   Action = "delayed"
	Delivered Action = "delivered"
	Relayed   Action = "relayed" // to a server that reports no successes
)

// Original is the message that is reported on.
type Original struct {
	ID         string
	Arrived    time.Time
	Reverse    mailbox.Address // who gets the notification
	EnvelopeID string
	Return     mailbox.Return
	UTF8Header bool
	Content    mailbox.Content
}

// Recipient is what became of one recipient.
type Recipient struct {
	Action     Action
	Final      mailbox.Address // to whom it was tried to be delivered
	Written    string          // the forward-path as the client wrote it, printable; for the human part
	Original   string          // ORCPT; empty: none
	Status     [3]int
	RemoteMTA  string // empty: none
	Diagnostic string // what the other server said, code and text, as it came; empty: nothing
	Reason     string // why, in a sentence for people; printable
	Last       time.Time
	RetryUntil time.Time // delayed
}

// Notification is what is to be said, about one or more recipients of one message with one action.
type Notification struct {
	ID         string             // of the notification, as in logs
	Hostname   mailbox.DomainName // ours
	Postmaster mailbox.Address    // From; null: postmaster at Hostname
	Time       time.Time
	Original   Original
	Recipients []Recipient
}

// Compose writes a notification: a message from the null sender to n.Original.Reverse. Its content reads the original's
// when it is read.
func Compose(n Notification) (*mailbox.Message, error) { panic("contract") }
