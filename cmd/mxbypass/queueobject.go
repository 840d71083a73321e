package main

import (
	"strings"
	"time"

	"mxbypass/mailbox"
	"mxbypass/relay/queue"
)

// queuedObject is a message of the queue in JSON.
type queuedObject struct {
	ID         string            `json:"id"`
	Queued     time.Time         `json:"queued,omitzero"`
	Size       int64             `json:"size"`   // octets
	Sender     string            `json:"sender"` // "<>": none
	SMTPUTF8   bool              `json:"smtputf8,omitempty"`
	EightBit   bool              `json:"eight_bit,omitempty"`
	RequireTLS bool              `json:"requiretls,omitempty"`
	EnvelopeID string            `json:"envid,omitempty"`
	Return     mailbox.Return    `json:"ret,omitempty"`
	Recipients []recipientObject `json:"recipients"`
}

// recipientObject is one recipient of it.
type recipientObject struct {
	Recipient   string         `json:"recipient"`
	State       queue.State    `json:"state"`
	Next        time.Time      `json:"next,omitzero"` // of one that waits
	Destination string         `json:"destination"`
	Purpose     string         `json:"purpose"`
	Sender      string         `json:"sender,omitempty"`   // when it is not that of the message
	Mailbox     string         `json:"mailbox,omitempty"`  // of a store
	Original    string         `json:"original,omitempty"` // as the client wrote it, when that is another one
	Notify      string         `json:"notify,omitempty"`
	ORCPT       string         `json:"orcpt,omitempty"`
	Attempts    int            `json:"attempts"`
	InDoubt     bool           `json:"in_doubt,omitempty"` // it may have been delivered
	Notice      time.Time      `json:"notice,omitzero"`    // when the sender is told that it takes long
	Expires     time.Time      `json:"expires,omitzero"`
	Failure     *failureObject `json:"failure,omitempty"`             // the last one of this recipient
	Common      *failureObject `json:"destination_failure,omitempty"` // of its destination, since it worked last
}

// failureObject is why an attempt failed.
type failureObject struct {
	Time     time.Time `json:"time"`
	Host     string    `json:"host,omitempty"`
	Command  string    `json:"command,omitempty"`
	Code     int       `json:"code,omitempty"` // of the reply
	Enhanced string    `json:"enhanced"`
	Text     string    `json:"text"`
	TLS      string    `json:"tls,omitempty"` // how it was encrypted, or whose rule for that was not met
}

func newQueuedObject(m queuedMessage) queuedObject {
	o := queuedObject{
		ID: mailbox.Printable(m.ID), Queued: utc(m.Created), Size: m.Size, Sender: senderText(m.Reverse), SMTPUTF8: m.UTF8,
		EightBit: m.EightBit, RequireTLS: m.RequireTLS, EnvelopeID: m.EnvelopeID, Return: m.Return,
	}
	for _, r := range m.Recipients {
		o.Recipients = append(o.Recipients, newRecipientObject(m, r))
	}
	return o
}

func newRecipientObject(m queuedMessage, r queue.Listed) recipientObject {
	o := recipientObject{
		Recipient: r.To.Wire(), State: r.State, Next: utc(nextAttempt(r)), Destination: r.Recipient.Destination,
		Purpose: r.Purpose, Notify: notifyText(r.Report.Notify), ORCPT: r.Report.Original, Attempts: r.Attempts,
		InDoubt: r.InDoubt, Notice: utc(r.Notice), Expires: utc(r.Expires), Failure: newFailureObject(r.Last),
		Common: newFailureObject(r.Destination.Last),
	}
	if r.Reverse != m.Reverse {
		o.Sender = senderText(r.Reverse)
	}
	if !r.Mailbox.IsNull() {
		o.Mailbox = r.Mailbox.Wire()
	}
	if r.Original != r.To.Wire() {
		o.Original = mailbox.Printable(r.Original)
	}
	return o
}

func newFailureObject(f *queue.Attempt) *failureObject {
	if f == nil {
		return nil
	}
	lines := strings.Split(f.Text, "\n")
	for i, line := range lines {
		lines[i] = mailbox.Printable(strings.TrimSuffix(line, "\r"))
	}
	return &failureObject{
		Time: f.Time.UTC(), Host: mailbox.Printable(f.Host), Command: mailbox.Printable(f.Command), Code: f.Code,
		Enhanced: enhancedCode(f.Enhanced), Text: strings.Join(lines, "\n"), TLS: oneLine(f.TLS),
	}
}

// senderText is a reverse-path as the filter of senders takes it.
func senderText(a mailbox.Address) string {
	if a.IsNull() {
		return "<>"
	}
	return a.Wire()
}

// utc keeps the zero time what it is.
func utc(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC()
}

// notifyText is what the client asked to be told, as in NOTIFY; empty: it did not say.
func notifyText(n mailbox.Notify) string {
	if n&mailbox.NotifyNever != 0 {
		return "NEVER"
	}
	var words []string
	for _, w := range []struct {
		bit  mailbox.Notify
		word string
	}{{mailbox.NotifySuccess, "SUCCESS"}, {mailbox.NotifyFailure, "FAILURE"}, {mailbox.NotifyDelay, "DELAY"}} {
		if n&w.bit != 0 {
			words = append(words, w.word)
		}
	}
	return strings.Join(words, ",")
}
